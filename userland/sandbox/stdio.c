/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/stdio.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
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

static void begin(struct stdio *io, struct loop *loop, const struct stdio_options *o)
{
	const bool wanted[3] = { o->interactive && !o->log, true, !o->tty };
	int i;

	io->loop = loop;
	io->log = o->log;
	for (i = 0; i < 3; i++) {
		io->fd[i] = -1;
		io->local[i] = o->fds ? o->fds[i] : i;
		if (wanted[i] && !o->quiet && (io->local[i] >= 0 || (!i && o->hold_input)))
			io->token[i] = agent_stdio_token();
		else
			io->token[i] = 0;
	}
	io->in_held = o->hold_input && io->token[0];
	io->in_dialed = false;
}

int stdio_open(struct stdio *io, struct loop *loop, const char *socket, const struct stdio_options *o, struct err *e)
{
	begin(io, loop, o);
	return agent_stdio_open(socket, io->token, io->fd, 3, STREAMS_TIMEOUT_MS, e);
}

void stdio_fill(const struct stdio *io, Microvm__Stdio *msg)
{
	microvm__stdio__init(msg);
	msg->stdin = io->token[0];
	msg->stdout = io->token[1];
	msg->stderr = io->token[2];
}

static void tell(struct stdio *io)
{
	if (io->changed)
		io->changed(io);
}

static void on_ended(struct forward *f, int reason)
{
	struct stdio *io = f->opaque;

	if (f == &io->in) {
		io->in_open = false;
		tell(io);
		return;
	}
	if (reason && reason != -EPIPE && reason != -ECANCELED && !io->write_error)
		io->write_error = reason;
	/* Whoever read our output is gone: the container learns of it as from a closed pipe, by the stream's end. */
	if (reason)
		cleanup_closep(f == &io->out ? &io->fd[1] : &io->fd[2]);
	*(f == &io->out ? &io->out_open : &io->err_open) = false;
	tell(io);
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

static void start_stream(struct stdio *io, unsigned int n)
{
	if (io->fd[n] < 0)
		return;
	if (n) {
		start_output(io, n == 1 ? &io->out : &io->err, io->fd[n], io->local[n]);
		return;
	}
	io->in = (struct forward){
		.in = io->local[0],
		.in_kind = FORWARD_FD,
		.out = io->fd[0],
		.out_kind = FORWARD_SOCKET,
		.ended = on_ended,
		.opaque = io,
	};
	io->in_open = true;
	forward_start(&io->in, io->loop);
}

int stdio_start(struct stdio *io, const struct stdio_options *o, struct err *e)
{
	if (o->tty && o->interactive && !o->inherit && !io->log && isatty(0)) {
		int r = terminal_raw(0, e);

		if (r)
			return r;
		io->raw = true;
	}
	start_stream(io, 1);
	start_stream(io, 2);
	start_stream(io, 0);
	return 0;
}

/* ---- without waiting ---------------------------------------------------------------------------------------------- */

static bool *open_flag(struct stdio *io, unsigned int n)
{
	return n == 0 ? &io->in_open : n == 1 ? &io->out_open : &io->err_open;
}

/* Nothing ever came. */
static void input_over(struct stdio *io)
{
	cleanup_closep(&io->fd[0]);
	io->in_held = io->in_dialed = io->in_open = false;
	tell(io);
}

/* The guest has answered, or its VM has ended. */
static void on_dialed(struct loop_op *op, int res)
{
	struct stdio_dial *d = container_of(op, struct stdio_dial, op);
	struct stdio *io = d->io;
	const unsigned int n = (unsigned int)(d - io->dial);
	struct err e = ERR_INIT;

	if (res > 0 && !agent_stdio_finish(io->fd[n], io->socket, io->token[n], 0, &e)) {
		if (!n && io->in_held)
			io->in_dialed = true;
		else if (!n && io->local[0] < 0)
			input_over(io);
		else
			start_stream(io, n);
		return;
	}
	cleanup_closep(&io->fd[n]);
	*open_flag(io, n) = false;
	tell(io);
}

int stdio_connect(struct stdio *io, struct loop *loop, const char *socket, const struct stdio_options *o, struct err *e)
{
	unsigned int n;

	begin(io, loop, o);
	io->socket = xstrdup(socket);
	for (n = 0; n < 3; n++) {
		io->dial[n].io = io;
		loop_op_init(&io->dial[n].op, on_dialed);
		if (!io->token[n])
			continue;
		io->fd[n] = agent_stdio_dial(socket, e);
		if (io->fd[n] < 0)
			break;
	}
	if (n < 3) {
		while (n--)
			cleanup_closep(&io->fd[n]);
		free(take_ptr(io->socket));
		io->loop = NULL;
		return -e->code;
	}
	for (n = 0; n < 3; n++) {
		if (io->fd[n] < 0)
			continue;
		*open_flag(io, n) = true;
		loop_poll(loop, &io->dial[n].op, io->fd[n], POLLIN);
	}
	return 0;
}

void stdio_input(struct stdio *io, int fd)
{
	if (!io->in_held)
		return;
	io->in_held = false;
	io->local[0] = fd;
	if (!io->in_dialed)
		return; /* then it starts by itself */
	if (fd < 0)
		input_over(io);
	else
		start_stream(io, 0);
}

void stdio_end(struct stdio *io)
{
	unsigned int n;

	if (io->in_held && io->in_dialed)
		input_over(io);
	for (n = 0; io->loop && n < 3; n++)
		if (loop_op_busy(&io->dial[n].op))
			loop_cancel(io->loop, &io->dial[n].op);
	forward_cancel(&io->in);
	forward_cancel(&io->out);
	forward_cancel(&io->err);
}

bool stdio_idle(const struct stdio *io)
{
	return !io->in_open && !io->out_open && !io->err_open;
}

void stdio_stop_input(struct stdio *io)
{
	if (io->in_held && io->in_dialed)
		input_over(io);
	else if (io->in_open)
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
	stdio_end(io);
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
	free(take_ptr(io->socket));
	io->loop = NULL;
}
