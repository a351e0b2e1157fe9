/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's memory, as the front end handed it over: regions of files, mapped shared. */
#ifndef FSD_MEMORY_H
#define FSD_MEMORY_H

#include <stddef.h>

#include "fsd/vhost_user.h"

#define MEMORY_REGIONS_MAX 32u

struct memory_region {
	uint64_t gpa, len_bytes, user_addr;
	uint8_t *hva;
};

struct memory {
	unsigned int n;
	struct memory_region regions[MEMORY_REGIONS_MAX];
};

/* Maps a region of fd, which stays the caller's. -EINVAL: it wraps, overlaps, or the file is shorter; -ENOSPC: too many. */
int memory_add(struct memory *mem, const struct vhost_user_region *region, int fd);
/* -ENOENT: there is none like it. */
int memory_remove(struct memory *mem, const struct vhost_user_region *region);
void memory_clear(struct memory *mem);
/* struct virtq_mem's slice: NULL unless all of [gpa, gpa + len) lies in one region. arg: struct memory. */
void *memory_slice(const void *arg, uint64_t gpa, uint64_t len);
/* The same for addresses of the front end's. */
void *memory_user_slice(const struct memory *mem, uint64_t addr, uint64_t len);

#endif
