/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/console.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

static void add_to_tail(struct console *c, const char *data, size_t len)
{
	if (len >= CONSOLE_TAIL_LEN) {
		memcpy(c->tail, data + len - CONSOLE_TAIL_LEN, CONSOLE_TAIL_LEN);
		c->tail_len = CONSOLE_TAIL_LEN;
		return;
	}
	if (c->tail_len + len > CONSOLE_TAIL_LEN) {
		size_t drop = c->tail_len + len - CONSOLE_TAIL_LEN;

		memmove(c->tail, c->tail + drop, c->tail_len - drop);
		c->tail_len -= drop;
	}
	memcpy(c->tail + c->tail_len, data, len);
	c->tail_len += len;
}

/* A guest must not send escape sequences to the terminal of who looks at it. */
static void echo(int fd, const uint8_t *data, size_t len)
{
	char clean[CONSOLE_READ_LEN];
	size_t i, n = 0;

	for (i = 0; i < len && n < sizeof(clean); i++)
		if (data[i] == '\n' || data[i] == '\t' || (data[i] >= 0x20 && data[i] < 0x7f))
			clean[n++] = (char)data[i];
	write_full(fd, clean, n);
}

void console_add(struct console *c, const void *data, size_t len)
{
	size_t fits = c->written < c->file_max ? min_t(size_t, len, c->file_max - c->written) : 0;

	if (c->file >= 0 && fits && !write_full(c->file, data, fits))
		c->written += fits;
	add_to_tail(c, data, len);
	if (c->echo_fd >= 0)
		echo(c->echo_fd, data, len);
}

static void on_read(struct loop_op *op, int res)
{
	struct console *c = container_of(op, struct console, op);

	if (res <= 0 && res != -EINTR && res != -EAGAIN) {
		c->closed = true;
		return;
	}
	if (res > 0)
		console_add(c, c->buf, res);
	loop_read(c->loop, &c->op, c->fd, c->buf, sizeof(c->buf), -1);
}

void console_start(struct console *c, struct loop *loop)
{
	c->loop = loop;
	loop_op_init(&c->op, on_read);
	loop_read(loop, &c->op, c->fd, c->buf, sizeof(c->buf), -1);
}

void console_drain(struct console *c)
{
	int rounds;

	/* The writer is dead, so the loop's read ends by itself; a bound all the same. */
	for (rounds = 0; c->loop && !c->closed && rounds < 256; rounds++)
		if (loop_run_once(c->loop, true) < 0)
			break;
}

const char *console_last_line(const struct console *c, char *buf, size_t size)
{
	size_t end = c->tail_len, start, i, n = 0;

	for (;;) {
		while (end && (c->tail[end - 1] == '\n' || c->tail[end - 1] == '\r' || c->tail[end - 1] == ' '))
			end--;
		for (start = end; start && c->tail[start - 1] != '\n'; start--)
			;
		for (i = start; i < end && n + 1 < size; i++)
			if (c->tail[i] >= 0x20 && c->tail[i] < 0x7f)
				buf[n++] = c->tail[i];
		if (n || !start)
			break;
		end = start;
	}
	buf[n] = '\0';
	return buf;
}

void console_close(struct console *c)
{
	cleanup_closep(&c->fd);
	cleanup_closep(&c->file);
	c->echo_fd = -1;
}
