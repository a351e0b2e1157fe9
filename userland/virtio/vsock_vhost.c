/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-vsock by the kernel's own vhost-vsock (linux/vhost.h): it has rx and tx, and the host's ends are sockets of
 * AF_VSOCK, which whoever opens them has. Here is only what sets it up. It is there to compare with.
 */
#include <errno.h>
#include <linux/vhost.h>
#include <linux/virtio_vsock.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "virtio/vsock.h"

#define QUEUES 2u /* rx, tx; the driver's third queue, for events, stays silent */

struct vsock_vhost {
	struct virtio_device dev;
	uint64_t guest_cid, features;
	int fd;
	bool owned;
};

static struct vsock_vhost *to_vhost(struct virtio_device *dev)
{
	return container_of(dev, struct vsock_vhost, dev);
}

static int create_error(struct vsock_vhost *v, struct err *e)
{
	free(v);
	return err_errno(e, errno, "vsock: vhost");
}

int vsock_vhost_create(const struct vmspec_device *spec, struct virtio_device **out, struct err *e)
{
	struct vsock_vhost *v = calloc(1, sizeof(*v));

	if (!v)
		return err_set(e, ENOMEM, "vsock: no memory");
	v->fd = spec->vsock.vhost_fd;
	v->guest_cid = spec->vsock.guest_cid;
	if (ioctl(v->fd, VHOST_GET_FEATURES, &v->features))
		return create_error(v, e);
	v->dev.ops = &virtio_vsock_vhost;
	v->dev.features = v->features & (1ull << VIRTIO_VSOCK_F_SEQPACKET);
	v->dev.queues_n = VSOCK_QUEUES;
	v->dev.queue_size[VSOCK_RX] = VSOCK_RX_QUEUE_SIZE;
	v->dev.queue_size[VSOCK_TX] = VSOCK_TX_QUEUE_SIZE;
	v->dev.queue_size[VSOCK_EVENT] = VSOCK_EVENT_QUEUE_SIZE;
	v->dev.external_queues = 1u << VSOCK_RX | 1u << VSOCK_TX;
	v->dev.config_len_bytes = sizeof(struct virtio_vsock_config);
	*out = &v->dev;
	return 0;
}

static void vhost_config_read(struct virtio_device *dev, uint32_t offset, void *data, unsigned int len)
{
	struct virtio_vsock_config config = { .guest_cid = htole64(to_vhost(dev)->guest_cid) };

	memcpy(data, (const char *)&config + offset, len);
}

static int set_memory(struct vsock_vhost *v)
{
	_cleanup_free_ struct vhost_memory *table = NULL;
	const struct guest_mem_region *regions;
	const size_t n = guest_mem_regions(v->dev.mem, &regions);
	size_t i;

	table = calloc(1, sizeof(*table) + n * sizeof(table->regions[0]));
	if (!table)
		return -ENOMEM;
	table->nregions = (uint32_t)n;
	for (i = 0; i < n; i++)
		table->regions[i] = (struct vhost_memory_region){
			.guest_phys_addr = regions[i].gpa,
			.memory_size = regions[i].len_bytes,
			.userspace_addr = (uintptr_t)regions[i].hva,
		};
	return ioctl(v->fd, VHOST_SET_MEM_TABLE, table) ? -errno : 0;
}

static int set_queue(struct vsock_vhost *v, unsigned int queue)
{
	const struct virtq *vq = v->dev.vq[queue];
	const struct vhost_vring_state size = { .index = queue, .num = vq->size }, base = { .index = queue };
	const struct vhost_vring_file kick = { .index = queue, .fd = virtio_kick_fd(&v->dev, queue) };
	const struct vhost_vring_file call = { .index = queue, .fd = virtio_call_fd(&v->dev) };
	const struct vhost_vring_addr addr = {
		.index = queue,
		.desc_user_addr = (uintptr_t)vq->desc,
		.avail_user_addr = (uintptr_t)vq->avail,
		.used_user_addr = (uintptr_t)vq->used,
	};

	if (!vq->ready)
		return -EINVAL;
	return ioctl(v->fd, VHOST_SET_VRING_NUM, &size) || ioctl(v->fd, VHOST_SET_VRING_BASE, &base) ||
			       ioctl(v->fd, VHOST_SET_VRING_ADDR, &addr) || ioctl(v->fd, VHOST_SET_VRING_CALL, &call) ||
			       ioctl(v->fd, VHOST_SET_VRING_KICK, &kick)
		       ? -errno
		       : 0;
}

static int set_running(struct vsock_vhost *v, int on)
{
	return ioctl(v->fd, VHOST_VSOCK_SET_RUNNING, &on) ? -errno : 0;
}

static int vhost_activate(struct virtio_device *dev)
{
	struct vsock_vhost *v = to_vhost(dev);
	const uint64_t features = dev->driver_features & v->features;
	unsigned int i;
	int r = 0;

	/* Not before the jail: its thread works with our rights. */
	if (!v->owned && ioctl(v->fd, VHOST_SET_OWNER, 0))
		r = -errno;
	v->owned = v->owned || !r;
	if (!r && ioctl(v->fd, VHOST_SET_FEATURES, &features))
		r = -errno;
	if (!r)
		r = set_memory(v);
	for (i = 0; !r && i < QUEUES; i++)
		r = set_queue(v, i);
	if (!r)
		r = set_running(v, 1);
	if (r)
		log_error("vsock: vhost does not take the queues: %s", strerror(-r));
	return r;
}

static void vhost_kick(struct virtio_device *dev, unsigned int queue) {}

static bool vhost_reset(struct virtio_device *dev)
{
	struct vsock_vhost *v = to_vhost(dev);
	int r = v->owned ? set_running(v, 0) : 0;

	if (r)
		log_error("vsock: vhost does not let go of the queues: %s", strerror(-r));
	return true;
}

static void vhost_destroy(struct virtio_device *dev)
{
	struct vsock_vhost *v = to_vhost(dev);

	close(v->fd);
	free(v);
}

const struct virtio_device_ops virtio_vsock_vhost = {
	.name = "vsock",
	.id = VMSPEC_VSOCK,
	.config_read = vhost_config_read,
	.activate = vhost_activate,
	.kick = vhost_kick,
	.reset = vhost_reset,
	.destroy = vhost_destroy,
};
