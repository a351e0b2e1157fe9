/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>

#include "base/capability.h"
#include "base/cleanup.h"
#include "base/util.h"
#include "oci/seccomp_bpf.h"

#define RULES_MAX 4096u
#define NAMES_MAX 4096u
#define ARGS_MAX 6u /* a system call has no more */

static int parse_action(const struct json_node *n, uint32_t error, uint32_t *action, struct err *e)
{
	const struct {
		const char *name;
		uint32_t action;
	} actions[] = {
		{ "SCMP_ACT_KILL", SCMP_ACT_KILL },
		{ "SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD },
		{ "SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS },
		{ "SCMP_ACT_TRAP", SCMP_ACT_TRAP },
		{ "SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(error) },
		{ "SCMP_ACT_TRACE", SCMP_ACT_TRACE(error) },
		{ "SCMP_ACT_ALLOW", SCMP_ACT_ALLOW },
		{ "SCMP_ACT_LOG", SCMP_ACT_LOG },
	};
	const char *s;
	size_t i;
	int r = json_as_string(n, &s, e);

	if (r)
		return r;
	for (i = 0; i < ARRAY_SIZE(actions); i++) {
		if (str_eq(s, actions[i].name)) {
			*action = actions[i].action;
			return 0;
		}
	}
	if (str_eq(s, "SCMP_ACT_NOTIFY"))
		return json_fail(n, e, ENOTSUP,
				 "SCMP_ACT_NOTIFY needs a listener on the host, which can't act for a process "
				 "in a guest; use another action");
	return json_fail(n, e, EINVAL, "\"%s\" is no action", s);
}

static int parse_operator(const struct json_node *n, enum scmp_compare *op, struct err *e)
{
	static const struct {
		const char *name;
		enum scmp_compare op;
	} operators[] = {
		{ "SCMP_CMP_NE", SCMP_CMP_NE },
		{ "SCMP_CMP_LT", SCMP_CMP_LT },
		{ "SCMP_CMP_LE", SCMP_CMP_LE },
		{ "SCMP_CMP_EQ", SCMP_CMP_EQ },
		{ "SCMP_CMP_GE", SCMP_CMP_GE },
		{ "SCMP_CMP_GT", SCMP_CMP_GT },
		{ "SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ },
	};
	const char *s;
	size_t i;
	int r = json_as_string(n, &s, e);

	if (r)
		return r;
	for (i = 0; i < ARRAY_SIZE(operators); i++) {
		if (str_eq(s, operators[i].name)) {
			*op = operators[i].op;
			return 0;
		}
	}
	return json_fail(n, e, EINVAL, "\"%s\" is no operator", s);
}

static int parse_arg(const struct json_node *n, struct scmp_arg_cmp *arg, struct err *e)
{
	uint64_t index = 0, value = 0, value_two = 0;
	struct json_node op;
	bool have_index;
	int r = json_as_object(n, e);

	if (!r)
		r = json_get_u64(n, "index", 0, ARGS_MAX - 1, &index, &have_index, e);
	if (!r)
		r = json_get_u64(n, "value", 0, UINT64_MAX, &value, NULL, e);
	if (!r)
		r = json_get_u64(n, "valueTwo", 0, UINT64_MAX, &value_two, NULL, e);
	if (r)
		return r;
	if (!have_index)
		return json_fail(n, e, EINVAL, "has no index");
	if (!json_member(n, "op", &op))
		return json_fail(n, e, EINVAL, "has no op");
	arg->arg = (unsigned int)index;
	/* For a masked comparison `value` is the mask, which libseccomp has first, too. */
	arg->datum_a = value;
	arg->datum_b = value_two;
	return parse_operator(&op, &arg->op, e);
}

struct profile {
	scmp_filter_ctx ctx;
	uint64_t caps;
	uint32_t default_action;
	int newest; /* highest number of a call it names */
};

static int add_rule(struct profile *p, const struct json_node *at, uint32_t action, int nr,
		    const struct scmp_arg_cmp *args, size_t n, struct err *e)
{
	unsigned int seen = 0;
	bool twice = false;
	size_t i;
	int r = 0;

	for (i = 0; i < n; i++) {
		twice |= seen & (1u << args[i].arg);
		seen |= 1u << args[i].arg;
	}
	/* libseccomp compares an argument once in a rule. As with runc, several comparisons of one are alternatives. */
	if (!twice)
		r = seccomp_rule_add_array(p->ctx, action, nr, (unsigned int)n, args);
	for (i = 0; twice && !r && i < n; i++)
		r = seccomp_rule_add_array(p->ctx, action, nr, 1, &args[i]);
	return r ? json_fail(at, e, -r, "libseccomp can't add this rule: %s", strerror(-r)) : 0;
}

static int add_name(struct profile *p, const struct json_node *at, uint32_t action, const char *name,
		    const struct scmp_arg_cmp *args, size_t n, struct err *e)
{
	int nr = seccomp_syscall_resolve_name(name);

	if (nr == __NR_SCMP_ERROR)
		return 0;
	if (nr > p->newest)
		p->newest = nr;
	return action == p->default_action ? 0 : add_rule(p, at, action, nr, args, n, e);
}

/* docker's includes and excludes: does list name something that holds here? */
static int any_holds(const struct profile *p, const struct json_node *cond, bool *caps, bool *arches, struct err *e)
{
	struct json_node list, entry;
	size_t n, i;
	const char *s;
	int r = json_get_array(cond, "caps", CAPABILITY_COUNT * 2, &list, &n, e);

	*caps = !n;
	for (i = 0; !r && i < n && json_entry(&list, i, &entry); i++) {
		int cap;

		r = json_as_string(&entry, &s, e);
		cap = r ? -1 : capability_parse(s);
		*caps |= cap >= 0 && (p->caps & (1ull << cap));
	}
	if (!r)
		r = json_get_array(cond, "arches", 64, &list, &n, e);
	*arches = !n;
	for (i = 0; !r && i < n && json_entry(&list, i, &entry); i++) {
		r = json_as_string(&entry, &s, e);
		*arches |= !r && (str_eq(s, "amd64") || str_eq(s, "x86") || str_eq(s, "x32"));
	}
	return r;
}

/* minKernel is not asked for: docker's profiles name 4.8, and the guest's kernel is newer. */
static int rule_applies(const struct profile *p, const struct json_node *rule, bool *applies, struct err *e)
{
	struct json_node cond;
	bool caps, arches, there;
	int r = json_get_object(rule, "includes", &cond, &there, e);

	*applies = true;
	if (!r && there) {
		r = any_holds(p, &cond, &caps, &arches, e);
		*applies = caps && arches;
	}
	if (!r)
		r = json_get_object(rule, "excludes", &cond, &there, e);
	if (!r && there) {
		struct json_node list;
		size_t caps_n, arches_n;

		r = any_holds(p, &cond, &caps, &arches, e);
		if (!r)
			r = json_get_array(&cond, "caps", CAPABILITY_COUNT * 2, &list, &caps_n, e);
		if (!r)
			r = json_get_array(&cond, "arches", 64, &list, &arches_n, e);
		if (!r && ((caps_n && caps) || (arches_n && arches)))
			*applies = false;
	}
	return r;
}

static int parse_args(const struct json_node *rule, struct scmp_arg_cmp args[ARGS_MAX], size_t *n, struct err *e)
{
	struct json_node list, entry;
	size_t i;
	int r = json_get_array(rule, "args", ARGS_MAX, &list, n, e);

	for (i = 0; !r && i < *n; i++) {
		json_entry(&list, i, &entry);
		r = parse_arg(&entry, &args[i], e);
	}
	return r;
}

static int parse_rule(struct profile *p, const struct json_node *rule, struct err *e)
{
	struct scmp_arg_cmp args[ARGS_MAX];
	struct json_node action_node, names, entry, name;
	uint64_t error = EPERM;
	size_t args_n, names_n, i;
	uint32_t action;
	const char *s;
	bool applies;
	int r = json_as_object(rule, e);

	if (!r)
		r = json_get_u64(rule, "errnoRet", 0, 4095, &error, NULL, e);
	if (r)
		return r;
	if (!json_member(rule, "action", &action_node))
		return json_fail(rule, e, EINVAL, "has no action");
	r = parse_action(&action_node, (uint32_t)error, &action, e);
	if (!r)
		r = parse_args(rule, args, &args_n, e);
	if (!r)
		r = rule_applies(p, rule, &applies, e);
	if (!r)
		r = json_get_array(rule, "names", NAMES_MAX, &names, &names_n, e);
	if (r || !applies)
		return r;
	if (json_member(rule, "name", &name)) {
		r = json_as_string(&name, &s, e);
		if (!r)
			r = add_name(p, &name, action, s, args, args_n, e);
	} else if (!names_n) {
		return json_fail(rule, e, EINVAL, "names no system call");
	}
	for (i = 0; !r && i < names_n; i++) {
		json_entry(&names, i, &entry);
		r = json_as_string(&entry, &s, e);
		if (!r)
			r = add_name(p, &entry, action, s, args, args_n, e);
	}
	return r;
}

static int add_arch(struct profile *p, const struct json_node *n, struct err *e)
{
	static const struct {
		const char *name;
		uint32_t arch;
	} arches[] = {
		{ "SCMP_ARCH_X86", SCMP_ARCH_X86 },
		{ "SCMP_ARCH_X32", SCMP_ARCH_X32 },
	};
	const char *s;
	size_t i;
	int r = json_as_string(n, &s, e);

	if (r)
		return r;
	if (!str_starts(s, "SCMP_ARCH_"))
		return json_fail(n, e, EINVAL, "\"%s\" is no architecture", s);
	/* The guest's processor runs no other's calls, so what isn't x86 can't happen. */
	for (i = 0; i < ARRAY_SIZE(arches); i++) {
		if (!str_eq(s, arches[i].name))
			continue;
		r = seccomp_arch_add(p->ctx, arches[i].arch);
		if (r && r != -EEXIST)
			return json_fail(n, e, -r, "libseccomp can't add %s", s);
	}
	return 0;
}

static int parse_arches(struct profile *p, const struct json_node *profile, struct err *e)
{
	struct json_node list, entry, sub, sub_entry;
	size_t n, i, k, sub_n;
	int r = json_get_array(profile, "architectures", 64, &list, &n, e);

	for (i = 0; !r && i < n; i++) {
		json_entry(&list, i, &entry);
		r = add_arch(p, &entry, e);
	}
	if (!r)
		r = json_get_array(profile, "archMap", 64, &list, &n, e);
	for (i = 0; !r && i < n; i++) {
		char *name = NULL;

		json_entry(&list, i, &entry);
		r = json_as_object(&entry, e);
		if (!r)
			r = json_get_string(&entry, "architecture", &name, e);
		if (!r)
			r = json_get_array(&entry, "subArchitectures", 64, &sub, &sub_n, e);
		for (k = 0; !r && str_eq(name, "SCMP_ARCH_X86_64") && k < sub_n; k++) {
			json_entry(&sub, k, &sub_entry);
			r = add_arch(p, &sub_entry, e);
		}
		free(name);
	}
	return r;
}

static int parse_flags(const struct json_node *profile, uint32_t *flags, struct err *e)
{
	static const struct {
		const char *name;
		uint32_t flag;
	} known[] = {
		{ "SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC },
		{ "SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG },
		{ "SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW },
	};
	struct json_node list, entry;
	size_t n, i, k;
	const char *s;
	int r = json_get_array(profile, "flags", 16, &list, &n, e);

	for (i = 0, *flags = 0; !r && i < n; i++) {
		json_entry(&list, i, &entry);
		r = json_as_string(&entry, &s, e);
		if (r)
			return r;
		for (k = 0; k < ARRAY_SIZE(known); k++)
			if (str_eq(s, known[k].name))
				break;
		if (k < ARRAY_SIZE(known))
			*flags |= known[k].flag;
		else if (str_eq(s, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"))
			r = json_fail(&entry, e, ENOTSUP, "%s needs a listener, which a guest can't have", s);
		else
			r = json_fail(&entry, e, EINVAL, "\"%s\" is no flag of seccomp(2)", s);
	}
	return r;
}

static int parse_default(struct profile *p, const struct json_node *profile, struct err *e)
{
	uint64_t error = EPERM;
	struct json_node n;
	int r = json_as_object(profile, e);

	if (!r && (json_member(profile, "listenerPath", &n) || json_member(profile, "listenerMetadata", &n)))
		return json_fail(&n, e, ENOTSUP,
				 "a listener on the host can't act for a process in a guest; leave it out");
	if (!r)
		r = json_get_u64(profile, "defaultErrnoRet", 0, 4095, &error, NULL, e);
	if (r)
		return r;
	if (!json_member(profile, "defaultAction", &n))
		return json_fail(profile, e, EINVAL, "has no defaultAction");
	return parse_action(&n, (uint32_t)error, &p->default_action, e);
}

int oci_seccomp_compile(const struct json_node *node, uint64_t caps, Microvm__Seccomp **out, struct err *e)
{
	_cleanup_seccomp_ scmp_filter_ctx ctx = NULL;
	struct profile p = { .caps = caps, .newest = -1 };
	struct json_node list, entry;
	uint32_t flags;
	size_t n, i;
	int r = parse_default(&p, node, e);

	if (!r)
		r = parse_flags(node, &flags, e);
	if (r)
		return r;
	ctx = p.ctx = seccomp_init(p.default_action);
	if (!ctx)
		return err_set(e, ENOMEM, "seccomp: out of memory");
	/* Hundreds of calls: a balanced tree of comparisons in place of a row of them. */
	seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	r = parse_arches(&p, node, e);
	if (!r)
		r = json_get_array(node, "syscalls", RULES_MAX, &list, &n, e);
	for (i = 0; !r && i < n; i++) {
		json_entry(&list, i, &entry);
		r = parse_rule(&p, &entry, e);
	}
	if (r)
		return r;
	if (p.default_action == SCMP_ACT_ALLOW || p.default_action == SCMP_ACT_LOG ||
	    (p.default_action & 0xffff0000u) == SCMP_ACT_TRACE(0))
		p.newest = -1;
	return oci_seccomp_export(ctx, p.newest, flags, out, e);
}

int oci_seccomp_load(const char *path, uint64_t caps, Microvm__Seccomp **out, struct err *e)
{
	_cleanup_free_ char *text = NULL;
	struct json_node root;
	size_t len;
	int r = read_file(AT_FDCWD, path, OCI_SECCOMP_MAX, &text, &len);

	if (r)
		return err_errno(e, -r, "seccomp profile %s", path);
	r = json_parse(text, len, OCI_SECCOMP_MAX, &root, e);
	if (!r)
		r = oci_seccomp_compile(&root, caps, out, e);
	json_done(&root);
	return r ? err_wrap(e, "seccomp profile %s", path) : 0;
}
