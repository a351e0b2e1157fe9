/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio driver for tests and fuzz targets: guest memory without KVM, the real devices on a real bus and loop, eventfds
 * in place of KVM's irqfd and ioeventfd. Registers are written as a vCPU would, rings as a driver would.
 */
#ifndef TESTS_UNIT_VIRTIO_DRIVER_H
#define TESTS_UNIT_VIRTIO_DRIVER_H

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/util.h"
#include "base/vmspec.h"
#include "io/loop.h"
#include "virtio/virtio.h"
#include "vmm/bus.h"
#include "vmm/memory.h"

#define DRV_MEM (16ull << 20)
#define DRV_QUEUES 5u
#define DRV_RINGS 0x100000ull		 /* queue i's rings are at DRV_RINGS + i * 64 KiB */
#define DRV_DATA 0x200000ull		 /* free for buffers */
#define DRV_WAIT_NS (30ull * 1000000000) /* after which a test has failed */
#define DRV_FEATURES \
	((1ull << VIRTIO_F_VERSION_1) | (1ull << VIRTIO_RING_F_INDIRECT_DESC) | (1ull << VIRTIO_RING_F_EVENT_IDX))

struct drv_queue {
	uint16_t size, avail_idx, used_seen, next_desc;
	uint64_t desc_gpa, avail_gpa, used_gpa;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	int kick_fd;
};

struct drv {
	struct guest_mem *mem;
	struct bus bus;
	struct loop *loop;
	struct virtio_machine *machine;
	char cmdline[512];
	uint64_t base;
	const void *page;
	const char *window; /* what the device brought along as memory */
	uint64_t window_gpa, window_bytes;
	bool window_read_only;
	int irq_fd;
	uint64_t features;
	struct drv_queue q[DRV_QUEUES];
	struct loop_op timer;
	bool timed_out;
	struct vmspec spec;
};

/* The guest would read the registers here, without the bus: it must see the same. */
static int drv_readonly_page(void *arg, uint64_t gpa, const void *page)
{
	struct drv *d = arg;

	d->page = page;
	return gpa == GUEST_MMIO_BASE && (uintptr_t)page % 4096 == 0 ? 0 : -EINVAL;
}

static int drv_add_memory(void *arg, unsigned int n, uint64_t gpa, void *hva, uint64_t len_bytes, bool read_only)
{
	struct drv *d = arg;

	d->window = hva;
	d->window_gpa = gpa;
	d->window_bytes = len_bytes;
	d->window_read_only = read_only;
	return n ? -EINVAL : 0;
}

/* The machine closes the fds it is given; ours are duplicates. */
static int drv_irqfd(void *arg, unsigned int gsi)
{
	struct drv *d = arg;

	if (gsi != GUEST_GSI_FIRST)
		return -EINVAL;
	d->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return dup(d->irq_fd);
}

static int drv_ioeventfd(void *arg, uint64_t gpa, uint32_t value)
{
	struct drv *d = arg;
	int fd = eventfd(0, EFD_CLOEXEC);

	if (gpa != GUEST_MMIO_BASE + VIRTIO_MMIO_QUEUE_NOTIFY && gpa != GUEST_MMIO_BASE + VIRTIO_MMIO_INTERRUPT_ACK)
		return -EINVAL;
	if (gpa == GUEST_MMIO_BASE + VIRTIO_MMIO_QUEUE_NOTIFY && value < DRV_QUEUES)
		d->q[value].kick_fd = dup(fd);
	return fd;
}

static inline uint32_t drv_read(struct drv *d, uint64_t offset)
{
	uint32_t v = 0;

	bus_read(&d->bus, d->base + offset, &v, sizeof(v));
	return le32toh(v);
}

static inline void drv_write(struct drv *d, uint64_t offset, uint32_t v)
{
	v = htole32(v);
	bus_write(&d->bus, d->base + offset, &v, sizeof(v));
}

static inline void *drv_at(struct drv *d, uint64_t gpa)
{
	return guest_mem_slice(d->mem, gpa, 1);
}

/* A machine with the one device that the caller has put into spec. Negative errno. */
static inline int drv_open(struct drv *d, struct err *e)
{
	const struct irq_ops irq = { .irqfd = drv_irqfd,
				     .ioeventfd = drv_ioeventfd,
				     .readonly_page = drv_readonly_page,
				     .add_memory = drv_add_memory,
				     .arg = d };
	unsigned int i;
	int r;

	d->irq_fd = -1;
	d->base = GUEST_MMIO_BASE;
	for (i = 0; i < DRV_QUEUES; i++)
		d->q[i].kick_fd = -1;
	r = guest_mem_new(&d->mem, DRV_MEM, e);
	if (!r)
		r = loop_new(&d->loop, 64, 0);
	if (!r)
		r = virtio_machine_new(&d->machine, &d->spec, d->mem, &d->bus, &irq, d->loop, d->cmdline,
				       sizeof(d->cmdline), e);
	if (!r)
		virtio_machine_start(d->machine);
	return r;
}

static inline void drv_close(struct drv *d)
{
	unsigned int i;

	virtio_machine_free(d->machine);
	loop_free(d->loop);
	guest_mem_free(d->mem);
	for (i = 0; i < DRV_QUEUES; i++)
		if (d->q[i].kick_fd >= 0)
			close(d->q[i].kick_fd);
	if (d->irq_fd >= 0)
		close(d->irq_fd);
}

/* 3.1.1 up to FEATURES_OK; want: device bits and the transport's. Returns what was agreed on. */
static inline uint64_t drv_features(struct drv *d, uint64_t want)
{
	uint64_t offered;

	drv_write(d, VIRTIO_MMIO_STATUS, 0);
	drv_write(d, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	drv_write(d, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	drv_write(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	offered = drv_read(d, VIRTIO_MMIO_DEVICE_FEATURES);
	drv_write(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	offered |= (uint64_t)drv_read(d, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
	d->features = offered & want;
	drv_write(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	drv_write(d, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)d->features);
	drv_write(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	drv_write(d, VIRTIO_MMIO_DRIVER_FEATURES, d->features >> 32);
	drv_write(d, VIRTIO_MMIO_STATUS,
		  VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK);
	return d->features;
}

static inline void drv_queue(struct drv *d, unsigned int i, uint16_t size)
{
	struct drv_queue *q = &d->q[i];
	uint64_t at = DRV_RINGS + i * 0x10000ull;
	int kick_fd = q->kick_fd;

	*q = (struct drv_queue){
		.size = size, .kick_fd = kick_fd, .desc_gpa = at, .avail_gpa = at + 0x8000, .used_gpa = at + 0xc000
	};
	q->desc = drv_at(d, q->desc_gpa);
	q->avail = drv_at(d, q->avail_gpa);
	q->used = drv_at(d, q->used_gpa);
	memset(q->desc, 0, 0x10000);
	drv_write(d, VIRTIO_MMIO_QUEUE_SEL, i);
	drv_write(d, VIRTIO_MMIO_QUEUE_NUM, size);
	drv_write(d, VIRTIO_MMIO_QUEUE_DESC_LOW, q->desc_gpa);
	drv_write(d, VIRTIO_MMIO_QUEUE_AVAIL_LOW, q->avail_gpa);
	drv_write(d, VIRTIO_MMIO_QUEUE_USED_LOW, q->used_gpa);
	drv_write(d, VIRTIO_MMIO_QUEUE_READY, 1);
}

static inline void drv_ok(struct drv *d)
{
	drv_write(d, VIRTIO_MMIO_STATUS, drv_read(d, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* Features, n queues of that size, DRIVER_OK. */
static inline void drv_up(struct drv *d, unsigned int n, uint16_t size, uint64_t want)
{
	unsigned int i;

	drv_features(d, want);
	for (i = 0; i < n; i++)
		drv_queue(d, i, size);
	drv_ok(d);
}

/* One descriptor; returns its index. */
static inline uint16_t drv_desc(struct drv *d, unsigned int i, uint64_t gpa, uint32_t len, uint16_t flags,
				uint16_t next)
{
	struct drv_queue *q = &d->q[i];
	uint16_t at = q->next_desc++ % q->size;

	q->desc[at] = (struct vring_desc){ htole64(gpa), htole32(len), htole16(flags), htole16(next) };
	return at;
}

static inline void drv_avail(struct drv *d, unsigned int i, uint16_t head)
{
	struct drv_queue *q = &d->q[i];

	q->avail->ring[q->avail_idx++ % q->size] = htole16(head);
	__atomic_store_n(&q->avail->idx, htole16(q->avail_idx), __ATOMIC_RELEASE);
}

/* As 2.7.13.4.1 and 2.7.10 have it. Did it notify? */
static inline bool drv_kick(struct drv *d, unsigned int i)
{
	struct drv_queue *q = &d->q[i];
	uint64_t one = 1;

	return write(q->kick_fd, &one, sizeof(one)) == sizeof(one);
}

struct drv_buf {
	uint64_t gpa;
	uint32_t len;
	bool write;
};

/* A chain of the buffers, made available; returns its head. */
static inline uint16_t drv_add(struct drv *d, unsigned int i, const struct drv_buf *bufs, unsigned int n)
{
	struct drv_queue *q = &d->q[i];
	uint16_t head = q->next_desc % q->size;
	unsigned int k;

	for (k = 0; k < n; k++)
		drv_desc(d, i, bufs[k].gpa, bufs[k].len,
			 (bufs[k].write ? VRING_DESC_F_WRITE : 0) | (k + 1 < n ? VRING_DESC_F_NEXT : 0),
			 (q->next_desc + 1) % q->size);
	drv_avail(d, i, head);
	return head;
}

static inline uint16_t drv_used_idx(struct drv *d, unsigned int i)
{
	return le16toh(__atomic_load_n(&d->q[i].used->idx, __ATOMIC_ACQUIRE));
}

static void drv_timed_out(struct loop_op *op, int res)
{
	struct drv *d = container_of(op, struct drv, timer);

	if (!res)
		d->timed_out = true;
}

/* Runs the loop until cond(arg); false when that takes longer than DRV_WAIT_NS. */
static inline bool drv_wait(struct drv *d, bool (*cond)(struct drv *d, void *arg), void *arg)
{
	bool ok;

	d->timed_out = false;
	loop_op_init(&d->timer, drv_timed_out);
	loop_timer(d->loop, &d->timer, DRV_WAIT_NS);
	while (!(ok = cond(d, arg)) && !d->timed_out)
		loop_run_once(d->loop, true);
	loop_cancel(d->loop, &d->timer);
	while (loop_op_busy(&d->timer))
		loop_run_once(d->loop, true);
	return ok;
}

static inline bool drv_has_used(struct drv *d, void *arg)
{
	unsigned int i = *(unsigned int *)arg;

	return drv_used_idx(d, i) != d->q[i].used_seen;
}

/* The next used entry's length, its head to *head (may be NULL); -1 when there is none in time. */
static inline int64_t drv_next_used(struct drv *d, unsigned int i, uint16_t *head)
{
	struct drv_queue *q = &d->q[i];
	struct vring_used_elem *u;

	if (!drv_wait(d, drv_has_used, &i))
		return -1;
	u = &q->used->ring[q->used_seen++ % q->size];
	if (head)
		*head = le32toh(u->id);
	return le32toh(u->len);
}

/* Gives the loop a few turns: whatever is ready now happens. */
static inline void drv_turns(struct drv *d)
{
	int i;

	for (i = 0; i < 8; i++)
		loop_run_once(d->loop, false);
}

/* Has an interrupt come since the last call? Acknowledges it as Linux does. */
static inline uint32_t drv_interrupt(struct drv *d)
{
	uint64_t n;
	uint32_t status;

	if (read(d->irq_fd, &n, sizeof(n)) != sizeof(n))
		return 0;
	status = drv_read(d, VIRTIO_MMIO_INTERRUPT_STATUS);
	drv_write(d, VIRTIO_MMIO_INTERRUPT_ACK, status);
	return status;
}

static inline bool drv_broken(struct drv *d)
{
	return drv_read(d, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

static inline bool drv_is_broken(struct drv *d, void *arg)
{
	return drv_broken(d);
}

#endif
