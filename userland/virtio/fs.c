/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-fs (virtio 1.2, 5.11), the part that is in the VMM: registers and the back end's set-up. The queues are served by
 * a vhost-user back end; kicks and interrupts go between KVM and it without us.
 */
#include <errno.h>
#include <linux/virtio_fs.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "virtio/devices.h"
#include "virtio/vhost_front.h"

#define FS_HIPRIO_SIZE 128u
/* Linux asks for as much at a time as a queue has places, at most 256 pages: with 256 places 1 MiB would be two requests. */
#define FS_QUEUE_SIZE 512u

struct fs {
	struct virtio_device dev;
	int fd;
	struct virtio_fs_config config;
	struct vhost_front back;
	struct loop_op end_op; /* waits for the back end's end */
	bool watched, ended;
	uint64_t started; /* queues that the back end has */
};

static struct fs *to_fs(struct virtio_device *dev)
{
	return container_of(dev, struct fs, dev);
}

static void back_end_is_gone(struct fs *fs, const char *why)
{
	if (!fs->ended)
		log_error("fs %.36s: %s; what is mounted from there hangs", (const char *)fs->config.tag, why);
	fs->ended = true;
	fs->back.dead = true;
	virtio_failed(&fs->dev);
}

static void end_done(struct loop_op *op, int res)
{
	struct fs *fs = container_of(op, struct fs, end_op);

	if (res != -ECANCELED)
		back_end_is_gone(fs, "its file server has ended");
}

static int fs_create(const struct vmspec_device *spec, struct virtio_device **out, struct err *e)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	unsigned int i;

	if (!fs)
		return err_set(e, ENOMEM, "fs: no memory");
	fs->fd = spec->fs.fd;
	memcpy(fs->config.tag, spec->fs.tag, sizeof(fs->config.tag));
	fs->config.num_request_queues = htole32(spec->fs.queues);
	loop_op_init(&fs->end_op, end_done);
	fs->dev.ops = &virtio_fs;
	fs->dev.external_queues = ~0ull;
	fs->dev.queues_n = 1 + spec->fs.queues; /* the first one is for what overtakes: FUSE's FORGET and INTERRUPT */
	for (i = 0; i < fs->dev.queues_n; i++)
		fs->dev.queue_size[i] = spec->fs.queue_size ? (uint16_t)spec->fs.queue_size
					: i		    ? FS_QUEUE_SIZE
							    : FS_HIPRIO_SIZE;
	fs->dev.config_len_bytes = sizeof(fs->config);
	*out = &fs->dev;
	return 0;
}

static int fs_attach(struct virtio_device *dev, struct err *e)
{
	struct fs *fs = to_fs(dev);
	int r;

	if (vhost_front_connect(&fs->back, fs->fd, dev->mem, dev->queues_n, e))
		return err_wrap(e, "fs %.36s", (const char *)fs->config.tag);
	dev->lacks = ~fs->back.features;
	r = loop_add_fd(dev->loop, fs->fd);
	return r < 0 ? err_errno(e, r, "fs: registering its socket") : 0;
}

static void fs_config_read(struct virtio_device *dev, uint32_t offset, void *data, unsigned int len)
{
	memcpy(data, (const char *)&to_fs(dev)->config + offset, len);
}

static void fs_start(struct virtio_device *dev)
{
	struct fs *fs = to_fs(dev);

	/* No events asked for: what always comes is the other side's end. */
	fs->watched = true;
	loop_poll(dev->loop, &fs->end_op, fs->fd, POLLRDHUP);
}

static int fs_activate(struct virtio_device *dev)
{
	struct fs *fs = to_fs(dev);
	unsigned int i;
	int r = vhost_front_set_features(&fs->back, dev->driver_features);

	for (i = 0; !r && i < dev->queues_n; i++) {
		const struct virtq *vq = dev->vq[i];
		const struct vhost_ring ring = {
			.index = i,
			.size = vq->size,
			.desc = vq->desc,
			.avail = vq->avail,
			.used = vq->used,
			.kick_fd = virtio_kick_fd(dev, i),
			.call_fd = virtio_call_fd(dev),
		};

		if (!vq->ready)
			continue;
		fs->started |= 1ull << i;
		r = vhost_front_start(&fs->back, &ring);
	}
	if (r)
		back_end_is_gone(fs, strerrordesc_np(-r));
	return 0;
}

static bool fs_reset(struct virtio_device *dev)
{
	struct fs *fs = to_fs(dev);
	unsigned int i;

	for (i = 0; i < dev->queues_n; i++)
		if (fs->started & (1ull << i) && vhost_front_stop(&fs->back, i) && !fs->ended)
			back_end_is_gone(fs, "its file server does not let go of a queue");
	fs->started = 0;
	return true;
}

static bool fs_quiesce(struct virtio_device *dev)
{
	struct fs *fs = to_fs(dev);

	if (!loop_op_busy(&fs->end_op))
		return true;
	if (fs->watched)
		loop_cancel(dev->loop, &fs->end_op);
	fs->watched = false;
	return false;
}

static void fs_destroy(struct virtio_device *dev)
{
	struct fs *fs = to_fs(dev);

	if (dev->loop)
		loop_del_fd(dev->loop, fs->fd);
	close(fs->fd);
	free(fs);
}

const struct virtio_device_ops virtio_fs = {
	.name = "fs",
	.id = VMSPEC_FS,
	.create = fs_create,
	.attach = fs_attach,
	.config_read = fs_config_read,
	.start = fs_start,
	.activate = fs_activate,
	.reset = fs_reset,
	.quiesce = fs_quiesce,
	.destroy = fs_destroy,
};
