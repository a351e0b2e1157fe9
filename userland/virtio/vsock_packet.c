/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/vsock_packet.h"

#include <errno.h>

#include "base/util.h"

_Static_assert(sizeof(struct virtio_vsock_hdr) == VSOCK_HDR_LEN, "the header has no padding");

void vsock_packet_decode(struct vsock_packet *p, const uint8_t wire[VSOCK_HDR_LEN])
{
	struct virtio_vsock_hdr h;

	memcpy(&h, wire, sizeof(h));
	*p = (struct vsock_packet){
		.src_cid = le64toh(h.src_cid),
		.dst_cid = le64toh(h.dst_cid),
		.src_port = le32toh(h.src_port),
		.dst_port = le32toh(h.dst_port),
		.len_bytes = le32toh(h.len),
		.type = le16toh(h.type),
		.op = le16toh(h.op),
		.flags = le32toh(h.flags),
		.buf_alloc = le32toh(h.buf_alloc),
		.fwd_cnt = le32toh(h.fwd_cnt),
	};
}

void vsock_packet_encode(const struct vsock_packet *p, uint8_t wire[VSOCK_HDR_LEN])
{
	struct virtio_vsock_hdr h = {
		.src_cid = htole64(p->src_cid),
		.dst_cid = htole64(p->dst_cid),
		.src_port = htole32(p->src_port),
		.dst_port = htole32(p->dst_port),
		.len = htole32(p->len_bytes),
		.type = htole16(p->type),
		.op = htole16(p->op),
		.flags = htole32(p->flags),
		.buf_alloc = htole32(p->buf_alloc),
		.fwd_cnt = htole32(p->fwd_cnt),
	};

	memcpy(wire, &h, sizeof(h));
}

bool vsock_credit_heard(struct vsock_credit *c, uint32_t buf_alloc, uint32_t fwd_cnt)
{
	/* Between what it said before and what we have sent; a step back wraps to a huge number and is over that. */
	if (fwd_cnt - c->peer_forwarded > c->sent - c->peer_forwarded)
		return false;
	c->peer_forwarded = fwd_cnt;
	c->peer_buf_alloc = buf_alloc;
	return true;
}

uint32_t vsock_credit_free(const struct vsock_credit *c)
{
	uint32_t under_way = c->sent - c->peer_forwarded;

	return under_way >= c->peer_buf_alloc ? 0 : c->peer_buf_alloc - under_way;
}

bool vsock_credit_receive(struct vsock_credit *c, uint32_t len_bytes)
{
	uint32_t held = c->received - c->forwarded; /* never over buf_alloc */

	if (len_bytes > c->buf_alloc - held)
		return false;
	c->received += len_bytes;
	return true;
}

bool vsock_credit_tell(const struct vsock_credit *c)
{
	/* As the guest counts; one that sends on the strength of news it hasn't had yet has gone past buf_alloc there. */
	return c->told != c->forwarded && c->received - c->told > c->buf_alloc / 2;
}

int vsock_parse_connect(const char *line, uint32_t *port)
{
	static const char word[] = "CONNECT ";
	uint64_t v;
	int r;

	if (!str_starts(line, word))
		return -EINVAL;
	r = parse_u64(line + sizeof(word) - 1, 0, UINT32_MAX, &v);
	if (!r)
		*port = v;
	return r;
}
