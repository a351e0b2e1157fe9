/* SPDX-License-Identifier: Apache-2.0 */
/* The balloon with the kernel's module (kmod/uapi/microvm.h): it has the queues of pages, and makes the holes. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "kmod/uapi/microvm.h"
#include "virtio/balloon.h"

_Static_assert((int)BALLOON_INFLATE == (int)MICROVM_BALLOON_INFLATE &&
		       (int)BALLOON_DEFLATE == (int)MICROVM_BALLOON_DEFLATE,
	       "the same order");

static int set_memory(struct balloon *b)
{
	const struct guest_mem_region *regions;
	const size_t n = guest_mem_regions(b->dev.mem, &regions);
	struct microvm_memory memory = { .regions_n = (uint32_t)n };
	size_t i;

	if (n > MICROVM_REGIONS_MAX)
		return -E2BIG;
	for (i = 0; i < n; i++)
		memory.regions[i] = (struct microvm_region){
			.gpa = regions[i].gpa,
			.len_bytes = regions[i].len_bytes,
			.user_addr = (uintptr_t)regions[i].hva,
		};
	return ioctl(b->module_fd, MICROVM_SET_MEMORY, &memory) ? -errno : 0;
}

static uint64_t gpa_of(const struct balloon *b, const void *hva)
{
	const struct guest_mem_region *regions;
	size_t n = guest_mem_regions(b->dev.mem, &regions), i;

	for (i = 0; i < n; i++)
		if ((uintptr_t)hva - (uintptr_t)regions[i].hva < regions[i].len_bytes)
			return regions[i].gpa + ((uintptr_t)hva - (uintptr_t)regions[i].hva);
	return UINT64_MAX;
}

/* One that the driver doesn't have, or that is ours, has size 0. */
static struct microvm_queue queue(const struct balloon *b, unsigned int n)
{
	const struct virtq *vq = b->dev.vq[n];

	if (!vq->ready || !(b->dev.external_queues >> n & 1))
		return (struct microvm_queue){ 0 };
	return (struct microvm_queue){
		.desc_gpa = gpa_of(b, vq->desc),
		.avail_gpa = gpa_of(b, vq->avail),
		.used_gpa = gpa_of(b, vq->used),
		.size = vq->size,
		.kick_fd = virtio_kick_fd(&b->dev, n),
		.call_fd = virtio_call_fd(&b->dev),
	};
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
	int r = b->module_has_memory ? 0 : set_memory(b);

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
