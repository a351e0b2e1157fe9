/* SPDX-License-Identifier: Apache-2.0 */
/* Connections of the host to the stdio port, until their first 8 bytes have told whose they are. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/guest.h"
#include "base/log.h"
#include "base/util.h"
#include "guest-agent/stdio.h"

struct stdio_stream {
	struct stdio_stream *next, **link;
	struct stdio *owner;
	int fd;
	uint8_t raw[GUEST_STDIO_TOKEN_LEN];
	size_t got;
	uint64_t token; /* 0 until it has come whole */
	bool gone;	/* out of the list; memory stays until its operations have ended */
	struct loop_op recv, timer;
};

static void stream_unref(struct stdio_stream *st)
{
	if (!loop_op_busy(&st->recv) && !loop_op_busy(&st->timer))
		free(st);
}

/* Leaves the list; the fd is closed, or the caller's. */
static int stream_take(struct stdio_stream *st)
{
	int fd = st->fd;

	*st->link = st->next;
	if (st->next)
		st->next->link = st->link;
	st->owner->streams_n--;
	st->fd = -1;
	st->gone = true;
	loop_cancel(st->owner->loop, &st->recv);
	loop_cancel(st->owner->loop, &st->timer);
	stream_unref(st);
	return fd;
}

static void receive(struct stdio_stream *st)
{
	loop_recv(st->owner->loop, &st->recv, st->fd, st->raw + st->got, sizeof(st->raw) - st->got, 0);
}

static bool token_taken(const struct stdio *s, uint64_t token)
{
	const struct stdio_stream *st;

	for (st = s->streams; st; st = st->next)
		if (st->token == token)
			return true;
	return false;
}

static void token_is_there(struct stdio_stream *st)
{
	struct stdio *s = st->owner;
	struct stdio_pump *p;
	uint64_t token;

	memcpy(&token, st->raw, sizeof(token));
	token = le64toh(token);
	if (!token || token_taken(s, token)) {
		log_guest("stdio: a stream without a token of its own is refused");
		close(stream_take(st));
		return;
	}
	for (p = s->waiting; p; p = p->next_waiting)
		if (p->token == token) {
			stdio_pump_attach(p, stream_take(st));
			return;
		}
	st->token = token;
}

static void recv_done(struct loop_op *op, int res)
{
	struct stdio_stream *st = container_of(op, struct stdio_stream, recv);

	if (st->gone) {
		stream_unref(st);
	} else if (res <= 0 && res != -EINTR && res != -EAGAIN) {
		close(stream_take(st));
	} else {
		st->got += res > 0 ? res : 0;
		if (st->got < sizeof(st->raw))
			receive(st);
		else
			token_is_there(st);
	}
}

static void timer_done(struct loop_op *op, int res)
{
	struct stdio_stream *st = container_of(op, struct stdio_stream, timer);

	if (st->gone)
		stream_unref(st);
	else
		close(stream_take(st));
}

void stdio_accepted(struct stdio *s, int fd)
{
	struct stdio_stream *st;

	if (s->streams_n >= STDIO_UNCLAIMED_MAX) {
		log_guest("stdio: more than %u streams that nobody claimed; one is refused", STDIO_UNCLAIMED_MAX);
		close(fd);
		return;
	}
	st = xcalloc(1, sizeof(*st));
	st->owner = s;
	st->fd = fd;
	loop_op_init(&st->recv, recv_done);
	loop_op_init(&st->timer, timer_done);
	st->next = s->streams;
	st->link = &s->streams;
	if (st->next)
		st->next->link = &st->next;
	s->streams = st;
	s->streams_n++;
	loop_timer(s->loop, &st->timer, s->claim_ns);
	receive(st);
}

int stdio_claim(struct stdio *s, uint64_t token)
{
	struct stdio_stream *st;

	for (st = s->streams; st; st = st->next)
		if (st->token == token)
			return stream_take(st);
	return -1;
}

bool stdio_token_waiting(const struct stdio *s, uint64_t token)
{
	const struct stdio_pump *p;

	for (p = s->waiting; p; p = p->next_waiting)
		if (p->token == token)
			return true;
	return false;
}
