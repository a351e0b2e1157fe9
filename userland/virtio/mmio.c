/* SPDX-License-Identifier: Apache-2.0 */
/* The io thread's side of the transport, and its life; the vCPUs' is mmio_registers.c. */
#include "virtio/mmio_private.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"

struct virtio_device *virtio_mmio_device(struct virtio_mmio *m)
{
	return m->dev;
}

/* ---- io thread ------------------------------------------------------------------------------------------------ */

static void interrupt(struct virtio_mmio *m, unsigned int bit)
{
	uint64_t one = 1;

	/* The bit is set before the edge: the handler that the edge starts must find it. */
	mmio_add_bits(m, VIRTIO_MMIO_INTERRUPT_STATUS, bit);
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
	mmio_set_reg(m, VIRTIO_MMIO_CONFIG_GENERATION, mmio_reg(m, VIRTIO_MMIO_CONFIG_GENERATION) + 1);
	if (m->active)
		interrupt(m, VIRTIO_MMIO_INT_CONFIG);
}

int virtio_refit(struct virtio_device *dev, uint64_t features)
{
	struct virtio_mmio *m = dev->transport;
	int r = -EBUSY;

	/* A vCPU may hold it while it waits for this thread. */
	if (pthread_mutex_trylock(&m->lock))
		return r;
	/* Linux leaves one bit when a driver goes: that it has seen the device. */
	if (!m->active && !(mmio_reg(m, VIRTIO_MMIO_STATUS) & ~(uint32_t)VIRTIO_CONFIG_S_ACKNOWLEDGE) &&
	    !atomic_load(&m->resetting)) {
		dev->features = features;
		mmio_fill_page(m);
		r = 0;
	}
	pthread_mutex_unlock(&m->lock);
	return r;
}

/* false: it did before. */
static bool ask_for_reset(struct virtio_mmio *m, const char *why)
{
	unsigned int i;

	if (!m->active)
		return false;
	for (i = 0; i < m->dev->queues_n; i++)
		virtq_break(m->dev->vq[i], why);
	if (mmio_add_bits(m, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_NEEDS_RESET) & VIRTIO_CONFIG_S_NEEDS_RESET)
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

int mmio_activate(void *arg)
{
	struct virtio_mmio *m = arg;
	unsigned int i;
	int r;

	m->active = true;
	/* Who serves queues elsewhere can't set the bit; it stays once it is set (mmio.h). */
	if (m->dev->external_queues)
		mmio_add_bits(m, VIRTIO_MMIO_INTERRUPT_STATUS, VIRTIO_MMIO_INT_VRING);
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

	mmio_set_reg(m, VIRTIO_MMIO_INTERRUPT_STATUS, 0);
	mmio_set_reg(m, VIRTIO_MMIO_STATUS, 0);
	/* Last: from here on vCPUs may set up the queues again. */
	atomic_store(&m->resetting, false);
}

int mmio_reset(void *arg)
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
	m->page = mmap(NULL, MMIO_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m->page == MAP_FAILED) {
		m->page = NULL;
		virtio_mmio_free(m);
		return err_set(e, ENOMEM, "%s: no memory", ops->name);
	}
	r = connect_signals(m, base, gsi, irq, e);
	if (!r && ops->attach)
		r = ops->attach(dev, e);
	if (!r) {
		mmio_fill_page(m);
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
		munmap((void *)m->page, MMIO_PAGE_BYTES);
	m->dev->ops->destroy(m->dev);
	pthread_mutex_destroy(&m->lock);
	free(m);
}
