/* SPDX-License-Identifier: GPL-2.0-only */
/* Packets and credit of virtio-vsock (virtio 1.2, 5.10.6): pure functions on copies, which build in userspace, too. */
#ifndef MICROVM_PACKET_H
#define MICROVM_PACKET_H

#ifdef __KERNEL__
#include <linux/types.h>
#include <uapi/linux/virtio_vsock.h>
#endif

#define VSOCK_HOST_CID 2
#define VSOCK_HDR_LEN ((u32)sizeof(struct virtio_vsock_hdr))
#define VSOCK_SHUTDOWN_BOTH (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

/* struct virtio_vsock_hdr in the host's byte order. */
struct packet {
	u64 src_cid, dst_cid;
	u32 src_port, dst_port;
	u32 len;
	u16 type, op;
	u32 flags, buf_alloc, fwd_cnt;
};

void packet_decode(struct packet *p, const struct virtio_vsock_hdr *h);
void packet_encode(const struct packet *p, struct virtio_vsock_hdr *h);

/*
 * Credit (5.10.6.3), both ways. All counters are free running and wrap at 2^32. "Ours" is the space that the guest may
 * fill, "theirs" the guest's own.
 */
struct credit {
	u32 buf_alloc; /* ours, as advertised */
	u32 received;  /* bytes the guest has sent us */
	u32 forwarded; /* and of them, those that have left for the host's stream */
	u32 told;      /* forwarded as the guest last heard it */
	u32 peer_buf_alloc;
	u32 peer_forwarded;
	u32 sent; /* bytes we have sent to the guest */
};

/* Do the counters of a flow that is attached agree with each other? */
bool credit_sane(const struct credit *c);
/* What a packet says of the guest's space. false: it forwarded what was never sent, or takes back what it said. */
bool credit_heard(struct credit *c, u32 buf_alloc, u32 fwd_cnt);
/* Bytes that may be sent now; 0 also while the guest has shrunk its space below what is under way. */
u32 credit_free(const struct credit *c);
/* Takes note of len bytes that came. false: they were not allowed. */
bool credit_receive(struct credit *c, u32 len);
/* Should the guest be told of new space, so that it need not stop sending? */
bool credit_tell(const struct credit *c);

#endif
