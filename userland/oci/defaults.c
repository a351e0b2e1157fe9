/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/defaults.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>

#include "base/capability.h"
#include "oci/options.h"
#include "oci/pb.h"
#include "oci/seccomp.h"
#include "oci/spec.h"

#define BIT(cap) (1ull << (cap))

/* Docker's defaults, as its documentation lists them ("Runtime privilege and Linux capabilities"). */
static const uint64_t default_caps = BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_FSETID) | BIT(CAP_FOWNER) |
				     BIT(CAP_MKNOD) | BIT(CAP_NET_RAW) | BIT(CAP_SETGID) | BIT(CAP_SETUID) |
				     BIT(CAP_SETFCAP) | BIT(CAP_SETPCAP) | BIT(CAP_NET_BIND_SERVICE) |
				     BIT(CAP_SYS_CHROOT) | BIT(CAP_KILL) | BIT(CAP_AUDIT_WRITE);

static const char *const default_path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

static const struct {
	const char *path, *type, *options;
	bool ro;
} default_mounts[] = {
	{ "/proc", "proc", "nosuid,noexec,nodev", false },
	{ "/dev", "tmpfs", "nosuid,strictatime,mode=755,size=65536k", false },
	{ "/dev/pts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5", false },
	{ "/sys", "sysfs", "nosuid,noexec,nodev", true },
	{ "/sys/fs/cgroup", "cgroup", "nosuid,noexec,nodev,relatime", true },
	{ "/dev/mqueue", "mqueue", "nosuid,noexec,nodev", false },
};

static const char *const masked_paths[] = {
	"/proc/asound",	     "/proc/acpi",	    "/proc/interrupts", "/proc/kcore",
	"/proc/keys",	     "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
	"/proc/sched_debug", "/proc/scsi",	    "/sys/firmware",	"/sys/devices/virtual/powercap",
};

static const char *const readonly_paths[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
					      "/proc/sysrq-trigger" };

/* No network namespace: the containers of one sandbox share the guest's. */
static const char *const namespaces[] = { "pid", "ipc", "uts", "mount", "cgroup" };

/* major, minor: -1 is any. Nodes may be made for every device, used only for these. */
static const struct {
	const char *type;
	int64_t major, minor;
	const char *access;
} default_devices[] = {
	{ "c", -1, -1, "m" },	 { "b", -1, -1, "m" }, { "c", 1, 3, "rwm" }, /* null */
	{ "c", 1, 5, "rwm" },						     /* zero */
	{ "c", 1, 7, "rwm" },						     /* full */
	{ "c", 1, 8, "rwm" },						     /* random */
	{ "c", 1, 9, "rwm" },						     /* urandom */
	{ "c", 5, 0, "rwm" },						     /* tty */
	{ "c", 5, 1, "rwm" },						     /* console */
	{ "c", 5, 2, "rwm" },						     /* ptmx */
	{ "c", 136, -1, "rwm" },					     /* pts */
};

static void add_mounts(Microvm__Spec *spec, const struct oci_options *o)
{
	uint64_t shm = o->shm_bytes ? o->shm_bytes : 64ull << 20;
	Microvm__Mount *m;
	char *options;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(default_mounts); i++) {
		m = pb_new(Microvm__Mount, microvm__mount);
		m->destination = xstrdup(default_mounts[i].path);
		m->type = xstrdup(default_mounts[i].type);
		m->source = xstrdup(default_mounts[i].type);
		oci_mount_options(m, default_mounts[i].options);
		if (default_mounts[i].ro)
			oci_mount_options(m, o->privileged ? "rw" : "ro");
		pb_append(spec->n_mounts, spec->mounts, m);
	}
	options = xasprintf("nosuid,noexec,nodev,mode=1777,size=%llu", (unsigned long long)shm);
	oci_mount_tmpfs(spec, "/dev/shm", options);
	free(options);
}

static Microvm__DeviceRule *device_rule(bool allow, const char *type, int64_t major, int64_t minor, const char *access)
{
	Microvm__DeviceRule *r = pb_new(Microvm__DeviceRule, microvm__device_rule);

	r->allow = allow;
	r->type = xstrdup(type);
	r->major = major >= 0 ? pb_i64(major) : NULL;
	r->minor = minor >= 0 ? pb_i64(minor) : NULL;
	r->access = xstrdup(access);
	return r;
}

static void add_resources(Microvm__Linux *l, const struct oci_options *o)
{
	Microvm__Resources *res = pb_new(Microvm__Resources, microvm__resources);
	size_t i;

	l->resources = res;
	pb_append(res->n_devices, res->devices, device_rule(o->privileged, "a", -1, -1, "rwm"));
	for (i = 0; !o->privileged && i < ARRAY_SIZE(default_devices); i++)
		pb_append(res->n_devices, res->devices,
			  device_rule(true, default_devices[i].type, default_devices[i].major, default_devices[i].minor,
				      default_devices[i].access));
	if (o->pids_limit)
		res->pids_limit = pb_i64(o->pids_limit);
	if (o->memory_bytes) {
		res->memory = pb_new(Microvm__Memory, microvm__memory);
		res->memory->limit = pb_i64(o->memory_bytes > INT64_MAX ? INT64_MAX : (int64_t)o->memory_bytes);
	}
	if (o->nano_cpus || o->cpu_shares)
		res->cpu = pb_new(Microvm__CPU, microvm__cpu);
	if (o->nano_cpus) {
		/* The kernel takes no quota below 1 ms. */
		int64_t quota = (int64_t)(o->nano_cpus / 10000);

		res->cpu->period = pb_u64(100000);
		res->cpu->quota = pb_i64(max_t(int64_t, quota, 1000));
	}
	if (o->cpu_shares)
		res->cpu->shares = pb_u64(o->cpu_shares);
}

static int add_seccomp(Microvm__Linux *l, const struct oci_options *o, const char *profile, uint64_t caps,
		       struct err *e)
{
	if (str_eq(profile, "unconfined") || (o->privileged && !profile))
		return 0;
	if (!profile || str_eq(profile, "default") || str_eq(profile, "builtin"))
		return oci_seccomp_default(caps, &l->seccomp, e);
	return oci_seccomp_load(profile, caps, &l->seccomp, e);
}

static int add_linux(Microvm__Spec *spec, const struct oci_options *o, const struct oci_security *s, uint64_t caps,
		     struct err *e)
{
	Microvm__Linux *l = pb_new(Microvm__Linux, microvm__linux);
	size_t i;
	int r;

	spec->linux = l;
	for (i = 0; i < ARRAY_SIZE(namespaces); i++) {
		Microvm__Namespace *ns = pb_new(Microvm__Namespace, microvm__namespace);

		ns->type = xstrdup(namespaces[i]);
		pb_append(l->n_namespaces, l->namespaces, ns);
	}
	if (!o->privileged && !s->systempaths_unconfined) {
		for (i = 0; i < ARRAY_SIZE(masked_paths); i++)
			pb_append(l->n_masked_paths, l->masked_paths, xstrdup(masked_paths[i]));
		for (i = 0; i < ARRAY_SIZE(readonly_paths); i++)
			pb_append(l->n_readonly_paths, l->readonly_paths, xstrdup(readonly_paths[i]));
	}
	add_resources(l, o);
	r = oci_options_sysctl(l, o->sysctl, e);
	return r ? r : add_seccomp(l, o, s->seccomp, caps, e);
}

static void add_args(Microvm__Process *p, char *const *list)
{
	for (; list && *list; list++)
		pb_append(p->n_args, p->args, xstrdup(*list));
}

/* Docker's rules: --entrypoint replaces the image's and forgets the image's cmd; words after IMAGE replace the cmd. */
static int set_args(Microvm__Process *p, const struct oci_options *o, struct err *e)
{
	bool own_args = o->args && *o->args;

	if (!o->entrypoint)
		add_args(p, o->image.entrypoint);
	else if (*o->entrypoint)
		pb_append(p->n_args, p->args, xstrdup(o->entrypoint));
	if (own_args)
		add_args(p, o->args);
	else if (!o->entrypoint)
		add_args(p, o->image.cmd);
	if (!p->n_args)
		return err_set(e, EINVAL, "no command: the image names none%s, so give one after the image's name",
			       o->entrypoint ? " that --entrypoint would leave" : "");
	if (!p->args[0][0])
		return err_set(e, EINVAL, "no command: the first word is empty");
	return 0;
}

static int set_user(Microvm__Process *p, const struct oci_options *o, struct err *e)
{
	const char *user = o->user ? o->user : o->image.user;
	char *const *g;

	p->user = pb_new(Microvm__User, microvm__user);
	/* "0" stands for "by number, with the groups of /etc/group", which only the guest can tell. */
	p->user->name = xstrdup(user && *user ? user : "0");
	if (o->user && (!*o->user || *o->user == ':'))
		return err_set(e, EINVAL, "--user \"%s\": expected NAME|UID[:GROUP|GID]", o->user);
	for (g = o->group_add; g && *g; g++) {
		if (!**g)
			return err_set(e, EINVAL, "--group-add: an empty name");
		pb_append(p->user->n_additional_groups, p->user->additional_groups, xstrdup(*g));
	}
	return 0;
}

static int set_cwd(Microvm__Process *p, const char *flag, const char *cwd, struct err *e)
{
	if (cwd && cwd[0] != '/')
		return err_set(e, EINVAL, "%s %s: not an absolute path", flag, cwd);
	pb_set(&p->cwd, xstrdup(cwd ? cwd : "/"));
	return 0;
}

static int set_env(Microvm__Process *p, const struct oci_options *o, struct err *e)
{
	int r;

	pb_append(p->n_env, p->env, xstrdup(default_path));
	if (o->hostname && *o->hostname)
		pb_append(p->n_env, p->env, xasprintf("HOSTNAME=%s", o->hostname));
	if (o->terminal)
		pb_append(p->n_env, p->env, xstrdup("TERM=xterm"));
	r = oci_options_env(p, "the image's variable", o->image.env, e);
	return r ? r : oci_options_env(p, "--env", o->env, e);
}

static int set_oom_score_adj(Microvm__Process *p, const char *arg, struct err *e)
{
	uint64_t v;

	if (!arg)
		return 0;
	if (parse_u64(arg + (*arg == '-'), 0, 1000, &v))
		return err_set(e, EINVAL, "--oom-score-adj %s: not within -1000 and 1000", arg);
	p->oom_score_adj = pb_i64(*arg == '-' ? -(int64_t)v : (int64_t)v);
	return 0;
}

static int add_process(Microvm__Spec *spec, const struct oci_options *o, const struct oci_security *s, uint64_t caps,
		       struct err *e)
{
	Microvm__Process *p = pb_new(Microvm__Process, microvm__process);
	int r;

	spec->process = p;
	p->terminal = o->terminal;
	p->console_rows = o->console_rows;
	p->console_cols = o->console_cols;
	p->no_new_privileges = s->no_new_privileges;
	p->capabilities = oci_caps_message(caps);
	r = set_args(p, o, e);
	if (!r)
		r = set_user(p, o, e);
	if (!r)
		r = set_cwd(p, o->cwd ? "--workdir" : "the image's working directory", o->cwd ? o->cwd : o->image.cwd,
			    e);
	if (!r)
		r = set_env(p, o, e);
	if (!r)
		r = oci_options_ulimit(p, o->ulimit, e);
	return r ? r : set_oom_score_adj(p, o->oom_score_adj, e);
}

/* As the kernel takes it: at most 64 bytes, and nothing that would break a line of /etc/hosts. */
static int set_name(const char *flag, const char *name, char **field, struct err *e)
{
	if (!name || !*name)
		return 0;
	if (strlen(name) > 64 || strpbrk(name, " \t\r\n/#"))
		return err_set(e, EINVAL, "%s %s: not a name of at most 64 characters without blanks", flag, name);
	pb_set(field, xstrdup(name));
	return 0;
}

int oci_spec_default(const struct oci_options *o, Microvm__Spec **out, struct err *e)
{
	Microvm__Spec *spec = pb_new(Microvm__Spec, microvm__spec);
	struct oci_security s = { 0 };
	uint64_t caps;
	int r;

	spec->oci_version = xstrdup("1.1.0");
	spec->root = pb_new(Microvm__Root, microvm__root);
	spec->root->path = xstrdup("rootfs");
	spec->root->readonly = o->read_only;
	add_mounts(spec, o);
	r = oci_options_security(o->security_opt, &s, e);
	if (!r)
		r = oci_options_caps(o, default_caps, &caps, e);
	if (!r)
		r = set_name("--hostname", o->hostname, &spec->hostname, e);
	if (!r)
		r = set_name("--domainname", o->domainname, &spec->domainname, e);
	if (!r)
		r = add_process(spec, o, &s, caps, e);
	if (!r)
		r = add_linux(spec, o, &s, caps, e);
	if (!r && o->read_only) {
		char *const *v;

		/* A volume stays writable in a read-only container; it begins with what the image has there. */
		for (v = o->image.volumes; v && *v; v++)
			if (**v == '/' && !str_eq(*v, "/"))
				oci_mount_tmpfs(spec, *v, "nosuid,nodev,tmpcopyup,mode=755");
	}
	if (!r)
		r = oci_options_tmpfs(spec, o->tmpfs, e);
	if (r) {
		oci_spec_free(spec);
		return r;
	}
	*out = spec;
	return 0;
}

static Microvm__Process *process_copy(const Microvm__Process *p)
{
	size_t len = microvm__process__get_packed_size(p);
	uint8_t *buf = xcalloc(1, len);
	Microvm__Process *copy;

	microvm__process__pack(p, buf);
	copy = microvm__process__unpack(NULL, len, buf);
	free(buf);
	return copy;
}

static bool has_env(const Microvm__Process *p, const char *prefix)
{
	size_t i;

	for (i = 0; i < p->n_env; i++)
		if (str_starts(p->env[i], prefix))
			return true;
	return false;
}

int oci_process_exec(const Microvm__Process *base, const struct oci_exec_options *o, Microvm__Process **out,
		     struct err *e)
{
	Microvm__Process *p = process_copy(base);
	int r = 0;

	if (!p)
		return err_set(e, ENOMEM, "out of memory");
	while (p->n_args)
		free(p->args[--p->n_args]);
	add_args(p, o->args);
	if (!p->n_args || !p->args[0][0])
		r = err_set(e, EINVAL, "no command to execute; give one after the container's name");
	p->terminal = o->terminal;
	p->console_rows = o->console_rows;
	p->console_cols = o->console_cols;
	if (!r && o->user) {
		if (!*o->user || *o->user == ':')
			r = err_set(e, EINVAL, "--user \"%s\": expected NAME|UID[:GROUP|GID]", o->user);
		if (p->user)
			microvm__user__free_unpacked(p->user, NULL);
		p->user = pb_new(Microvm__User, microvm__user);
		p->user->name = xstrdup(o->user);
	}
	if (!r && o->cwd)
		r = set_cwd(p, "--workdir", o->cwd, e);
	if (!r && o->terminal && !has_env(p, "TERM="))
		pb_append(p->n_env, p->env, xstrdup("TERM=xterm"));
	if (!r)
		r = oci_options_env(p, "--env", o->env, e);
	if (!r && o->privileged) {
		microvm__capabilities__free_unpacked(p->capabilities, NULL);
		p->capabilities = oci_caps_message(CAPABILITY_ALL);
	}
	if (r) {
		oci_process_free(p);
		return r;
	}
	*out = p;
	return 0;
}
