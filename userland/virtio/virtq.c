/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/virtq.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"

/* Indirect tables may lie at any address (virtio 1.2, 2.7.5.3 asks for no alignment). */
typedef uint64_t __attribute__((aligned(1), may_alias)) any_u64;

static uint16_t load16(const __virtio16 *p)
{
	return le16toh(__atomic_load_n(p, __ATOMIC_RELAXED));
}

static void store16(__virtio16 *p, uint16_t v)
{
	__atomic_store_n(p, htole16(v), __ATOMIC_RELAXED);
}

/* volatile: read exactly once, so that what is checked is what is used. */
static void copy_desc(struct vring_desc *copy, const void *from)
{
	const volatile any_u64 *p = from;
	uint64_t addr = le64toh(p[0]), rest = le64toh(p[1]);

	copy->addr = addr;
	copy->len = (uint32_t)rest;
	copy->flags = (uint16_t)(rest >> 32);
	copy->next = (uint16_t)(rest >> 48);
}

void virtq_break(struct virtq *vq, const char *why)
{
	if (!vq->broken)
		vq->broken = why;
}

static int breaks(struct virtq *vq, const char *why)
{
	virtq_break(vq, why);
	return -EPROTO;
}

int virtq_start_at(struct virtq *vq, const struct virtq_mem *mem, uint16_t size, void *desc, void *avail, void *used,
		   uint16_t base, uint64_t features)
{
	if (!size || size > VIRTQ_SIZE_MAX || (size & (size - 1)))
		return -EINVAL;
	if ((uintptr_t)desc % VRING_DESC_ALIGN_SIZE || (uintptr_t)avail % VRING_AVAIL_ALIGN_SIZE ||
	    (uintptr_t)used % VRING_USED_ALIGN_SIZE)
		return -EINVAL;
	*vq = (struct virtq){
		.mem = *mem,
		.desc = desc,
		.avail = avail,
		.used = used,
		.size = size,
		.last_avail = base,
		.avail_seen = base,
		.next_used = base,
		.shown_used = base,
		.indirect = features & (1ull << VIRTIO_RING_F_INDIRECT_DESC),
		.event_idx = features & (1ull << VIRTIO_RING_F_EVENT_IDX),
		.ready = true,
	};
	return 0;
}

int virtq_start(struct virtq *vq, const struct virtq_mem *mem, uint16_t size, uint64_t desc_gpa, uint64_t avail_gpa,
		uint64_t used_gpa, uint64_t features)
{
	/* The extra two bytes of each are used_event and avail_event (2.7.7 and 2.7.10). */
	void *desc = mem->slice(mem->arg, desc_gpa, sizeof(struct vring_desc) * size);
	void *avail = mem->slice(mem->arg, avail_gpa, 6 + 2ull * size);
	void *used = mem->slice(mem->arg, used_gpa, 6 + 8ull * size);

	if (desc_gpa % VRING_DESC_ALIGN_SIZE || avail_gpa % VRING_AVAIL_ALIGN_SIZE || used_gpa % VRING_USED_ALIGN_SIZE)
		return -EINVAL;
	if (!desc || !avail || !used)
		return size ? -EFAULT : -EINVAL;
	return virtq_start_at(vq, mem, size, desc, avail, used, 0, features);
}

void virtq_stop(struct virtq *vq)
{
	vq->ready = false;
}

struct walk {
	struct virtq *vq;
	struct virtq_chain *chain;
	unsigned int iov_max, seen;
	uint64_t out_bytes, in_bytes;
};

static void *buffer_at(const struct virtq_mem *mem, const struct vring_desc *d)
{
	if (!(d->flags & VRING_DESC_F_WRITE) && mem->readable)
		return (void *)(uintptr_t)mem->readable(mem->arg, d->addr, d->len);
	return mem->slice(mem->arg, d->addr, d->len);
}

/* One buffer of the chain: translated and added behind the others. */
static int add_segment(struct walk *w, const struct vring_desc *d)
{
	struct virtq_chain *c = w->chain;
	const bool in = d->flags & VRING_DESC_F_WRITE;
	unsigned int n = c->out_n + c->in_n;
	uint16_t *part_n = in ? &c->in_n : &c->out_n;
	struct iovec *before = *part_n ? &c->iov[n - 1] : NULL;
	void *p;

	/* 2.7.4.2: what the device reads comes before what it writes. */
	if (!in && c->in_n)
		return breaks(w->vq, "readable descriptor behind a writable one");
	if (!d->len)
		return breaks(w->vq, "descriptor of length 0");
	p = buffer_at(&w->vq->mem, d);
	if (!p)
		return breaks(w->vq, "descriptor lies outside of memory");
	*(in ? &w->in_bytes : &w->out_bytes) += d->len;
	/* Neighbours in memory are one segment: a driver names pages one by one, and each would cost its way through the kernel. */
	if (before && (char *)before->iov_base + before->iov_len == p) {
		before->iov_len += d->len;
		return 0;
	}
	if (n >= w->iov_max)
		return breaks(w->vq, "chain has more segments than the device takes");
	c->iov[n] = (struct iovec){ .iov_base = p, .iov_len = d->len };
	(*part_n)++;
	return 0;
}

/* Follows next from entry `at` of a table. *indirect: set when the last one is a table of its own. */
static int walk_table(struct walk *w, const struct vring_desc *table, unsigned int table_n, unsigned int at,
		      bool nested, struct vring_desc *indirect)
{
	struct vring_desc d;
	int r;

	do {
		if (at >= table_n)
			return breaks(w->vq, "next descriptor is past the table");
		copy_desc(&d, (const char *)table + at * sizeof(*table));
		if (d.flags & VRING_DESC_F_INDIRECT) {
			/* 2.7.5.3.1: only if negotiated, never with NEXT, one level deep. */
			if (nested || !w->vq->indirect || (d.flags & VRING_DESC_F_NEXT))
				return breaks(w->vq, "indirect descriptor where none may be");
			*indirect = d;
			return 0;
		}
		/* 2.7.5.3.1 again: no chain is longer than the queue, whether by a cycle or by an indirect table. */
		if (++w->seen > w->vq->size)
			return breaks(w->vq, "chain is longer than the queue");
		r = add_segment(w, &d);
		if (r)
			return r;
		at = d.next;
	} while (d.flags & VRING_DESC_F_NEXT);
	return 0;
}

static int walk_chain(struct walk *w, uint16_t head)
{
	struct virtq *vq = w->vq;
	struct vring_desc ind = { .flags = 0 };
	const void *table;
	int r;

	r = walk_table(w, vq->desc, vq->size, head, false, &ind);
	if (r)
		return r;
	if (ind.flags & VRING_DESC_F_INDIRECT) {
		if (!ind.len || ind.len % sizeof(struct vring_desc) ||
		    ind.len / sizeof(struct vring_desc) > UINT16_MAX + 1u)
			return breaks(vq, "indirect table of a strange length");
		table = vq->mem.slice(vq->mem.arg, ind.addr, ind.len);
		if (!table)
			return breaks(vq, "indirect table lies outside of memory");
		r = walk_table(w, table, ind.len / sizeof(struct vring_desc), 0, true, NULL);
		if (r)
			return r;
	}
	/* 2.7.5.2: a chain is at most 2^32 bytes; ours is one less, so that counts fit 32 bits. */
	if (w->out_bytes + w->in_bytes > UINT32_MAX)
		return breaks(vq, "chain is over 4 GiB");
	w->chain->out_bytes = w->out_bytes;
	w->chain->in_bytes = w->in_bytes;
	return 0;
}

/* Is there an entry of avail beyond those taken? */
static bool look(struct virtq *vq)
{
	if (vq->avail_seen == vq->last_avail)
		/* Pairs with the driver's barrier before it writes avail->idx: entries and descriptors are there then. */
		vq->avail_seen = le16toh(__atomic_load_n(&vq->avail->idx, __ATOMIC_ACQUIRE));
	return vq->avail_seen != vq->last_avail;
}

int virtq_pop(struct virtq *vq, struct virtq_chain *chain, struct iovec *iov, unsigned int iov_max)
{
	struct walk w = { .vq = vq, .chain = chain, .iov_max = iov_max };
	int r;

	if (vq->broken)
		return -EPROTO;
	if (!vq->ready || !look(vq))
		return 0;
	if ((uint16_t)(vq->avail_seen - vq->last_avail) > vq->size)
		return breaks(vq, "more entries made available than the queue has");
	/* Bounds what is in flight, so that devices need no more than size requests. */
	if ((uint16_t)(vq->last_avail - vq->next_used) >= vq->size)
		return breaks(vq, "more chains in flight than the queue has");
	*chain = (struct virtq_chain){
		.iov = iov,
		.head = load16(&vq->avail->ring[vq->last_avail & (vq->size - 1)]),
	};
	if (chain->head >= vq->size)
		return breaks(vq, "head is past the descriptor table");
	r = walk_chain(&w, chain->head);
	if (r)
		return r;
	vq->last_avail++;
	return 1;
}

bool virtq_more(struct virtq *vq)
{
	return vq->ready && !vq->broken && look(vq);
}

void virtq_unpop(struct virtq *vq, unsigned int n)
{
	vq->last_avail -= n;
}

void virtq_push(struct virtq *vq, uint16_t head, uint32_t len_bytes)
{
	struct vring_used_elem *e;

	if (!vq->ready || vq->broken)
		return;
	e = &vq->used->ring[vq->next_used++ & (vq->size - 1)];
	__atomic_store_n(&e->id, htole32(head), __ATOMIC_RELAXED);
	__atomic_store_n(&e->len, htole32(len_bytes), __ATOMIC_RELAXED);
}

bool virtq_flush(struct virtq *vq)
{
	uint16_t old = vq->shown_used;

	if (!vq->ready || vq->broken || old == vq->next_used)
		return false;
	/* Release: the entries, and the data they stand for, before the index that shows them. */
	__atomic_store_n(&vq->used->idx, htole16(vq->next_used), __ATOMIC_RELEASE);
	vq->shown_used = vq->next_used;
	/*
	 * Full barrier: used->idx is out before used_event (or the flag) is read. Pairs with the driver's barrier between
	 * its write of used_event and its last look at used->idx; one of the two sees the other (2.7.7.2).
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!vq->event_idx)
		return !(load16(&vq->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	return vring_need_event(load16(&vq->avail->ring[vq->size]), vq->next_used, old);
}

/* Where the driver reads which avail entry we want to be told of: behind the used ring. */
static __virtio16 *avail_event(struct virtq *vq)
{
	return (__virtio16 *)&vq->used->ring[vq->size];
}

void virtq_kicks_off(struct virtq *vq)
{
	/* With EVENT_IDX an avail_event that isn't moved on is enough: the driver has passed it. */
	if (vq->ready && !vq->event_idx)
		store16(&vq->used->flags, VRING_USED_F_NO_NOTIFY);
}

bool virtq_kicks_on(struct virtq *vq)
{
	if (!vq->ready || vq->broken)
		return false;
	if (vq->event_idx)
		store16(avail_event(vq), vq->last_avail);
	else
		store16(&vq->used->flags, 0);
	/*
	 * Full barrier: the wish is out before avail->idx is read again. Pairs with the driver's barrier between its write
	 * of avail->idx and its read of avail_event (or the flag): what we miss here, it notifies us of (2.7.10.1).
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return look(vq);
}
