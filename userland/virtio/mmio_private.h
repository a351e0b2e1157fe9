/* SPDX-License-Identifier: Apache-2.0 */
/* One device's transport as both of its sides have it. What belongs to whom stands in mmio.h and beside each member. */
#ifndef VIRTIO_MMIO_PRIVATE_H
#define VIRTIO_MMIO_PRIVATE_H

#include <linux/virtio_mmio.h>
#include <pthread.h>
#include <stdatomic.h>

#include "virtio/mmio.h"

#define MMIO_PAGE_BYTES GUEST_MMIO_STRIDE

struct mmio_queue {
	struct virtio_mmio *m;
	struct virtq vq;
	int kick_fd;
	uint64_t kick_count;
	struct loop_op kick_op;	 /* waits on kick_fd */
	struct loop_op again_op; /* virtio_kick_later */
	/* registers, under the lock */
	uint32_t num;
	uint64_t desc_gpa, avail_gpa, used_gpa;
};

struct virtio_mmio {
	struct virtio_device *dev;
	struct loop *loop;
	int irq_fd;
	bool quiesced; /* io thread: kicks are not listened for again */
	bool active;   /* io thread: between activate and reset */

	/* What the guest reads. Status and InterruptStatus are shared by vCPUs and the io thread. */
	_Atomic __le32 *page;
	int ack_fd;	       /* the kernel drops acknowledgements into it; nobody reads it */
	atomic_bool resetting; /* from the driver's 0 to the end of the last request; status is not 0 meanwhile */

	pthread_mutex_t lock; /* vCPUs only: guards what follows and the queues' registers */
	uint32_t features_sel, driver_features_sel, queue_sel;
	uint64_t driver_features;

	struct mmio_queue queues[];
};

static inline uint32_t mmio_reg(struct virtio_mmio *m, unsigned int offset)
{
	return le32toh(atomic_load(&m->page[offset / 4]));
}

static inline void mmio_set_reg(struct virtio_mmio *m, unsigned int offset, uint32_t value)
{
	atomic_store(&m->page[offset / 4], htole32(value));
}

/* Returns the old value. */
static inline uint32_t mmio_add_bits(struct virtio_mmio *m, unsigned int offset, uint32_t bits)
{
	return le32toh(atomic_fetch_or(&m->page[offset / 4], htole32(bits)));
}

/* ---- mmio.c: in the io thread, which the vCPU waits for (loop_call) ------------------------------------------------- */

int mmio_activate(void *m);
int mmio_reset(void *m);

/* ---- mmio_registers.c ----------------------------------------------------------------------------------------------- */

/* What never changes, and the state before any driver. */
void mmio_fill_page(struct virtio_mmio *m);
/* The bus's handlers: in vCPU threads. */
void mmio_read(void *m, uint64_t offset, void *data, unsigned int len);
void mmio_write(void *m, uint64_t offset, const void *data, unsigned int len);

#endif
