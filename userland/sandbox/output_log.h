/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stdout and stderr of a detached container, for `microvm logs`: records of a header and the bytes as they came. When the
 * file has reached OUTPUT_LOG_MAX it becomes "output.1" in place of the one before it, so twice that is the most there is.
 */
#ifndef SANDBOX_OUTPUT_LOG_H
#define SANDBOX_OUTPUT_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define OUTPUT_LOG_MAX (4u << 20)
#define OUTPUT_RECORD_MAX 65536u

struct output_header {
	int64_t time_ns; /* CLOCK_REALTIME */
	uint32_t len_bytes;
	uint32_t stream; /* 1: stdout, 2: stderr */
};

struct output_log {
	int dirfd, fd;
	uint64_t used;
};

/* dirfd stays the caller's and open. */
int output_log_open(struct output_log *log, int dirfd, struct err *e);
/* len at most OUTPUT_RECORD_MAX. What can't be written (a full disk) is dropped: a container doesn't stop for its log. */
void output_log_write(struct output_log *log, unsigned int stream, const void *data, size_t len);
void output_log_close(struct output_log *log);

struct output_show {
	bool follow, timestamps;
	int64_t tail; /* last records' lines; -1: all */
	/* With follow: false as soon as nothing more will be written. Looked at whenever the folder changes. */
	bool (*alive)(void *opaque);
	void *opaque;
};
/* Writes stdout's records to our stdout, stderr's to our stderr. */
int output_log_show(int dirfd, const struct output_show *show, struct err *e);

#endif
