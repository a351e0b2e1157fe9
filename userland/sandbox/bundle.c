/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "base/vmspec.h"
#include "oci/pb.h"
#include "oci/spec.h"
#include "sandbox/host_cgroup.h"

#define CFS_PERIOD_US 100000u /* what a quota without a period is of */
#define POD_CPU_SHARES 1024u  /* of one CPU, as Kubernetes asks for them */

static const char *annotation(const Microvm__Spec *spec, const char *name)
{
	size_t i;

	for (i = 0; i < spec->n_annotations; i++)
		if (str_eq(spec->annotations[i]->name, name))
			return spec->annotations[i]->value;
	return NULL;
}

/* ---- namespaces: the guest has its own of each ---------------------------------------------------------------------- */

static const struct {
	const char *type, *file; /* in config.json, in /proc/PID/ns */
	bool needed;		 /* without it the container would have the host's */
} namespaces[] = {
	{ "pid", "pid", true },	  { "network", "net", true }, { "ipc", "ipc", true },	     { "uts", "uts", true },
	{ "mount", "mnt", true }, { "user", "user", false },  { "cgroup", "cgroup", false }, { "time", "time", false },
};

static Microvm__Namespace *find_namespace(const Microvm__Linux *l, const char *type)
{
	size_t i;

	for (i = 0; i < l->n_namespaces; i++)
		if (str_eq(l->namespaces[i]->type, type))
			return l->namespaces[i];
	return NULL;
}

static bool is_shared_in_pod(const char *type)
{
	return str_eq(type, "ipc") || str_eq(type, "uts") || str_eq(type, "pid");
}

/* Without one a container has the guest's. */
static void drop_namespace(Microvm__Linux *l, const char *type)
{
	size_t i;

	for (i = 0; i < l->n_namespaces; i++) {
		if (!str_eq(l->namespaces[i]->type, type))
			continue;
		microvm__namespace__free_unpacked(l->namespaces[i], NULL);
		memmove(&l->namespaces[i], &l->namespaces[i + 1], (--l->n_namespaces - i) * sizeof(*l->namespaces));
		return;
	}
}

void bundle_share_network(struct bundle *b)
{
	drop_namespace(b->spec->linux, "network");
}

static bool has_path(const Microvm__Namespace *ns)
{
	return ns && ns->path[0];
}

void bundle_leave_to_vm(struct bundle *b)
{
	Microvm__Linux *l = b->spec->linux;

	if (b->pause || has_path(find_namespace(l, "ipc")))
		drop_namespace(l, "ipc");
	if (b->pause || has_path(find_namespace(l, "uts"))) {
		drop_namespace(l, "uts");
		pb_set(&b->spec->hostname, xstrdup(""));
		pb_set(&b->spec->domainname, xstrdup(""));
	}
	/* The VM has got them at its boot. */
	while (b->pause && l->n_sysctl)
		microvm__name_value__free_unpacked(l->sysctl[--l->n_sysctl], NULL);
}

bool bundle_joins_pid(const struct bundle *b)
{
	return has_path(find_namespace(b->spec->linux, "pid"));
}

void bundle_enter_pod(struct bundle *b, uint32_t guest_pid)
{
	const Microvm__Linux *l = b->spec->linux;
	size_t i;

	for (i = 0; i < l->n_namespaces; i++) {
		Microvm__Namespace *ns = l->namespaces[i];

		if (has_path(ns) && is_shared_in_pod(ns->type))
			bundle_join_namespace(ns, guest_pid);
	}
}

static const char *file_of(const char *type)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(namespaces); i++)
		if (str_eq(namespaces[i].type, type))
			return namespaces[i].file;
	return "";
}

pid_t bundle_namespace_pid(const Microvm__Namespace *ns)
{
	_cleanup_free_ char *end = xasprintf("/ns/%s", file_of(ns->type)), *number = NULL;
	const char *rest;
	uint64_t pid;

	if (!str_starts(ns->path, "/proc/"))
		return 0;
	rest = strchr(ns->path + strlen("/proc/"), '/');
	if (!rest || !str_eq(rest, end))
		return 0;
	number = xstrndup(ns->path + strlen("/proc/"), (size_t)(rest - ns->path) - strlen("/proc/"));
	return parse_u64(number, 1, INT32_MAX, &pid) ? 0 : (pid_t)pid;
}

void bundle_join_namespace(Microvm__Namespace *ns, uint32_t guest_pid)
{
	pb_set(&ns->path, xasprintf("/proc/%u/ns/%s", guest_pid, file_of(ns->type)));
}

int bundle_refuse_namespace(const Microvm__Namespace *ns, struct err *e)
{
	return err_set(e, ENOTSUP,
		       "linux.namespaces: %s of %s: a guest can't join a namespace of the host, or one of a container "
		       "that is not in a VM of this runtime's; let the container have one of its own",
		       ns->type, ns->path);
}

static bool may_be_joined(const struct bundle *b, const Microvm__Namespace *ns)
{
	return b->in_pod ? is_shared_in_pod(ns->type) : b->joins && bundle_namespace_pid(ns);
}

static int check_namespaces(struct bundle *b, struct err *e)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(namespaces); i++) {
		const char *type = namespaces[i].type;
		Microvm__Namespace *ns = find_namespace(b->spec->linux, type);

		if (!ns && namespaces[i].needed)
			return err_set(e, ENOTSUP,
				       "linux.namespaces: no %s namespace asks for the host's, which no guest has; let "
				       "the container have one of its own%s",
				       type, str_eq(type, "network") ? " (--network none)" : "");
		if (!ns || !ns->path[0])
			continue;
		/* The supervisor is in it; what the container has is the guest's. */
		if (str_eq(type, "network"))
			b->netns = xstrdup(ns->path);
		if ((is_shared_in_pod(type) || str_eq(type, "network")) && may_be_joined(b, ns))
			continue;
		if (!str_eq(type, "network"))
			return bundle_refuse_namespace(ns, e);
		pb_set(&ns->path, xstrdup(""));
	}
	if (b->in_pod)
		bundle_share_network(b);
	return 0;
}

/* ---- devices: a guest has those that each Linux has ------------------------------------------------------------------ */

static bool is_everywhere(const Microvm__Device *d)
{
	static const struct {
		int major, minor;
	} known[] = { { 1, 3 }, { 1, 5 }, { 1, 7 }, { 1, 8 }, { 1, 9 }, { 5, 0 }, { 5, 2 } };
	size_t i;

	if (str_eq(d->type, "p"))
		return true;
	for (i = 0; str_eq(d->type, "c") && i < ARRAY_SIZE(known); i++)
		if (d->major == known[i].major && d->minor == known[i].minor)
			return true;
	return false;
}

static int check_devices(const Microvm__Linux *l, struct err *e)
{
	size_t i;

	for (i = 0; i < l->n_devices; i++)
		if (!is_everywhere(l->devices[i]))
			return err_set(
				e, ENOTSUP,
				"linux.devices[%zu]: %s (%lld:%lld) is a device of the host, which no guest has; "
				"leave out --device or --privileged",
				i, l->devices[i]->path, (long long)l->devices[i]->major,
				(long long)l->devices[i]->minor);
	return 0;
}

/* ---- the size of the VM ------------------------------------------------------------------------------------------------ */

const char *bundle_annotation(const struct bundle *b, const char *name)
{
	return annotation(b->spec, name);
}

uint64_t bundle_mem_for_limit(uint64_t limit)
{
	if (limit > UINT64_MAX - BUNDLE_MEM_OVERHEAD)
		return UINT64_MAX;
	return max_t(uint64_t, limit + BUNDLE_MEM_OVERHEAD, SANDBOX_MEM_DEFAULT);
}

uint64_t bundle_mem_limit(const Microvm__Resources *res)
{
	return res && res->memory && res->memory->limit && res->memory->limit->value > 0
		       ? (uint64_t)res->memory->limit->value
		       : 0;
}

uint64_t bundle_cpu_limit(const Microvm__Resources *res)
{
	const Microvm__CPU *cpu = res ? res->cpu : NULL;
	uint64_t period = CFS_PERIOD_US, quota;

	if (!cpu || !cpu->quota || cpu->quota->value <= 0)
		return 0;
	if (cpu->period && cpu->period->value)
		period = cpu->period->value;
	quota = min_t(uint64_t, (uint64_t)cpu->quota->value, UINT64_MAX / 1000) * 1000;
	return quota / period + !!(quota % period);
}

/* Whole CPUs for the VM; a quota itself is the container's cgroup's. */
static void give_cpus(struct bundle *b, uint64_t part, uint64_t whole)
{
	const uint64_t n = part / whole + !!(part % whole);

	b->nano_cpus = min_t(uint64_t, n, VMSPEC_VCPUS_MAX) * 1000000000;
}

/* podman says nothing else of a container that only holds a pod's namespaces, and to which others come. */
static bool only_waits(const Microvm__Process *p)
{
	const char *program = p->n_args ? p->args[0] : "", *slash = strrchr(program, '/');

	program = slash ? slash + 1 : program;
	return (str_eq(program, "catatonit") && p->n_args > 1 && str_eq(p->args[1], "-P")) || str_eq(program, "pause");
}

static void size_by_limits(struct bundle *b)
{
	const Microvm__Resources *res = b->spec->linux->resources;
	const uint64_t limit = bundle_mem_limit(res), thousandths = bundle_cpu_limit(res);

	if (limit)
		b->mem_bytes = bundle_mem_for_limit(limit);
	else if (b->joins && only_waits(b->spec->process))
		b->mem_bytes = BUNDLE_POD_MEM;
	if (thousandths)
		give_cpus(b, thousandths, 1000);
}

/* 0: not there, or the plugin's way to say "no limit". */
static int pod_number(const Microvm__Spec *spec, const char *name, uint64_t *n, struct err *e)
{
	const char *text = annotation(spec, name);

	*n = 0;
	if (!text || text[0] == '-' || !parse_u64(text, 0, INT64_MAX, n))
		return 0;
	return err_set(e, EINVAL, "annotations.%s: '%.100s' is not a number", name, text);
}

/* The sums of a pod's containers, which are known before there is any. */
static int size_by_pod(struct bundle *b, struct err *e)
{
	uint64_t mem, quota, period, shares;
	int r = pod_number(b->spec, BUNDLE_POD_MEMORY, &mem, e);

	if (!r)
		r = pod_number(b->spec, BUNDLE_POD_CPU_QUOTA, &quota, e);
	if (!r)
		r = pod_number(b->spec, BUNDLE_POD_CPU_PERIOD, &period, e);
	if (!r)
		r = pod_number(b->spec, BUNDLE_POD_CPU_SHARES, &shares, e);
	if (r)
		return r;
	if (mem)
		b->mem_bytes = bundle_mem_for_limit(mem);
	if (quota && period)
		give_cpus(b, quota, period);
	else if (shares > POD_CPU_SHARES)
		give_cpus(b, shares, POD_CPU_SHARES);
	return 0;
}

static int size_by_annotations(struct bundle *b, struct err *e)
{
	const char *mem = annotation(b->spec, BUNDLE_MEMORY), *cpus = annotation(b->spec, BUNDLE_CPUS);
	uint64_t n;

	if (mem && parse_size(mem, &b->mem_bytes))
		return err_set(e, EINVAL, "annotations." BUNDLE_MEMORY ": '%s' is not a size; say 512m or 1g", mem);
	if (cpus && parse_u64(cpus, 1, VMSPEC_VCPUS_MAX, &n))
		return err_set(e, EINVAL, "annotations." BUNDLE_CPUS ": '%s' is not a number of 1..%u", cpus,
			       VMSPEC_VCPUS_MAX);
	if (cpus)
		b->nano_cpus = n * 1000000000;
	return 0;
}

/* ---- mounts: sources are the host's, and relative to the bundle -------------------------------------------------------- */

bool bundle_mount_is_bind(const Microvm__Mount *m)
{
	size_t i;

	if (str_eq(m->type, "bind"))
		return true;
	for (i = 0; i < m->n_options; i++)
		if (str_eq(m->options[i], "bind") || str_eq(m->options[i], "rbind"))
			return true;
	return false;
}

static int check_mounts(struct bundle *b, struct err *e)
{
	size_t i;

	for (i = 0; i < b->spec->n_mounts; i++) {
		Microvm__Mount *m = b->spec->mounts[i];

		if (!bundle_mount_is_bind(m))
			continue;
		if (!m->source[0])
			return err_set(e, EINVAL, "mounts[%zu].source: a bind mount needs one", i);
		if (m->source[0] != '/')
			pb_set(&m->source, xasprintf("%s/%s", b->path, m->source));
	}
	return 0;
}

/* ---- hooks -------------------------------------------------------------------------------------------------------------- */

/* All but startContainer are programs of the host, which the guest can't see. */
static Microvm__Hooks *split_hooks(Microvm__Spec *spec)
{
	Microvm__Hooks *all = take_ptr(spec->hooks), *guest;

	if (!all)
		return NULL;
	if (all->n_start_container) {
		guest = spec->hooks = pb_new(Microvm__Hooks, microvm__hooks);
		guest->n_start_container = all->n_start_container;
		guest->start_container = take_ptr(all->start_container);
		all->n_start_container = 0;
	}
	return all;
}

void bundle_hooks_free(Microvm__Hooks *hooks)
{
	if (hooks)
		microvm__hooks__free_unpacked(hooks, NULL);
}

int bundle_saved(const char *text, size_t len, Microvm__Hooks **hooks, char **cgroup, struct err *e)
{
	Microvm__Spec *spec;
	int r = oci_spec_parse_hooked(text, len, &spec, e);

	*hooks = NULL;
	*cgroup = NULL;
	if (r)
		return r;
	r = host_cgroup_folder(spec->linux->cgroups_path, cgroup, e);
	if (!r)
		*hooks = split_hooks(spec);
	oci_spec_free(spec);
	return r;
}

/* ---- all of it ------------------------------------------------------------------------------------------------------------ */

int bundle_parse(const char *path, const char *text, size_t len, struct bundle *b, struct err *e)
{
	const char *root;
	int r = oci_spec_parse_hooked(text, len, &b->spec, e);

	b->path = xstrdup(path);
	if (r)
		return r;
	root = b->spec->root->path;
	b->rootfs = root[0] == '/' ? xstrdup(root) : xasprintf("%s/%s", path, root);
	b->hooks = split_hooks(b->spec);
	r = host_cgroup_folder(b->spec->linux->cgroups_path, &b->cgroup, e);
	/* In the guest the container has the agent's. */
	pb_set(&b->spec->linux->cgroups_path, xstrdup(""));
	b->in_pod = b->in_pod && annotation(b->spec, BUNDLE_POD_ID);
	b->pause = b->in_pod && str_eq(annotation(b->spec, BUNDLE_CONTAINER_TYPE), "sandbox");
	if (!r)
		r = check_namespaces(b, e);
	if (!r)
		r = check_devices(b->spec->linux, e);
	if (!r)
		r = check_mounts(b, e);
	size_by_limits(b);
	if (!r)
		r = size_by_pod(b, e);
	if (!r)
		r = size_by_annotations(b, e);
	return r ? err_wrap(e, "config.json") : 0;
}

static int load(const char *path, bool root_wanted, struct bundle *b, struct err *e)
{
	_cleanup_free_ char *folder = realpath(path ? path : ".", NULL);
	_cleanup_free_ char *file = NULL;
	struct stat st;
	size_t len;
	int r;

	if (!folder)
		return err_errno(e, errno, "bundle %s", path ? path : ".");
	file = xasprintf("%s/config.json", folder);
	r = read_file(AT_FDCWD, file, OCI_SPEC_MAX, &b->config, &len);
	if (r)
		return err_errno(e, r, "bundle %s: cannot read config.json", folder);
	r = bundle_parse(folder, b->config, len, b, e);
	if (!r && root_wanted && stat(b->rootfs, &st) < 0)
		r = err_errno(e, errno, "config.json: root.path: %s", b->rootfs);
	else if (!r && root_wanted && !S_ISDIR(st.st_mode))
		r = err_set(e, ENOTDIR, "config.json: root.path: %s is not a folder", b->rootfs);
	if (r) {
		bundle_free(b);
		return err_wrap(e, "bundle %s", folder);
	}
	return 0;
}

int bundle_load(const char *path, struct bundle *b, struct err *e)
{
	*b = (struct bundle){ .joins = true };
	return load(path, true, b, e);
}

int bundle_load_in_pod(const char *path, struct bundle *b, struct err *e)
{
	*b = (struct bundle){ .in_pod = true };
	return load(path, true, b, e);
}

int bundle_load_config(const char *path, struct bundle *b, struct err *e)
{
	*b = (struct bundle){ .in_pod = true };
	return load(path, false, b, e);
}

void bundle_size(const struct bundle *b, struct run_options *o)
{
	if (b->mem_bytes)
		o->mem_bytes = b->mem_bytes;
	if (b->nano_cpus)
		o->nano_cpus = b->nano_cpus;
}

void bundle_options(struct bundle *b, struct run_options *o)
{
	static char *no_command[] = { NULL };

	o->bundle = b;
	o->command = no_command;
	o->rootfs = b->rootfs;
	o->read_only = b->spec->root->readonly;
	if (b->spec->hostname[0])
		o->hostname = b->spec->hostname;
	bundle_size(b, o);
}

void bundle_free(struct bundle *b)
{
	free(b->path);
	free(b->config);
	free(b->rootfs);
	free(b->netns);
	free(b->cgroup);
	oci_spec_free(b->spec);
	bundle_hooks_free(b->hooks);
	*b = (struct bundle){ 0 };
}
