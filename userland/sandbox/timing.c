/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/timing.h"

#include <stdio.h>

#include "base/util.h"

void timing_begin(struct timing *t)
{
	t->begin_ns = monotonic_ns();
	t->n = 0;
}

void timing_mark(struct timing *t, const char *name)
{
	if (t->n == TIMING_MAX)
		return;
	t->marks[t->n].name = name;
	t->marks[t->n++].end_ns = monotonic_ns();
}

static void print_line(const char *name, uint64_t ns)
{
	fprintf(stderr, "timing: %-10s %8.3f ms\n", name, (double)ns / 1e6);
}

void timing_print(const struct timing *t)
{
	uint64_t last = t->begin_ns;
	size_t i;

	for (i = 0; i < t->n; i++) {
		print_line(t->marks[i].name, t->marks[i].end_ns - last);
		last = t->marks[i].end_ns;
	}
	print_line("total", last - t->begin_ns);
}
