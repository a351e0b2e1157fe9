/* SPDX-License-Identifier: Apache-2.0 */
/* Resources of the OCI spec, which speaks cgroup v1, in the files of cgroup v2. Conversions are those of runc and crun. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "guest-agent/cgroup.h"

/* -1 (and 0, where that says nothing) is "max". */
static const char *limit_text(int64_t v, char buf[32])
{
	if (v < 0)
		return "max";
	snprintf(buf, 32, "%lld", (long long)v);
	return buf;
}

static int apply_swap(const struct cgroup *g, const Microvm__Memory *m, struct err *e)
{
	int64_t swap = m->swap->value;
	char buf[32];

	if (!swap)
		return 0;
	/* v1 counts memory and swap together, v2 swap alone. */
	if (swap > 0) {
		if (!m->limit || m->limit->value <= 0)
			return err_set(e, EINVAL, "memory.swap is set to %lld without a memory limit", (long long)swap);
		if (swap < m->limit->value)
			return err_set(e, EINVAL,
				       "memory.swap (%lld) counts memory and swap together, so it can't be below "
				       "memory.limit (%lld)",
				       (long long)swap, (long long)m->limit->value);
		swap -= m->limit->value;
	}
	/* A kernel without swap keeps any limit of it. */
	if (!cgroup_has(g, "memory.swap.max"))
		return 0;
	return cgroup_write(g, "memory.swap.max", limit_text(swap, buf), e);
}

static int apply_memory(const struct cgroup *g, const Microvm__Memory *m, struct err *e)
{
	char buf[32];
	int r = 0;

	if (m->disable_oom_killer && m->disable_oom_killer->value)
		return err_set(e, ENOTSUP, "memory.disableOOMKiller: cgroup v2 can't do that; leave it out");
	if (m->swap)
		r = apply_swap(g, m, e);
	if (!r && m->limit && m->limit->value)
		r = cgroup_write(g, "memory.max", limit_text(m->limit->value, buf), e);
	if (!r && m->reservation && m->reservation->value)
		r = cgroup_write(g, "memory.low", limit_text(m->reservation->value, buf), e);
	return r;
}

static int apply_cpu(const struct cgroup *g, const Microvm__CPU *c, struct err *e)
{
	char buf[64];
	int r = 0;

	if (c->idle)
		r = cgroup_write(g, "cpu.idle", c->idle->value ? "1" : "0", e);
	/* 2..262,144 onto 1..10,000. An idle group has no weight to set. */
	if (!r && c->shares && c->shares->value && !(c->idle && c->idle->value)) {
		uint64_t shares = max_t(uint64_t, c->shares->value, 2);

		shares = min_t(uint64_t, shares, 262144);
		snprintf(buf, sizeof(buf), "%llu", 1 + (unsigned long long)((shares - 2) * 9999) / 262142);
		r = cgroup_write(g, "cpu.weight", buf, e);
	}
	if (!r && (c->quota || c->period)) {
		int n = c->quota && c->quota->value > 0 ? snprintf(buf, sizeof(buf), "%lld", (long long)c->quota->value)
							: snprintf(buf, sizeof(buf), "max");

		if (c->period && c->period->value)
			snprintf(buf + n, sizeof(buf) - (size_t)n, " %llu", (unsigned long long)c->period->value);
		r = cgroup_write(g, "cpu.max", buf, e);
	}
	if (!r && c->burst && c->burst->value) {
		snprintf(buf, sizeof(buf), "%llu", (unsigned long long)c->burst->value);
		r = cgroup_write(g, "cpu.max.burst", buf, e);
	}
	if (!r && c->cpus[0])
		r = cgroup_write(g, "cpuset.cpus", c->cpus, e);
	if (!r && c->mems[0])
		r = cgroup_write(g, "cpuset.mems", c->mems, e);
	return r;
}

static int apply_throttle(const struct cgroup *g, const Microvm__Throttle *t, struct err *e)
{
	const struct {
		const char *key;
		const Microvm__UInt64Value *v;
	} fields[] = {
		{ "rbps", t->read_bps },
		{ "wbps", t->write_bps },
		{ "riops", t->read_iops },
		{ "wiops", t->write_iops },
	};
	char buf[256];
	size_t i;
	int n = snprintf(buf, sizeof(buf), "%lld:%lld", (long long)t->major, (long long)t->minor);

	for (i = 0; i < ARRAY_SIZE(fields); i++) {
		if (!fields[i].v)
			continue;
		if (fields[i].v->value)
			n += snprintf(buf + n, sizeof(buf) - (size_t)n, " %s=%llu", fields[i].key,
				      (unsigned long long)fields[i].v->value);
		else
			n += snprintf(buf + n, sizeof(buf) - (size_t)n, " %s=max", fields[i].key);
	}
	return cgroup_write(g, "io.max", buf, e);
}

static int apply_io(const struct cgroup *g, const Microvm__BlockIO *io, struct err *e)
{
	char buf[64];
	size_t i;
	int r = 0;

	/* BFQ takes 1..1,000 as it is; the common weight is 10..1,000 onto 1..10,000. */
	if (io->weight && io->weight->value) {
		uint64_t w = io->weight->value;

		if (w < 10 || w > 1000)
			return err_set(e, ERANGE, "blockIO.weight %llu is not within 10 and 1000",
				       (unsigned long long)w);
		if (cgroup_has(g, "io.bfq.weight")) {
			snprintf(buf, sizeof(buf), "%llu", (unsigned long long)w);
			r = cgroup_write(g, "io.bfq.weight", buf, e);
		} else {
			snprintf(buf, sizeof(buf), "default %llu", (unsigned long long)(1 + (w - 10) * 9999 / 990));
			r = cgroup_write(g, "io.weight", buf, e);
		}
	}
	for (i = 0; !r && i < io->n_throttle; i++)
		r = apply_throttle(g, io->throttle[i], e);
	return r;
}

static int apply_hugepages(const struct cgroup *g, const Microvm__Resources *res, struct err *e)
{
	char file[64], buf[32];
	size_t i;
	int r = 0;

	for (i = 0; !r && i < res->n_hugepage_limits; i++) {
		const Microvm__HugepageLimit *h = res->hugepage_limits[i];

		if (strlen(h->page_size) > 16 || strspn(h->page_size, "0123456789KMGB") != strlen(h->page_size))
			return err_set(e, EINVAL, "hugepageLimits: \"%s\" is no page size like 2MB", h->page_size);
		snprintf(file, sizeof(file), "hugetlb.%s.max", h->page_size);
		snprintf(buf, sizeof(buf), "%llu", (unsigned long long)h->limit);
		r = cgroup_write(g, file, buf, e);
	}
	return r;
}

/* Any file of a controller; not those by which cgroups themselves are arranged, nor another cgroup's. */
static int apply_unified(const struct cgroup *g, const Microvm__Resources *res, struct err *e)
{
	size_t i;
	int r = 0;

	for (i = 0; !r && i < res->n_unified; i++) {
		const char *name = res->unified[i]->name;

		if (strchr(name, '/') || name[0] == '.' || !strchr(name, '.'))
			return err_set(e, EINVAL, "unified: \"%s\" is no file of a cgroup", name);
		if (str_starts(name, "cgroup.") && !str_starts(name, "cgroup.max."))
			return err_set(e, ENOTSUP, "unified: \"%s\" is the agent's to write", name);
		r = cgroup_write(g, name, res->unified[i]->value, e);
	}
	return r;
}

int cgroup_apply(struct cgroup *g, const Microvm__Resources *res, bool with_devices, struct err *e)
{
	char buf[32];
	int r = 0;

	if (res && res->memory)
		r = apply_memory(g, res->memory, e);
	if (!r && res && res->cpu)
		r = apply_cpu(g, res->cpu, e);
	if (!r && res && res->pids_limit && res->pids_limit->value)
		r = cgroup_write(g, "pids.max", limit_text(res->pids_limit->value, buf), e);
	if (!r && res && res->block_io)
		r = apply_io(g, res->block_io, e);
	if (!r && res)
		r = apply_hugepages(g, res, e);
	if (!r && res)
		r = apply_unified(g, res, e);
	if (!r && with_devices)
		r = cgroup_devices_apply(g, res ? res->devices : NULL, res ? res->n_devices : 0, e);
	return r;
}
