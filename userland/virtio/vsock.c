/* SPDX-License-Identifier: Apache-2.0 */
/* The device, and packets from the guest (virtio 1.2, 5.10). */
#include "virtio/vsock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/guest.h"
#include "base/log.h"
#include "base/util.h"
#include "virtio/iov.h"

static struct vsock *to_vsock(struct virtio_device *dev)
{
	return container_of(dev, struct vsock, dev);
}

/* ---- packets from the guest ------------------------------------------------------------------------------------ */

/* A packet with the payload it brings. */
struct incoming {
	struct vsock_packet p;
	struct iovec *iov;
	unsigned int iov_n;
};

static void take_request(struct vsock *v, const struct incoming *in)
{
	struct vsock_flow *f = vsock_attach(v, in->p.src_port, in->p.dst_port, in->p.type);

	if (!f) {
		vsock_reset_packet(v, &in->p);
		return;
	}
	vsock_credit_heard(&f->credit, in->p.buf_alloc, 0);
	if (v->module_fd >= 0 && vsock_module_attach(f)) {
		vsock_reset_packet(v, &in->p);
		vsock_kill(f);
		return;
	}
	vsock_say(f, VSOCK_SAY_RESPONSE);
}

static void take_response(struct vsock_flow *f)
{
	if (f->state != VSOCK_ASKED || (f->say & VSOCK_SAY_REQUEST))
		vsock_say(f, VSOCK_SAY_RST);
	else
		vsock_opened(f);
}

static void take_data(struct vsock_flow *f, const struct incoming *in)
{
	/* Over our credit, after its own end, or before the beginning: the flow ends. */
	if (f->state != VSOCK_OPEN || (f->peer_closed & VIRTIO_VSOCK_SHUTDOWN_SEND) ||
	    !vsock_credit_receive(&f->credit, in->p.len_bytes) ||
	    !(f->seq ? vsock_seq_to_host(f, in->iov, in->iov_n, in->p.len_bytes, in->p.flags)
		     : vsock_to_host(f, in->iov, in->iov_n, in->p.len_bytes)))
		vsock_say(f, VSOCK_SAY_RST);
}

static void take_shutdown(struct vsock_flow *f, const struct incoming *in)
{
	if (f->state != VSOCK_OPEN) {
		vsock_say(f, VSOCK_SAY_RST);
		return;
	}
	f->peer_closed |= in->p.flags & VSOCK_SHUTDOWN_BOTH;
	vsock_peer_closed(f);
	if (f->peer_closed == VSOCK_SHUTDOWN_BOTH) {
		/* 5.10.6.5: a clean end is answered with RST. What it had sent is ours, and still reaches the host. */
		vsock_reset_packet(f->v, &in->p);
		vsock_detach(f);
	}
}

static void take_for_flow(struct vsock_flow *f, const struct incoming *in)
{
	if (!vsock_credit_heard(&f->credit, in->p.buf_alloc, in->p.fwd_cnt)) {
		log_guest("vsock: port %u: the guest's count of forwarded bytes is impossible", f->guest_port);
		vsock_say(f, VSOCK_SAY_RST);
		return;
	}
	f->asked_more = false;
	switch (in->p.op) {
	case VIRTIO_VSOCK_OP_RESPONSE: take_response(f); break;
	case VIRTIO_VSOCK_OP_RST: vsock_detach(f); return;
	case VIRTIO_VSOCK_OP_SHUTDOWN: take_shutdown(f, in); return;
	case VIRTIO_VSOCK_OP_RW: take_data(f, in); break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE: break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST: vsock_say(f, VSOCK_SAY_CREDIT); break;
	default: vsock_say(f, VSOCK_SAY_RST); break; /* a second REQUEST, and what doesn't exist */
	}
	if ((f->readable || f->out) && vsock_reading(f) && vsock_credit_free(&f->credit))
		vsock_say(f, VSOCK_SAY_DATA);
}

static void take_packet(struct vsock *v, const struct incoming *in)
{
	struct vsock_flow *f;

	/* Not from this guest, or not for the host: there is nobody to tell (5.10.6.4.1). */
	if (in->p.src_cid != v->guest_cid || in->p.dst_cid != VSOCK_HOST_CID)
		return;
	f = vsock_find(v, in->p.src_port, in->p.dst_port);
	/* A connection of another type, whatever its ports are, is not there. */
	if (f && in->p.type != vsock_type(f))
		f = NULL;
	if (f)
		take_for_flow(f, in);
	else if (in->p.op == VIRTIO_VSOCK_OP_REQUEST && vsock_type_is_known(v, in->p.type) &&
		 !vsock_find(v, in->p.src_port, in->p.dst_port))
		take_request(v, in);
	else if (in->p.op != VIRTIO_VSOCK_OP_RST)
		vsock_reset_packet(v, &in->p);
}

void vsock_take_header(struct vsock *v, const struct vsock_packet *p)
{
	take_packet(v, &(struct incoming){ .p = *p });
}

static bool serve_chain(struct vsock *v, struct virtq_chain *c)
{
	uint8_t wire[VSOCK_HDR_LEN];
	struct incoming in;

	if (c->in_n || iov_get(c->iov, c->out_n, 0, wire, sizeof(wire)) != sizeof(wire)) {
		virtio_broken(&v->dev, "packet is writable or shorter than its header");
		return false;
	}
	vsock_packet_decode(&in.p, wire);
	if (in.p.len_bytes > c->out_bytes - VSOCK_HDR_LEN) {
		virtio_broken(&v->dev, "packet is shorter than its header says");
		return false;
	}
	in.iov_n = c->out_n;
	in.iov = iov_advance(c->iov, &in.iov_n, VSOCK_HDR_LEN);
	in.iov_n = iov_truncate(in.iov, in.iov_n, in.p.len_bytes);
	take_packet(v, &in);
	return true;
}

static void serve_tx(struct vsock *v)
{
	struct virtq *vq = v->dev.vq[VSOCK_TX];
	struct iovec iov[VSOCK_SEGMENTS];
	struct virtq_chain c;
	unsigned int i;

	virtq_kicks_off(vq);
	for (i = 0; i < VSOCK_TX_QUEUE_SIZE; i++) {
		/* An answer may become due, and it must have a place. vsock_pump() goes on here when there is one. */
		v->tx_waits = !vsock_can_reset(v);
		if (v->tx_waits || !virtio_pop(&v->dev, VSOCK_TX, &c, iov, VSOCK_SEGMENTS))
			break;
		if (!serve_chain(v, &c))
			return;
		virtq_push(vq, c.head, 0);
	}
	virtio_flush(&v->dev, VSOCK_TX);
	if (!v->tx_waits && virtq_kicks_on(vq))
		virtio_kick_later(&v->dev, VSOCK_TX);
}

/* A device that starts anew has lost all connections: the driver is told (5.10.6.7). */
static void serve_event(struct vsock *v)
{
	struct virtio_vsock_event event = { .id = htole32(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET) };
	struct iovec iov[VSOCK_SEGMENTS];
	struct virtq_chain c;
	size_t n;

	if (!v->tell_reset || !virtio_pop(&v->dev, VSOCK_EVENT, &c, iov, VSOCK_SEGMENTS))
		return;
	v->tell_reset = false;
	n = iov_put(c.iov + c.out_n, c.in_n, 0, &event, sizeof(event));
	virtq_push(v->dev.vq[VSOCK_EVENT], c.head, n);
	virtio_flush(&v->dev, VSOCK_EVENT);
}

/* ---- device ---------------------------------------------------------------------------------------------------- */

static void pump_done(struct loop_op *op, int res)
{
	vsock_pump(container_of(op, struct vsock, pump_op));
}

static bool is_seq(int fd)
{
	int type = 0;
	socklen_t len = sizeof(type);

	return !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) && type == SOCK_SEQPACKET;
}

static int vsock_create(const struct vmspec_device *spec, struct virtio_device **out, struct err *e)
{
	struct vsock *v;
	uint32_t i;

	if (spec->vsock.vhost_fd >= 0)
		return vsock_vhost_create(spec, out, e);
	v = calloc(1, sizeof(*v));
	if (!v)
		return err_set(e, ENOMEM, "vsock: no memory");
	v->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (v->epoll_fd < 0) {
		free(v);
		return err_errno(e, errno, "vsock: epoll");
	}
	v->guest_cid = spec->vsock.guest_cid;
	v->module_fd = spec->vsock.module_fd;
	if (v->module_fd >= 0)
		v->dev.external_queues = 1u << VSOCK_RX | 1u << VSOCK_TX;
	v->listeners[0] = (struct vsock_listener){ .v = v, .fd = spec->vsock.listen_fd };
	v->listeners[1] = (struct vsock_listener){ .v = v, .fd = spec->vsock.seq_listen_fd, .seq = true };
	v->ports_n = min_t(uint32_t, spec->vsock.ports_n, VMSPEC_PORTS_MAX);
	for (i = 0; i < v->ports_n; i++)
		v->port_seq[i] = is_seq(spec->vsock.ports[i].fd);
	memcpy(v->ports, spec->vsock.ports, sizeof(v->ports));
	v->saying.say_next = v->saying.say_prev = &v->saying;
	vsock_flows_init(v);
	vsock_host_init(v);
	loop_op_init(&v->pump_op, pump_done);
	v->dev.ops = &virtio_vsock;
	if (v->module_fd < 0 || vsock_module_has_seqpacket(v->module_fd))
		v->dev.features = 1ull << VIRTIO_VSOCK_F_SEQPACKET;
	v->dev.queues_n = VSOCK_QUEUES;
	v->dev.queue_size[VSOCK_RX] = VSOCK_RX_QUEUE_SIZE;
	v->dev.queue_size[VSOCK_TX] = VSOCK_TX_QUEUE_SIZE;
	v->dev.queue_size[VSOCK_EVENT] = VSOCK_EVENT_QUEUE_SIZE;
	v->dev.config_len_bytes = sizeof(struct virtio_vsock_config);
	*out = &v->dev;
	return 0;
}

static int vsock_device_attach(struct virtio_device *dev, struct err *e)
{
	struct vsock *v = to_vsock(dev);
	int r = loop_add_fd(dev->loop, v->epoll_fd);
	size_t i;

	for (i = 0; r >= 0 && i < ARRAY_SIZE(v->listeners); i++)
		if (v->listeners[i].fd >= 0)
			r = loop_add_fd(dev->loop, v->listeners[i].fd);
	return r < 0 ? err_errno(e, r, "vsock: registering its sockets") : 0;
}

static void vsock_config_read(struct virtio_device *dev, uint32_t offset, void *data, unsigned int len)
{
	struct virtio_vsock_config config = { .guest_cid = htole64(to_vsock(dev)->guest_cid) };

	memcpy(data, (const char *)&config + offset, len);
}

static void vsock_start(struct virtio_device *dev)
{
	vsock_listen(to_vsock(dev));
	vsock_watch(to_vsock(dev));
}

static int vsock_activate(struct virtio_device *dev)
{
	struct vsock *v = to_vsock(dev);

	int r = v->module_fd >= 0 ? vsock_module_start(v) : 0;

	if (r)
		return r;
	v->tell_reset = v->was_active;
	v->active = v->was_active = true;
	vsock_driver_up(v);
	return 0;
}

static void vsock_kick(struct virtio_device *dev, unsigned int queue)
{
	struct vsock *v = to_vsock(dev);

	switch (queue) {
	case VSOCK_RX: vsock_pump(v); break;
	case VSOCK_TX: serve_tx(v); break;
	default: serve_event(v); break;
	}
}

static bool vsock_reset(struct virtio_device *dev)
{
	struct vsock *v = to_vsock(dev);

	/* Sockets are read and written without waiting, so nothing in flight touches guest memory. */
	v->active = v->tx_waits = false;
	if (v->module_fd >= 0)
		vsock_module_stop(v);
	vsock_driver_down(v);
	return true;
}

/* The agent lives as long as its control connection: the end of that tells it to stop. */
static void vsock_stop_request(struct virtio_device *dev)
{
	struct vsock *v = to_vsock(dev);
	struct vsock_flow *f;

	for (f = v->all.next; f != &v->all; f = f->next)
		if (f->state == VSOCK_OPEN && f->host_port == GUEST_CONTROL_PORT) {
			if (f->in_module)
				vsock_module_detach(f);
			vsock_unsay(f, VSOCK_SAY_DATA);
			f->closed = VSOCK_SHUTDOWN_BOTH;
			vsock_say(f, VSOCK_SAY_SHUTDOWN);
		}
}

static bool vsock_quiesce(struct virtio_device *dev)
{
	struct vsock *v = to_vsock(dev);
	bool first = !v->ending;

	v->ending = true;
	v->active = false;
	return vsock_flows_quiesce(v, first);
}

static void vsock_destroy(struct virtio_device *dev)
{
	struct vsock *v = to_vsock(dev);
	uint32_t i;

	for (i = 0; i < v->ports_n; i++)
		if (v->ports[i].fd >= 0)
			close(v->ports[i].fd);
	for (i = 0; i < ARRAY_SIZE(v->listeners); i++)
		if (v->listeners[i].fd >= 0)
			close(v->listeners[i].fd);
	close(v->epoll_fd);
	if (v->module_fd >= 0)
		close(v->module_fd);
	free(v);
}

const struct virtio_device_ops virtio_vsock = {
	.name = "vsock",
	.id = VMSPEC_VSOCK,
	.create = vsock_create,
	.attach = vsock_device_attach,
	.config_read = vsock_config_read,
	.start = vsock_start,
	.activate = vsock_activate,
	.kick = vsock_kick,
	.reset = vsock_reset,
	.stop_request = vsock_stop_request,
	.quiesce = vsock_quiesce,
	.destroy = vsock_destroy,
};
