/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk over rings that are the input itself: 64 KiB of memory, the first bytes say how the queue is set up, the rest
 * is copied to it, so that descriptors, rings and indirect tables can be anything and lie on top of each other.
 */
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "virtio/virtq.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MEM 65536u
#define CHAINS 300

static uint8_t *memory;

static void *slice(const void *arg, uint64_t gpa, uint64_t len)
{
	return len && gpa < MEM && len <= MEM - gpa ? memory + gpa : NULL;
}

static void check(const struct virtq *vq, const struct virtq_chain *c, unsigned int iov_max)
{
	uint64_t out = 0, in = 0;
	unsigned int i;

	if (c->head >= vq->size || c->out_n + c->in_n > iov_max || c->out_n + c->in_n > vq->size ||
	    !(c->out_n + c->in_n))
		abort();
	for (i = 0; i < c->out_n + c->in_n; i++) {
		const uint8_t *p = c->iov[i].iov_base;

		if (p < memory || p + c->iov[i].iov_len > memory + MEM || !c->iov[i].iov_len)
			abort();
		*(i < c->out_n ? &out : &in) += c->iov[i].iov_len;
	}
	if (out != c->out_bytes || in != c->in_bytes)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct virtq_mem mem = { .slice = slice };
	struct {
		uint16_t size, desc, avail, used, features, iov_max;
	} set = { 0 };
	struct iovec iov[VIRTQ_SIZE_MAX];
	struct virtq_chain c;
	struct virtq vq;
	int i, r;

	memory = aligned_alloc(4096, MEM);
	memset(memory, 0, MEM);
	memcpy(&set, data, min_t(size_t, size, sizeof(set)));
	if (size > sizeof(set))
		memcpy(memory, data + sizeof(set), min_t(size_t, size - sizeof(set), MEM));
	if (virtq_start(&vq, &mem, set.size, set.desc, set.avail, set.used,
			(uint64_t)(set.features & 3) << VIRTIO_RING_F_INDIRECT_DESC) == 0) {
		virtq_kicks_off(&vq);
		for (i = 0; i < CHAINS; i++) {
			r = virtq_pop(&vq, &c, iov, set.iov_max % VIRTQ_SIZE_MAX);
			if (r < 0 && !vq.broken)
				abort();
			if (r <= 0)
				break;
			check(&vq, &c, set.iov_max % VIRTQ_SIZE_MAX);
			if (c.head & 1)
				virtq_push(&vq, c.head, c.in_bytes);
			else if (i % 5 == 4)
				virtq_unpop(&vq, 1);
			if (i % 3 == 2)
				virtq_flush(&vq);
		}
		virtq_flush(&vq);
		virtq_kicks_on(&vq);
		virtq_stop(&vq);
		if (virtq_pop(&vq, &c, iov, 1) > 0)
			abort();
	}
	free(memory);
	return 0;
}
