/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front end's side of vhost-user (QEMU's docs/interop/vhost-user.rst): a device's queues are served by another process,
 * over a connected Unix stream socket. Every call waits for its answer at most VHOST_TIMEOUT_MS; after a failure the back
 * end is given up. It is trusted with the guest's memory, not with ours: what it says is checked.
 */
#ifndef VIRTIO_VHOST_FRONT_H
#define VIRTIO_VHOST_FRONT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "vmm/memory.h"

#define VHOST_TIMEOUT_MS 3000u

struct vhost_front {
	int fd;
	bool reply_ack; /* it answers when it is asked to */
	bool dead;	/* nothing is sent any more */
	uint64_t features;
};

struct vhost_ring {
	unsigned int index;
	uint16_t size;
	const void *desc, *avail, *used; /* in our guest memory */
	int kick_fd, call_fd;
};

/* Features, protocol features, guest memory. fd stays the caller's. At least `queues` queues are asked for. */
int vhost_front_connect(struct vhost_front *v, int fd, const struct guest_mem *mem, unsigned int queues, struct err *e);
/* Before the first ring: the driver's features. Negative errno. */
int vhost_front_set_features(struct vhost_front *v, uint64_t features);
/* From here on the back end serves the ring, from its beginning. Negative errno. */
int vhost_front_start(struct vhost_front *v, const struct vhost_ring *ring);
/* It has let go of the ring when this returns 0. */
int vhost_front_stop(struct vhost_front *v, unsigned int index);

#endif
