/* SPDX-License-Identifier: Apache-2.0 */
/* stats: what running sandboxes use. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "cli/cli.h"
#include "sandbox/resources.h"

#define SAMPLE_US 1000000

/* ---- stats ---------------------------------------------------------------------------------------------------------- */

struct stats_options {
	bool no_stream, no_trunc;
	char *format;
};

static const struct opt stats_opts[] = {
	{ "no-stream", 0, OPT_FLAG, 0, NULL, "once, not again every second",
	  offsetof(struct stats_options, no_stream) },
	{ "no-trunc", 0, OPT_FLAG, 0, NULL, "whole ids", offsetof(struct stats_options, no_trunc) },
	{ "format", 0, OPT_STRING, WORD_FORMAT, "FORMAT", "table or json", offsetof(struct stats_options, format) },
};

/* One that is looked at, and what it had used when it was looked at before. */
struct watched {
	struct state_ref *ref;
	struct sandbox_stats before, now;
	bool there;
};

struct watch {
	struct state *state;
	struct state_ref *all; /* of state_list; NULL: each was named */
	struct state_ref *named;
	struct watched *v;
	size_t all_n, named_n, n;
};

static int watch_add(struct watch *w, struct state_ref *ref)
{
	w->v = xreallocarray(w->v, w->n + 1, sizeof(*w->v));
	w->v[w->n++] = (struct watched){ .ref = ref };
	return 0;
}

static int watch_open(struct watch *w, const struct cli_global *global, int argc, char **argv, struct err *e)
{
	size_t i;
	int r = state_open(global->state, &w->state, e);

	if (r)
		return r;
	if (!argc) {
		r = state_list(w->state, &w->all, &w->all_n, e);
		for (i = 0; !r && i < w->all_n; i++)
			if (w->all[i].alive && w->all[i].record.status == SANDBOX_RUNNING)
				watch_add(w, &w->all[i]);
		return r;
	}
	w->named = xcalloc((size_t)argc, sizeof(*w->named));
	while (!r && w->named_n < (size_t)argc) {
		r = state_find(w->state, argv[w->named_n], &w->named[w->named_n], e);
		if (!r)
			w->named_n++;
	}
	for (i = 0; !r && i < w->named_n; i++)
		watch_add(w, &w->named[i]);
	return r;
}

static void watch_close(struct watch *w)
{
	state_list_free(w->all, w->all_n);
	while (w->named_n)
		state_ref_free(&w->named[--w->named_n]);
	free(w->named);
	free(w->v);
	state_close(w->state);
}

/* The first failure of one that was named is an error; one that has ended since is not there any more. */
static int sample(struct watch *w, bool first, struct err *e)
{
	size_t i;

	for (i = 0; i < w->n; i++) {
		struct err why = ERR_INIT;
		struct watched *one = &w->v[i];

		one->before = one->now;
		one->there = !sandbox_stats(one->ref, &one->now, &why);
		if (!one->there && first && w->named) {
			*e = why;
			return -why.code;
		}
	}
	return 0;
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

static void add_bytes(struct table *t, uint64_t a, const char *between, uint64_t b)
{
	char one[32], other[32];

	format_bytes(a, one, sizeof(one));
	format_bytes(b, other, sizeof(other));
	if (between)
		table_addf(t, "%s%s%s", one, between, other);
	else
		table_add(t, one);
}

static void add_row(struct table *t, const struct watched *w, bool whole_id)
{
	const struct sandbox_stats *s = &w->now;
	/* Without a limit of its own the container's is what its VM has. */
	const uint64_t limit = min_t(uint64_t, s->memory_limit_bytes, s->vm.target_bytes);
	const uint64_t ns = s->at_ns - w->before.at_ns, cpu = s->cpu_ns - min_t(uint64_t, w->before.cpu_ns, s->cpu_ns);

	table_addf(t, whole_id ? "%s" : "%.12s", w->ref->record.id);
	table_add(t, w->ref->record.name);
	table_addf(t, "%.2f%%", w->before.at_ns ? percent(cpu, ns) : 0);
	add_bytes(t, s->memory_bytes, " / ", limit);
	table_addf(t, "%.2f%%", percent(s->memory_bytes, limit));
	add_bytes(t, s->io_read_bytes, " / ", s->io_write_bytes);
	table_addf(t, "%llu", (unsigned long long)s->pids);
	add_bytes(t, s->vm.given_bytes, NULL, 0);
	add_bytes(t, s->vm.touched_bytes, NULL, 0);
	add_bytes(t, s->vm.returned_bytes, NULL, 0);
}

static void add_json_row(struct table *t, const struct watched *w)
{
	const struct sandbox_stats *s = &w->now;
	const uint64_t numbers[] = {
		s->cpu_ns,	     s->memory_bytes,	   s->memory_limit_bytes, s->pids,
		s->io_read_bytes,    s->io_write_bytes,	   s->vm.given_bytes,	  s->vm.target_bytes,
		s->vm.touched_bytes, s->vm.returned_bytes, s->vm.reported_bytes,  s->vm.held_bytes
	};
	size_t i;

	table_add(t, w->ref->record.id);
	table_add(t, w->ref->record.name);
	for (i = 0; i < ARRAY_SIZE(numbers); i++)
		if (numbers[i] == UINT64_MAX)
			table_add(t, "");
		else
			table_addf(t, "%llu", (unsigned long long)numbers[i]);
}

static int print(const struct watch *w, enum format format, bool no_trunc, struct err *e)
{
	static const char *const columns[] = { "SANDBOX ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %",
					       "BLOCK I/O",  "PIDS", "GIVEN", "TOUCHED",	   "RETURNED" };
	static const char *const json_columns[] = {
		"ID",
		"NAME",
		"CPU NS",
		"MEM BYTES",
		"MEM LIMIT BYTES",
		"PIDS",
		"BLOCK READ BYTES",
		"BLOCK WRITE BYTES",
		"GIVEN BYTES",
		"TARGET BYTES",
		"TOUCHED BYTES",
		"RETURNED BYTES",
		"REPORTED BYTES",
		"BALLOON BYTES",
	};
	struct table *t = format == FORMAT_JSON ? table_new(format, json_columns, ARRAY_SIZE(json_columns))
						: table_new(format, columns, ARRAY_SIZE(columns));
	size_t i;

	for (i = 0; i < w->n; i++) {
		if (!w->v[i].there)
			continue;
		if (format == FORMAT_JSON)
			add_json_row(t, &w->v[i]);
		else
			add_row(t, &w->v[i], no_trunc);
	}
	return table_print(t, e);
}

static int stats_run(const struct cli_global *global, void *options, int argc, char **argv, struct err *e)
{
	const struct stats_options *o = options;
	const bool screen = isatty(1);
	struct watch w = { 0 };
	enum format format;
	int r = format_parse(o->format, &format, e);

	if (!r)
		r = watch_open(&w, global, argc, argv, e);
	if (!r)
		r = sample(&w, true, e);
	while (!r) {
		/* Use is of a time, and a table says how much there was of it. */
		if (format == FORMAT_TABLE || !o->no_stream) {
			usleep(SAMPLE_US);
			r = sample(&w, false, e);
		}
		if (!r && screen && !o->no_stream && format == FORMAT_TABLE)
			fputs("\033[H\033[J", stdout);
		if (!r)
			r = print(&w, format, o->no_trunc, e);
		if (!r && fflush(stdout))
			r = err_errno(e, errno, "stdout");
		if (o->no_stream)
			break;
	}
	if (w.state)
		watch_close(&w);
	return r;
}

const struct command cmd_stats = {
	.name = "stats",
	.synopsis = "[SANDBOX…]",
	.help = "what running sandboxes use, again and again",
	.opts = stats_opts,
	.opts_n = ARRAY_SIZE(stats_opts),
	.options_size = sizeof(struct stats_options),
	.word = WORD_RUNNING,
	.min_args = 0,
	.max_args = -1,
	.fail_status = 1,
	.run = stats_run,
};
