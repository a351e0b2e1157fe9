/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory: one sealed memfd, mapped shared, so that the file server and the kernel module can map the same pages.
 * guest_mem_slice is the one gateway from a guest physical address to a host pointer.
 */
#ifndef VMM_MEMORY_H
#define VMM_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/guest.h"

/* Guest physical layout: RAM below the hole, the hole for devices and APICs, the rest of RAM from 4 GiB on. */
#define GUEST_HOLE_START 0xc0000000ull
#define GUEST_HOLE_END 0x100000000ull

struct guest_mem;

struct guest_mem_region {
	uint64_t gpa, len_bytes;
	uint64_t fd_offset; /* in the memfd */
	void *hva;
};

/* bytes: multiple of 2 MiB. The memfd is sealed against growing, shrinking and further seals. */
int guest_mem_new(struct guest_mem **out, uint64_t bytes, struct err *e);
void guest_mem_free(struct guest_mem *mem);
int guest_mem_fd(const struct guest_mem *mem);
/* One or two regions. */
size_t guest_mem_regions(const struct guest_mem *mem, const struct guest_mem_region **regions);

/*
 * Host pointer to [gpa, gpa + len), or NULL if any byte of it is not RAM (overflow included; a range may not span the
 * hole). len 0 gives NULL. What is behind the pointer changes under the reader's hands: copy once, then check the copy.
 */
void *guest_mem_slice(const struct guest_mem *mem, uint64_t gpa, uint64_t len);

/*
 * Adds memory that devices may read from and never write to: a file that the guest has as memory, at an address above all
 * RAM. What is behind hva outlives mem. -ENOSPC: that is one more than GUEST_GSI_LAST devices have.
 */
int guest_mem_add_readable(struct guest_mem *mem, uint64_t gpa, const void *hva, uint64_t len_bytes);
/* As guest_mem_slice, for what is only read: RAM, or what was added as readable. */
const void *guest_mem_readable(const struct guest_mem *mem, uint64_t gpa, uint64_t len);

/* All RAM. */
uint64_t guest_mem_bytes(const struct guest_mem *mem);
/* How much of it the host has pages for. */
uint64_t guest_mem_touched(const struct guest_mem *mem);

/*
 * Gives the host's pages of [hva, hva + len) back, a part of what guest_mem_slice gave: the guest finds zeroes there when it
 * touches them again. -EINVAL: not whole pages; -EFAULT: not guest memory; or what fallocate(2) says.
 */
int guest_mem_release(const struct guest_mem *mem, const void *hva, uint64_t len);

/* RAM below the hole. */
uint64_t guest_mem_low_bytes(const struct guest_mem *mem);

/*
 * Backs [gpa, gpa + len), of which the guest is going to use most at once, by huge pages, where the host can: one fault
 * of the guest for 2 MiB instead of 512. What lies around it in the same 2 MiB comes along. Before it is loaded, or the
 * host copies it once more.
 */
void guest_mem_huge(const struct guest_mem *mem, uint64_t gpa, uint64_t len);

/* Copies [off, off + len) of file fd, which has that many bytes, to gpa. -EFAULT: not RAM. */
int guest_mem_load(const struct guest_mem *mem, uint64_t gpa, int fd, uint64_t off, uint64_t len);

#endif
