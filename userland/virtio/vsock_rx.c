/* SPDX-License-Identifier: Apache-2.0 */
/* Packets to the guest. A flow that has something to say stands in v->saying; its turn comes round robin. */
#include <errno.h>
#include <sys/socket.h>

#include "base/util.h"
#include "virtio/iov.h"
#include "virtio/vsock.h"

#define RX_SEGMENTS 4u /* of one buffer; Linux gives one or two */
#define RX_BATCH 16u   /* buffers filled by one recvmsg */
#define RX_BUDGET 128u /* packets before the loop has its turn */
#define RX_PACKET_MAX (64u << 10)

void vsock_say(struct vsock_flow *f, unsigned int what)
{
	struct vsock *v = f->v;

	if (f->state >= VSOCK_DRAINING)
		return;
	f->say |= what;
	if (!f->say_next) {
		f->say_next = &v->saying;
		f->say_prev = v->saying.say_prev;
		f->say_prev->say_next = f;
		v->saying.say_prev = f;
	}
	/* In the next round, so that all of one round share a notification. */
	if (v->active && !loop_op_busy(&v->pump_op))
		loop_defer(v->dev.loop, &v->pump_op);
}

void vsock_unsay(struct vsock_flow *f, unsigned int what)
{
	f->say &= ~what;
	if (f->say || !f->say_next)
		return;
	f->say_prev->say_next = f->say_next;
	f->say_next->say_prev = f->say_prev;
	f->say_next = f->say_prev = NULL;
}

/* To the end of the line: the others first. */
static void rotate(struct vsock_flow *f)
{
	unsigned int say = f->say;

	vsock_unsay(f, say);
	vsock_say(f, say);
}

void vsock_reset_packet(struct vsock *v, const struct vsock_packet *p)
{
	v->resets[(v->resets_at + v->resets_n++) % VSOCK_RESETS_MAX] = (struct vsock_reset){
		.type = p->type,
		.guest_port = p->src_port,
		.host_port = p->dst_port,
		.host_cid = p->dst_cid,
	};
	if (v->active && !loop_op_busy(&v->pump_op))
		loop_defer(v->dev.loop, &v->pump_op);
}

/* Takes a buffer that has room for a header and min_payload. false: none is there, or the driver broke the rules. */
static bool take_buffer(struct vsock *v, struct virtq_chain *c, struct iovec *iov, unsigned int min_payload)
{
	if (!virtio_pop(&v->dev, VSOCK_RX, c, iov, RX_SEGMENTS))
		return false;
	if (!c->out_n && c->in_bytes >= VSOCK_HDR_LEN + min_payload)
		return true;
	virtio_broken(&v->dev, "receive buffer is readable or smaller than a packet");
	return false;
}

static void put_header(struct vsock *v, const struct virtq_chain *c, const struct vsock_packet *p)
{
	uint8_t wire[VSOCK_HDR_LEN];

	vsock_packet_encode(p, wire);
	iov_put(c->iov, c->in_n, 0, wire, sizeof(wire));
	virtq_push(v->dev.vq[VSOCK_RX], c->head, VSOCK_HDR_LEN + p->len_bytes);
}

/* A packet without payload. false: there is no buffer for it. */
static bool send_header(struct vsock *v, const struct vsock_packet *p)
{
	struct iovec iov[RX_SEGMENTS];
	struct virtq_chain c;

	if (v->module_fd >= 0)
		return vsock_module_send(v, p);
	if (!take_buffer(v, &c, iov, 0))
		return false;
	put_header(v, &c, p);
	return true;
}

/* A header of the flow; tells the guest our credit as every packet does. */
static struct vsock_packet header(struct vsock_flow *f, uint16_t op, uint32_t flags, uint32_t len_bytes)
{
	f->credit.told = f->credit.forwarded;
	return (struct vsock_packet){
		.src_cid = VSOCK_HOST_CID,
		.dst_cid = f->v->guest_cid,
		.src_port = f->host_port,
		.dst_port = f->guest_port,
		.type = vsock_type(f),
		.op = op,
		.flags = flags,
		.len_bytes = len_bytes,
		.buf_alloc = f->credit.buf_alloc,
		.fwd_cnt = f->credit.forwarded,
	};
}

/* Control packets in the order in which they make sense to the guest. Data stands between MORE and SHUTDOWN. */
static const struct {
	unsigned int say;
	uint16_t op;
} controls[] = {
	{ VSOCK_SAY_REQUEST, VIRTIO_VSOCK_OP_REQUEST },	     { VSOCK_SAY_RESPONSE, VIRTIO_VSOCK_OP_RESPONSE },
	{ VSOCK_SAY_CREDIT, VIRTIO_VSOCK_OP_CREDIT_UPDATE }, { VSOCK_SAY_MORE, VIRTIO_VSOCK_OP_CREDIT_REQUEST },
	{ VSOCK_SAY_SHUTDOWN, VIRTIO_VSOCK_OP_SHUTDOWN },    { VSOCK_SAY_RST, VIRTIO_VSOCK_OP_RST },
};

/* Says one thing other than data. false: no buffer. */
static bool say_control(struct vsock_flow *f)
{
	struct vsock_packet p;
	size_t i;

	/* Nothing counts beside the end. */
	if (f->say & VSOCK_SAY_RST)
		f->say = VSOCK_SAY_RST;
	for (i = 0; i < ARRAY_SIZE(controls) && !(f->say & controls[i].say); i++)
		;
	p = header(f, controls[i].op, controls[i].say == VSOCK_SAY_SHUTDOWN ? f->closed : 0, 0);
	if (!send_header(f->v, &p))
		return false;
	if (controls[i].say == VSOCK_SAY_RST) {
		vsock_detach(f);
		return true;
	}
	vsock_unsay(f, controls[i].say | VSOCK_SAY_CREDIT);
	if (controls[i].say == VSOCK_SAY_RESPONSE && f->in_module)
		vsock_module_open(f);
	if (controls[i].say == VSOCK_SAY_REQUEST ||
	    (controls[i].say == VSOCK_SAY_SHUTDOWN && f->closed == VSOCK_SHUTDOWN_BOTH))
		vsock_set_timer(f);
	return true;
}

/* Buffers that one recvmsg fills behind their headers. */
struct batch {
	unsigned int n, iov_n, payload_n;
	uint32_t room[RX_BATCH];
	struct virtq_chain chains[RX_BATCH];
	struct iovec iov[RX_BATCH * RX_SEGMENTS];     /* whole buffers */
	struct iovec payload[RX_BATCH * RX_SEGMENTS]; /* without headers, within credit */
};

static void gather(struct vsock *v, struct batch *b, unsigned int max, uint32_t credit)
{
	b->n = b->iov_n = b->payload_n = 0;
	while (b->n < max && credit) {
		struct virtq_chain *c = &b->chains[b->n];
		struct iovec *part = &b->payload[b->payload_n];
		unsigned int n;

		if (!take_buffer(v, c, &b->iov[b->iov_n], 1))
			return;
		n = c->in_n;
		memcpy(part, c->iov, n * sizeof(*part));
		part = iov_advance(part, &n, VSOCK_HDR_LEN);
		memmove(&b->payload[b->payload_n], part, n * sizeof(*part));
		b->room[b->n] = min_t(uint32_t, c->in_bytes - VSOCK_HDR_LEN, RX_PACKET_MAX);
		b->room[b->n] = min_t(uint32_t, b->room[b->n], credit);
		b->payload_n += iov_truncate(&b->payload[b->payload_n], n, b->room[b->n]);
		credit -= b->room[b->n];
		b->iov_n += c->in_n;
		b->n++;
	}
}

/* Gives len bytes that are in the batch's buffers to the guest, the other buffers back to the queue. */
static unsigned int deliver(struct vsock_flow *f, struct batch *b, uint32_t len)
{
	struct vsock_packet p;
	unsigned int i;
	uint32_t part;

	f->credit.sent += len;
	for (i = 0; i < b->n && len; i++) {
		part = min_t(uint32_t, len, b->room[i]);
		p = header(f, VIRTIO_VSOCK_OP_RW, 0, part);
		put_header(f->v, &b->chains[i], &p);
		len -= part;
	}
	virtq_unpop(f->v->dev.vq[VSOCK_RX], b->n - i);
	return i;
}

uint32_t vsock_put_data(struct vsock_flow *f, const uint8_t *data, uint32_t len_bytes, uint32_t last_flags)
{
	struct iovec iov[RX_SEGMENTS];
	struct virtq_chain c;
	struct vsock_packet p;
	uint32_t part;

	if (!take_buffer(f->v, &c, iov, 1))
		return 0;
	part = min_t(uint32_t, c.in_bytes - VSOCK_HDR_LEN, RX_PACKET_MAX);
	part = min_t(uint32_t, part, len_bytes);
	p = header(f, VIRTIO_VSOCK_OP_RW, part == len_bytes ? last_flags : 0, part);
	iov_put(c.iov, c.in_n, VSOCK_HDR_LEN, data, part);
	put_header(f->v, &c, &p);
	f->credit.sent += part;
	vsock_unsay(f, VSOCK_SAY_CREDIT);
	return part;
}

/* Reads from the socket into the guest's buffers. Packets sent; -ENOBUFS when there were no buffers. */
static int say_data(struct vsock_flow *f)
{
	uint32_t credit = vsock_credit_free(&f->credit), room = 0;
	struct msghdr msg = { .msg_iov = NULL };
	unsigned int i, sent;
	struct batch b;
	ssize_t got;

	if (!credit) {
		/* News of credit bring it back; asked for once, should the guest not give them by itself. */
		vsock_unsay(f, VSOCK_SAY_DATA);
		if (!f->asked_more)
			vsock_say(f, VSOCK_SAY_MORE);
		f->asked_more = true;
		return 0;
	}
	gather(f->v, &b, f->batch, credit);
	if (!b.n)
		return -ENOBUFS;
	for (i = 0; i < b.n; i++)
		room += b.room[i];
	msg.msg_iov = b.payload;
	msg.msg_iovlen = b.payload_n;
	got = recvmsg(f->fd, &msg, MSG_DONTWAIT);
	if (got < 0)
		got = -errno;
	sent = deliver(f, &b, got > 0 ? got : 0);
	if (got > 0) {
		f->batch = (uint32_t)got == room ? min_t(unsigned int, f->batch * 2, RX_BATCH)
						 : max_t(unsigned int, sent, 1);
		vsock_unsay(f, VSOCK_SAY_CREDIT);
	}
	/* More may be there, or the end. Where it is not known that an end comes, a short count says that this is all. */
	if (got == -EINTR || (got > 0 && ((uint32_t)got == room || f->ending)))
		return sent;
	f->readable = false;
	vsock_unsay(f, VSOCK_SAY_DATA);
	if (got == 0)
		vsock_host_eof(f);
	else if (got < 0 && got != -EAGAIN)
		vsock_host_gone(f);
	return sent;
}

static bool say_resets(struct vsock *v)
{
	struct vsock_packet p = { .dst_cid = v->guest_cid, .op = VIRTIO_VSOCK_OP_RST };

	while (v->resets_n) {
		const struct vsock_reset *r = &v->resets[v->resets_at];

		p.type = r->type;
		p.src_cid = r->host_cid;
		p.src_port = r->host_port;
		p.dst_port = r->guest_port;
		if (!send_header(v, &p))
			return false;
		v->resets_at = (v->resets_at + 1) % VSOCK_RESETS_MAX;
		v->resets_n--;
	}
	return true;
}

/* Until nobody has anything to say, buffers are out (false), or the budget is. */
static bool say_all(struct vsock *v, int budget)
{
	const unsigned int first = ~(unsigned int)(VSOCK_SAY_DATA | VSOCK_SAY_SHUTDOWN);
	struct vsock_flow *f;
	int n;

	if (!say_resets(v))
		return false;
	while ((f = v->saying.say_next) != &v->saying && budget > 0) {
		/* The end of the stream stands behind its data. */
		if ((f->say & first) || !(f->say & VSOCK_SAY_DATA)) {
			if (!say_control(f))
				return false;
			budget--;
			continue;
		}
		n = f->seq ? vsock_seq_say_data(f) : say_data(f);
		if (n < 0)
			return false;
		budget -= n + 1;
		if (f->say & VSOCK_SAY_DATA)
			rotate(f);
	}
	return true;
}

void vsock_pump(struct vsock *v)
{
	struct virtq *vq = v->dev.vq[VSOCK_RX];
	bool more, again;

	if (!v->active)
		return;
	more = say_all(v, RX_BUDGET);
	if (v->module_fd >= 0) {
		again = more && v->saying.say_next != &v->saying;
	} else {
		virtio_flush(&v->dev, VSOCK_RX);
		/* Where buffers are out the driver's next ones must wake us; else its refills need not. */
		again = more ? v->saying.say_next != &v->saying : virtq_kicks_on(vq);
	}
	if (again && !loop_op_busy(&v->pump_op))
		loop_defer(v->dev.loop, &v->pump_op);
	if (v->tx_waits && vsock_can_reset(v)) {
		v->tx_waits = false;
		if (v->module_fd >= 0)
			vsock_module_news(v);
		else
			virtio_kick_later(&v->dev, VSOCK_TX);
	}
}
