/* SPDX-License-Identifier: Apache-2.0 */
/* Packets and credit of virtio-vsock (virtio 1.2, 5.10.6), without a device: pure functions on copies. */
#ifndef VIRTIO_VSOCK_PACKET_H
#define VIRTIO_VSOCK_PACKET_H

#include <linux/virtio_vsock.h>
#include <stdbool.h>
#include <stdint.h>

#define VSOCK_HOST_CID 2ull
#define VSOCK_HDR_LEN 44u
#define VSOCK_SHUTDOWN_BOTH (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

/* struct virtio_vsock_hdr in the host's byte order. */
struct vsock_packet {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port;
	uint32_t len_bytes;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
};

void vsock_packet_decode(struct vsock_packet *p, const uint8_t wire[VSOCK_HDR_LEN]);
void vsock_packet_encode(const struct vsock_packet *p, uint8_t wire[VSOCK_HDR_LEN]);

/*
 * Credit (5.10.6.3), both ways. All counters are free running and wrap at 2^32. "Ours" is the space that the guest may
 * fill, "theirs" the guest's own.
 */
struct vsock_credit {
	uint32_t buf_alloc; /* ours, as advertised */
	uint32_t received;  /* bytes the guest has sent us */
	uint32_t forwarded; /* and of them, those that have left for the host's socket */
	uint32_t told;	    /* `forwarded` as the guest last heard it */
	uint32_t peer_buf_alloc;
	uint32_t peer_forwarded;
	uint32_t sent; /* bytes we have sent to the guest */
};

/* What a packet says of the guest's space. false: it claims to have forwarded what was never sent, or takes back a claim. */
bool vsock_credit_heard(struct vsock_credit *c, uint32_t buf_alloc, uint32_t fwd_cnt);
/* Bytes that may be sent now; 0 also while the guest has shrunk its space below what is under way. */
uint32_t vsock_credit_free(const struct vsock_credit *c);
/* Takes note of len bytes that came. false: they were not allowed. */
bool vsock_credit_receive(struct vsock_credit *c, uint32_t len_bytes);
/* Should the guest be told of new space, so that it need not stop sending? */
bool vsock_credit_tell(const struct vsock_credit *c);

/* "CONNECT <port>" without its newline. -EINVAL, -ERANGE. */
int vsock_parse_connect(const char *line, uint32_t *port);

#endif
