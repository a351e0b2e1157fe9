/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net (virtio 1.2, 5.1) on a tap, a file for each pair of queues. Frames move between the tap and guest memory
 * without a copy, one system call each: tap(4) neither waits nor can do several at once, and the ring would cost as much and
 * keep no order. What comes from the guest has its header copied and looked through first; the copy is what the host gets.
 *
 * Buffers for reception are taken as soon as they are there, up to the largest frame, and held until frames fill them: how
 * long the next frame is, nobody knows before it is read.
 */
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/util.h"
#include "virtio/devices.h"
#include "virtio/iov.h"

/* In Linux since 6.2. */
#ifndef VIRTIO_NET_F_HOST_USO
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO 56
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define NET_QUEUE_SIZE 256u
#define NET_CONTROL_SIZE 16u
#define NET_BATCH 64u /* frames of a pair, then the others have their turn */
#define NET_HDR ((uint32_t)sizeof(struct virtio_net_hdr_v1))
#define NET_FRAME_MAX 65550u /* 64 KiB and what is around them: 5.1.6.3.1 without the header */
#define NET_FRAME_MORE 22u   /* Ethernet's header and two tags, beyond the MTU */
#define NET_WINDOW 512u	     /* segments of buffers that are held: a chain of the longest always fits beside */

#define BIT(n) (1ull << (n))
#define GUEST_GSO                                                                                     \
	(BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6) | BIT(VIRTIO_NET_F_GUEST_USO4) | \
	 BIT(VIRTIO_NET_F_GUEST_USO6))

/* A chain that is held, and how much of the segments is its. */
struct held {
	uint16_t head, iov_n;
	uint32_t bytes;
};

struct pair {
	struct net *n;
	int fd;
	struct loop_op poll_op;
	uint32_t bytes; /* of all that is held */
	unsigned int held_at, held_n, iov_at, iov_n;
	struct held held[NET_QUEUE_SIZE * 2];
	struct iovec iov[NET_WINDOW];
};

struct net {
	struct virtio_device dev;
	struct virtio_net_config config;
	unsigned int pairs_n, used_pairs; /* those there are, and those that the driver uses */
	bool active, gone;		  /* gone: the tap is */
	uint32_t mtu, need_bytes;	  /* need: of buffers, before a frame is read */
	struct pair *pairs[VMSPEC_NET_PAIRS_MAX];
};

static struct net *to_net(struct virtio_device *dev)
{
	return container_of(dev, struct net, dev);
}

static bool has(const struct net *n, unsigned int feature)
{
	return n->dev.driver_features & BIT(feature);
}

/* ---- host to guest ------------------------------------------------------------------------------------------------- */

static unsigned int rx_queue(const struct pair *p)
{
	unsigned int i = 0;

	while (p->n->pairs[i] != p)
		i++;
	return i * 2;
}

/* What is held moves to the front, once that is worth it. */
static void window_compact(struct pair *p)
{
	if (p->iov_at + p->iov_n + NET_QUEUE_SIZE > NET_WINDOW) {
		memmove(p->iov, p->iov + p->iov_at, p->iov_n * sizeof(p->iov[0]));
		p->iov_at = 0;
	}
	if (p->held_at >= NET_QUEUE_SIZE) {
		memmove(p->held, p->held + p->held_at, p->held_n * sizeof(p->held[0]));
		p->held_at = 0;
	}
}

static void window_clear(struct pair *p)
{
	p->bytes = p->held_at = p->held_n = p->iov_at = p->iov_n = 0;
}

/* Is there room for any frame? One buffer is one frame's unless they may be merged. */
static bool window_full(const struct pair *p)
{
	if (!has(p->n, VIRTIO_NET_F_MRG_RXBUF))
		return p->held_n;
	return p->bytes >= p->n->need_bytes || p->iov_n >= NET_WINDOW - NET_QUEUE_SIZE;
}

static bool take_buffer(struct pair *p, unsigned int queue)
{
	struct virtio_device *dev = &p->n->dev;
	struct virtq_chain c;

	window_compact(p);
	if (!virtio_pop(dev, queue, &c, p->iov + p->iov_at + p->iov_n, NET_QUEUE_SIZE))
		return false;
	if (c.out_n || c.in_bytes < NET_HDR) {
		virtio_broken(dev, "a buffer for a frame that can't be written, or has no room for a header");
		return false;
	}
	p->held[p->held_at + p->held_n++] = (struct held){ c.head, c.in_n, c.in_bytes };
	p->iov_n += c.in_n;
	p->bytes += c.in_bytes;
	return true;
}

/* false: too few, and the driver tells us of more. A driver that has given all it can gets what fits there. */
static bool window_fill(struct pair *p, unsigned int queue)
{
	struct virtq *vq = p->n->dev.vq[queue];

	while (!window_full(p)) {
		if (take_buffer(p, queue))
			continue;
		if (vq->broken)
			return false;
		if (p->held_n >= vq->size)
			return true;
		if (!virtq_kicks_on(vq))
			return false;
	}
	virtq_kicks_off(vq);
	return true;
}

/* The frame of that many bytes is in the first buffers that are held. */
static void give_frame(struct pair *p, unsigned int queue, uint32_t bytes)
{
	const struct iovec *first = p->iov + p->iov_at;
	const unsigned int first_n = p->held[p->held_at].iov_n;
	const uint8_t no_flags = 0;
	uint16_t buffers = 0;

	while (bytes) {
		const struct held *h = &p->held[p->held_at++];
		const uint32_t here = min_t(uint32_t, bytes, h->bytes);

		p->held_n--;
		p->iov_at += h->iov_n;
		p->iov_n -= h->iov_n;
		p->bytes -= h->bytes;
		virtq_push(p->n->dev.vq[queue], h->head, here);
		bytes -= here;
		buffers++;
	}
	/* 5.1.6.4: how many they were; tap(4) leaves these two bytes alone. */
	buffers = htole16(buffers);
	iov_put(first, first_n, offsetof(struct virtio_net_hdr_v1, num_buffers), &buffers, sizeof(buffers));
	if (!has(p->n, VIRTIO_NET_F_GUEST_CSUM))
		iov_put(first, first_n, offsetof(struct virtio_net_hdr_v1, flags), &no_flags, sizeof(no_flags));
}

static void tap_is_gone(struct net *n)
{
	if (n->gone)
		return;
	n->gone = true;
	n->config.status = 0;
	virtio_config_changed(&n->dev);
}

/* false: nothing is there to read, or nowhere to put it; what brings us back is armed. */
static bool receive_frame(struct pair *p, unsigned int queue)
{
	struct net *n = p->n;
	uint32_t room;
	ssize_t r;

	if (n->gone || !window_fill(p, queue))
		return false;
	room = has(n, VIRTIO_NET_F_MRG_RXBUF) ? p->bytes : p->held[p->held_at].bytes;
	r = readv(p->fd, p->iov + p->iov_at, (int)p->iov_n);
	if (r <= 0) {
		if (r < 0 && (errno == EAGAIN || errno == EINTR))
			loop_poll(n->dev.loop, &p->poll_op, p->fd, POLLIN);
		else
			tap_is_gone(n);
		return false;
	}
	/* tap(4) cuts what does not fit, and says so by filling all of it; and a frame has a header. */
	if (r < NET_HDR || (uint32_t)r >= room)
		return true;
	give_frame(p, queue, (uint32_t)r);
	return true;
}

static void receive(struct pair *p)
{
	const unsigned int queue = rx_queue(p);
	unsigned int i;

	if (!p->n->active || queue / 2 >= p->n->used_pairs || loop_op_busy(&p->poll_op))
		return;
	for (i = 0; i < NET_BATCH && receive_frame(p, queue); i++)
		;
	virtio_flush(&p->n->dev, queue);
	if (i == NET_BATCH)
		virtio_kick_later(&p->n->dev, queue);
}

static void poll_done(struct loop_op *op, int res)
{
	struct pair *p = container_of(op, struct pair, poll_op);

	if (res > 0 && (res & POLLERR) && !(res & POLLIN))
		tap_is_gone(p->n);
	if (res != -ECANCELED)
		receive(p);
}

/* ---- guest to host -------------------------------------------------------------------------------------------------- */

static bool gso_allowed(const struct net *n, uint8_t type)
{
	switch (type) {
	case VIRTIO_NET_HDR_GSO_TCPV4: return has(n, VIRTIO_NET_F_HOST_TSO4);
	case VIRTIO_NET_HDR_GSO_TCPV6: return has(n, VIRTIO_NET_F_HOST_TSO6);
	case VIRTIO_NET_HDR_GSO_UDP_L4: return has(n, VIRTIO_NET_F_HOST_USO);
	default: return false;
	}
}

/* Of a copy: is it one that 5.1.6.2 allows before a frame of that many bytes? What the host has no use for goes. */
static bool check_header(const struct net *n, struct virtio_net_hdr_v1 *h, uint32_t bytes)
{
	const uint8_t type = h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN;

	h->num_buffers = 0;
	h->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	if (h->flags) {
		if (!has(n, VIRTIO_NET_F_CSUM) ||
		    (uint32_t)le16toh(h->csum_start) + le16toh(h->csum_offset) + sizeof(uint16_t) > bytes)
			return false;
	} else {
		h->csum_start = h->csum_offset = 0;
	}
	if (h->gso_type == VIRTIO_NET_HDR_GSO_NONE) {
		h->gso_size = h->hdr_len = 0;
		return true;
	}
	if (!h->flags || !gso_allowed(n, type) || !h->gso_size)
		return false;
	if (h->gso_type != type && !has(n, VIRTIO_NET_F_HOST_ECN))
		return false;
	/* A hint (5.1.6.2.2), and one that tap(4) refuses a frame for. */
	h->hdr_len = htole16(min_t(uint32_t, le16toh(h->hdr_len), bytes));
	return true;
}

/* One frame off the queue. false: there is none. */
static bool send_frame(struct net *n, unsigned int queue)
{
	const struct pair *p = n->pairs[queue / 2];
	struct iovec segments[1 + NET_QUEUE_SIZE], *iov;
	struct virtio_net_hdr_v1 h;
	struct virtq_chain c;
	unsigned int iov_n;
	uint32_t bytes;

	/* One in front is kept free for the copy of the header. */
	if (!virtio_pop(&n->dev, queue, &c, segments + 1, NET_QUEUE_SIZE))
		return false;
	if (c.in_n || iov_get(c.iov, c.out_n, 0, &h, sizeof(h)) != sizeof(h)) {
		virtio_broken(&n->dev, "a frame without a header, or one to be written to");
		return false;
	}
	bytes = c.out_bytes - NET_HDR;
	/* What is no frame, or what the tap has no room for, is lost, as on any wire. */
	if (bytes >= ETH_HLEN && bytes <= NET_FRAME_MAX && check_header(n, &h, bytes)) {
		iov_n = c.out_n;
		iov = iov_advance(c.iov, &iov_n, NET_HDR) - 1;
		*iov = (struct iovec){ &h, sizeof(h) };
		if (writev(p->fd, iov, (int)iov_n + 1) < 0 && errno == EBADFD)
			tap_is_gone(n);
	}
	virtq_push(n->dev.vq[queue], c.head, 0);
	return true;
}

static void send_frames(struct net *n, unsigned int queue)
{
	struct virtq *vq = n->dev.vq[queue];
	unsigned int i;

	virtq_kicks_off(vq);
	for (i = 0; i < NET_BATCH && send_frame(n, queue); i++)
		;
	virtio_flush(&n->dev, queue);
	if (i == NET_BATCH || virtq_kicks_on(vq))
		virtio_kick_later(&n->dev, queue);
}

/* ---- how many pairs -------------------------------------------------------------------------------------------------- */

/* The tap spreads flows over the queues that are attached. */
static int use_pairs(struct net *n, unsigned int pairs)
{
	unsigned int i;

	for (i = 0; n->pairs_n > 1 && i < n->pairs_n; i++) {
		struct ifreq req = { .ifr_flags = i < pairs ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE };

		if ((i < pairs) == (i < n->used_pairs))
			continue;
		if (ioctl(n->pairs[i]->fd, TUNSETQUEUE, &req) < 0)
			return -errno;
	}
	n->used_pairs = pairs;
	for (i = 0; i < pairs; i++)
		if (n->dev.vq[i * 2]->ready)
			receive(n->pairs[i]);
	return 0;
}

/* 5.1.6.5: class, command, what it is about; the answer is a byte. */
static uint8_t do_command(struct net *n, const struct virtq_chain *c)
{
	struct virtio_net_ctrl_hdr hdr;
	__virtio16 pairs;

	if (iov_get(c->iov, c->out_n, 0, &hdr, sizeof(hdr)) != sizeof(hdr) || hdr.class != VIRTIO_NET_CTRL_MQ ||
	    hdr.cmd != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || !has(n, VIRTIO_NET_F_MQ) ||
	    c->out_bytes != sizeof(hdr) + sizeof(pairs))
		return VIRTIO_NET_ERR;
	iov_get(c->iov, c->out_n, sizeof(hdr), &pairs, sizeof(pairs));
	pairs = le16toh(pairs);
	return pairs < 1 || pairs > n->pairs_n || use_pairs(n, pairs) ? VIRTIO_NET_ERR : VIRTIO_NET_OK;
}

static void serve_commands(struct net *n, unsigned int queue)
{
	struct iovec iov[NET_CONTROL_SIZE];
	struct virtq_chain c;
	unsigned int i;
	uint8_t ack;

	for (i = 0; i < NET_CONTROL_SIZE && virtio_pop(&n->dev, queue, &c, iov, NET_CONTROL_SIZE); i++) {
		if (!c.in_n) {
			virtio_broken(&n->dev, "a command with no room for its answer");
			return;
		}
		ack = do_command(n, &c);
		iov_put(c.iov + c.out_n, c.in_n, 0, &ack, sizeof(ack));
		virtq_push(n->dev.vq[queue], c.head, sizeof(ack));
	}
	virtio_flush(&n->dev, queue);
	if (virtq_kicks_on(n->dev.vq[queue]))
		virtio_kick_later(&n->dev, queue);
}

/* ---- device ---------------------------------------------------------------------------------------------------------- */

/* 5.1.2: behind all pairs, which a driver without MQ takes for one. */
static unsigned int control_queue(const struct net *n)
{
	return has(n, VIRTIO_NET_F_MQ) ? n->pairs_n * 2 : 2;
}

static void net_kick(struct virtio_device *dev, unsigned int queue)
{
	struct net *n = to_net(dev);

	if (queue == control_queue(n)) {
		if (has(n, VIRTIO_NET_F_CTRL_VQ))
			serve_commands(n, queue);
	} else if (queue / 2 >= n->pairs_n) {
		return;
	} else if (queue % 2) {
		send_frames(n, queue);
	} else {
		receive(n->pairs[queue / 2]);
	}
}

static int net_activate(struct virtio_device *dev)
{
	struct net *n = to_net(dev);
	unsigned long tap = 0;

	/* The driver's features are what it takes (5.1.3.1); without the first there is none of the others. */
	if (has(n, VIRTIO_NET_F_GUEST_CSUM)) {
		tap = TUN_F_CSUM | (has(n, VIRTIO_NET_F_GUEST_TSO4) ? TUN_F_TSO4 : 0) |
		      (has(n, VIRTIO_NET_F_GUEST_TSO6) ? TUN_F_TSO6 : 0) |
		      (has(n, VIRTIO_NET_F_GUEST_ECN) ? TUN_F_TSO_ECN : 0);
		if (has(n, VIRTIO_NET_F_GUEST_USO4) && has(n, VIRTIO_NET_F_GUEST_USO6))
			tap |= TUN_F_USO4 | TUN_F_USO6;
	}
	n->need_bytes = NET_HDR + 1 + (dev->driver_features & GUEST_GSO ? NET_FRAME_MAX : n->mtu + NET_FRAME_MORE);
	/* What is no tap (a test's socket) has offered nothing that would need it. */
	if (ioctl(n->pairs[0]->fd, TUNSETOFFLOAD, tap) < 0 && tap)
		return -errno;
	n->active = true;
	return use_pairs(n, 1);
}

static void find_features(struct net *n, int fd)
{
	const unsigned long all = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN, uso = TUN_F_USO4 | TUN_F_USO6;

	n->dev.features = BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_MTU) | BIT(VIRTIO_NET_F_STATUS) |
			  BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4) |
			  BIT(VIRTIO_NET_F_HOST_TSO6) | BIT(VIRTIO_NET_F_HOST_ECN);
	if (n->pairs_n > 1)
		n->dev.features |= BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_MQ);
	if (ioctl(fd, TUNSETOFFLOAD, all) < 0)
		return;
	n->dev.features |= BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6) |
			   BIT(VIRTIO_NET_F_GUEST_ECN);
	if (!ioctl(fd, TUNSETOFFLOAD, all | uso))
		n->dev.features |=
			BIT(VIRTIO_NET_F_HOST_USO) | BIT(VIRTIO_NET_F_GUEST_USO4) | BIT(VIRTIO_NET_F_GUEST_USO6);
	ioctl(fd, TUNSETOFFLOAD, 0ul);
}

static void net_destroy(struct virtio_device *dev)
{
	struct net *n = to_net(dev);
	unsigned int i;

	for (i = 0; i < VMSPEC_NET_PAIRS_MAX && n->pairs[i]; i++) {
		close(n->pairs[i]->fd);
		free(n->pairs[i]);
	}
	free(n);
}

static int add_pairs(struct net *n, const struct vmspec_device *spec)
{
	unsigned int i;

	for (i = 0; i < n->pairs_n; i++) {
		struct pair *p = calloc(1, sizeof(*p));

		if (!p)
			return -ENOMEM;
		p->n = n;
		p->fd = spec->net.fds[i];
		loop_op_init(&p->poll_op, poll_done);
		n->pairs[i] = p;
		n->dev.queue_size[i * 2] = n->dev.queue_size[i * 2 + 1] = NET_QUEUE_SIZE;
	}
	if (n->pairs_n > 1)
		n->dev.queue_size[i * 2] = NET_CONTROL_SIZE;
	n->dev.queues_n = n->pairs_n * 2 + (n->pairs_n > 1);
	return 0;
}

static int net_create(const struct vmspec_device *spec, struct virtio_device **out, struct err *e)
{
	struct net *n = calloc(1, sizeof(*n));

	if (!n)
		return err_set(e, ENOMEM, "net: no memory");
	n->dev.ops = &virtio_net;
	n->mtu = spec->net.mtu;
	n->pairs_n = n->used_pairs = spec->net.pairs;
	if (add_pairs(n, spec)) {
		net_destroy(&n->dev);
		return err_set(e, ENOMEM, "net: no memory");
	}
	memcpy(n->config.mac, spec->net.mac, sizeof(n->config.mac));
	n->config.status = htole16(VIRTIO_NET_S_LINK_UP);
	n->config.max_virtqueue_pairs = htole16(n->pairs_n);
	n->config.mtu = htole16(n->mtu);
	n->dev.config_len_bytes = offsetof(struct virtio_net_config, speed);
	find_features(n, spec->net.fds[0]);
	*out = &n->dev;
	return 0;
}

static int net_attach(struct virtio_device *dev, struct err *e)
{
	struct net *n = to_net(dev);
	unsigned int i;
	int r;

	for (i = 0; i < n->pairs_n; i++) {
		r = loop_add_fd(dev->loop, n->pairs[i]->fd);
		if (r < 0)
			return err_errno(e, r, "net: registering its tap");
	}
	return 0;
}

static void net_config_read(struct virtio_device *dev, uint32_t offset, void *data, unsigned int len)
{
	memcpy(data, (const char *)&to_net(dev)->config + offset, len);
}

/* A poll that waits touches no memory of the guest's, and finds nobody there. */
static bool net_reset(struct virtio_device *dev)
{
	struct net *n = to_net(dev);
	unsigned int i;

	n->active = false;
	for (i = 0; i < n->pairs_n; i++)
		window_clear(n->pairs[i]);
	return true;
}

static bool net_quiesce(struct virtio_device *dev)
{
	struct net *n = to_net(dev);
	bool idle = true;
	unsigned int i;

	n->active = false;
	for (i = 0; i < n->pairs_n; i++) {
		if (!loop_op_busy(&n->pairs[i]->poll_op))
			continue;
		loop_cancel(dev->loop, &n->pairs[i]->poll_op);
		idle = false;
	}
	return idle;
}

const struct virtio_device_ops virtio_net = {
	.name = "net",
	.id = VMSPEC_NET,
	.create = net_create,
	.attach = net_attach,
	.config_read = net_config_read,
	.activate = net_activate,
	.kick = net_kick,
	.reset = net_reset,
	.quiesce = net_quiesce,
	.destroy = net_destroy,
};
