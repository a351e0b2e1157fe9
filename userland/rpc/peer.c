/* SPDX-License-Identifier: Apache-2.0 */
/* The stream of a ttrpc peer: bytes to frames, frames to bytes, and an orderly end. */
#include "rpc/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/util.h"

#define IN_START 4096u
/* Past this much unsent, nothing more is read: a peer that sends requests but takes no answers waits for itself. */
#define OUT_PAUSE (256u << 10)
/* Past this the stream is given up: answers that were already being worked on when reading stopped. */
#define OUT_MAX (16u << 20)
#define BUF_KEEP (64u << 10)
#define LINGER_NS 1000000000ull

void peer_ref(struct ttrpc_peer *p)
{
	p->refs++;
}

void peer_unref(struct ttrpc_peer *p)
{
	if (--p->refs)
		return;
	close(p->fd);
	free(p->in.data);
	free(p->sending.data);
	free(p->pending.data);
	free(p);
}

static void buf_reserve(struct peer_buf *b, size_t more)
{
	size_t want = b->len + more, cap = b->cap ? b->cap : IN_START;

	while (cap < want)
		cap *= 2;
	if (cap == b->cap)
		return;
	b->data = xreallocarray(b->data, cap, 1);
	b->cap = cap;
}

/* A large frame has passed: its room is not kept. */
static void buf_trim(struct peer_buf *b)
{
	if (b->len || b->cap <= BUF_KEEP)
		return;
	free(b->data);
	*b = (struct peer_buf){ 0 };
}

static size_t out_bytes(const struct ttrpc_peer *p)
{
	return p->pending.len + p->sending.len - p->sent_bytes;
}

/* ---- sending ------------------------------------------------------------------------------------ */

static void send_more(struct ttrpc_peer *p)
{
	if (p->ended || loop_op_busy(&p->send_op))
		return;
	if (p->sent_bytes == p->sending.len) {
		struct peer_buf b = p->sending;

		b.len = 0;
		p->sent_bytes = 0;
		p->sending = p->pending;
		p->pending = b;
		buf_trim(&p->pending);
	}
	if (!p->sending.len) {
		if (p->finishing)
			shutdown(p->fd, SHUT_WR);
		if (p->ending)
			loop_cancel(p->loop, &p->linger_op);
		if (p->ending && !loop_op_busy(&p->end_op)) {
			peer_ref(p);
			loop_defer(p->loop, &p->end_op);
		}
		return;
	}
	peer_ref(p);
	loop_send(p->loop, &p->send_op, p->fd, p->sending.data + p->sent_bytes, p->sending.len - p->sent_bytes, 0);
}

int peer_send(struct ttrpc_peer *p, enum ttrpc_type type, uint32_t stream_id, const ProtobufCMessage *body)
{
	size_t len = protobuf_c_message_get_packed_size(body);
	struct ttrpc_header h = { .len_bytes = len, .stream_id = stream_id, .type = type };

	if (len > TTRPC_BODY_MAX)
		return -EMSGSIZE;
	if (p->finishing || p->ending || p->freed)
		return -EPIPE;
	if (out_bytes(p) + len > OUT_MAX) {
		peer_end(p, -ENOBUFS);
		return -EPIPE;
	}
	buf_reserve(&p->pending, TTRPC_HEADER_LEN + len);
	ttrpc_header_encode(&h, p->pending.data + p->pending.len);
	p->pending.len += TTRPC_HEADER_LEN;
	p->pending.len += protobuf_c_message_pack(body, p->pending.data + p->pending.len);
	send_more(p);
	return 0;
}

/* ---- receiving ---------------------------------------------------------------------------------- */

static void frame(struct ttrpc_peer *p, const struct ttrpc_header *h, const uint8_t *body)
{
	if (h->type == TTRPC_RESPONSE || (h->type == TTRPC_DATA && client_has_call(p, h->stream_id)))
		client_frame(p, h, body);
	else
		server_frame(p, h, body);
}

/* Takes the whole frames that are there. */
static void take_frames(struct ttrpc_peer *p)
{
	size_t used = 0;

	while (!p->ending && !p->freed && p->in.len - used >= TTRPC_HEADER_LEN && out_bytes(p) < OUT_PAUSE) {
		struct ttrpc_header h;
		int r = ttrpc_header_decode(p->in.data + used, &h);

		if (r) {
			if (r == -EMSGSIZE && h.type == TTRPC_REQUEST && p->config.services_n)
				server_refuse(p, h.stream_id, TTRPC_RESOURCE_EXHAUSTED,
					      "request is over the limit of 4 MiB");
			peer_end(p, r);
			break;
		}
		if (p->in.len - used < TTRPC_HEADER_LEN + h.len_bytes)
			break;
		frame(p, &h, p->in.data + used + TTRPC_HEADER_LEN);
		used += TTRPC_HEADER_LEN + h.len_bytes;
	}
	if (used)
		memmove(p->in.data, p->in.data + used, p->in.len - used);
	p->in.len -= used;
}

static void read_more(struct ttrpc_peer *p)
{
	if (p->ending || p->freed || loop_op_busy(&p->recv_op))
		return;
	take_frames(p);
	if (p->ending || p->freed || out_bytes(p) >= OUT_PAUSE)
		return;
	buf_trim(&p->in);
	/* Room is doubled as bytes come, never made for what a header only promises. */
	if (p->in.cap - p->in.len < IN_START / 2)
		buf_reserve(&p->in, IN_START / 2);
	peer_ref(p);
	loop_recv(p->loop, &p->recv_op, p->fd, p->in.data + p->in.len, p->in.cap - p->in.len, 0);
}

static void recv_done(struct loop_op *op, int res)
{
	struct ttrpc_peer *p = container_of(op, struct ttrpc_peer, recv_op);

	if (res > 0) {
		p->in.len += res;
		read_more(p);
	} else if (res == -EINTR || res == -EAGAIN) {
		read_more(p);
	} else if (res == 0) {
		peer_end(p, p->in.len ? -ECONNRESET : 0); /* an end within a frame is none of the peer's choice */
	} else {
		peer_end(p, res);
	}
	peer_unref(p);
}

static void send_done(struct loop_op *op, int res)
{
	struct ttrpc_peer *p = container_of(op, struct ttrpc_peer, send_op);

	if (res == -EINTR || res == -EAGAIN)
		res = 0;
	if (res < 0) {
		p->sent_bytes = p->sending.len;
		p->pending.len = 0;
		peer_end(p, res);
	} else {
		p->sent_bytes += res;
	}
	if (!p->freed) {
		send_more(p);
		read_more(p);
	}
	peer_unref(p);
}

/* ---- the end ------------------------------------------------------------------------------------ */

void peer_end(struct ttrpc_peer *p, int reason)
{
	if (p->ending || p->freed)
		return;
	p->ending = true;
	p->reason = reason;
	if (out_bytes(p)) {
		peer_ref(p);
		loop_timer(p->loop, &p->linger_op, LINGER_NS);
	}
	send_more(p);
}

static void stop_operations(struct ttrpc_peer *p)
{
	shutdown(p->fd, SHUT_RDWR);
	loop_cancel(p->loop, &p->recv_op);
	loop_cancel(p->loop, &p->send_op);
	loop_cancel(p->loop, &p->linger_op);
}

static void end_done(struct loop_op *op, int res)
{
	struct ttrpc_peer *p = container_of(op, struct ttrpc_peer, end_op);

	if (!p->freed && !p->ended) {
		p->ended = true;
		stop_operations(p);
		server_end(p);
		client_end(p, p->reason ? p->reason : -EPIPE);
		if (!p->freed && p->config.closed)
			p->config.closed(p, p->reason, p->config.arg);
	}
	peer_unref(p);
}

static void linger_done(struct loop_op *op, int res)
{
	struct ttrpc_peer *p = container_of(op, struct ttrpc_peer, linger_op);

	if (!p->freed && !p->ended && !loop_op_busy(&p->end_op)) {
		peer_ref(p);
		loop_defer(p->loop, &p->end_op);
	}
	peer_unref(p);
}

int ttrpc_peer_new(struct ttrpc_peer **out, struct loop *loop, int fd, const struct ttrpc_peer_config *config)
{
	int flags = fcntl(fd, F_GETFL), r;
	struct ttrpc_peer *p;

	if (flags < 0)
		return -errno;
	/* The ring waits by itself, but answers -EAGAIN for a file that asked not to wait. */
	if ((flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return -errno;
	r = loop_add_fd(loop, fd);
	if (r < 0)
		return r;
	p = xcalloc(1, sizeof(*p));
	p->loop = loop;
	p->fd = fd;
	p->config = *config;
	p->refs = 1;
	p->next_id = 1;
	loop_op_init(&p->recv_op, recv_done);
	loop_op_init(&p->send_op, send_done);
	loop_op_init(&p->end_op, end_done);
	loop_op_init(&p->linger_op, linger_done);
	*out = p;
	read_more(p);
	return 0;
}

void ttrpc_peer_free(struct ttrpc_peer *p)
{
	if (!p || p->freed)
		return;
	p->freed = true;
	if (!p->ended) {
		stop_operations(p);
		p->ended = true;
		server_end(p);
		client_end(p, -ECANCELED);
	}
	loop_del_fd(p->loop, p->fd);
	peer_unref(p);
}

void ttrpc_peer_finish(struct ttrpc_peer *p)
{
	if (p->finishing || p->ending || p->freed)
		return;
	p->finishing = true;
	send_more(p);
}
