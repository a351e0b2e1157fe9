/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/stdio.h"

#include <errno.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "sandbox/terminal.h"

#define STREAMS_TIMEOUT_MS 10000u

int stdio_check(bool interactive, bool tty, bool detach, struct err *e)
{
	if (interactive && tty && !detach && !isatty(0))
		return err_set(e, ENOTTY, "the input device is not a TTY; leave -t out, or call it from a terminal");
	return 0;
}

int stdio_open(struct stdio *io, struct loop *loop, const char *socket, const struct stdio_options *o, struct err *e)
{
	const bool wanted[3] = { o->interactive && !o->log, true, !o->tty };
	int i;

	io->loop = loop;
	io->log = o->log;
	for (i = 0; i < 3; i++) {
		io->fd[i] = -1;
		io->token[i] = wanted[i] && !o->quiet ? agent_stdio_token() : 0;
	}
	return agent_stdio_open(socket, io->token, io->fd, 3, STREAMS_TIMEOUT_MS, e);
}

void stdio_fill(const struct stdio *io, Microvm__Stdio *msg)
{
	microvm__stdio__init(msg);
	msg->stdin = io->token[0];
	msg->stdout = io->token[1];
	msg->stderr = io->token[2];
}

static void on_ended(struct forward *f, int reason)
{
	struct stdio *io = f->opaque;

	if (f == &io->in) {
		io->in_open = false;
		return;
	}
	if (reason && reason != -EPIPE && reason != -ECANCELED && !io->write_error)
		io->write_error = reason;
	/* Whoever read our output is gone: the container learns of it as from a closed pipe, by the stream's end. */
	if (reason)
		cleanup_closep(f == &io->out ? &io->fd[1] : &io->fd[2]);
	*(f == &io->out ? &io->out_open : &io->err_open) = false;
}

static void to_log(struct forward *f, const void *data, size_t len)
{
	struct stdio *io = f->opaque;

	output_log_write(io->log, f == &io->out ? 1 : 2, data, len);
}

static void start_output(struct stdio *io, struct forward *f, int from, int to)
{
	*f = (struct forward){
		.in = from,
		.in_kind = FORWARD_SOCKET,
		.out = to,
		.out_kind = io->log ? FORWARD_SINK : FORWARD_FD,
		.sink = to_log,
		.ended = on_ended,
		.opaque = io,
	};
	*(f == &io->out ? &io->out_open : &io->err_open) = true;
	forward_start(f, io->loop);
}

int stdio_start(struct stdio *io, const struct stdio_options *o, struct err *e)
{
	if (o->tty && o->interactive && !o->inherit && !io->log && isatty(0)) {
		int r = terminal_raw(0, e);

		if (r)
			return r;
		io->raw = true;
	}
	if (io->fd[1] >= 0)
		start_output(io, &io->out, io->fd[1], 1);
	if (io->fd[2] >= 0)
		start_output(io, &io->err, io->fd[2], 2);
	if (io->fd[0] >= 0) {
		io->in = (struct forward){
			.in = 0,
			.in_kind = FORWARD_FD,
			.out = io->fd[0],
			.out_kind = FORWARD_SOCKET,
			.ended = on_ended,
			.opaque = io,
		};
		io->in_open = true;
		forward_start(&io->in, io->loop);
	}
	return 0;
}

void stdio_stop_input(struct stdio *io)
{
	if (io->in_open)
		forward_cancel(&io->in);
}

bool stdio_drained(const struct stdio *io)
{
	return !io->out_open && !io->err_open;
}

static void on_drain_time(struct loop_op *op, int res)
{
	struct drain *d = container_of(op, struct drain, op);
	const struct stdio *io = d->io;
	uint64_t bytes = io->out.bytes + io->err.bytes;
	bool blocked = (io->out_open && io->out.writing) || (io->err_open && io->err.writing);

	if (res == -ECANCELED)
		return;
	if (bytes == d->bytes && !blocked) {
		d->still = true;
		return;
	}
	d->bytes = bytes;
	loop_timer(io->loop, &d->op, DRAIN_STILL_NS);
}

void drain_start(struct drain *d, struct stdio *io)
{
	*d = (struct drain){ .io = io, .bytes = io->out.bytes + io->err.bytes };
	loop_op_init(&d->op, on_drain_time);
	if (!stdio_drained(io))
		loop_timer(io->loop, &d->op, DRAIN_STILL_NS);
}

bool drain_over(const struct drain *d)
{
	return d->still || stdio_drained(d->io);
}

void drain_end(struct drain *d)
{
	if (loop_op_busy(&d->op))
		loop_cancel(d->io->loop, &d->op);
	while (loop_op_busy(&d->op) && loop_run_once(d->io->loop, true) >= 0)
		;
}

void stdio_close(struct stdio *io)
{
	int i;

	if (!io->loop)
		return;
	forward_cancel(&io->in);
	forward_cancel(&io->out);
	forward_cancel(&io->err);
	for (i = 0; i < 64 && (io->in_open || io->out_open || io->err_open); i++)
		if (loop_run_once(io->loop, true) < 0)
			break;
	if (io->raw)
		terminal_restore();
	io->raw = false;
	/* What the kernel still has in its hands keeps its buffer. */
	if (!io->in_open)
		forward_free(&io->in);
	if (!io->out_open)
		forward_free(&io->out);
	if (!io->err_open)
		forward_free(&io->err);
	for (i = 0; i < 3; i++)
		cleanup_closep(&io->fd[i]);
	io->loop = NULL;
}
