/* SPDX-License-Identifier: Apache-2.0 */
/* The `linux` section but its resources, and `mounts`. */
#include <string.h>

#include "oci/parse.h"
#include "oci/seccomp.h"

static int add_mount(const struct json_node *n, void *opaque, struct err *e)
{
	Microvm__Mount *m = pb_new(Microvm__Mount, microvm__mount);
	Microvm__Spec *spec = opaque;
	int r;

	pb_append(spec->n_mounts, spec->mounts, m);
	r = oci_need_string(n, "destination", &m->destination, e);
	if (!r)
		r = oci_get_string(n, "source", &m->source, NULL, e);
	if (!r)
		r = oci_get_string(n, "type", &m->type, NULL, e);
	if (!r)
		r = oci_get_strings(n, "options", &m->options, &m->n_options, e);
	if (!r)
		r = oci_parse_mappings(n, "uidMappings", &m->uid_mappings, &m->n_uid_mappings, e);
	if (!r)
		r = oci_parse_mappings(n, "gidMappings", &m->gid_mappings, &m->n_gid_mappings, e);
	/* "MAY be a relative path, in which case it MUST be interpreted as relative to /". */
	if (!r && m->destination[0] != '/')
		pb_set(&m->destination, xasprintf("/%s", m->destination));
	return r;
}

int oci_parse_mounts(const struct json_node *config, Microvm__Spec *spec, struct err *e)
{
	return oci_each_object(config, "mounts", LIST_MAX, add_mount, spec, e);
}

static int add_namespace(const struct json_node *n, void *opaque, struct err *e)
{
	static const char *const types[] = { "pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time" };
	Microvm__Namespace *ns = pb_new(Microvm__Namespace, microvm__namespace);
	Microvm__Linux *l = opaque;
	size_t i;
	int r;

	pb_append(l->n_namespaces, l->namespaces, ns);
	r = oci_need_string(n, "type", &ns->type, e);
	if (!r)
		r = oci_get_path(n, "path", &ns->path, e);
	if (!r && !oci_one_of(ns->type, types, ARRAY_SIZE(types)))
		r = json_fail(n, e, EINVAL, "there is no type \"%s\"", ns->type);
	for (i = 0; !r && i + 1 < l->n_namespaces; i++)
		if (str_eq(l->namespaces[i]->type, ns->type))
			r = json_fail(n, e, EINVAL, "type \"%s\" is there twice", ns->type);
	return r;
}

static int add_device(const struct json_node *n, void *opaque, struct err *e)
{
	static const char *const types[] = { "c", "b", "u", "p" };
	Microvm__Device *d = pb_new(Microvm__Device, microvm__device);
	Microvm__Linux *l = opaque;
	bool major, minor;
	int r;

	pb_append(l->n_devices, l->devices, d);
	r = oci_need_string(n, "path", &d->path, e);
	if (!r)
		r = oci_get_path(n, "path", &d->path, e);
	if (!r)
		r = oci_need_string(n, "type", &d->type, e);
	if (!r)
		r = json_get_i64(n, "major", 0, 0xfff, &d->major, &major, e);
	if (!r)
		r = json_get_i64(n, "minor", 0, 0xfffff, &d->minor, &minor, e);
	if (!r)
		r = oci_get_u64_value(n, "fileMode", UINT32_MAX, &d->file_mode, e);
	if (!r)
		r = oci_get_u64_value(n, "uid", UINT32_MAX, &d->uid, e);
	if (!r)
		r = oci_get_u64_value(n, "gid", UINT32_MAX, &d->gid, e);
	if (r)
		return r;
	if (!oci_one_of(d->type, types, ARRAY_SIZE(types)))
		return json_fail(n, e, EINVAL, "there is no type \"%s\"; there are c, b, u and p", d->type);
	if (!str_eq(d->type, "p") && !(major && minor))
		return json_fail(n, e, EINVAL, "needs major and minor");
	return 0;
}

static int parse_time_offsets(const struct json_node *n, Microvm__Linux *l, struct err *e)
{
	static const char *const clocks[] = { "monotonic", "boottime" };
	struct json_node offsets, clock;
	bool present;
	size_t i;
	int r = json_get_object(n, "timeOffsets", &offsets, &present, e);

	for (i = 0; !r && present && i < ARRAY_SIZE(clocks); i++) {
		Microvm__TimeOffset *t;
		uint64_t nanosecs = 0;
		bool there;

		r = json_get_object(&offsets, clocks[i], &clock, &there, e);
		if (r || !there)
			continue;
		t = pb_new(Microvm__TimeOffset, microvm__time_offset);
		pb_append(l->n_time_offsets, l->time_offsets, t);
		t->clock = xstrdup(clocks[i]);
		r = json_get_i64(&clock, "secs", INT64_MIN, INT64_MAX, &t->secs, NULL, e);
		if (!r)
			r = json_get_u64(&clock, "nanosecs", 0, 999999999, &nanosecs, NULL, e);
		t->nanosecs = (uint32_t)nanosecs;
	}
	return r;
}

static int parse_personality(const struct json_node *n, Microvm__Linux *l, struct err *e)
{
	static const char *const domains[] = { "LINUX", "LINUX32" };
	struct json_node p;
	bool present;
	int r = json_get_object(n, "personality", &p, &present, e);

	if (r || !present)
		return r;
	r = oci_need_string(&p, "domain", &l->personality_domain, e);
	if (!r && !oci_one_of(l->personality_domain, domains, ARRAY_SIZE(domains)))
		r = json_fail(&p, e, EINVAL, "there is no domain \"%s\"; there are LINUX and LINUX32",
			      l->personality_domain);
	return r ? r : oci_refuse(&p, "flags", "none is supported, as the spec says", e);
}

static int parse_propagation(const struct json_node *n, Microvm__Linux *l, struct err *e)
{
	static const char *const kinds[] = {
		"shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable",
	};
	struct json_node p;
	int r = oci_get_string(n, "rootfsPropagation", &l->rootfs_propagation, NULL, e);

	if (r || !*l->rootfs_propagation || oci_one_of(l->rootfs_propagation, kinds, ARRAY_SIZE(kinds)))
		return r;
	json_member(n, "rootfsPropagation", &p);
	return json_fail(&p, e, EINVAL, "there is no \"%s\"", l->rootfs_propagation);
}

static int parse_seccomp(const struct json_node *n, Microvm__Linux *l, uint64_t caps, struct err *e)
{
	struct json_node s;
	bool present;
	int r = json_get_object(n, "seccomp", &s, &present, e);

	return r || !present ? r : oci_seccomp_compile(&s, caps, &l->seccomp, e);
}

static int parse_resources(const struct json_node *n, Microvm__Linux *l, struct err *e)
{
	struct json_node res;
	bool present;
	int r = json_get_object(n, "resources", &res, &present, e);

	if (r || !present)
		return r;
	l->resources = pb_new(Microvm__Resources, microvm__resources);
	return oci_parse_resources(&res, l->resources, e);
}

static bool has_namespace(const Microvm__Linux *l, const char *type, bool fresh)
{
	size_t i;

	for (i = 0; i < l->n_namespaces; i++)
		if (str_eq(l->namespaces[i]->type, type))
			return !fresh || !l->namespaces[i]->path[0];
	return false;
}

/* What only makes sense together. */
static int check(const struct json_node *n, const Microvm__Linux *l, struct err *e)
{
	if (!has_namespace(l, "mount", false))
		return json_fail(n, e, ENOTSUP,
				 "namespaces: a container without a mount namespace can't be made; add one");
	if ((l->n_uid_mappings || l->n_gid_mappings) && !has_namespace(l, "user", false))
		return json_fail(n, e, EINVAL, "uidMappings and gidMappings need a user namespace");
	if (has_namespace(l, "user", true) && !(l->n_uid_mappings && l->n_gid_mappings))
		return json_fail(n, e, EINVAL, "a new user namespace needs uidMappings and gidMappings");
	if (l->n_time_offsets && !has_namespace(l, "time", true))
		return json_fail(n, e, EINVAL, "timeOffsets need a new time namespace");
	return 0;
}

int oci_parse_linux(const struct json_node *n, Microvm__Linux *l, uint64_t caps, struct err *e)
{
	int r = oci_each_object(n, "namespaces", SHORT_MAX, add_namespace, l, e);

	if (!r)
		r = oci_parse_mappings(n, "uidMappings", &l->uid_mappings, &l->n_uid_mappings, e);
	if (!r)
		r = oci_parse_mappings(n, "gidMappings", &l->gid_mappings, &l->n_gid_mappings, e);
	if (!r)
		r = parse_time_offsets(n, l, e);
	if (!r)
		r = oci_each_object(n, "devices", LIST_MAX, add_device, l, e);
	if (!r)
		r = oci_get_string(n, "cgroupsPath", &l->cgroups_path, NULL, e);
	if (!r)
		r = parse_resources(n, l, e);
	if (!r)
		r = parse_propagation(n, l, e);
	if (!r)
		r = oci_get_paths(n, "maskedPaths", &l->masked_paths, &l->n_masked_paths, e);
	if (!r)
		r = oci_get_paths(n, "readonlyPaths", &l->readonly_paths, &l->n_readonly_paths, e);
	if (!r)
		r = oci_get_map(n, "sysctl", &l->sysctl, &l->n_sysctl, e);
	if (!r)
		r = oci_refuse(n, "mountLabel", "the guest's kernel has no SELinux; leave it out", e);
	if (!r)
		r = oci_refuse(n, "intelRdt", "a guest has no part in the host's caches; leave it out", e);
	if (!r)
		r = oci_refuse(n, "netDevices", "the host's devices can't be moved into a guest; leave it out", e);
	if (!r)
		r = parse_personality(n, l, e);
	if (!r)
		r = parse_seccomp(n, l, caps, e);
	return r ? r : check(n, l, e);
}
