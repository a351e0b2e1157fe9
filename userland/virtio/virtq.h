/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split virtqueues, the device's side (virtio 1.2, 2.7). Free of any transport: the VMM's devices and the file server
 * behind vhost-user use the same walk. All of it is called by one thread at a time.
 *
 * The other side is hostile. Each descriptor is copied once and the copy is checked: indices, the chain's length (the
 * queue's size at most, so cycles end), the order of readable and writable parts, addresses through the slice gateway,
 * sums of lengths. The first broken rule marks the queue broken; from then on it gives nothing and takes nothing.
 */
#ifndef VIRTIO_VIRTQ_H
#define VIRTIO_VIRTQ_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define VIRTQ_SIZE_MAX 1024u /* what the walk is willing to serve; transports may allow less */

/* How guest addresses become pointers: NULL unless all of [gpa, gpa + len) is memory. */
struct virtq_mem {
	void *(*slice)(const void *arg, uint64_t gpa, uint64_t len_bytes);
	/* For buffers that are only read, where there is memory of that kind. NULL: there is none, slice finds all. */
	const void *(*readable)(const void *arg, uint64_t gpa, uint64_t len_bytes);
	const void *arg;
};

struct virtq {
	struct virtq_mem mem;
	const struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t size;		  /* a power of two */
	uint16_t last_avail;	  /* the next entry of avail to take */
	uint16_t avail_seen;	  /* avail->idx as last read */
	uint16_t next_used;	  /* the next entry of used to fill */
	uint16_t shown_used;	  /* used->idx as last written */
	bool indirect, event_idx; /* negotiated */
	bool ready;		  /* set up, and not stopped */
	const char *broken;	  /* which rule was broken; NULL: none */
};

/* A chain that was taken: iov[0..out_n) is for the device to read, iov[out_n..out_n+in_n) to write. */
struct virtq_chain {
	struct iovec *iov;
	uint16_t head;
	uint16_t out_n, in_n;
	uint32_t out_bytes, in_bytes;
};

/*
 * Starts a queue at guest addresses; features are those negotiated (VIRTIO_RING_F_INDIRECT_DESC, VIRTIO_RING_F_EVENT_IDX).
 * -EINVAL: size no power of two or too large, or misaligned; -EFAULT: not all in guest memory.
 */
int virtq_start(struct virtq *vq, const struct virtq_mem *mem, uint16_t size, uint64_t desc_gpa, uint64_t avail_gpa,
		uint64_t used_gpa, uint64_t features);
/* The same with the rings' places known, as vhost-user gives them; base is the first avail entry to take. */
int virtq_start_at(struct virtq *vq, const struct virtq_mem *mem, uint16_t size, void *desc, void *avail, void *used,
		   uint16_t base, uint64_t features);
/* From here on pop gives nothing and push does nothing. */
void virtq_stop(struct virtq *vq);

/*
 * Takes the next chain into iov (room for iov_max). 1: there is one; 0: none; -EPROTO: the queue is broken, vq->broken
 * says why (again on every later call). More segments than iov_max is a broken rule too.
 */
int virtq_pop(struct virtq *vq, struct virtq_chain *chain, struct iovec *iov, unsigned int iov_max);
/* Has the driver made more available than was taken? */
bool virtq_more(struct virtq *vq);
/* Puts the last n chains taken back, in place, to be taken again. */
void virtq_unpop(struct virtq *vq, unsigned int n);
/* Gives a chain back with len bytes written to it. The driver sees it after virtq_flush. */
void virtq_push(struct virtq *vq, uint16_t head, uint32_t len_bytes);
/* Shows the driver what was pushed. true: it wants a notification. */
bool virtq_flush(struct virtq *vq);

/* No notifications wanted while the queue is being served. */
void virtq_kicks_off(struct virtq *vq);
/* Notifications wanted again. true: more came in the meantime, so serve on. */
bool virtq_kicks_on(struct virtq *vq);

/* Marks the queue broken by a rule of the device's own; the first reason stays. */
void virtq_break(struct virtq *vq, const char *why);

#endif
