// SPDX-License-Identifier: GPL-2.0-only
/* Pages that the guest gives back: its queues (virtio 1.2, 5.5.6), and holes in the file that is its memory. */
#include <linux/eventfd.h>
#include <linux/falloc.h>
#include <linux/file.h>
#include <linux/slab.h>

#include "compat.h"
#include "notify.h"
#include "pages.h"
#include "session.h"

#define SEGMENTS 64u /* Linux reports up to 32 pieces at a time */
#define BUDGET 16u   /* requests of a round: one may take a while */

struct balloon_queue {
	bool on;
	struct ring ring;
	struct kick kick;
	struct eventfd_ctx *call;
};

struct balloon {
	struct file *memory;
	u64 offset[MICROVM_REGIONS_MAX];
	bool broken, poisoned;
	struct balloon_queue queues[MICROVM_BALLOON_QUEUES];
	struct microvm_balloon_state state;
	struct iovec iov[SEGMENTS];
	u32 pfns[PFNS_MAX];
};

static int punch(void *file, u64 offset, u64 len)
{
	return vfs_fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, len);
}

/* What the driver reports is what we may write to; what it inflates by are numbers to be read. */
static int serve_chain(struct session *s, unsigned int queue, const struct ring_chain *c)
{
	struct balloon *b = s->balloon;
	struct pages p = { .mem = &s->mem, .offset = b->offset, .punch = punch, .arg = b->memory };
	u32 i, n = c->out_bytes / sizeof(b->pfns[0]);
	int ret;

	if (queue == MICROVM_BALLOON_REPORTING) {
		if (c->out_n)
			return -EPROTO;
		for (i = 0; i < c->in_n && !b->poisoned; i++)
			pages_add_user(&p, c->iov[i].iov_base, c->iov[i].iov_len);
	} else {
		if (c->in_n || n > PFNS_MAX)
			return -EPROTO;
		if (queue == MICROVM_BALLOON_DEFLATE)
			return 0; /* they are there as soon as they are touched */
		ret = iov_read(b->pfns, c->iov, c->out_n, n * sizeof(b->pfns[0]));
		if (ret)
			return ret;
		for (i = 0; i < n; i++)
			b->pfns[i] = le32_to_cpu((__force __le32)b->pfns[i]);
		pages_add_pfns(&p, b->pfns, n);
	}
	pages_flush(&p);
	b->state.punches += p.punches;
	b->state.refused += p.refused;
	b->state.returned_bytes += p.bytes;
	if (queue == MICROVM_BALLOON_REPORTING)
		b->state.reported_bytes += p.bytes;
	return 0;
}

/* 1: there is more to do; 0; or negative errno. */
static int serve_queue(struct session *s, unsigned int queue)
{
	struct balloon *b = s->balloon;
	struct balloon_queue *q = &b->queues[queue];
	struct ring_chain c;
	int ret = ring_kicks_off(&q->ring), call;
	unsigned int i;

	for (i = 0; !ret && i < BUDGET; i++) {
		ret = ring_pop(&q->ring, &c, b->iov, SEGMENTS);
		if (ret <= 0)
			break;
		ret = serve_chain(s, queue, &c) ?: ring_push(&q->ring, c.head, 0);
		b->state.requests++;
	}
	call = ring_flush(&q->ring);
	if (call > 0) {
		s->interrupts++;
		compat_eventfd_signal(q->call);
	}
	if (ret < 0 || call < 0)
		return ret < 0 ? ret : call;
	return i < BUDGET ? ring_kicks_on(&q->ring) : 1;
}

bool balloon_serve(struct session *s)
{
	struct balloon *b = s->balloon;
	bool more = false;
	unsigned int i;
	int ret;

	for (i = 0; b && !b->broken && i < MICROVM_BALLOON_QUEUES; i++) {
		if (!b->queues[i].on)
			continue;
		ret = serve_queue(s, i);
		if (ret < 0) {
			b->broken = true;
			session_tell_broken(s, ret);
		}
		more |= ret > 0;
	}
	return more && !b->broken;
}

static int set_memory(struct session *s, const struct microvm_balloon *from)
{
	struct file *file = fget(from->memory_fd);

	if (!file)
		return -EBADF;
	s->balloon->memory = file;
	if (!S_ISREG(file_inode(file)->i_mode) || !(file->f_mode & FMODE_WRITE))
		return -EINVAL;
	memcpy(s->balloon->offset, from->offset, sizeof(from->offset));
	return pages_check(&s->mem, from->offset, i_size_read(file_inode(file)));
}

static int set_queue(struct session *s, struct balloon_queue *q, const struct microvm_queue *from,
		     u64 features)
{
	int ret;

	if (!from->size)
		return 0;
	ret = ring_init(&q->ring, &s->mem, from, features);
	if (!ret)
		ret = call_set(&q->call, from->call_fd);
	if (!ret)
		ret = kick_set(s, &q->kick, from->kick_fd);
	q->on = !ret;
	return ret;
}

int balloon_set(struct session *s, const struct microvm_balloon *from)
{
	unsigned int i;
	int ret;

	if (s->balloon)
		return -EBUSY;
	if (from->flags & ~MICROVM_BALLOON_POISONED)
		return -EINVAL;
	s->balloon = kvzalloc(sizeof(*s->balloon), GFP_KERNEL_ACCOUNT);
	if (!s->balloon)
		return -ENOMEM;
	s->balloon->poisoned = from->flags & MICROVM_BALLOON_POISONED;
	ret = set_memory(s, from);
	for (i = 0; !ret && i < MICROVM_BALLOON_QUEUES; i++)
		ret = set_queue(s, &s->balloon->queues[i], &from->queues[i], from->features);
	if (ret)
		balloon_stop(s);
	else
		session_wake(s); /* what was there before we came */
	return ret;
}

void balloon_stop(struct session *s)
{
	struct balloon *b = s->balloon;
	unsigned int i;

	if (!b)
		return;
	for (i = 0; i < MICROVM_BALLOON_QUEUES; i++) {
		kick_clear(&b->queues[i].kick);
		call_clear(&b->queues[i].call);
	}
	if (b->memory)
		fput(b->memory);
	kvfree(b);
	s->balloon = NULL;
}

int balloon_get(const struct session *s, struct microvm_balloon_state *state)
{
	if (!s->balloon)
		return -ENXIO;
	*state = s->balloon->state;
	return 0;
}
