// SPDX-License-Identifier: GPL-2.0-only
#ifdef __KERNEL__
#include <linux/limits.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/uaccess.h>
#include <linux/virtio_byteorder.h>
#endif

#include "ring.h"

int mem_map_init(struct mem_map *m, const struct microvm_memory *from)
{
	u32 i;

	if (!from->regions_n || from->regions_n > MICROVM_REGIONS_MAX || from->flags)
		return -EINVAL;
	for (i = 0; i < from->regions_n; i++) {
		const struct microvm_region *r = &from->regions[i];

		if (!r->len_bytes || r->gpa + r->len_bytes < r->gpa ||
		    r->user_addr != (unsigned long)r->user_addr)
			return -EINVAL;
		if (!access_ok((void __user *)(unsigned long)r->user_addr, r->len_bytes))
			return -EFAULT;
		m->regions[i] = *r;
	}
	m->regions_n = from->regions_n;
	return 0;
}

void __user *mem_slice(const struct mem_map *m, u64 gpa, u64 len)
{
	u32 i;

	for (i = 0; len && i < m->regions_n; i++) {
		const struct microvm_region *r = &m->regions[i];
		u64 at = gpa - r->gpa;

		/* Written so that no sum can overflow. */
		if (gpa >= r->gpa && at < r->len_bytes && len <= r->len_bytes - at)
			return (void __user *)(unsigned long)(r->user_addr + at);
	}
	return NULL;
}

int ring_init(struct ring *r, const struct mem_map *mem, const struct microvm_queue *q,
	      u64 features)
{
	if (q->reserved || !is_power_of_2(q->size) || q->size > MICROVM_QUEUE_SIZE_MAX ||
	    q->desc_gpa % VRING_DESC_ALIGN_SIZE || q->avail_gpa % VRING_AVAIL_ALIGN_SIZE ||
	    q->used_gpa % VRING_USED_ALIGN_SIZE)
		return -EINVAL;
	/* The last two bytes of each are used_event and avail_event (2.7.7 and 2.7.10). */
	*r = (struct ring){
		.mem = mem,
		.desc = mem_slice(mem, q->desc_gpa, sizeof(struct vring_desc) * q->size),
		.avail = mem_slice(mem, q->avail_gpa, 6 + 2ull * q->size),
		.used = mem_slice(mem, q->used_gpa, 6 + 8ull * q->size),
		.size = q->size,
		.indirect = features & (1ull << VIRTIO_RING_F_INDIRECT_DESC),
		.event_idx = features & (1ull << VIRTIO_RING_F_EVENT_IDX),
	};
	return r->desc && r->avail && r->used ? 0 : -EFAULT;
}

static int get16(u16 *v, const __virtio16 __user *from)
{
	__virtio16 wire;

	if (get_user(wire, from))
		return -EFAULT;
	*v = __virtio16_to_cpu(true, wire);
	return 0;
}

static int put16(__virtio16 __user *to, u16 v)
{
	return put_user(__cpu_to_virtio16(true, v), to) ? -EFAULT : 0;
}

struct walk {
	const struct ring *r;
	struct ring_chain *c;
	unsigned int iov_max, seen;
	u64 out_bytes, in_bytes;
	u64 table_gpa; /* of an indirect table, which the last descriptor was; length 0: it was none */
	u32 table_len;
};

/* One buffer of the chain: translated and added behind the others. */
static int add_segment(struct walk *w, u64 gpa, u32 len, u16 flags)
{
	struct ring_chain *c = w->c;
	unsigned int n = c->out_n + c->in_n;

	if (n >= w->iov_max || !len)
		return -EPROTO;
	c->iov[n].iov_base = mem_slice(w->r->mem, gpa, len);
	c->iov[n].iov_len = len;
	if (!c->iov[n].iov_base)
		return -EPROTO;
	if (flags & VRING_DESC_F_WRITE) {
		c->in_n++;
		w->in_bytes += len;
		return 0;
	}
	/* 2.7.4.2: what the device reads comes before what it writes. */
	if (c->in_n)
		return -EPROTO;
	c->out_n++;
	w->out_bytes += len;
	return 0;
}

/* Follows next from entry `at` of a table of n. */
static int walk_table(struct walk *w, const struct vring_desc __user *table, u32 n, u32 at,
		      bool nested)
{
	struct vring_desc d;
	u16 flags;
	int ret;

	do {
		if (at >= n)
			return -EPROTO;
		if (copy_from_user(&d, table + at, sizeof(d)))
			return -EFAULT;
		flags = __virtio16_to_cpu(true, d.flags);
		if (flags & VRING_DESC_F_INDIRECT) {
			/* 2.7.5.3.1: only if negotiated, never with NEXT, one level deep. */
			if (nested || !w->r->indirect || (flags & VRING_DESC_F_NEXT))
				return -EPROTO;
			w->table_gpa = __virtio64_to_cpu(true, d.addr);
			w->table_len = __virtio32_to_cpu(true, d.len);
			return w->table_len ? 0 : -EPROTO;
		}
		/* No chain is longer than the queue, whether by a cycle or by an indirect table. */
		if (++w->seen > w->r->size)
			return -EPROTO;
		ret = add_segment(w, __virtio64_to_cpu(true, d.addr),
				  __virtio32_to_cpu(true, d.len), flags);
		if (ret)
			return ret;
		at = __virtio16_to_cpu(true, d.next);
	} while (flags & VRING_DESC_F_NEXT);
	return 0;
}

static int walk_chain(struct walk *w)
{
	const struct vring_desc __user *table;
	u32 n;
	int ret = walk_table(w, w->r->desc, w->r->size, w->c->head, false);

	if (!ret && w->table_len) {
		n = w->table_len / sizeof(*table);
		table = mem_slice(w->r->mem, w->table_gpa, w->table_len);
		if (!table || w->table_len % sizeof(*table) || n > U16_MAX + 1u)
			return -EPROTO;
		ret = walk_table(w, table, n, 0, true);
	}
	if (!ret && w->out_bytes + w->in_bytes > U32_MAX)
		ret = -EPROTO;
	w->c->out_bytes = w->out_bytes;
	w->c->in_bytes = w->in_bytes;
	return ret;
}

/* 1: there is an entry of avail beyond those taken. */
static int look(struct ring *r)
{
	if (r->avail_seen == r->last_avail) {
		if (get16(&r->avail_seen, &r->avail->idx))
			return -EFAULT;
		/* Pairs with the driver's barrier before it writes avail->idx. */
		smp_rmb();
	}
	return r->avail_seen != r->last_avail;
}

int ring_pop(struct ring *r, struct ring_chain *c, struct iovec *iov, unsigned int iov_max)
{
	struct walk w = { .r = r, .c = c, .iov_max = iov_max };
	int ret = look(r);

	if (ret <= 0)
		return ret;
	/* More made available, or more in flight, than the queue has. */
	if ((u16)(r->avail_seen - r->last_avail) > r->size ||
	    (u16)(r->last_avail - r->next_used) >= r->size)
		return -EPROTO;
	*c = (struct ring_chain){ .iov = iov };
	if (get16(&c->head, &r->avail->ring[r->last_avail & (r->size - 1)]))
		return -EFAULT;
	ret = walk_chain(&w);
	if (ret)
		return ret;
	r->last_avail++;
	return 1;
}

void ring_unpop(struct ring *r, unsigned int n)
{
	r->last_avail -= n;
}

int ring_push(struct ring *r, u16 head, u32 len)
{
	struct vring_used_elem e = { .id = __cpu_to_virtio32(true, head),
				     .len = __cpu_to_virtio32(true, len) };

	if (copy_to_user(&r->used->ring[r->next_used & (r->size - 1)], &e, sizeof(e)))
		return -EFAULT;
	r->next_used++;
	return 0;
}

int ring_flush(struct ring *r)
{
	u16 old = r->shown_used, v;

	if (old == r->next_used)
		return 0;
	/* The entries, and the data they stand for, before the index that shows them. */
	smp_wmb();
	if (put16(&r->used->idx, r->next_used))
		return -EFAULT;
	r->shown_used = r->next_used;
	/*
	 * used->idx is out before used_event (or the flag) is read. Pairs with the driver's barrier between its write of
	 * used_event and its last look at used->idx; one of the two sees the other (2.7.7.2).
	 */
	smp_mb();
	if (r->event_idx)
		return get16(&v, &r->avail->ring[r->size])
			       ?: vring_need_event(v, r->next_used, old);
	return get16(&v, &r->avail->flags) ?: !(v & VRING_AVAIL_F_NO_INTERRUPT);
}

int ring_kicks_off(struct ring *r)
{
	/* With EVENT_IDX an avail_event that isn't moved on is enough: the driver has passed it. */
	return r->event_idx ? 0 : put16(&r->used->flags, VRING_USED_F_NO_NOTIFY);
}

int ring_kicks_on(struct ring *r)
{
	/* avail_event is behind the used ring. */
	int ret = r->event_idx ? put16((__virtio16 __user *)&r->used->ring[r->size], r->last_avail)
			       : put16(&r->used->flags, 0);

	if (ret)
		return ret;
	/*
	 * The wish is out before avail->idx is read again. Pairs with the driver's barrier between its write of avail->idx
	 * and its read of avail_event (or the flag): what we miss here, it notifies us of (2.7.10.1).
	 */
	smp_mb();
	return look(r);
}

int iov_read(void *to, const struct iovec *iov, unsigned int n, size_t len)
{
	for (; len && n; iov++, n--) {
		size_t part = min(len, iov->iov_len);

		if (copy_from_user(to, iov->iov_base, part))
			return -EFAULT;
		to += part;
		len -= part;
	}
	return len ? -EFAULT : 0;
}

int iov_write(const struct iovec *iov, unsigned int n, const void *from, size_t len)
{
	for (; len && n; iov++, n--) {
		size_t part = min(len, iov->iov_len);

		if (copy_to_user(iov->iov_base, from, part))
			return -EFAULT;
		from += part;
		len -= part;
	}
	return len ? -EFAULT : 0;
}

unsigned int iov_cut(struct iovec **iov, unsigned int n, size_t skip, size_t len)
{
	struct iovec *v = *iov;
	unsigned int i;

	for (; n && skip >= v->iov_len; v++, n--)
		skip -= v->iov_len;
	*iov = v;
	if (!n)
		return 0;
	v->iov_base += skip;
	v->iov_len -= skip;
	for (i = 0; i < n && len; i++) {
		v[i].iov_len = min(len, v[i].iov_len);
		len -= v[i].iov_len;
	}
	return i;
}
