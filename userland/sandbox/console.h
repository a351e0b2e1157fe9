/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the VMM and the guest's console say, read from a pipe: a bounded file, its last lines for error messages, and the
 * caller's stderr for who asked for it.
 */
#ifndef SANDBOX_CONSOLE_H
#define SANDBOX_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/loop.h"

#define CONSOLE_FILE_MAX (256u << 10) /* the beginning; what comes later is in the tail only */
#define CONSOLE_TAIL_LEN 2048u
#define CONSOLE_READ_LEN 4096u

struct console {
	int fd;	     /* the pipe's read end; -1: not open */
	int file;    /* -1: none */
	int echo_fd; /* -1: none */
	struct loop *loop;
	struct loop_op op;
	size_t file_max; /* what goes into the file at most */
	size_t written;
	bool closed;
	size_t tail_len;
	char tail[CONSOLE_TAIL_LEN];
	uint8_t buf[CONSOLE_READ_LEN];
};

#define CONSOLE_INIT                                                              \
	{                                                                         \
		.fd = -1, .file = -1, .echo_fd = -1, .file_max = CONSOLE_FILE_MAX \
	}

void console_start(struct console *c, struct loop *loop);
/* Takes what is still in the pipe. */
void console_drain(struct console *c);
/* The last line that says something, printable, into buf, which is returned; "" if there was none. */
const char *console_last_line(const struct console *c, char *buf, size_t size);
/* Adds text as if it had come from the pipe. For tests, too. */
void console_add(struct console *c, const void *data, size_t len);
void console_close(struct console *c);

#endif
