/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Split virtqueues in another's memory, the device's side (virtio 1.2, 2.7), and how guest addresses become addresses of
 * the owner's. Called by one thread at a time, which has the owner's address space. The file builds in userspace, too, for
 * its fuzz target.
 *
 * The other side is hostile. Each descriptor is copied once and the copy is checked: indices, the chain's length (the
 * queue's size at most, so that cycles end), the order of readable and writable parts, addresses, sums of lengths.
 * -EPROTO: a rule was broken; -EFAULT: the owner's memory is not there. After either the queue is not to be used again.
 */
#ifndef MICROVM_RING_H
#define MICROVM_RING_H

#ifdef __KERNEL__
#include <linux/types.h>
#include <linux/uio.h>
#include <uapi/linux/virtio_ring.h>
#endif

#include "uapi/microvm.h"

struct mem_map {
	u32 regions_n;
	struct microvm_region regions[MICROVM_REGIONS_MAX];
};

/* Checked and made ready for mem_slice(): -EINVAL, -EFAULT. */
int mem_map_init(struct mem_map *m, const struct microvm_memory *from);
/* NULL unless all of [gpa, gpa + len) is guest memory. */
void __user *mem_slice(const struct mem_map *m, u64 gpa, u64 len);

struct ring {
	const struct mem_map *mem;
	struct vring_desc __user *desc;
	struct vring_avail __user *avail;
	struct vring_used __user *used;
	u16 size;
	u16 last_avail;		  /* the next entry of avail to take */
	u16 avail_seen;		  /* avail->idx as last read */
	u16 next_used;		  /* the next entry of used to fill */
	u16 shown_used;		  /* used->idx as last written */
	bool indirect, event_idx; /* negotiated */
};

/* A chain that was taken: iov[0..out_n) is to be read, iov[out_n..out_n + in_n) to be written. */
struct ring_chain {
	struct iovec *iov;
	u16 head;
	u16 out_n, in_n;
	u32 out_bytes, in_bytes;
};

int ring_init(struct ring *r, const struct mem_map *mem, const struct microvm_queue *q,
	      u64 features);
/* Takes the next chain into iov (room for iov_max). 1: there is one; 0: none; or negative errno. */
int ring_pop(struct ring *r, struct ring_chain *c, struct iovec *iov, unsigned int iov_max);
/* Puts the last n chains taken back, to be taken again. */
void ring_unpop(struct ring *r, unsigned int n);
/* Gives a chain back with len bytes written to it. The driver sees it after ring_flush(). */
int ring_push(struct ring *r, u16 head, u32 len);
/* Shows the driver what was pushed. 1: it wants an interrupt; 0; or negative errno. */
int ring_flush(struct ring *r);
/* No notifications wanted while the queue is being served. */
int ring_kicks_off(struct ring *r);
/* Wanted again. 1: more came in the meantime; 0; or negative errno. */
int ring_kicks_on(struct ring *r);

/* Copies between a chain's segments and a buffer. -EFAULT, also when the segments are shorter. */
int iov_read(void *to, const struct iovec *iov, unsigned int n, size_t len);
int iov_write(const struct iovec *iov, unsigned int n, const void *from, size_t len);
/* Takes skip bytes off the front and cuts to len. The first segment left is *iov; how many are left is returned. */
unsigned int iov_cut(struct iovec **iov, unsigned int n, size_t skip, size_t len);

#endif
