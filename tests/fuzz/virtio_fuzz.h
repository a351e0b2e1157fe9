/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile driver that takes its orders from a byte stream: registers, descriptors, rings, memory and kicks, in any
 * order, on a real device. Each order is a byte and its operands; a stream that ends early reads as zeroes.
 */
#ifndef TESTS_FUZZ_VIRTIO_FUZZ_H
#define TESTS_FUZZ_VIRTIO_FUZZ_H

#include <signal.h>

#include "base/log.h"
#include "tests/unit/virtio_driver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_ORDERS_MAX 400

struct fuzz_in {
	const uint8_t *at, *end;
};

static inline uint64_t fuzz_take(struct fuzz_in *in, unsigned int bytes)
{
	uint64_t v = 0;
	unsigned int i;

	for (i = 0; i < bytes; i++)
		v |= (uint64_t)(in->at < in->end ? *in->at++ : 0) << 8 * i;
	return v;
}

enum fuzz_order {
	FUZZ_UP,     /* a clean start: which of the ring features, size of the queues */
	FUZZ_BUFFER, /* queue, selector of place, length, flags: a descriptor, and it is made available */
	FUZZ_CHAIN,  /* queue, how many: descriptors as FUZZ_BUFFER, linked */
	FUZZ_DESC,   /* queue, index, all 16 bytes */
	FUZZ_AVAIL,  /* queue, head */
	FUZZ_IDX,    /* queue, avail->idx */
	FUZZ_KICK,   /* queue */
	FUZZ_MEMORY, /* page of the data area, offset, bytes */
	FUZZ_WRITE,  /* register, value */
	FUZZ_READ,   /* register */
	FUZZ_CONFIG, /* offset, length, value */
	FUZZ_TURNS,  /* the loop runs */
	FUZZ_EVENT,  /* queue, used_event and flags */
	FUZZ_HOST,   /* what the device's own target makes of it */
	FUZZ_ORDERS
};

/* Mostly a place in the data area, sometimes one that is none. */
static inline uint64_t fuzz_place(struct fuzz_in *in)
{
	uint64_t v = fuzz_take(in, 1);

	if (v < 0xf0)
		return DRV_DATA + v * 0x200;
	return v < 0xf8 ? DRV_MEM - (v & 7) : fuzz_take(in, 8);
}

static inline void fuzz_descriptor(struct drv *d, struct fuzz_in *in, unsigned int q, bool more)
{
	uint64_t gpa = fuzz_place(in);
	uint32_t len = fuzz_take(in, 2);
	uint16_t flags = fuzz_take(in, 1) & 7;

	drv_desc(d, q, gpa, len, more ? flags | VRING_DESC_F_NEXT : flags & ~VRING_DESC_F_NEXT,
		 (d->q[q].next_desc + 1) % d->q[q].size);
}

/* One order. host may be NULL. */
static inline void fuzz_order(struct drv *d, unsigned int queues, struct fuzz_in *in,
			      void (*host)(struct drv *d, struct fuzz_in *in))
{
	unsigned int order = fuzz_take(in, 1) % FUZZ_ORDERS, q = 0, i, n;
	bool ready = d->q[0].desc;
	uint64_t v;

	if (order != FUZZ_UP && order != FUZZ_WRITE && order != FUZZ_READ && order != FUZZ_CONFIG &&
	    order != FUZZ_TURNS && order != FUZZ_HOST) {
		q = fuzz_take(in, 1) % queues;
		if (!ready)
			return;
	}
	switch (order) {
	case FUZZ_UP:
		v = fuzz_take(in, 1);
		drv_up(d, queues, 1u << (v >> 4) % 9,
		       1ull << VIRTIO_F_VERSION_1 | (v & 3) << VIRTIO_RING_F_INDIRECT_DESC | (v & 4 ? 0xffffff : 0));
		break;
	case FUZZ_BUFFER:
	case FUZZ_CHAIN:
		n = order == FUZZ_CHAIN ? 1 + fuzz_take(in, 1) % 6 : 1;
		i = d->q[q].next_desc % d->q[q].size;
		while (n--)
			fuzz_descriptor(d, in, q, n);
		drv_avail(d, q, i);
		break;
	case FUZZ_DESC:
		i = fuzz_take(in, 1) % d->q[q].size;
		v = fuzz_take(in, 8);
		((uint64_t *)&d->q[q].desc[i])[0] = v;
		v = fuzz_take(in, 8);
		((uint64_t *)&d->q[q].desc[i])[1] = v;
		break;
	case FUZZ_AVAIL: drv_avail(d, q, fuzz_take(in, 2)); break;
	case FUZZ_IDX: d->q[q].avail->idx = d->q[q].avail_idx = fuzz_take(in, 2); break;
	case FUZZ_KICK: drv_kick(d, q); break;
	case FUZZ_MEMORY:
		v = DRV_DATA + fuzz_take(in, 1) * 0x200 + fuzz_take(in, 1);
		for (i = 0, n = fuzz_take(in, 1) % 65; i < n; i++)
			*(uint8_t *)drv_at(d, v + i) = fuzz_take(in, 1);
		break;
	case FUZZ_WRITE:
		v = fuzz_take(in, 1);
		drv_write(d, v * 4, fuzz_take(in, 4));
		break;
	case FUZZ_READ: drv_read(d, fuzz_take(in, 1) * 4); break;
	case FUZZ_CONFIG:
		v = fuzz_take(in, 1);
		n = 1u << (v & 3);
		i = (v >> 2) * n;
		v = fuzz_take(in, 4);
		bus_write(&d->bus, d->base + VIRTIO_MMIO_CONFIG + i, &v, n);
		bus_read(&d->bus, d->base + VIRTIO_MMIO_CONFIG + i, &v, n);
		break;
	case FUZZ_TURNS: drv_turns(d); break;
	case FUZZ_EVENT:
		d->q[q].avail->ring[d->q[q].size] = fuzz_take(in, 2);
		d->q[q].avail->flags = fuzz_take(in, 1);
		break;
	default:
		if (host)
			host(d, in);
		break;
	}
}

/* A whole run on the device in d->spec: it must end, whatever was done to it, and work again after a reset. */
static inline void fuzz_run(struct drv *d, unsigned int queues, const uint8_t *data, size_t size,
			    void (*host)(struct drv *d, struct fuzz_in *in))
{
	struct fuzz_in in = { data, data + size };
	struct err e = ERR_INIT;
	int i;

	log_to_fd(-1);
	signal(SIGPIPE, SIG_IGN);
	if (drv_open(d, &e) < 0) {
		fprintf(stderr, "%s\n", e.msg);
		abort();
	}
	for (i = 0; in.at < in.end && i < FUZZ_ORDERS_MAX; i++)
		fuzz_order(d, queues, &in, host);
	drv_turns(d);
	drv_close(d);
}

#endif
