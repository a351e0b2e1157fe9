/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device with the kernel's module (kmod/uapi/microvm.h): it has both queues, and the payload of open flows. What opens
 * and ends flows comes up here, and is answered as if it had been in our own queues.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "virtio/module.h"
#include "virtio/vsock.h"

#define EVENTS_PER_READ 16u
#define READS_MAX 16u /* before the loop has its turn */

_Static_assert(MICROVM_PACKET_BYTES == VSOCK_HDR_LEN, "a packet's header");
_Static_assert(VSOCK_TX_QUEUE_SIZE <= MICROVM_QUEUE_SIZE_MAX && VSOCK_RX_QUEUE_SIZE <= MICROVM_QUEUE_SIZE_MAX,
	       "the module takes our queues");

/* ---- queues ----------------------------------------------------------------------------------------------------- */

static void watch(struct vsock *v, int how, uint32_t events)
{
	struct epoll_event ev = { .events = events | EPOLLET, .data.ptr = v };

	if (epoll_ctl(v->epoll_fd, how, v->module_fd, &ev))
		log_error("vsock: epoll of the kernel module: %s", strerror(errno));
}

bool vsock_module_has_seqpacket(int module_fd)
{
	uint32_t features = 0;

	return !ioctl(module_fd, MICROVM_GET_FEATURES, &features) && (features & MICROVM_FEATURE_SEQPACKET);
}

int vsock_module_start(struct vsock *v)
{
	const struct microvm_vsock vsock = { .guest_cid = v->guest_cid,
					     .features = v->dev.driver_features,
					     .rx = virtio_module_queue(&v->dev, VSOCK_RX),
					     .tx = virtio_module_queue(&v->dev, VSOCK_TX) };
	int r;

	/* Not before the jail, as from here on the module acts with our rights. */
	r = v->module_has_memory ? 0 : virtio_module_set_memory(v->module_fd, v->dev.mem);
	if (!r && !v->module_has_memory)
		watch(v, EPOLL_CTL_ADD, EPOLLIN);
	if (!r)
		v->module_has_memory = true;
	if (!r && ioctl(v->module_fd, MICROVM_SET_VSOCK, &vsock))
		r = -errno;
	if (r)
		log_error("vsock: the kernel module does not take the queues: %s", strerror(-r));
	v->module_waits = false;
	return r;
}

void vsock_module_stop(struct vsock *v)
{
	if (v->module_has_memory && ioctl(v->module_fd, MICROVM_STOP_VSOCK, 0))
		log_error("vsock: the kernel module does not let go of the queues: %s", strerror(errno));
}

/* ---- packets ---------------------------------------------------------------------------------------------------- */

bool vsock_module_send(struct vsock *v, const struct vsock_packet *p)
{
	uint8_t wire[VSOCK_HDR_LEN];

	vsock_packet_encode(p, wire);
	if (write(v->module_fd, wire, sizeof(wire)) == (ssize_t)sizeof(wire))
		return true;
	/* Its queues are broken, and it has said so or is about to: there is nobody to send to. */
	if (errno != EAGAIN)
		return true;
	if (!v->module_waits)
		watch(v, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
	v->module_waits = true;
	return false;
}

/* The flow is ours again, as far as the module has come with it. */
static void take_back(struct vsock_flow *f, const struct microvm_flow *m)
{
	f->in_module = false;
	f->credit.received = f->credit.forwarded = f->credit.told = m->received;
	f->credit.peer_buf_alloc = m->peer_buf_alloc;
	f->credit.peer_forwarded = m->peer_forwarded;
	f->credit.sent = m->sent;
	f->closed = m->closed;
	f->peer_closed = m->peer_closed;
}

static void flow_ended(struct vsock *v, const struct microvm_event *ev)
{
	const struct microvm_flow *m = &ev->flow;
	struct vsock_flow *f = vsock_find(v, m->guest_port, m->host_port);

	/* One of an earlier flow with these ports, which we have given up before. */
	if (!f || !f->in_module || f->cookie != m->cookie)
		return;
	take_back(f, m);
	switch (ev->reason) {
	case MICROVM_END_PEER_DONE:
		/* 5.10.6.5: a clean end is answered with RST. */
		vsock_reset_packet(v, &(struct vsock_packet){ .src_port = m->guest_port,
							      .dst_port = m->host_port,
							      .dst_cid = VSOCK_HOST_CID });
		vsock_detach(f);
		break;
	case MICROVM_END_RESET: vsock_detach(f); break;
	case MICROVM_END_HOST_GONE: vsock_host_gone(f); break;
	case MICROVM_END_MEMORY:
		log_guest("vsock: port %u: too much waits for slow readers on the host", m->guest_port);
		vsock_say(f, VSOCK_SAY_RST);
		break;
	default:
		log_guest("vsock: port %u: the guest broke the rules of its connection", m->guest_port);
		vsock_say(f, VSOCK_SAY_RST);
		break;
	}
}

static void take_event(struct vsock *v, const struct microvm_event *ev)
{
	struct vsock_packet p;

	switch (ev->type) {
	case MICROVM_EVENT_PACKET:
		vsock_packet_decode(&p, ev->packet);
		vsock_take_header(v, &p);
		break;
	case MICROVM_EVENT_FLOW_END: flow_ended(v, ev); break;
	default: virtio_broken(&v->dev, "a queue is not as it must be"); break;
	}
}

void vsock_module_news(struct vsock *v)
{
	struct microvm_event events[EVENTS_PER_READ];
	unsigned int reads, i, n;
	ssize_t r;

	if (v->module_waits) {
		v->module_waits = false;
		watch(v, EPOLL_CTL_MOD, EPOLLIN);
		vsock_pump(v);
	}
	for (reads = 0; v->active && reads < READS_MAX; reads++) {
		/* Each event may need an answer, and that must have a place. vsock_pump() goes on here when there is one. */
		v->tx_waits = v->resets_n > VSOCK_RESETS_MAX - EVENTS_PER_READ;
		if (v->tx_waits)
			return;
		r = read(v->module_fd, events, sizeof(events));
		n = r > 0 ? (unsigned int)((size_t)r / sizeof(events[0])) : 0;
		for (i = 0; i < n; i++)
			take_event(v, &events[i]);
		if (n < EVENTS_PER_READ)
			return;
	}
	/* The edge has been: the rest is read in the next round. */
	if (v->active)
		watch(v, EPOLL_CTL_MOD, EPOLLIN);
}

/* ---- flows ------------------------------------------------------------------------------------------------------ */

int vsock_module_attach(struct vsock_flow *f)
{
	const struct microvm_flow m = {
		.guest_port = f->guest_port,
		.host_port = f->host_port,
		.cookie = ++f->v->next_cookie,
		.fd = f->fd,
		.buf_alloc = f->credit.buf_alloc,
		.peer_buf_alloc = f->credit.peer_buf_alloc,
	};

	if (ioctl(f->v->module_fd, MICROVM_ATTACH_FLOW, &m)) {
		log_error("vsock: port %u: the kernel module does not take the stream: %s", f->guest_port,
			  strerror(errno));
		return -errno;
	}
	f->cookie = m.cookie;
	f->in_module = true;
	return 0;
}

void vsock_module_open(struct vsock_flow *f)
{
	const struct microvm_flow_id id = { .guest_port = f->guest_port, .host_port = f->host_port };

	/* No news of the socket from here on, but by the module. */
	epoll_ctl(f->v->epoll_fd, EPOLL_CTL_DEL, f->fd, NULL);
	/* Where it has ended already, its end is on the way up. */
	if (ioctl(f->v->module_fd, MICROVM_START_FLOW, &id) && errno != ENOENT)
		log_error("vsock: port %u: the kernel module: %s", f->guest_port, strerror(errno));
}

void vsock_module_detach(struct vsock_flow *f)
{
	struct microvm_flow m = { .guest_port = f->guest_port, .host_port = f->host_port };

	f->in_module = false;
	if (ioctl(f->v->module_fd, MICROVM_DETACH_FLOW, &m))
		return; /* it has ended; nobody waits for how */
	take_back(f, &m);
}
