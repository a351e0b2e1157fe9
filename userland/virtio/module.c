/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/module.h"

#include <errno.h>
#include <sys/ioctl.h>

int virtio_module_set_memory(int module_fd, const struct guest_mem *mem)
{
	const struct guest_mem_region *regions;
	const size_t n = guest_mem_regions(mem, &regions);
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
	return ioctl(module_fd, MICROVM_SET_MEMORY, &memory) ? -errno : 0;
}

static uint64_t gpa_of(const struct guest_mem *mem, const void *hva)
{
	const struct guest_mem_region *regions;
	size_t n = guest_mem_regions(mem, &regions), i;

	for (i = 0; i < n; i++)
		if ((uintptr_t)hva - (uintptr_t)regions[i].hva < regions[i].len_bytes)
			return regions[i].gpa + ((uintptr_t)hva - (uintptr_t)regions[i].hva);
	return UINT64_MAX;
}

struct microvm_queue virtio_module_queue(const struct virtio_device *dev, unsigned int queue)
{
	const struct virtq *vq = dev->vq[queue];

	if (!vq->ready)
		return (struct microvm_queue){ 0 };
	return (struct microvm_queue){
		.desc_gpa = gpa_of(dev->mem, vq->desc),
		.avail_gpa = gpa_of(dev->mem, vq->avail),
		.used_gpa = gpa_of(dev->mem, vq->used),
		.size = vq->size,
		.kick_fd = virtio_kick_fd(dev, queue),
		.call_fd = virtio_call_fd(dev),
	};
}
