/* SPDX-License-Identifier: Apache-2.0 */
#include "fsd/memory.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/util.h"

static bool overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

int memory_add(struct memory *mem, const struct vhost_user_region *region, int fd)
{
	struct memory_region *r = &mem->regions[mem->n];
	uint64_t end;
	struct stat st;
	unsigned int i;
	void *map;

	if (mem->n == MEMORY_REGIONS_MAX)
		return -ENOSPC;
	if (!region->len_bytes || region->gpa + region->len_bytes < region->gpa ||
	    region->user_addr + region->len_bytes < region->user_addr ||
	    __builtin_add_overflow(region->fd_offset, region->len_bytes, &end) || end > INT64_MAX ||
	    region->fd_offset % 4096)
		return -EINVAL;
	/* Behind the file's end there would be SIGBUS instead of memory. */
	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < end)
		return -EINVAL;
	for (i = 0; i < mem->n; i++)
		if (overlap(region->gpa, region->len_bytes, mem->regions[i].gpa, mem->regions[i].len_bytes))
			return -EINVAL;
	map = mmap(NULL, region->len_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		   (off_t)region->fd_offset);
	if (map == MAP_FAILED)
		return -errno;
	madvise(map, region->len_bytes, MADV_DONTDUMP);
	*r = (struct memory_region){
		.gpa = region->gpa,
		.len_bytes = region->len_bytes,
		.user_addr = region->user_addr,
		.hva = map,
	};
	mem->n++;
	return 0;
}

int memory_remove(struct memory *mem, const struct vhost_user_region *region)
{
	unsigned int i;

	for (i = 0; i < mem->n; i++) {
		struct memory_region *r = &mem->regions[i];

		if (r->gpa != region->gpa || r->len_bytes != region->len_bytes || r->user_addr != region->user_addr)
			continue;
		munmap(r->hva, r->len_bytes);
		*r = mem->regions[--mem->n];
		return 0;
	}
	return -ENOENT;
}

void memory_clear(struct memory *mem)
{
	while (mem->n) {
		mem->n--;
		munmap(mem->regions[mem->n].hva, mem->regions[mem->n].len_bytes);
	}
}

void *memory_slice(const void *arg, uint64_t gpa, uint64_t len)
{
	const struct memory *mem = arg;
	unsigned int i;

	for (i = 0; i < mem->n; i++) {
		const struct memory_region *r = &mem->regions[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->len_bytes)
			return len && len <= r->len_bytes - (gpa - r->gpa) ? r->hva + (gpa - r->gpa) : NULL;
	}
	return NULL;
}

void *memory_user_slice(const struct memory *mem, uint64_t addr, uint64_t len)
{
	unsigned int i;

	for (i = 0; i < mem->n; i++) {
		const struct memory_region *r = &mem->regions[i];

		if (addr >= r->user_addr && addr - r->user_addr < r->len_bytes)
			return len && len <= r->len_bytes - (addr - r->user_addr) ? r->hva + (addr - r->user_addr)
										  : NULL;
	}
	return NULL;
}
