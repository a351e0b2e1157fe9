/* SPDX-License-Identifier: Apache-2.0 */
/* update, events: what a container may use, and what it does. */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json_object.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "oci/pb.h"
#include "oci/spec.h"
#include "runtime/runtime.h"
#include "sandbox/oci_state.h"
#include "sandbox/resources.h"

struct update_options {
	char *resources;
	uint64_t memory, memory_reservation;
	int64_t memory_swap, cpu_quota, cpu_period, cpu_share, pids_limit;
	char *cpuset_cpus;
};

#define AT(member) offsetof(struct update_options, member)

static const struct opt update_opts[] = {
	{ "resources", 'r', OPT_STRING, WORD_FILE, "FILE", "linux.resources as config.json has it; - is stdin",
	  AT(resources) },
	{ "memory", 0, OPT_SIZE, 0, "SIZE", "most memory", AT(memory) },
	{ "memory-reservation", 0, OPT_SIZE, 0, "SIZE", "memory that is left to it", AT(memory_reservation) },
	{ "memory-swap", 0, OPT_NUMBER, 0, "BYTES", "memory and swap; -1: no limit", AT(memory_swap) },
	{ "cpu-quota", 0, OPT_NUMBER, 0, "US", "time in each period; -1: no limit", AT(cpu_quota) },
	{ "cpu-period", 0, OPT_NUMBER, 0, "US", "the period (100000)", AT(cpu_period) },
	{ "cpu-share", 0, OPT_NUMBER, 0, "N", "weight among the guest's containers", AT(cpu_share) },
	{ "cpuset-cpus", 0, OPT_STRING, 0, "LIST", "CPUs of the guest", AT(cpuset_cpus) },
	{ "pids-limit", 0, OPT_NUMBER, 0, "N", "most processes; -1: no limit", AT(pids_limit) },
};

#define RESOURCES_MAX (1u << 20)

static int read_stdin(char **text, size_t *len, struct err *e)
{
	size_t n = 0;
	ssize_t r;

	*text = xcalloc(1, RESOURCES_MAX + 1);
	while (n < RESOURCES_MAX && (r = read(0, *text + n, RESOURCES_MAX - n)) != 0) {
		if (r < 0 && errno != EINTR)
			return err_errno(e, errno, "--resources -");
		n += r > 0 ? r : 0;
	}
	*len = n;
	return n < RESOURCES_MAX ? 0 : err_set(e, EFBIG, "--resources -: more than 1 MiB");
}

static int from_file(const char *path, Microvm__Resources **res, struct err *e)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	if (str_eq(path, "-")) {
		r = read_stdin(&text, &len, e);
	} else {
		r = read_file(AT_FDCWD, path, RESOURCES_MAX, &text, &len);
		if (r)
			err_errno(e, r, "--resources %s", path);
	}
	if (r)
		return r;
	r = oci_resources_parse(text, len, res, e);
	return r ? err_wrap(e, "--resources %s", path) : 0;
}

static Microvm__Resources *from_options(const struct update_options *o)
{
	Microvm__Resources *res = pb_new(Microvm__Resources, microvm__resources);

	if (o->memory || o->memory_reservation || o->memory_swap) {
		res->memory = pb_new(Microvm__Memory, microvm__memory);
		if (o->memory)
			res->memory->limit = pb_i64((int64_t)min_t(uint64_t, o->memory, INT64_MAX));
		if (o->memory_reservation)
			res->memory->reservation = pb_i64((int64_t)min_t(uint64_t, o->memory_reservation, INT64_MAX));
		if (o->memory_swap)
			res->memory->swap = pb_i64(o->memory_swap);
	}
	if (o->cpu_quota || o->cpu_period || o->cpu_share || o->cpuset_cpus) {
		res->cpu = pb_new(Microvm__CPU, microvm__cpu);
		if (o->cpu_quota)
			res->cpu->quota = pb_i64(o->cpu_quota);
		if (o->cpu_period > 0)
			res->cpu->period = pb_u64((uint64_t)o->cpu_period);
		if (o->cpu_share > 0)
			res->cpu->shares = pb_u64((uint64_t)o->cpu_share);
		if (o->cpuset_cpus)
			pb_set(&res->cpu->cpus, xstrdup(o->cpuset_cpus));
	}
	if (o->pids_limit)
		res->pids_limit = pb_i64(o->pids_limit);
	return res;
}

static int update_one(struct state *state, struct state_ref *ref, void *arg, struct err *e)
{
	return sandbox_update_resources(state, ref, arg, e);
}

static int update_run(const struct runtime_global *g, void *options, int argc, char **argv, struct err *e)
{
	const struct update_options *o = options;
	Microvm__Resources *res = NULL;
	int r = 0;

	if (o->resources)
		r = from_file(o->resources, &res, e);
	else
		res = from_options(o);
	if (!r)
		r = runtime_with(g, argv[0], update_one, res, e);
	oci_resources_free(res);
	return r;
}

/* ---- events ---------------------------------------------------------------------------------------------------------- */

struct events_options {
	bool stats;
	uint64_t interval_ns;
};

static struct json_object *number(uint64_t n)
{
	return json_object_new_uint64(n);
}

/* The members of runc's that a guest can answer for. */
static struct json_object *stats_json(const char *id, const struct sandbox_stats *s)
{
	struct json_object *o = json_object_new_object(), *data = json_object_new_object(), *m, *u;

	json_object_object_add(o, "type", json_object_new_string("stats"));
	json_object_object_add(o, "id", json_object_new_string(id));
	json_object_object_add(o, "data", data);
	m = json_object_new_object();
	json_object_object_add(m, "usage", u = json_object_new_object());
	json_object_object_add(u, "total", number(s->cpu_ns));
	json_object_object_add(data, "cpu", m);
	m = json_object_new_object();
	json_object_object_add(m, "usage", u = json_object_new_object());
	json_object_object_add(u, "usage", number(s->memory_bytes));
	json_object_object_add(u, "limit", number(s->memory_limit_bytes));
	json_object_object_add(m, "cache", number(s->memory_file_bytes));
	json_object_object_add(data, "memory", m);
	m = json_object_new_object();
	json_object_object_add(m, "current", number(s->pids));
	json_object_object_add(data, "pids", m);
	return o;
}

static int events_one(struct state *state, struct state_ref *ref, void *arg, struct err *e)
{
	const struct events_options *o = arg;
	struct sandbox_stats s;
	int r;

	do {
		r = sandbox_stats(ref, &s, e);
		if (!r)
			r = runtime_print_json(stats_json(ref->record.name, &s), false, e);
	} while (!r && !o->stats && !sandbox_wait_ended(ref, o->interval_ns ? o->interval_ns : 5000000000ull));
	/* It has ended, and that is the end of its events. */
	if (r && !o->stats && sandbox_wait_ended(ref, 1000000000ull)) {
		*e = (struct err)ERR_INIT;
		return 0;
	}
	return r;
}

static int events_run(const struct runtime_global *g, void *options, int argc, char **argv, struct err *e)
{
	return runtime_with(g, argv[0], events_one, options, e);
}

static const struct opt events_opts[] = {
	{ "stats", 0, OPT_FLAG, 0, NULL, "once, and no more", offsetof(struct events_options, stats) },
	{ "interval", 0, OPT_DURATION, 0, "TIME", "between two of them (5s)",
	  offsetof(struct events_options, interval_ns) },
};

const struct runtime_command runtime_update = {
	.name = "update",
	.synopsis = "ID",
	.help = "change what a running container may use",
	.opts = update_opts,
	.opts_n = ARRAY_SIZE(update_opts),
	.options_size = sizeof(struct update_options),
	.min_args = 1,
	.max_args = 1,
	.run = update_run,
};

const struct runtime_command runtime_events = {
	.name = "events",
	.synopsis = "ID",
	.help = "print what a container uses, again and again",
	.opts = events_opts,
	.opts_n = ARRAY_SIZE(events_opts),
	.options_size = sizeof(struct events_options),
	.min_args = 1,
	.max_args = 1,
	.run = events_run,
};
