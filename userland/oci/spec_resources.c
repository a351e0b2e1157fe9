/* SPDX-License-Identifier: Apache-2.0 */
/* `linux.resources`. It speaks cgroup v1; the guest has v2 and converts what it can. What has no counterpart is refused. */
#include <string.h>

#include "base/log.h"
#include "oci/parse.h"

static int add_device_rule(const struct json_node *n, void *opaque, struct err *e)
{
	static const char *const types[] = { "a", "b", "c" };
	Microvm__DeviceRule *d = pb_new(Microvm__DeviceRule, microvm__device_rule);
	Microvm__Resources *res = opaque;
	bool allow = false, present;
	int r;

	pb_append(res->n_devices, res->devices, d);
	r = json_get_bool(n, "allow", &allow, &present, e);
	if (!r && !present)
		r = json_fail(n, e, EINVAL, "has no allow");
	d->allow = allow;
	if (!r)
		r = oci_get_string(n, "type", &d->type, NULL, e);
	if (!r && *d->type && !oci_one_of(d->type, types, ARRAY_SIZE(types)))
		r = json_fail(n, e, EINVAL, "there is no type \"%s\"; there are a, b and c", d->type);
	if (!r)
		r = oci_get_i64_value(n, "major", &d->major, e);
	if (!r)
		r = oci_get_i64_value(n, "minor", &d->minor, e);
	if (!r)
		r = oci_get_string(n, "access", &d->access, NULL, e);
	if (!r && strspn(d->access, "rwm") != strlen(d->access))
		r = json_fail(n, e, EINVAL, "access \"%s\" is not made of r, w and m", d->access);
	return r;
}

static int parse_memory(const struct json_node *res_node, Microvm__Resources *res, struct err *e)
{
	static const char *const v1 = "is a thing of cgroup v1, which the guest doesn't have; leave it out";
	struct json_node n;
	Microvm__Memory *m;
	bool present, disable = false;
	int r = json_get_object(res_node, "memory", &n, &present, e);

	if (r || !present)
		return r;
	m = res->memory = pb_new(Microvm__Memory, microvm__memory);
	r = oci_get_i64_value(&n, "limit", &m->limit, e);
	if (!r)
		r = oci_get_i64_value(&n, "reservation", &m->reservation, e);
	if (!r)
		r = oci_get_i64_value(&n, "swap", &m->swap, e);
	if (!r)
		r = json_get_bool(&n, "disableOOMKiller", &disable, &present, e);
	if (!r && disable)
		r = oci_refuse(&n, "disableOOMKiller", v1, e);
	/* Deprecated: kernel memory counts as memory. */
	if (!r && json_member(&n, "kernel", &(struct json_node){ 0 }))
		log_info("linux.resources.memory.kernel: counts as memory in cgroup v2, and is not limited apart");
	if (!r)
		r = oci_refuse(&n, "kernelTCP", v1, e);
	/* 0 and above is a setting, of which 0 is the one that says most. null and -1 leave it. */
	if (!r) {
		int64_t swappiness = -1;

		r = json_get_i64(&n, "swappiness", -1, 100, &swappiness, NULL, e);
		if (!r && swappiness > 0)
			r = oci_refuse(&n, "swappiness", v1, e);
	}
	if (r || !m->swap || m->swap->value <= 0)
		return r;
	if (!m->limit || m->limit->value <= 0)
		return json_fail(&n, e, EINVAL, "swap needs a limit");
	if (m->swap->value < m->limit->value)
		return json_fail(&n, e, EINVAL, "swap counts memory and swap together, so it can't be below limit");
	return 0;
}

static int parse_cpu(const struct json_node *res_node, Microvm__Resources *res, struct err *e)
{
	static const char *const realtime = "the guest's kernel doesn't divide real-time between groups; leave it out";
	struct json_node n;
	Microvm__CPU *c;
	bool present;
	int r = json_get_object(res_node, "cpu", &n, &present, e);

	if (r || !present)
		return r;
	c = res->cpu = pb_new(Microvm__CPU, microvm__cpu);
	r = oci_get_u64_value(&n, "shares", UINT64_MAX, &c->shares, e);
	if (!r)
		r = oci_get_i64_value(&n, "quota", &c->quota, e);
	if (!r)
		r = oci_get_u64_value(&n, "burst", UINT64_MAX, &c->burst, e);
	if (!r)
		r = oci_get_u64_value(&n, "period", UINT64_MAX, &c->period, e);
	if (!r)
		r = oci_refuse(&n, "realtimeRuntime", realtime, e);
	if (!r)
		r = oci_refuse(&n, "realtimePeriod", realtime, e);
	if (!r)
		r = oci_get_string(&n, "cpus", &c->cpus, NULL, e);
	if (!r)
		r = oci_get_string(&n, "mems", &c->mems, NULL, e);
	return r ? r : oci_get_i64_value(&n, "idle", &c->idle, e);
}

static int parse_pids(const struct json_node *res_node, Microvm__Resources *res, struct err *e)
{
	struct json_node n;
	bool present;
	int r = json_get_object(res_node, "pids", &n, &present, e);

	if (r || !present)
		return r;
	r = oci_get_i64_value(&n, "limit", &res->pids_limit, e);
	return r || res->pids_limit ? r : json_fail(&n, e, EINVAL, "has no limit");
}

/* Four lists of the spec are one of ours: the limits of a device stand together. */
struct throttle_list {
	Microvm__BlockIO *io;
	size_t offset; /* of the UInt64Value * in Microvm__Throttle */
};

static int add_throttle(const struct json_node *n, void *opaque, struct err *e)
{
	const struct throttle_list *l = opaque;
	Microvm__UInt64Value **field, *rate = NULL;
	int64_t major = 0, minor = 0;
	bool have_major, have_minor;
	Microvm__Throttle *t = NULL;
	size_t i;
	int r = json_get_i64(n, "major", 0, 0xfff, &major, &have_major, e);

	if (!r)
		r = json_get_i64(n, "minor", 0, 0xfffff, &minor, &have_minor, e);
	if (!r && !(have_major && have_minor))
		r = json_fail(n, e, EINVAL, "needs major and minor");
	if (!r)
		r = oci_get_u64_value(n, "rate", UINT64_MAX, &rate, e);
	if (r || !rate)
		return r;
	for (i = 0; i < l->io->n_throttle && !t; i++)
		if (l->io->throttle[i]->major == major && l->io->throttle[i]->minor == minor)
			t = l->io->throttle[i];
	if (!t) {
		t = pb_new(Microvm__Throttle, microvm__throttle);
		t->major = major;
		t->minor = minor;
		pb_append(l->io->n_throttle, l->io->throttle, t);
	}
	field = (Microvm__UInt64Value **)((char *)t + l->offset);
	free(*field);
	*field = rate;
	return 0;
}

static int parse_block_io(const struct json_node *res_node, Microvm__Resources *res, struct err *e)
{
	static const struct {
		const char *key;
		size_t offset;
	} throttles[] = {
		{ "throttleReadBpsDevice", offsetof(Microvm__Throttle, read_bps) },
		{ "throttleWriteBpsDevice", offsetof(Microvm__Throttle, write_bps) },
		{ "throttleReadIOPSDevice", offsetof(Microvm__Throttle, read_iops) },
		{ "throttleWriteIOPSDevice", offsetof(Microvm__Throttle, write_iops) },
	};
	struct json_node n;
	bool present;
	size_t i;
	int r = json_get_object(res_node, "blockIO", &n, &present, e);

	if (r || !present)
		return r;
	res->block_io = pb_new(Microvm__BlockIO, microvm__block_io);
	r = oci_get_u64_value(&n, "weight", 1000, &res->block_io->weight, e);
	if (!r)
		r = oci_refuse(&n, "leafWeight", "is a thing of cgroup v1, which the guest doesn't have; leave it out",
			       e);
	if (!r)
		r = oci_refuse(&n, "weightDevice", "weights of single devices are not supported; use weight", e);
	for (i = 0; !r && i < ARRAY_SIZE(throttles); i++) {
		struct throttle_list l = { res->block_io, throttles[i].offset };

		r = oci_each_object(&n, throttles[i].key, SHORT_MAX, add_throttle, &l, e);
	}
	return r;
}

static int add_hugepage_limit(const struct json_node *n, void *opaque, struct err *e)
{
	Microvm__HugepageLimit *h = pb_new(Microvm__HugepageLimit, microvm__hugepage_limit);
	Microvm__Resources *res = opaque;
	int r;

	pb_append(res->n_hugepage_limits, res->hugepage_limits, h);
	r = oci_need_string(n, "pageSize", &h->page_size, e);
	return r ? r : json_get_u64(n, "limit", 0, UINT64_MAX, &h->limit, NULL, e);
}

static int parse_unified(const struct json_node *n, Microvm__Resources *res, struct err *e)
{
	struct json_node map;
	size_t i;
	int r = oci_get_map(n, "unified", &res->unified, &res->n_unified, e);

	for (i = 0; !r && i < res->n_unified; i++) {
		const char *name = res->unified[i]->name;

		if (!strchr(name, '/') && strchr(name, '.') && name[0] != '.')
			continue;
		json_member(n, "unified", &map);
		r = json_fail(&map, e, EINVAL, "\"%.100s\" is no file of a cgroup", name);
	}
	return r;
}

int oci_parse_resources(const struct json_node *n, Microvm__Resources *res, struct err *e)
{
	int r = oci_each_object(n, "devices", SHORT_MAX, add_device_rule, res, e);

	if (!r)
		r = parse_memory(n, res, e);
	if (!r)
		r = parse_cpu(n, res, e);
	if (!r)
		r = parse_pids(n, res, e);
	if (!r)
		r = parse_block_io(n, res, e);
	if (!r)
		r = oci_each_object(n, "hugepageLimits", SHORT_MAX, add_hugepage_limit, res, e);
	if (!r)
		r = oci_refuse(n, "network", "net_cls and net_prio are cgroup v1's; leave it out", e);
	if (!r)
		r = oci_refuse(n, "rdma", "a guest has no RDMA devices; leave it out", e);
	return r ? r : parse_unified(n, res, e);
}
