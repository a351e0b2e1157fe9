/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/mmio.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"

#define MMIO_MAGIC 0x74726976u /* "virt" */
#define MMIO_VERSION 2u
#define MMIO_VENDOR 0x4d56494du /* "MIVM"; drivers don't care */

/* What the transport can do for every device. */
#define MMIO_FEATURES \
	((1ull << VIRTIO_F_VERSION_1) | (1ull << VIRTIO_RING_F_INDIRECT_DESC) | (1ull << VIRTIO_RING_F_EVENT_IDX))

#define PAGE_BYTES GUEST_MMIO_STRIDE

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

static uint32_t reg(struct virtio_mmio *m, unsigned int offset)
{
	return le32toh(atomic_load(&m->page[offset / 4]));
}

static void set_reg(struct virtio_mmio *m, unsigned int offset, uint32_t value)
{
	atomic_store(&m->page[offset / 4], htole32(value));
}

/* Returns the old value. */
static uint32_t add_bits(struct virtio_mmio *m, unsigned int offset, uint32_t bits)
{
	return le32toh(atomic_fetch_or(&m->page[offset / 4], htole32(bits)));
}

struct virtio_device *virtio_mmio_device(struct virtio_mmio *m)
{
	return m->dev;
}

/* ---- io thread ------------------------------------------------------------------------------------------------ */

static void interrupt(struct virtio_mmio *m, unsigned int bit)
{
	uint64_t one = 1;

	/* The bit is set before the edge: the handler that the edge starts must find it. */
	add_bits(m, VIRTIO_MMIO_INTERRUPT_STATUS, bit);
	/* write(2) rather than the ring: the ring's own completion would wake the loop once more for nothing. */
	if (write(m->irq_fd, &one, sizeof(one)) != sizeof(one))
		log_guest("%s: interrupt lost", m->dev->ops->name);
}

void virtio_flush(struct virtio_device *dev, unsigned int queue)
{
	if (virtq_flush(dev->vq[queue]))
		interrupt(dev->transport, VIRTIO_MMIO_INT_VRING);
}

void virtio_config_changed(struct virtio_device *dev)
{
	struct virtio_mmio *m = dev->transport;

	dev->ops->config_read(dev, 0, (char *)m->page + VIRTIO_MMIO_CONFIG, dev->config_len_bytes);
	/* 4.2.2.1: a driver that has read a part of the old one sees that it has to begin again. */
	set_reg(m, VIRTIO_MMIO_CONFIG_GENERATION, reg(m, VIRTIO_MMIO_CONFIG_GENERATION) + 1);
	if (m->active)
		interrupt(m, VIRTIO_MMIO_INT_CONFIG);
}

/* false: it did before. */
static bool ask_for_reset(struct virtio_mmio *m, const char *why)
{
	unsigned int i;

	if (!m->active)
		return false;
	for (i = 0; i < m->dev->queues_n; i++)
		virtq_break(m->dev->vq[i], why);
	if (add_bits(m, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_NEEDS_RESET) & VIRTIO_CONFIG_S_NEEDS_RESET)
		return false;
	interrupt(m, VIRTIO_MMIO_INT_CONFIG);
	return true;
}

void virtio_broken(struct virtio_device *dev, const char *why)
{
	if (ask_for_reset(dev->transport, why))
		log_guest("%s: guest broke the rules: %s", dev->ops->name, why);
}

void virtio_failed(struct virtio_device *dev)
{
	ask_for_reset(dev->transport, "the device has failed");
}

int virtio_kick_fd(const struct virtio_device *dev, unsigned int queue)
{
	return ((const struct virtio_mmio *)dev->transport)->queues[queue].kick_fd;
}

int virtio_call_fd(const struct virtio_device *dev)
{
	return ((const struct virtio_mmio *)dev->transport)->irq_fd;
}

bool virtio_pop(struct virtio_device *dev, unsigned int queue, struct virtq_chain *chain, struct iovec *iov,
		unsigned int iov_max)
{
	int r = virtq_pop(dev->vq[queue], chain, iov, iov_max);

	if (r < 0)
		virtio_broken(dev, dev->vq[queue]->broken);
	return r > 0;
}

static bool is_external(const struct mmio_queue *q)
{
	return q->m->dev->external_queues >> (q - q->m->queues) & 1;
}

static void serve(struct mmio_queue *q)
{
	struct virtio_mmio *m = q->m;

	if (m->active && q->vq.ready && !q->vq.broken && !is_external(q))
		m->dev->ops->kick(m->dev, q - m->queues);
}

static void again_done(struct loop_op *op, int res)
{
	serve(container_of(op, struct mmio_queue, again_op));
}

void virtio_kick_later(struct virtio_device *dev, unsigned int queue)
{
	struct virtio_mmio *m = dev->transport;
	struct mmio_queue *q = &m->queues[queue];

	if (!loop_op_busy(&q->again_op))
		loop_defer(m->loop, &q->again_op);
}

static void listen_for_kicks(struct mmio_queue *q)
{
	loop_read(q->m->loop, &q->kick_op, q->kick_fd, &q->kick_count, sizeof(q->kick_count), -1);
}

static void kick_done(struct loop_op *op, int res)
{
	struct mmio_queue *q = container_of(op, struct mmio_queue, kick_op);

	if (q->m->quiesced)
		return;
	if (res != sizeof(q->kick_count) && res != -EINTR) {
		log_error("%s: reading a queue's eventfd: %s", q->m->dev->ops->name, strerror(-res));
		return;
	}
	/* Queued before the queue is served: a kick during that is seen. */
	listen_for_kicks(q);
	serve(q);
}

void virtio_mmio_start(struct virtio_mmio *m)
{
	unsigned int i;

	for (i = 0; i < m->dev->queues_n; i++)
		if (!is_external(&m->queues[i]))
			listen_for_kicks(&m->queues[i]);
	if (m->dev->ops->start)
		m->dev->ops->start(m->dev);
}

static int activate(void *arg)
{
	struct virtio_mmio *m = arg;
	unsigned int i;
	int r;

	m->active = true;
	/* Who serves queues elsewhere can't set the bit; it stays once it is set (mmio.h). */
	if (m->dev->external_queues)
		add_bits(m, VIRTIO_MMIO_INTERRUPT_STATUS, VIRTIO_MMIO_INT_VRING);
	r = m->dev->ops->activate ? m->dev->ops->activate(m->dev) : 0;
	if (r < 0) {
		virtio_broken(m->dev, "features or queues the device can't work with");
		return r;
	}
	for (i = 0; i < m->dev->queues_n; i++)
		serve(&m->queues[i]);
	return 0;
}

void virtio_reset_done(struct virtio_device *dev)
{
	struct virtio_mmio *m = dev->transport;

	set_reg(m, VIRTIO_MMIO_INTERRUPT_STATUS, 0);
	set_reg(m, VIRTIO_MMIO_STATUS, 0);
	/* Last: from here on vCPUs may set up the queues again. */
	atomic_store(&m->resetting, false);
}

static int reset(void *arg)
{
	struct virtio_mmio *m = arg;
	bool was_active = m->active;
	unsigned int i;

	m->active = false;
	for (i = 0; i < m->dev->queues_n; i++)
		virtq_stop(&m->queues[i].vq);
	if (!was_active || m->dev->ops->reset(m->dev))
		virtio_reset_done(m->dev);
	return 0;
}

/* ---- vCPU threads, under the lock ------------------------------------------------------------------------------ */

static uint64_t offered(const struct virtio_mmio *m)
{
	return m->dev->features | (MMIO_FEATURES & ~m->dev->lacks);
}

/* The registers that depend on what was selected. */
static void show_selected(struct virtio_mmio *m)
{
	bool queue = m->queue_sel < m->dev->queues_n;

	set_reg(m, VIRTIO_MMIO_DEVICE_FEATURES,
		m->features_sel < 2 ? (uint32_t)(offered(m) >> (32 * m->features_sel)) : 0);
	set_reg(m, VIRTIO_MMIO_QUEUE_NUM_MAX, queue ? m->dev->queue_size[m->queue_sel] : 0);
	set_reg(m, VIRTIO_MMIO_QUEUE_READY, queue && m->queues[m->queue_sel].vq.ready);
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
	if (reg(m, VIRTIO_MMIO_STATUS)) {
		atomic_store(&m->resetting, true);
		loop_call(m->loop, reset, m);
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
	uint32_t old = reg(m, VIRTIO_MMIO_STATUS), added;

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
	add_bits(m, VIRTIO_MMIO_STATUS, added);
	if (added & VIRTIO_CONFIG_S_DRIVER_OK)
		loop_call(m->loop, activate, m);
}

static void *slice(const void *mem, uint64_t gpa, uint64_t len_bytes)
{
	return guest_mem_slice(mem, gpa, len_bytes);
}

static void write_queue_ready(struct virtio_mmio *m, struct mmio_queue *q, uint32_t value)
{
	uint32_t status = reg(m, VIRTIO_MMIO_STATUS);
	const struct virtq_mem mem = {
		.slice = slice,
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
	uint32_t status = reg(m, VIRTIO_MMIO_STATUS);

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
static void fill_page(struct virtio_mmio *m)
{
	static const unsigned int no_shm[] = {
		/* 4.2.2.1: all ones, as there is no such region */
		VIRTIO_MMIO_SHM_LEN_LOW,
		VIRTIO_MMIO_SHM_LEN_HIGH,
		VIRTIO_MMIO_SHM_BASE_LOW,
		VIRTIO_MMIO_SHM_BASE_HIGH,
	};
	size_t i;

	set_reg(m, VIRTIO_MMIO_MAGIC_VALUE, MMIO_MAGIC);
	set_reg(m, VIRTIO_MMIO_VERSION, MMIO_VERSION);
	set_reg(m, VIRTIO_MMIO_DEVICE_ID, m->dev->ops->id);
	set_reg(m, VIRTIO_MMIO_VENDOR_ID, MMIO_VENDOR);
	for (i = 0; i < ARRAY_SIZE(no_shm); i++)
		set_reg(m, no_shm[i], UINT32_MAX);
	if (m->dev->ops->config_read)
		m->dev->ops->config_read(m->dev, 0, (char *)m->page + VIRTIO_MMIO_CONFIG, m->dev->config_len_bytes);
	show_selected(m);
}

/* ---- the bus's side -------------------------------------------------------------------------------------------- */

/* Where KVM doesn't show the page. */
static void mmio_read(void *arg, uint64_t offset, void *data, unsigned int len)
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

static void mmio_write(void *arg, uint64_t offset, const void *data, unsigned int len)
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

/* ---- life ------------------------------------------------------------------------------------------------------ */

static int connect_signals(struct virtio_mmio *m, uint64_t base, unsigned int gsi, const struct irq_ops *irq,
			   struct err *e)
{
	unsigned int i;
	int r;

	m->irq_fd = irq->irqfd(irq->arg, gsi);
	if (m->irq_fd < 0)
		return err_errno(e, m->irq_fd, "%s: irqfd for GSI %u", m->dev->ops->name, gsi);
	m->ack_fd = irq->ioeventfd(irq->arg, base + VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	if (m->ack_fd < 0)
		return err_errno(e, m->ack_fd, "%s: ioeventfd of acknowledgements", m->dev->ops->name);
	for (i = 0; i < m->dev->queues_n; i++) {
		struct mmio_queue *q = &m->queues[i];

		q->kick_fd = irq->ioeventfd(irq->arg, base + VIRTIO_MMIO_QUEUE_NOTIFY, i);
		if (q->kick_fd < 0)
			return err_errno(e, q->kick_fd, "%s: ioeventfd of queue %u", m->dev->ops->name, i);
		r = loop_add_fd(m->loop, q->kick_fd);
		if (r < 0)
			return err_errno(e, r, "%s: registering the eventfd of queue %u", m->dev->ops->name, i);
	}
	return 0;
}

int virtio_mmio_new(struct virtio_mmio **out, struct virtio_device *dev, uint64_t base, unsigned int gsi,
		    const struct guest_mem *mem, struct bus *bus, const struct irq_ops *irq, struct loop *loop,
		    struct err *e)
{
	struct bus_range range = {
		.base = base, .len_bytes = GUEST_MMIO_STRIDE, .read = mmio_read, .write = mmio_write
	};
	struct virtio_mmio *m = calloc(1, sizeof(*m) + dev->queues_n * sizeof(m->queues[0]));
	const struct virtio_device_ops *ops = dev->ops;
	unsigned int i;
	int r;

	if (!m) {
		ops->destroy(dev);
		return err_set(e, ENOMEM, "%s: no memory", ops->name);
	}
	m->dev = dev;
	m->loop = loop;
	m->irq_fd = m->ack_fd = -1;
	pthread_mutex_init(&m->lock, NULL);
	for (i = 0; i < dev->queues_n; i++) {
		m->queues[i].m = m;
		m->queues[i].kick_fd = -1;
		loop_op_init(&m->queues[i].kick_op, kick_done);
		loop_op_init(&m->queues[i].again_op, again_done);
		dev->vq[i] = &m->queues[i].vq;
	}
	dev->mem = mem;
	dev->loop = loop;
	dev->transport = m;
	range.arg = m;
	m->page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m->page == MAP_FAILED) {
		m->page = NULL;
		virtio_mmio_free(m);
		return err_set(e, ENOMEM, "%s: no memory", ops->name);
	}
	r = connect_signals(m, base, gsi, irq, e);
	if (!r && ops->attach)
		r = ops->attach(dev, e);
	if (!r) {
		fill_page(m);
		r = bus_add(bus, &range);
		if (r < 0)
			r = err_errno(e, r, "%s: no place on the bus", ops->name);
	}
	/* Without it reads come to the bus. */
	if (!r && irq->readonly_page)
		irq->readonly_page(irq->arg, base, (const void *)m->page);
	if (r < 0) {
		virtio_mmio_free(m);
		return r;
	}
	*out = m;
	return 0;
}

bool virtio_mmio_quiesce(struct virtio_mmio *m)
{
	bool idle = true;
	unsigned int i;

	m->active = false;
	for (i = 0; i < m->dev->queues_n; i++) {
		struct mmio_queue *q = &m->queues[i];

		virtq_stop(&q->vq);
		if (loop_op_busy(&q->kick_op)) {
			if (!m->quiesced)
				loop_cancel(m->loop, &q->kick_op);
			idle = false;
		}
		if (loop_op_busy(&q->again_op))
			idle = false;
	}
	m->quiesced = true;
	if (m->dev->ops->quiesce && !m->dev->ops->quiesce(m->dev))
		idle = false;
	return idle;
}

void virtio_mmio_free(struct virtio_mmio *m)
{
	unsigned int i;

	for (i = 0; i < m->dev->queues_n; i++) {
		if (m->queues[i].kick_fd < 0)
			continue;
		loop_del_fd(m->loop, m->queues[i].kick_fd);
		close(m->queues[i].kick_fd);
	}
	if (m->irq_fd >= 0)
		close(m->irq_fd);
	if (m->ack_fd >= 0)
		close(m->ack_fd);
	if (m->page)
		munmap((void *)m->page, PAGE_BYTES);
	m->dev->ops->destroy(m->dev);
	pthread_mutex_destroy(&m->lock);
	free(m);
}
