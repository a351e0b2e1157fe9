/* SPDX-License-Identifier: Apache-2.0 */
/* Where the time of a run goes. */
#ifndef SANDBOX_TIMING_H
#define SANDBOX_TIMING_H

#include <stddef.h>
#include <stdint.h>

#define TIMING_MAX 32u

struct timing {
	uint64_t begin_ns;
	size_t n;
	struct {
		const char *name;
		uint64_t end_ns;
	} marks[TIMING_MAX];
};

void timing_begin(struct timing *t);
/* Everything since the last mark was `name`. */
void timing_mark(struct timing *t, const char *name);
/* "timing: NAME MILLISECONDS" a line, and the sum, to stderr. */
void timing_print(const struct timing *t);

#endif
