/* SPDX-License-Identifier: Apache-2.0 */
/* The vCPUs' side of the transport: what a driver reads and writes, and what it means. */
#include "virtio/mmio_private.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"

#define MMIO_MAGIC 0x74726976u /* "virt" */
#define MMIO_VERSION 2u
#define MMIO_VENDOR 0x4d56494du /* "MIVM"; drivers don't care */

/* What the transport can do for every device. */
#define MMIO_FEATURES \
	((1ull << VIRTIO_F_VERSION_1) | (1ull << VIRTIO_RING_F_INDIRECT_DESC) | (1ull << VIRTIO_RING_F_EVENT_IDX))

/* ---- vCPU threads, under the lock ------------------------------------------------------------------------------ */

static uint64_t offered(const struct virtio_mmio *m)
{
	return m->dev->features | (MMIO_FEATURES & ~m->dev->lacks);
}

/* The registers that depend on what was selected. */
static void show_selected(struct virtio_mmio *m)
{
	bool queue = m->queue_sel < m->dev->queues_n;

	mmio_set_reg(m, VIRTIO_MMIO_DEVICE_FEATURES,
		     m->features_sel < 2 ? (uint32_t)(offered(m) >> (32 * m->features_sel)) : 0);
	mmio_set_reg(m, VIRTIO_MMIO_QUEUE_NUM_MAX, queue ? m->dev->queue_size[m->queue_sel] : 0);
	mmio_set_reg(m, VIRTIO_MMIO_QUEUE_READY, queue && m->queues[m->queue_sel].vq.ready);
}

static void write_reset(struct virtio_mmio *m)
{
	unsigned int i;

	m->features_sel = m->driver_features_sel = m->queue_sel = 0;
	m->driver_features = 0;
	for (i = 0; i < m->dev->queues_n; i++) {
		struct mmio_queue *q = &m->queues[i];

		q->num = 0;
		q->desc_gpa = q->avail_gpa = q->used_gpa = 0;
	}
	if (mmio_reg(m, VIRTIO_MMIO_STATUS)) {
		atomic_store(&m->resetting, true);
		loop_call(m->loop, mmio_reset, m);
	} else {
		/* Nothing was started: no need to wake the io thread, which every probe would begin with. */
		for (i = 0; i < m->dev->queues_n; i++)
			virtq_stop(&m->queues[i].vq);
	}
	show_selected(m);
}

/* virtio 1.2, 3.1.1: bits are added one step after the other and only a reset clears them. */
static bool status_in_order(unsigned int old, unsigned int now)
{
	old &= ~(unsigned int)VIRTIO_CONFIG_S_NEEDS_RESET;
	now &= ~(unsigned int)VIRTIO_CONFIG_S_NEEDS_RESET;
	if ((now & old) != old || now > 0xff)
		return false;
	if ((now & VIRTIO_CONFIG_S_DRIVER) && !(now & VIRTIO_CONFIG_S_ACKNOWLEDGE))
		return false;
	if ((now & VIRTIO_CONFIG_S_FEATURES_OK) && !(now & VIRTIO_CONFIG_S_DRIVER))
		return false;
	return !(now & VIRTIO_CONFIG_S_DRIVER_OK) || (now & VIRTIO_CONFIG_S_FEATURES_OK);
}

static void write_status(struct virtio_mmio *m, uint32_t value)
{
	uint32_t old = mmio_reg(m, VIRTIO_MMIO_STATUS), added;

	if (!value) {
		write_reset(m);
		return;
	}
	if (!status_in_order(old, value)) {
		log_guest("%s: status 0x%x after 0x%x is out of order", m->dev->ops->name, value, old);
		return;
	}
	added = value & ~old & ~(unsigned int)VIRTIO_CONFIG_S_NEEDS_RESET;
	if (added & VIRTIO_CONFIG_S_FEATURES_OK) {
		/* 2.2.2: without VERSION_1, or with what was not offered, the bit does not stay. */
		if ((m->driver_features & ~offered(m)) || !(m->driver_features & (1ull << VIRTIO_F_VERSION_1)))
			added &= ~(unsigned int)(VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
		else
			m->dev->driver_features = m->driver_features;
	}
	mmio_add_bits(m, VIRTIO_MMIO_STATUS, added);
	if (added & VIRTIO_CONFIG_S_DRIVER_OK)
		loop_call(m->loop, mmio_activate, m);
}

static void *slice(const void *mem, uint64_t gpa, uint64_t len_bytes)
{
	return guest_mem_slice(mem, gpa, len_bytes);
}

static const void *readable(const void *mem, uint64_t gpa, uint64_t len_bytes)
{
	return guest_mem_readable(mem, gpa, len_bytes);
}

static void write_queue_ready(struct virtio_mmio *m, struct mmio_queue *q, uint32_t value)
{
	uint32_t status = mmio_reg(m, VIRTIO_MMIO_STATUS);
	const struct virtq_mem mem = {
		.slice = slice,
		.readable = readable,
		.arg = m->dev->mem,
	};
	int r;

	/* Once the device runs, queues stop by a reset only: VIRTIO_F_RING_RESET is not offered. */
	if (!(status & VIRTIO_CONFIG_S_FEATURES_OK) || (status & VIRTIO_CONFIG_S_DRIVER_OK)) {
		log_guest("%s: queue %u made %s at status 0x%x", m->dev->ops->name, m->queue_sel,
			  value ? "ready" : "unready", status);
		return;
	}
	if (!(value & 1)) {
		virtq_stop(&q->vq);
		return;
	}
	r = q->num && q->num <= m->dev->queue_size[m->queue_sel]
		    ? virtq_start(&q->vq, &mem, q->num, q->desc_gpa, q->avail_gpa, q->used_gpa, m->driver_features)
		    : -EINVAL;
	if (r < 0)
		log_guest("%s: queue %u is wrongly set up: %s", m->dev->ops->name, m->queue_sel,
			  r == -EFAULT ? "outside of memory" : "size or alignment");
}

static void set_half(uint64_t *v, bool high, uint32_t value)
{
	*v = high ? (*v & UINT32_MAX) | (uint64_t)value << 32 : (*v & ~(uint64_t)UINT32_MAX) | value;
}

static void write_queue(struct virtio_mmio *m, uint32_t offset, uint32_t value)
{
	struct mmio_queue *q;

	if (m->queue_sel >= m->dev->queues_n)
		return;
	q = &m->queues[m->queue_sel];
	if (offset == VIRTIO_MMIO_QUEUE_READY) {
		write_queue_ready(m, q, value);
		show_selected(m);
		return;
	}
	if (q->vq.ready) /* 4.2.2.2: not to be changed while the queue is ready */
		return;
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM: q->num = value; break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW: set_half(&q->desc_gpa, false, value); break;
	case VIRTIO_MMIO_QUEUE_DESC_HIGH: set_half(&q->desc_gpa, true, value); break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW: set_half(&q->avail_gpa, false, value); break;
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH: set_half(&q->avail_gpa, true, value); break;
	case VIRTIO_MMIO_QUEUE_USED_LOW: set_half(&q->used_gpa, false, value); break;
	case VIRTIO_MMIO_QUEUE_USED_HIGH: set_half(&q->used_gpa, true, value); break;
	default: break;
	}
}

static void write_register(struct virtio_mmio *m, uint32_t offset, uint32_t value)
{
	uint32_t status = mmio_reg(m, VIRTIO_MMIO_STATUS);

	switch (offset) {
	case VIRTIO_MMIO_STATUS: write_status(m, value); break;
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		m->features_sel = value;
		show_selected(m);
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL: m->driver_features_sel = value; break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		/* Between DRIVER and FEATURES_OK, 3.1.1 steps 3 to 5. */
		if ((status & VIRTIO_CONFIG_S_DRIVER) && !(status & VIRTIO_CONFIG_S_FEATURES_OK) &&
		    m->driver_features_sel < 2)
			set_half(&m->driver_features, m->driver_features_sel, value);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		m->queue_sel = value;
		show_selected(m);
		break;
	default: write_queue(m, offset, value); break;
	}
}

/* What never changes, and the state before any driver. */
void mmio_fill_page(struct virtio_mmio *m)
{
	static const unsigned int no_shm[] = {
		/* 4.2.2.1: all ones, as there is no such region */
		VIRTIO_MMIO_SHM_LEN_LOW,
		VIRTIO_MMIO_SHM_LEN_HIGH,
		VIRTIO_MMIO_SHM_BASE_LOW,
		VIRTIO_MMIO_SHM_BASE_HIGH,
	};
	size_t i;

	mmio_set_reg(m, VIRTIO_MMIO_MAGIC_VALUE, MMIO_MAGIC);
	mmio_set_reg(m, VIRTIO_MMIO_VERSION, MMIO_VERSION);
	mmio_set_reg(m, VIRTIO_MMIO_DEVICE_ID, m->dev->ops->id);
	mmio_set_reg(m, VIRTIO_MMIO_VENDOR_ID, MMIO_VENDOR);
	for (i = 0; i < ARRAY_SIZE(no_shm); i++)
		mmio_set_reg(m, no_shm[i], UINT32_MAX);
	if (m->dev->ops->config_read)
		m->dev->ops->config_read(m->dev, 0, (char *)m->page + VIRTIO_MMIO_CONFIG, m->dev->config_len_bytes);
	show_selected(m);
}

/* ---- the bus's side -------------------------------------------------------------------------------------------- */

/* Where KVM doesn't show the page. */
void mmio_read(void *arg, uint64_t offset, void *data, unsigned int len)
{
	struct virtio_mmio *m = arg;
	uint32_t value;

	if (len == 4 && offset % 4 == 0) {
		value = atomic_load(&m->page[offset / 4]);
		memcpy(data, &value, sizeof(value));
	} else {
		memcpy(data, (const char *)m->page + offset, len);
	}
}

/* A kick that no ioeventfd took. */
static void notify(struct virtio_mmio *m, uint32_t queue)
{
	uint64_t one = 1;

	if (queue < m->dev->queues_n && write(m->queues[queue].kick_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: the loop is awake */
}

/* Of the page only those bytes are written: the others may be the io thread's just now. */
static void write_config(struct virtio_mmio *m, uint32_t offset, const void *data, unsigned int len)
{
	m->dev->ops->config_write(m->dev, offset, data, len);
	m->dev->ops->config_read(m->dev, offset, (char *)m->page + VIRTIO_MMIO_CONFIG + offset, len);
}

void mmio_write(void *arg, uint64_t offset, const void *data, unsigned int len)
{
	struct virtio_mmio *m = arg;
	uint32_t value;

	if (offset < VIRTIO_MMIO_CONFIG) {
		if (len != 4 || offset % 4)
			return;
		memcpy(&value, data, sizeof(value));
		value = le32toh(value);
		if (offset == VIRTIO_MMIO_INTERRUPT_ACK) {
			/* Why the other bit stays: mmio.h. */
			atomic_fetch_and(&m->page[VIRTIO_MMIO_INTERRUPT_STATUS / 4],
					 htole32(~(value & VIRTIO_MMIO_INT_CONFIG)));
			return;
		}
		if (offset == VIRTIO_MMIO_QUEUE_NOTIFY) {
			notify(m, value);
			return;
		}
	}
	pthread_mutex_lock(&m->lock);
	/* During a reset the device is the io thread's. */
	if (!atomic_load(&m->resetting)) {
		if (offset < VIRTIO_MMIO_CONFIG)
			write_register(m, offset, value);
		else if (m->dev->ops->config_write && offset - VIRTIO_MMIO_CONFIG + len <= m->dev->config_len_bytes)
			write_config(m, (uint32_t)(offset - VIRTIO_MMIO_CONFIG), data, len);
	}
	pthread_mutex_unlock(&m->lock);
}
