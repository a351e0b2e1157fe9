/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-entropy (virtio 1.2, 5.4): the driver's buffers, filled from the host's /dev/urandom. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/util.h"
#include "virtio/devices.h"

#define RNG_QUEUE 0
#define RNG_QUEUE_SIZE 16u
#define RNG_SEGMENTS 8u
#define RNG_BYTES_MAX 256u /* a request may be given less than it asked for (5.4.6.1); Linux asks for 64 */
#define RNG_BATCH 16u

struct rng {
	struct virtio_device dev;
	int fd;
};

static struct rng *to_rng(struct virtio_device *dev)
{
	return container_of(dev, struct rng, dev);
}

static int rng_create(const struct vmspec_device *spec, struct virtio_device **out, struct err *e)
{
	struct rng *rng = calloc(1, sizeof(*rng));

	if (!rng)
		return err_set(e, ENOMEM, "rng: no memory");
	rng->fd = spec->rng.fd;
	rng->dev.ops = &virtio_rng;
	rng->dev.queues_n = 1;
	rng->dev.queue_size[RNG_QUEUE] = RNG_QUEUE_SIZE;
	*out = &rng->dev;
	return 0;
}

static void rng_kick(struct virtio_device *dev, unsigned int queue)
{
	struct iovec iov[RNG_SEGMENTS];
	struct virtq_chain c;
	unsigned int i;
	ssize_t n;

	for (i = 0; i < RNG_BATCH && virtio_pop(dev, queue, &c, iov, RNG_SEGMENTS); i++) {
		if (c.out_n || !c.in_n) {
			virtio_broken(dev, "entropy is only written");
			return;
		}
		/*
		 * urandom never waits, and 256 bytes are a microsecond; in the ring it would need a kernel worker thread,
		 * since the file cannot be polled.
		 */
		n = read(to_rng(dev)->fd, iov[0].iov_base, min_t(size_t, iov[0].iov_len, RNG_BYTES_MAX));
		virtq_push(dev->vq[queue], c.head, n > 0 ? n : 0);
	}
	virtio_flush(dev, queue);
	if (virtq_kicks_on(dev->vq[queue]))
		virtio_kick_later(dev, queue);
}

static bool rng_reset(struct virtio_device *dev)
{
	return true;
}

static void rng_destroy(struct virtio_device *dev)
{
	struct rng *rng = to_rng(dev);

	if (rng->fd >= 0)
		close(rng->fd);
	free(rng);
}

const struct virtio_device_ops virtio_rng = {
	.name = "rng",
	.id = VMSPEC_RNG,
	.create = rng_create,
	.kick = rng_kick,
	.reset = rng_reset,
	.destroy = rng_destroy,
};
