/* SPDX-License-Identifier: Apache-2.0 */
/* The balloon with the kernel's module (kmod/uapi/microvm.h): it has the queues of pages, and makes the holes. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "virtio/balloon.h"
#include "virtio/module.h"

_Static_assert((int)BALLOON_INFLATE == (int)MICROVM_BALLOON_INFLATE &&
		       (int)BALLOON_DEFLATE == (int)MICROVM_BALLOON_DEFLATE,
	       "the same order");

/* One that is ours, not the module's, has size 0. */
static struct microvm_queue queue(const struct balloon *b, unsigned int n)
{
	return b->dev.external_queues >> n & 1 ? virtio_module_queue(&b->dev, n) : (struct microvm_queue){ 0 };
}

int balloon_module_start(struct balloon *b)
{
	struct microvm_balloon balloon = {
		.memory_fd = guest_mem_fd(b->dev.mem),
		.flags = balloon_poisoned(b) ? MICROVM_BALLOON_POISONED : 0,
		.features = b->dev.driver_features,
		.queues = { [MICROVM_BALLOON_INFLATE] = queue(b, BALLOON_INFLATE),
			    [MICROVM_BALLOON_DEFLATE] = queue(b, BALLOON_DEFLATE) },
	};
	const struct guest_mem_region *regions;
	const size_t n = guest_mem_regions(b->dev.mem, &regions);
	size_t i;
	int r = b->module_has_memory ? 0 : virtio_module_set_memory(b->module_fd, b->dev.mem);

	for (i = 0; !r && i < n; i++)
		balloon.offset[i] = regions[i].fd_offset;
	if (b->reporting_queue < BALLOON_QUEUES)
		balloon.queues[MICROVM_BALLOON_REPORTING] = queue(b, b->reporting_queue);
	if (!r) {
		b->module_has_memory = true;
		r = ioctl(b->module_fd, MICROVM_SET_BALLOON, &balloon) ? -errno : 0;
	}
	if (r)
		log_error("balloon: the kernel module does not take the queues: %s", strerror(-r));
	b->module_has_queues = !r;
	return r;
}

void balloon_module_count(const struct balloon *b, uint64_t *returned_bytes, uint64_t *reported_bytes)
{
	struct microvm_balloon_state state;

	if (!b->module_has_queues || ioctl(b->module_fd, MICROVM_GET_BALLOON, &state))
		return;
	*returned_bytes += state.returned_bytes;
	*reported_bytes += state.reported_bytes;
}

void balloon_module_stop(struct balloon *b)
{
	balloon_module_count(b, &b->returned_bytes, &b->reported_bytes);
	if (b->module_has_queues && ioctl(b->module_fd, MICROVM_STOP_BALLOON, 0))
		log_error("balloon: the kernel module does not let go of the queues: %s", strerror(errno));
	b->module_has_queues = false;
}

void balloon_module_news(struct balloon *b)
{
	struct microvm_event event;

	if (read(b->module_fd, &event, sizeof(event)) == (ssize_t)sizeof(event))
		virtio_broken(&b->dev, "a queue is not as it must be");
}
