// SPDX-License-Identifier: GPL-2.0-only
/* Flows: their table, their beginning and end. */
#include <linux/hash.h>
#include <linux/slab.h>

#include "session.h"

#define BUF_ALLOC_MAX (1u << 20)

static struct hlist_head *bucket(struct session *s, u32 guest_port, u32 host_port)
{
	return &s->buckets[hash_64((u64)guest_port << 32 | host_port, ilog2(FLOW_BUCKETS))];
}

struct flow *flow_find(struct session *s, u32 guest_port, u32 host_port)
{
	struct flow *f;

	hlist_for_each_entry(f, bucket(s, guest_port, host_port), hash)
		if (f->guest_port == guest_port && f->host_port == host_port)
			return f;
	return NULL;
}

void flow_say(struct flow *f, unsigned int what)
{
	if (!f->attached)
		return;
	f->say |= what;
	if (list_empty(&f->saying))
		list_add_tail(&f->saying, &f->s->saying);
}

void flow_unsay(struct flow *f, unsigned int what)
{
	f->say &= ~what;
	if (!f->say)
		list_del_init(&f->saying);
}

static void release(struct flow *f)
{
	flow_let_stream_go(f);
	message_sent(f);
	if (f->buf)
		flow_buffer_free(f);
	kfree(f);
}

int flow_attach(struct session *s, const struct microvm_flow *from)
{
	struct flow *f;
	int ret;

	if (!s->running)
		return -ENXIO;
	if (from->flags || from->buf_alloc < BUFFER_MIN || from->buf_alloc > BUF_ALLOC_MAX ||
	    ((from->closed | from->peer_closed) & ~VSOCK_SHUTDOWN_BOTH) || from->pending_bytes)
		return -EINVAL;
	if (flow_find(s, from->guest_port, from->host_port))
		return -EEXIST;
	if (s->flows_n >= FLOWS_MAX)
		return -ENOSPC;
	f = kzalloc(sizeof(*f), GFP_KERNEL_ACCOUNT);
	if (!f)
		return -ENOMEM;
	f->s = s;
	INIT_LIST_HEAD(&f->saying);
	INIT_LIST_HEAD(&f->ready);
	INIT_LIST_HEAD(&f->end.node);
	f->end.flow = f;
	f->guest_port = from->guest_port;
	f->host_port = from->host_port;
	f->cookie = from->cookie;
	f->turn_bytes = from->turn_bytes ?: TURN_BYTES;
	f->credit = (struct credit){
		.buf_alloc = from->buf_alloc,
		.received = from->received,
		.forwarded = from->forwarded,
		.told = from->forwarded,
		.peer_buf_alloc = from->peer_buf_alloc,
		.peer_forwarded = from->peer_forwarded,
		.sent = from->sent,
	};
	f->closed = from->closed;
	f->peer_closed = from->peer_closed;
	f->held = true;
	f->attached = true;
	f->batch = 1;
	ret = credit_sane(&f->credit) ? flow_take_stream(f, from->fd) : -EINVAL;
	if (ret) {
		release(f);
		return ret;
	}
	if (!f->sock)
		f->closed |= VIRTIO_VSOCK_SHUTDOWN_SEND;
	hlist_add_head(&f->hash, bucket(s, f->guest_port, f->host_port));
	list_add_tail(&f->all, &s->flows);
	s->flows_n++;
	return 0;
}

int flow_start(struct session *s, const struct microvm_flow_id *id)
{
	struct flow *f = flow_find(s, id->guest_port, id->host_port);

	if (!f)
		return -ENOENT;
	if (!f->held)
		return -EBUSY;
	f->held = false;
	flow_set_interest(f);
	flow_listen(f);
	/* A pipe gives nothing. */
	if (!f->sock)
		flow_say(f, SAY_SHUTDOWN);
	if (f->peer_closed)
		flow_peer_closed(f);
	/* What came while it was held, and what the stream has. */
	flow_mark_ready(f);
	return 0;
}

void flow_describe(const struct flow *f, struct microvm_flow *out)
{
	*out = (struct microvm_flow){
		.guest_port = f->guest_port,
		.host_port = f->host_port,
		.cookie = f->cookie,
		.fd = -1,
		.buf_alloc = f->credit.buf_alloc,
		.received = f->credit.received,
		.forwarded = f->credit.forwarded,
		.peer_buf_alloc = f->credit.peer_buf_alloc,
		.peer_forwarded = f->credit.peer_forwarded,
		.sent = f->credit.sent,
		.closed = f->closed,
		.peer_closed = f->peer_closed,
		.pending_bytes = f->len,
		.turn_bytes = f->turn_bytes,
		.to_guest_bytes = f->to_guest_bytes,
		.from_guest_bytes = f->from_guest_bytes,
		.to_guest_packets = f->to_guest_packets,
		.from_guest_packets = f->from_guest_packets,
	};
}

/* Out of the guest's sight. */
static void leave_guest(struct flow *f)
{
	f->attached = false;
	hlist_del_init(&f->hash);
	f->say = 0;
	list_del_init(&f->saying);
	message_sent(f);
	message_drop_open(f);
	/* What was never started has nobody to read it. */
	if (f->held && f->buf)
		flow_buffer_free(f);
	flow_set_interest(f);
	if (!f->len)
		flow_let_stream_go(f);
}

void flow_end(struct flow *f, enum microvm_flow_end reason)
{
	f->end.ev = (struct microvm_event){ .type = MICROVM_EVENT_FLOW_END, .reason = reason };
	flow_describe(f, &f->end.ev.flow);
	leave_guest(f);
	session_tell(f->s, &f->end);
}

void flow_forget(struct flow *f)
{
	f->reported = true;
	if (!f->file)
		flow_free(f);
}

void flow_drop(struct flow *f)
{
	leave_guest(f);
	flow_forget(f);
}

int flow_detach(struct session *s, struct microvm_flow *out)
{
	struct flow *f = flow_find(s, out->guest_port, out->host_port);

	if (!f)
		return -ENOENT;
	flow_describe(f, out);
	flow_drop(f);
	return 0;
}

void flow_free(struct flow *f)
{
	hlist_del_init(&f->hash);
	list_del_init(&f->saying);
	list_del_init(&f->end.node);
	list_del(&f->all);
	f->s->flows_n--;
	release(f);
}
