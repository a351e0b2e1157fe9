/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio-mmio transport, version 2 (virtio 1.2, 4.2): one device's registers, its interrupt and its queues' kicks.
 *
 * Registers are a page of memory that holds, at each moment, what a read of it gives. KVM shows the page to the guest, so
 * that reads cost no exit: half of all accesses when a driver starts, and one of two at each interrupt. A write comes
 * here, and changes the page. So that the other access of an interrupt, its acknowledgement, need not come here either,
 * the "used buffer" bit of InterruptStatus stays set once it was; a driver looks at its queues then, and finds nothing
 * new at worst.
 *
 * Threads. vCPUs write registers, one at a time per device under its lock; a change that concerns the running device
 * (DRIVER_OK, reset) is carried out in the io thread while the vCPU waits. The io thread never takes the lock: what it
 * shares with vCPUs are atomic words. So a vCPU waits for the io thread, never the other way.
 */
#ifndef VIRTIO_MMIO_H
#define VIRTIO_MMIO_H

#include "virtio/virtio.h"

struct virtio_mmio;

/*
 * Puts dev on the bus at base with interrupt gsi; takes dev over, also on failure. Negative errno and a message.
 */
int virtio_mmio_new(struct virtio_mmio **out, struct virtio_device *dev, uint64_t base, unsigned int gsi,
		    const struct guest_mem *mem, struct bus *bus, const struct irq_ops *irq, struct loop *loop,
		    struct err *e);
/* In the io thread: listens for kicks. */
void virtio_mmio_start(struct virtio_mmio *m);
/* Cancels what is in flight; true: nothing is left. */
bool virtio_mmio_quiesce(struct virtio_mmio *m);
void virtio_mmio_free(struct virtio_mmio *m);
struct virtio_device *virtio_mmio_device(struct virtio_mmio *m);

#endif
