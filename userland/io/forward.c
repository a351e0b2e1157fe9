/* SPDX-License-Identifier: Apache-2.0 */
#include "io/forward.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"

static void want_input(struct forward *f);
static void want_output(struct forward *f);

static void end(struct forward *f, int reason)
{
	f->active = false;
	/* The other side learns of the end as from a closed pipe. */
	if (f->out_kind == FORWARD_SOCKET)
		shutdown(f->out, SHUT_WR);
	if (reason && f->in_kind == FORWARD_SOCKET)
		shutdown(f->in, SHUT_RD);
	f->ended(f, reason);
}

static void got_input(struct forward *f, ssize_t n)
{
	if (n <= 0) {
		/* A terminal whose other side is gone says EIO; for us that is its end. */
		end(f, n == -EIO || n == -ECONNRESET ? 0 : (int)n);
		return;
	}
	f->have = n;
	f->done = 0;
	if (f->out_kind == FORWARD_SINK) {
		f->sink(f, f->buf, f->have);
		f->bytes += f->have;
		want_input(f);
		return;
	}
	f->writing = true;
	want_output(f);
}

static void on_ready(struct loop_op *op, int res)
{
	struct forward *f = container_of(op, struct forward, op);
	ssize_t n = res;

	f->polling = false;
	if (res < 0) {
		end(f, res);
		return;
	}
	if (f->writing) {
		want_output(f);
		return;
	}
	do
		n = read(f->in, f->buf, FORWARD_BUF_LEN);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		want_input(f);
	else
		got_input(f, n < 0 ? -errno : n);
}

static void on_read(struct loop_op *op, int res)
{
	struct forward *f = container_of(op, struct forward, op);

	if (res == -EINTR || res == -EAGAIN)
		want_input(f);
	else
		got_input(f, res);
}

static void on_written(struct loop_op *op, int res)
{
	struct forward *f = container_of(op, struct forward, op);

	if (res == -EAGAIN) {
		/* Somebody made the file non-blocking; it may be shared, so it stays as it is. */
		loop_op_init(&f->op, on_ready);
		f->polling = true;
		loop_poll(f->loop, &f->op, f->out, POLLOUT);
		return;
	}
	if (res == -EINTR) {
		want_output(f);
		return;
	}
	if (res <= 0) {
		end(f, res ? res : -EIO);
		return;
	}
	f->done += res;
	f->bytes += res;
	if (f->done < f->have) {
		want_output(f);
		return;
	}
	f->writing = false;
	want_input(f);
}

static void want_input(struct forward *f)
{
	if (f->in_kind == FORWARD_SOCKET) {
		loop_op_init(&f->op, on_read);
		loop_recv(f->loop, &f->op, f->in, f->buf, FORWARD_BUF_LEN, 0);
		return;
	}
	/* poll, then read: a read of a terminal would sit in a kernel thread, and couldn't be taken back. */
	loop_op_init(&f->op, on_ready);
	f->polling = true;
	loop_poll(f->loop, &f->op, f->in, POLLIN);
}

static void want_output(struct forward *f)
{
	loop_op_init(&f->op, on_written);
	if (f->out_kind == FORWARD_SOCKET)
		loop_send(f->loop, &f->op, f->out, f->buf + f->done, f->have - f->done, MSG_NOSIGNAL);
	else
		loop_write(f->loop, &f->op, f->out, f->buf + f->done, f->have - f->done, -1);
}

void forward_start(struct forward *f, struct loop *loop)
{
	f->loop = loop;
	f->buf = xcalloc(1, FORWARD_BUF_LEN);
	f->have = f->done = f->bytes = 0;
	f->writing = false;
	f->active = true;
	want_input(f);
}

void forward_cancel(struct forward *f)
{
	if (f->active)
		loop_cancel(f->loop, &f->op);
}

void forward_free(struct forward *f)
{
	free(f->buf);
	f->buf = NULL;
}
