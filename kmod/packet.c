// SPDX-License-Identifier: GPL-2.0-only
#ifdef __KERNEL__
#include <asm/byteorder.h>
#endif

#include "packet.h"

void packet_decode(struct packet *p, const struct virtio_vsock_hdr *h)
{
	*p = (struct packet){
		.src_cid = le64_to_cpu(h->src_cid),
		.dst_cid = le64_to_cpu(h->dst_cid),
		.src_port = le32_to_cpu(h->src_port),
		.dst_port = le32_to_cpu(h->dst_port),
		.len = le32_to_cpu(h->len),
		.type = le16_to_cpu(h->type),
		.op = le16_to_cpu(h->op),
		.flags = le32_to_cpu(h->flags),
		.buf_alloc = le32_to_cpu(h->buf_alloc),
		.fwd_cnt = le32_to_cpu(h->fwd_cnt),
	};
}

void packet_encode(const struct packet *p, struct virtio_vsock_hdr *h)
{
	*h = (struct virtio_vsock_hdr){
		.src_cid = cpu_to_le64(p->src_cid),
		.dst_cid = cpu_to_le64(p->dst_cid),
		.src_port = cpu_to_le32(p->src_port),
		.dst_port = cpu_to_le32(p->dst_port),
		.len = cpu_to_le32(p->len),
		.type = cpu_to_le16(p->type),
		.op = cpu_to_le16(p->op),
		.flags = cpu_to_le32(p->flags),
		.buf_alloc = cpu_to_le32(p->buf_alloc),
		.fwd_cnt = cpu_to_le32(p->fwd_cnt),
	};
}

bool credit_sane(const struct credit *c)
{
	return c->received - c->forwarded <= c->buf_alloc;
}

bool credit_heard(struct credit *c, u32 buf_alloc, u32 fwd_cnt)
{
	/* Between what it said before and what was sent; a step back wraps to a huge number and is over that. */
	if (fwd_cnt - c->peer_forwarded > c->sent - c->peer_forwarded)
		return false;
	c->peer_forwarded = fwd_cnt;
	c->peer_buf_alloc = buf_alloc;
	return true;
}

u32 credit_free(const struct credit *c)
{
	u32 under_way = c->sent - c->peer_forwarded;

	return under_way >= c->peer_buf_alloc ? 0 : c->peer_buf_alloc - under_way;
}

bool credit_receive(struct credit *c, u32 len)
{
	u32 held = c->received - c->forwarded; /* never over buf_alloc */

	if (len > c->buf_alloc - held)
		return false;
	c->received += len;
	return true;
}

bool credit_tell(const struct credit *c)
{
	/* As the guest counts; one that sends on the strength of news it hasn't had yet has gone past buf_alloc there. */
	return c->told != c->forwarded && c->received - c->told > c->buf_alloc / 2;
}
