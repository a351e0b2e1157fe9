// SPDX-License-Identifier: GPL-2.0-only
/* The queues: packets from the guest, and to it. */
#include <linux/eventfd.h>
#include <linux/slab.h>

#include "compat.h"
#include "notify.h"
#include "session.h"

/* They are left alone from here on. */
static void broken(struct session *s, int ret)
{
	if (!s->running)
		return;
	s->running = false;
	session_tell_broken(s, ret);
}

/*
 * Shows the guest what was given back, with one interrupt where both queues have the same. Nobody
 * waits for a packet of its own to be given back: that goes with the next news, before the queue is
 * short of descriptors, or after TX_HOLD at the latest.
 */
static void flush(struct session *s)
{
	const bool due = READ_ONCE(s->tx_due) || s->tx_held >= s->tx.size / 4 ||
			 s->rx.next_used != s->rx.shown_used;
	int tx = 0, rx;

	if (s->tx_held && due) {
		tx = ring_flush(&s->tx);
		s->tx_held = 0;
	} else if (s->tx_held && !timer_pending(&s->tx_timer)) {
		mod_timer(&s->tx_timer, jiffies + TX_HOLD);
	}
	WRITE_ONCE(s->tx_due, false);
	rx = ring_flush(&s->rx);
	if (tx < 0 || rx < 0) {
		broken(s, min(tx, rx));
		return;
	}
	if (tx && rx && s->tx_call == s->rx_call)
		tx = 0;
	s->interrupts += tx + rx;
	if (tx)
		compat_eventfd_signal(s->tx_call);
	if (rx)
		compat_eventfd_signal(s->rx_call);
}

/* In a softirq. */
void vsock_tx_timeout(struct timer_list *timer)
{
	struct session *s = from_timer(s, timer, tx_timer);

	if (!READ_ONCE(s->tx_held))
		return;
	WRITE_ONCE(s->tx_due, true);
	session_wake(s);
}

static u16 flow_type(const struct flow *f)
{
	return f->seq ? VIRTIO_VSOCK_TYPE_SEQPACKET : VIRTIO_VSOCK_TYPE_STREAM;
}

/* ---- from the guest ------------------------------------------------------------------------------------------------ */

/* A packet with the payload that it brings. */
struct incoming {
	struct virtio_vsock_hdr wire;
	struct packet p;
	struct iovec *iov;
	unsigned int iov_n;
};

static void tell_owner(struct session *s, const struct incoming *in)
{
	struct event *e = session_spare_event(s);

	e->ev = (struct microvm_event){ .type = MICROVM_EVENT_PACKET };
	memcpy(e->ev.packet, &in->wire, sizeof(e->ev.packet));
	session_tell(s, e);
}

/* 0, or the reason for the flow's end. */
static int take_data(struct flow *f, const struct incoming *in)
{
	/* After its own end, or over our credit. */
	if ((f->peer_closed & VIRTIO_VSOCK_SHUTDOWN_SEND) || !credit_receive(&f->credit, in->p.len))
		return MICROVM_END_RULES;
	f->from_guest_packets++;
	f->s->from_guest_packets++;
	return flow_from_guest(f, in->iov, in->iov_n, in->p.len, in->p.flags);
}

static void take_for_flow(struct flow *f, const struct incoming *in)
{
	int end = 0;

	if (!credit_heard(&f->credit, in->p.buf_alloc, in->p.fwd_cnt)) {
		flow_end(f, MICROVM_END_RULES);
		return;
	}
	f->asked_more = false;
	switch (in->p.op) {
	case VIRTIO_VSOCK_OP_RESPONSE:
		if (f->held)
			tell_owner(f->s, in);
		else
			end = MICROVM_END_RULES;
		break;
	case VIRTIO_VSOCK_OP_RST:
		end = MICROVM_END_RESET;
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		f->peer_closed |= in->p.flags & VSOCK_SHUTDOWN_BOTH;
		flow_peer_closed(f);
		break;
	case VIRTIO_VSOCK_OP_RW:
		end = take_data(f, in);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		flow_say(f, SAY_CREDIT);
		break;
	default: /* a second REQUEST, and what doesn't exist */
		end = MICROVM_END_RULES;
		break;
	}
	if (end && f->attached)
		flow_end(f, end);
	else if ((f->readable || f->out) && flow_reading(f) && credit_free(&f->credit))
		flow_say(f, SAY_DATA);
}

static void take_packet(struct session *s, const struct incoming *in)
{
	struct flow *f;

	/* Not from this guest, or not for the host: there is nobody to tell (5.10.6.4.1). */
	if (in->p.src_cid != s->guest_cid || in->p.dst_cid != VSOCK_HOST_CID)
		return;
	f = flow_find(s, in->p.src_port, in->p.dst_port);
	/* One of another type is the owner's to answer. */
	if (f && in->p.type != flow_type(f))
		f = NULL;
	if (f)
		take_for_flow(f, in);
	else
		tell_owner(s, in);
}

static int serve_chain(struct session *s, struct ring_chain *c)
{
	struct incoming in;
	int ret;

	if (c->in_n || c->out_bytes < VSOCK_HDR_LEN)
		return -EPROTO;
	ret = iov_read(&in.wire, c->iov, c->out_n, VSOCK_HDR_LEN);
	if (ret)
		return ret;
	packet_decode(&in.p, &in.wire);
	if (in.p.len > c->out_bytes - VSOCK_HDR_LEN)
		return -EPROTO;
	in.iov = c->iov;
	in.iov_n = iov_cut(&in.iov, c->out_n, VSOCK_HDR_LEN, in.p.len);
	take_packet(s, &in);
	WRITE_ONCE(s->tx_held, s->tx_held + c->out_n);
	return ring_push(&s->tx, c->head, 0);
}

/* true: there is more. */
static bool serve_tx(struct session *s)
{
	struct ring_chain c;
	unsigned int i;
	int ret = ring_kicks_off(&s->tx);

	for (i = 0; !ret && i < TX_BUDGET; i++) {
		/* A packet may be the owner's. The owner's next read wakes us. */
		if (!session_spare_event(s))
			break;
		ret = ring_pop(&s->tx, &c, s->tx_iov, TX_SEGMENTS);
		if (ret <= 0)
			break;
		ret = serve_chain(s, &c);
	}
	if (!ret && session_spare_event(s))
		ret = i < TX_BUDGET ? ring_kicks_on(&s->tx) : 1;
	if (ret < 0)
		broken(s, ret);
	return ret > 0;
}

/* ---- to the guest -------------------------------------------------------------------------------------------------- */

/* Takes a buffer that has room for a header and min_payload. 1; 0: none is there; or negative errno. */
static int take_buffer(struct session *s, struct ring_chain *c, struct iovec *iov, u32 min_payload)
{
	int ret = ring_pop(&s->rx, c, iov, RX_SEGMENTS);

	if (ret > 0 && (c->out_n || c->in_bytes < VSOCK_HDR_LEN + min_payload))
		ret = -EPROTO;
	return ret;
}

static int put_header(struct session *s, const struct ring_chain *c,
		      const struct virtio_vsock_hdr *h, u32 payload)
{
	int ret = iov_write(c->iov, c->in_n, h, sizeof(*h));

	return ret ?: ring_push(&s->rx, c->head, VSOCK_HDR_LEN + payload);
}

/* A header of the flow; tells the guest our credit as every packet does. */
static void make_header(struct flow *f, u16 op, u32 flags, u32 len, struct virtio_vsock_hdr *h)
{
	const struct packet p = {
		.src_cid = VSOCK_HOST_CID,
		.dst_cid = f->s->guest_cid,
		.src_port = f->host_port,
		.dst_port = f->guest_port,
		.type = flow_type(f),
		.op = op,
		.flags = flags,
		.len = len,
		.buf_alloc = f->credit.buf_alloc,
		.fwd_cnt = f->credit.forwarded,
	};

	f->credit.told = f->credit.forwarded;
	flow_unsay(f, SAY_CREDIT);
	packet_encode(&p, h);
}

static int send_header(struct session *s, const struct virtio_vsock_hdr *h)
{
	struct iovec iov[RX_SEGMENTS];
	struct ring_chain c;
	int ret = take_buffer(s, &c, iov, 0);

	if (ret <= 0)
		return ret;
	return put_header(s, &c, h, 0) ?: 1;
}

/* 1: one thing was said; 0: no buffer; or negative errno. */
static int say_control(struct flow *f)
{
	struct virtio_vsock_hdr h;
	unsigned int what;
	int ret;

	if (f->say & SAY_CREDIT) {
		what = SAY_CREDIT;
		make_header(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, 0, &h);
	} else if (f->say & SAY_MORE) {
		what = SAY_MORE;
		make_header(f, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0, 0, &h);
	} else {
		what = SAY_SHUTDOWN;
		make_header(f, VIRTIO_VSOCK_OP_SHUTDOWN, f->closed, 0, &h);
	}
	ret = send_header(f->s, &h);
	if (ret > 0)
		flow_unsay(f, what);
	else
		flow_say(f, what);
	return ret;
}

static int gather(struct session *s, unsigned int max, u32 credit)
{
	struct batch *b = s->batch;
	struct iovec *payload;
	unsigned int n;
	int ret;

	b->n = 0;
	b->iov_n = 0;
	b->payload_n = 0;
	while (b->n < max && credit) {
		struct ring_chain *c = &b->chains[b->n];

		ret = take_buffer(s, c, &b->iov[b->iov_n], 1);
		if (ret <= 0)
			return ret;
		b->room[b->n] = min3(c->in_bytes - VSOCK_HDR_LEN, RX_PACKET_MAX, credit);
		payload = &b->payload[b->payload_n];
		memcpy(payload, c->iov, c->in_n * sizeof(*payload));
		n = iov_cut(&payload, c->in_n, VSOCK_HDR_LEN, b->room[b->n]);
		memmove(&b->payload[b->payload_n], payload, n * sizeof(*payload));
		b->payload_n += n;
		credit -= b->room[b->n];
		b->iov_n += c->in_n;
		b->n++;
	}
	return 0;
}

static void count_sent(struct flow *f, u32 len)
{
	f->credit.sent += len;
	f->to_guest_bytes += len;
	f->s->to_guest_bytes += len;
	f->to_guest_packets++;
	f->s->to_guest_packets++;
}

/* Gives len bytes that are in the batch's buffers to the guest, the other buffers back to the queue. Packets, or errno. */
static int deliver(struct flow *f, u32 len)
{
	struct session *s = f->s;
	struct batch *b = s->batch;
	struct virtio_vsock_hdr h;
	unsigned int i;
	int ret = 0;
	u32 part;

	for (i = 0; !ret && i < b->n && len; i++) {
		part = min(len, b->room[i]);
		make_header(f, VIRTIO_VSOCK_OP_RW, 0, part, &h);
		ret = put_header(s, &b->chains[i], &h, part);
		count_sent(f, part);
		len -= part;
	}
	ring_unpop(&s->rx, b->n - i);
	return ret ?: i;
}

/* News of credit bring it back; asked for once, should the guest not give them by itself. */
static void wait_for_credit(struct flow *f)
{
	flow_unsay(f, SAY_DATA);
	if (!f->asked_more)
		flow_say(f, SAY_MORE);
	f->asked_more = true;
}

/* A read gave nothing: the stream's end, or all for now. */
static void read_nothing(struct flow *f, int got)
{
	f->readable = false;
	flow_unsay(f, SAY_DATA);
	if (!got)
		flow_host_eof(f);
	else if (got == -EMSGSIZE)
		flow_end(f, MICROVM_END_MEMORY);
	else if (got < 0 && got != -EAGAIN)
		flow_host_gone(f);
}

/* One packet of f->out, len bytes at most. 1; 0: no buffer; or negative errno. */
static int say_part(struct flow *f, u32 len)
{
	struct session *s = f->s;
	struct virtio_vsock_hdr h;
	struct iovec iov[RX_SEGMENTS], *payload = iov;
	struct ring_chain c;
	unsigned int n;
	int ret = take_buffer(s, &c, iov, 1);

	if (ret <= 0)
		return ret;
	len = min3(c.in_bytes - VSOCK_HDR_LEN, RX_PACKET_MAX, len);
	make_header(f, VIRTIO_VSOCK_OP_RW, f->out_at + len == f->out_len ? f->out_flags : 0, len,
		    &h);
	ret = put_header(s, &c, &h, len);
	n = iov_cut(&payload, c.in_n, VSOCK_HDR_LEN, len);
	ret = ret ?: iov_write(payload, n, f->out + f->out_at, len);
	if (ret)
		return ret;
	f->out_at += len;
	count_sent(f, len);
	return 1;
}

/* As say_data(), of messages. */
static int say_message(struct flow *f)
{
	int ret = f->out ? 1 : message_read(f), sent = 0;
	u32 credit;

	if (ret <= 0) {
		read_nothing(f, ret);
		return 0;
	}
	while (f->out_at < f->out_len) {
		credit = credit_free(&f->credit);
		if (!credit) {
			wait_for_credit(f);
			return sent;
		}
		ret = say_part(f, min(credit, f->out_len - f->out_at));
		if (ret <= 0)
			return ret ?: -ENOBUFS;
		sent++;
	}
	message_sent(f);
	return sent;
}

/* Reads from the stream into the guest's buffers. Packets sent, -ENOBUFS when there were no buffers, or another errno. */
static int say_data(struct flow *f)
{
	struct session *s = f->s;
	struct batch *b = s->batch;
	u32 credit = min(credit_free(&f->credit), f->turn_bytes), room = 0;
	int ret, got, sent;
	unsigned int i;

	if (!credit) {
		wait_for_credit(f);
		return 0;
	}
	ret = gather(s, f->batch, credit);
	if (ret < 0)
		return ret;
	if (!b->n)
		return -ENOBUFS;
	for (i = 0; i < b->n; i++)
		room += b->room[i];
	got = flow_read(f, b->payload, b->payload_n, room);
	sent = deliver(f, max(got, 0));
	if (sent < 0 || got == -EFAULT)
		return sent < 0 ? sent : got;
	if (got > 0)
		f->batch = got == room ? min(f->batch * 2, RX_BATCH) : max(sent, 1);
	/* Where it is not known that an end comes, a short count says that this is all. */
	if (got > 0 && (got == room || READ_ONCE(f->ending)))
		return sent;
	/* All that there is, or nothing. */
	read_nothing(f, got > 0 ? -EAGAIN : got);
	return sent;
}

/* 1: all was said; 0: no buffers; or negative errno. */
static int say_written(struct session *s)
{
	int ret = 1;

	while (s->packets_n) {
		ret = send_header(s, &s->packets[s->packets_at]);
		if (ret <= 0)
			break;
		if (s->packets_n-- == PACKETS_MAX)
			wake_up_interruptible_poll(&s->readers, EPOLLOUT | EPOLLWRNORM);
		s->packets_at = (s->packets_at + 1) % PACKETS_MAX;
	}
	return ret;
}

/* Until nobody has anything to say (1), buffers are out (0), or the budget is (1). */
static int say_all(struct session *s)
{
	int budget = RX_BUDGET, ret = say_written(s);
	struct flow *f;

	while (ret > 0 && budget > 0 && !list_empty(&s->saying)) {
		f = list_first_entry(&s->saying, struct flow, saying);
		if ((f->say & (SAY_CREDIT | SAY_MORE)) || !(f->say & SAY_DATA)) {
			ret = say_control(f);
			budget--;
			continue;
		}
		ret = f->seq ? say_message(f) : say_data(f);
		if (ret == -ENOBUFS)
			return 0;
		if (ret < 0)
			return ret;
		budget -= ret + 1;
		/* The others first. */
		if (!list_empty(&f->saying))
			list_move_tail(&f->saying, &s->saying);
		ret = 1;
	}
	return ret;
}

/* true: there is more to do. */
static bool serve_rx(struct session *s)
{
	int ret = say_all(s);

	/* Where buffers are out the driver's next ones must wake us; else its refills need not. */
	if (!ret)
		ret = ring_kicks_on(&s->rx);
	else if (ret > 0)
		ret = list_empty(&s->saying) ? ring_kicks_off(&s->rx) : 1;
	if (ret < 0)
		broken(s, ret);
	return ret > 0;
}

bool vsock_serve(struct session *s)
{
	bool more = false;

	flow_serve_ready(s);
	if (s->running)
		more = serve_tx(s);
	if (s->running)
		more |= serve_rx(s);
	if (s->running)
		flush(s);
	return more && s->running;
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

int vsock_set(struct session *s, const struct microvm_vsock *v)
{
	int ret;

	/* Also after the guest broke the rules: what it left is to be stopped first. */
	if (s->tx_call)
		return -EBUSY;
	if (v->guest_cid <= VSOCK_HOST_CID || v->guest_cid >= U32_MAX)
		return -EINVAL;
	ret = ring_init(&s->rx, &s->mem, &v->rx, v->features);
	if (!ret)
		ret = ring_init(&s->tx, &s->mem, &v->tx, v->features);
	if (!ret)
		ret = call_set(&s->rx_call, v->rx.call_fd);
	if (!ret)
		ret = call_set(&s->tx_call, v->tx.call_fd);
	if (!ret)
		ret = kick_set(s, &s->rx_kick, v->rx.kick_fd);
	if (!ret)
		ret = kick_set(s, &s->tx_kick, v->tx.kick_fd);
	if (ret) {
		vsock_stop(s);
		return ret;
	}
	s->guest_cid = v->guest_cid;
	s->running = true;
	/* What is in the queues already. */
	session_wake(s);
	return 0;
}

void vsock_stop(struct session *s)
{
	struct flow *f, *next;

	s->running = false;
	del_timer_sync(&s->tx_timer);
	s->tx_held = 0;
	kick_clear(&s->rx_kick);
	kick_clear(&s->tx_kick);
	call_clear(&s->rx_call);
	call_clear(&s->tx_call);
	s->packets_n = 0;
	session_drop_events(s);
	list_for_each_entry_safe(f, next, &s->flows, all) {
		if (f->attached)
			flow_drop(f);
	}
}

int vsock_write_packet(struct session *s, const struct virtio_vsock_hdr *h)
{
	struct packet p;

	packet_decode(&p, h);
	if (p.len)
		return -EINVAL;
	if (!s->running)
		return -ENXIO;
	if (s->packets_n == PACKETS_MAX)
		return -EAGAIN;
	s->packets[(s->packets_at + s->packets_n++) % PACKETS_MAX] = *h;
	s->written++;
	session_wake(s);
	return 0;
}
