/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "guest-agent/cgroup.h"

/* A file of one number; "max" and what is not there are 0. */
static uint64_t read_number(const struct cgroup *g, const char *file)
{
	_cleanup_free_ char *text = NULL;

	if (read_file(g->dir, file, 256, &text, NULL))
		return 0;
	return strtoull(text, NULL, 10);
}

/* io.stat: "MAJ:MIN rbytes=N wbytes=N rios=N wios=N …", one line a device. */
static void read_io(const struct cgroup *g, Microvm__Stats *s)
{
	const struct {
		const char *key;
		uint64_t *sum;
	} fields[] = {
		{ "rbytes=", &s->io_read_bytes },
		{ "wbytes=", &s->io_write_bytes },
		{ "rios=", &s->io_reads },
		{ "wios=", &s->io_writes },
	};
	_cleanup_free_ char *text = NULL;
	char *word, *save = NULL;
	size_t i;

	if (read_file(g->dir, "io.stat", 1u << 20, &text, NULL))
		return;
	for (word = strtok_r(text, " \n", &save); word; word = strtok_r(NULL, " \n", &save))
		for (i = 0; i < ARRAY_SIZE(fields); i++)
			if (str_starts(word, fields[i].key))
				*fields[i].sum += strtoull(word + strlen(fields[i].key), NULL, 10);
}

void cgroup_stats(const struct cgroup *g, Microvm__Stats *s)
{
	s->cpu_usage_ns = cgroup_read_key(g, "cpu.stat", "usage_usec") * 1000;
	s->cpu_user_ns = cgroup_read_key(g, "cpu.stat", "user_usec") * 1000;
	s->cpu_system_ns = cgroup_read_key(g, "cpu.stat", "system_usec") * 1000;
	s->cpu_throttled_ns = cgroup_read_key(g, "cpu.stat", "throttled_usec") * 1000;
	s->cpu_periods = cgroup_read_key(g, "cpu.stat", "nr_periods");
	s->cpu_throttled_periods = cgroup_read_key(g, "cpu.stat", "nr_throttled");
	s->memory_usage_bytes = read_number(g, "memory.current");
	s->memory_limit_bytes = read_number(g, "memory.max");
	s->memory_peak_bytes = read_number(g, "memory.peak");
	s->memory_anon_bytes = cgroup_read_key(g, "memory.stat", "anon");
	s->memory_file_bytes = cgroup_read_key(g, "memory.stat", "file");
	s->oom_kills = cgroup_oom_kills(g);
	s->pids = read_number(g, "pids.current");
	s->pids_limit = read_number(g, "pids.max");
	read_io(g, s);
}
