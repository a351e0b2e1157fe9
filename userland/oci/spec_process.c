/* SPDX-License-Identifier: Apache-2.0 */
/* The `process` section, and hooks, which are processes too. */
#include <string.h>

#include "base/capability.h"
#include "base/log.h"
#include "oci/parse.h"

#define HOOKS_MAX 64u

static int parse_user(const struct json_node *process, Microvm__Process *p, struct err *e)
{
	struct json_node n, gids, gid;
	bool present;
	size_t count, i;
	int r = json_get_object(process, "user", &n, &present, e);

	p->user = pb_new(Microvm__User, microvm__user);
	if (r || !present)
		return r;
	r = oci_get_u32(&n, "uid", &p->user->uid, NULL, e);
	if (!r)
		r = oci_get_u32(&n, "gid", &p->user->gid, NULL, e);
	if (!r)
		r = oci_get_u64_value(&n, "umask", 0777, &p->user->umask, e);
	if (!r)
		r = json_get_array(&n, "additionalGids", LIST_MAX, &gids, &count, e);
	for (i = 0; !r && i < count; i++) {
		uint64_t v;

		json_entry(&gids, i, &gid);
		r = json_as_u64(&gid, 0, UINT32_MAX, &v, e);
		if (!r)
			pb_append(p->user->n_additional_gids, p->user->additional_gids, (uint32_t)v);
	}
	return r;
}

static int parse_env(const struct json_node *process, Microvm__Process *p, struct err *e)
{
	struct json_node list, entry;
	size_t i;
	int r = oci_get_strings(process, "env", &p->env, &p->n_env, e);

	for (i = 0; !r && i < p->n_env; i++) {
		if (strchr(p->env[i], '=') && p->env[i][0] != '=')
			continue;
		json_member(process, "env", &list);
		json_entry(&list, i, &entry);
		r = json_fail(&entry, e, EINVAL, "\"%.100s\" is not NAME=VALUE", p->env[i]);
	}
	return r;
}

static int parse_args(const struct json_node *process, Microvm__Process *p, struct err *e)
{
	struct json_node n;
	int r = oci_get_strings(process, "args", &p->args, &p->n_args, e);

	if (r)
		return r;
	if (p->n_args && p->args[0][0])
		return 0;
	json_member(process, "args", &n);
	return json_fail(&n, e, EINVAL, "names no program");
}

/* The spec wants names that can't be granted to be told of, not refused. */
static int parse_caps(const struct json_node *process, Microvm__Process *p, struct err *e)
{
	Microvm__Capabilities *c;
	struct json_node n;
	bool present;
	size_t i, k;
	int r = json_get_object(process, "capabilities", &n, &present, e);

	if (r || !present)
		return r;
	c = p->capabilities = pb_new(Microvm__Capabilities, microvm__capabilities);
	const struct {
		const char *key;
		char ***list;
		size_t *n;
	} sets[] = {
		{ "bounding", &c->bounding, &c->n_bounding },
		{ "effective", &c->effective, &c->n_effective },
		{ "inheritable", &c->inheritable, &c->n_inheritable },
		{ "permitted", &c->permitted, &c->n_permitted },
		{ "ambient", &c->ambient, &c->n_ambient },
	};
	for (i = 0; !r && i < ARRAY_SIZE(sets); i++) {
		r = oci_get_strings(&n, sets[i].key, sets[i].list, sets[i].n, e);
		for (k = 0; !r && k < *sets[i].n; k++)
			if (capability_parse((*sets[i].list)[k]) < 0)
				log_warn("process.capabilities.%s[%zu]: \"%.64s\" is not known, and not given",
					 sets[i].key, k, (*sets[i].list)[k]);
	}
	return r;
}

static int add_rlimit(const struct json_node *n, void *opaque, struct err *e)
{
	static const char *const types[] = {
		"RLIMIT_AS",	 "RLIMIT_CORE",	  "RLIMIT_CPU",	       "RLIMIT_DATA",
		"RLIMIT_FSIZE",	 "RLIMIT_LOCKS",  "RLIMIT_MEMLOCK",    "RLIMIT_MSGQUEUE",
		"RLIMIT_NICE",	 "RLIMIT_NOFILE", "RLIMIT_NPROC",      "RLIMIT_RSS",
		"RLIMIT_RTPRIO", "RLIMIT_RTTIME", "RLIMIT_SIGPENDING", "RLIMIT_STACK",
	};
	Microvm__Rlimit *l = pb_new(Microvm__Rlimit, microvm__rlimit);
	Microvm__Process *p = opaque;
	size_t i;
	int r;

	pb_append(p->n_rlimits, p->rlimits, l);
	r = oci_need_string(n, "type", &l->type, e);
	if (!r)
		r = json_get_u64(n, "soft", 0, UINT64_MAX, &l->soft, NULL, e);
	if (!r)
		r = json_get_u64(n, "hard", 0, UINT64_MAX, &l->hard, NULL, e);
	if (r)
		return r;
	if (!oci_one_of(l->type, types, ARRAY_SIZE(types)))
		return json_fail(n, e, EINVAL, "there is no limit \"%s\"", l->type);
	if (l->soft > l->hard)
		return json_fail(n, e, EINVAL, "%s: soft is above hard", l->type);
	for (i = 0; i + 1 < p->n_rlimits; i++)
		if (str_eq(p->rlimits[i]->type, l->type))
			return json_fail(n, e, EINVAL, "%s is there twice", l->type);
	return 0;
}

static int parse_scheduler(const struct json_node *process, Microvm__Process *p, struct err *e)
{
	static const char *const policies[] = {
		"SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_IDLE", "SCHED_DEADLINE",
	};
	Microvm__Scheduler *s;
	struct json_node n;
	int64_t nice = 0, priority = 0;
	bool present;
	int r = json_get_object(process, "scheduler", &n, &present, e);

	if (r || !present)
		return r;
	s = p->scheduler = pb_new(Microvm__Scheduler, microvm__scheduler);
	r = oci_need_string(&n, "policy", &s->policy, e);
	if (!r && !oci_one_of(s->policy, policies, ARRAY_SIZE(policies)))
		r = json_fail(&n, e, EINVAL, "there is no policy \"%s\"", s->policy);
	if (!r)
		r = json_get_i64(&n, "nice", -20, 19, &nice, NULL, e);
	if (!r)
		r = json_get_i64(&n, "priority", 0, 99, &priority, NULL, e);
	if (!r)
		r = oci_get_strings(&n, "flags", &s->flags, &s->n_flags, e);
	if (!r)
		r = json_get_u64(&n, "runtime", 0, UINT64_MAX, &s->runtime, NULL, e);
	if (!r)
		r = json_get_u64(&n, "deadline", 0, UINT64_MAX, &s->deadline, NULL, e);
	if (!r)
		r = json_get_u64(&n, "period", 0, UINT64_MAX, &s->period, NULL, e);
	s->nice = (int32_t)nice;
	s->priority = (int32_t)priority;
	return r;
}

static int parse_io_priority(const struct json_node *process, Microvm__Process *p, struct err *e)
{
	static const char *const classes[] = { "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE" };
	struct json_node n;
	int64_t priority = 0;
	bool present;
	int r = json_get_object(process, "ioPriority", &n, &present, e);

	if (r || !present)
		return r;
	p->io_priority = pb_new(Microvm__IOPriority, microvm__iopriority);
	r = oci_need_string(&n, "class", &p->io_priority->class_, e);
	if (!r && !oci_one_of(p->io_priority->class_, classes, ARRAY_SIZE(classes)))
		r = json_fail(&n, e, EINVAL, "there is no class \"%s\"", p->io_priority->class_);
	if (!r)
		r = json_get_i64(&n, "priority", 0, 7, &priority, NULL, e);
	p->io_priority->priority = (int32_t)priority;
	return r;
}

static int parse_oom_score_adj(const struct json_node *process, Microvm__Process *p, struct err *e)
{
	int64_t v = 0;
	bool present;
	int r = json_get_i64(process, "oomScoreAdj", -1000, 1000, &v, &present, e);

	if (!r && present)
		p->oom_score_adj = pb_i64(v);
	return r;
}

static int parse_terminal(const struct json_node *process, Microvm__Process *p, struct err *e)
{
	uint64_t rows = 0, cols = 0;
	bool present, terminal = false;
	struct json_node n;
	int r = json_get_bool(process, "terminal", &terminal, NULL, e);

	if (!r)
		r = json_get_object(process, "consoleSize", &n, &present, e);
	if (!r && present)
		r = json_get_u64(&n, "height", 0, UINT16_MAX, &rows, NULL, e);
	if (!r && present)
		r = json_get_u64(&n, "width", 0, UINT16_MAX, &cols, NULL, e);
	p->terminal = terminal;
	/* Without a terminal the size has to be ignored. */
	p->console_rows = terminal ? (uint32_t)rows : 0;
	p->console_cols = terminal ? (uint32_t)cols : 0;
	return r;
}

/* "unconfined" asks for nothing, which a guest without these modules gives. */
static int refuse_labels(const struct json_node *process, struct err *e)
{
	struct json_node n;
	const char *s;

	if (json_member(process, "apparmorProfile", &n) && !json_as_string(&n, &s, NULL) && str_eq(s, "unconfined"))
		return oci_refuse(process, "selinuxLabel", "the guest's kernel has no SELinux; leave it out", e);
	if (oci_refuse(process, "apparmorProfile", "the guest's kernel has no AppArmor; leave it out", e))
		return -ENOTSUP;
	return oci_refuse(process, "selinuxLabel", "the guest's kernel has no SELinux; leave it out", e);
}

int oci_parse_process(const struct json_node *n, Microvm__Process *p, struct err *e)
{
	struct json_node cwd;
	bool nnp = false;
	int r = parse_terminal(n, p, e);

	if (!r)
		r = parse_user(n, p, e);
	if (!r)
		r = parse_args(n, p, e);
	if (!r)
		r = parse_env(n, p, e);
	if (!r)
		r = oci_need_string(n, "cwd", &p->cwd, e);
	if (!r && p->cwd[0] != '/') {
		json_member(n, "cwd", &cwd);
		r = json_fail(&cwd, e, EINVAL, "\"%s\" is not an absolute path", p->cwd);
	}
	if (!r)
		r = parse_caps(n, p, e);
	if (!r)
		r = oci_each_object(n, "rlimits", SHORT_MAX, add_rlimit, p, e);
	if (!r)
		r = json_get_bool(n, "noNewPrivileges", &nnp, NULL, e);
	p->no_new_privileges = nnp;
	if (!r)
		r = parse_oom_score_adj(n, p, e);
	if (!r)
		r = parse_scheduler(n, p, e);
	if (!r)
		r = parse_io_priority(n, p, e);
	if (!r)
		r = oci_refuse(n, "execCPUAffinity", "can't be honoured in a guest yet; leave it out", e);
	return r ? r : refuse_labels(n, e);
}

struct hook_list {
	Microvm__Hook ***list;
	size_t *n;
};

static int add_hook(const struct json_node *n, void *opaque, struct err *e)
{
	Microvm__Hook *h = pb_new(Microvm__Hook, microvm__hook);
	struct hook_list *l = opaque;
	struct json_node timeout;
	int r;

	pb_append(*l->n, *l->list, h);
	r = oci_need_string(n, "path", &h->path, e);
	if (!r)
		r = oci_get_path(n, "path", &h->path, e);
	if (!r)
		r = oci_get_strings(n, "args", &h->args, &h->n_args, e);
	if (!r)
		r = oci_get_strings(n, "env", &h->env, &h->n_env, e);
	if (!r)
		r = oci_get_u64_value(n, "timeout", UINT32_MAX, &h->timeout_s, e);
	if (!r && h->timeout_s && !h->timeout_s->value) {
		json_member(n, "timeout", &timeout);
		r = json_fail(&timeout, e, EINVAL, "must be greater than 0");
	}
	return r;
}

int oci_parse_hooks(const struct json_node *config, bool host_hooks, Microvm__Spec *spec, struct err *e)
{
	static const char *const host[] = { "prestart", "createRuntime" };
	Microvm__Hooks *h;
	struct json_node n;
	bool present;
	size_t i;
	int r = json_get_object(config, "hooks", &n, &present, e);

	if (r || !present)
		return r;
	h = spec->hooks = pb_new(Microvm__Hooks, microvm__hooks);
	for (i = 0; !r && !host_hooks && i < ARRAY_SIZE(host); i++)
		r = oci_refuse(&n, host[i], "runs on the host, on namespaces that are inside the guest; leave it out",
			       e);
	const struct {
		const char *key;
		struct hook_list list;
	} kinds[] = {
		{ "createContainer", { &h->create_container, &h->n_create_container } },
		{ "startContainer", { &h->start_container, &h->n_start_container } },
		{ "poststart", { &h->poststart, &h->n_poststart } },
		{ "poststop", { &h->poststop, &h->n_poststop } },
		{ "prestart", { &h->prestart, &h->n_prestart } },
		{ "createRuntime", { &h->create_runtime, &h->n_create_runtime } },
	};
	for (i = 0; !r && i < ARRAY_SIZE(kinds); i++)
		r = oci_each_object(&n, kinds[i].key, HOOKS_MAX, add_hook, (void *)&kinds[i].list, e);
	return r;
}
