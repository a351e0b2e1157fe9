/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Pages that a guest names, and where they are in the file that is its memory: neighbours become one range, whatever the
 * order they are named in, and what is not guest memory is counted and passed over. No locks, no session; the file builds
 * in userspace, too, for its fuzz target.
 */
#ifndef MICROVM_PAGES_H
#define MICROVM_PAGES_H

#include "ring.h"

#define GUEST_PAGE 4096u
#define PFNS_MAX 1024u /* of one request: Linux names 256 */

struct pages {
	const struct mem_map *mem;
	const u64 *offset; /* of each region in the file */
	/* A range of the file, which is guest memory all through. 0, or negative errno. */
	int (*punch)(void *arg, u64 offset, u64 len);
	void *arg;
	u64 start, end; /* the range so far; empty: none */
	u64 punches, bytes, refused;
};

/* 0, or -EINVAL: a region's place in a file of that size can't be. */
int pages_check(const struct mem_map *mem, const u64 *offset, u64 file_bytes);
/* [gpa, gpa + len); refused unless it is whole pages of guest memory. */
void pages_add(struct pages *p, u64 gpa, u64 len);
/* The same by the owner's address, as chains have it. */
void pages_add_user(struct pages *p, const void __user *addr, u64 len);
/* n numbers of pages as they came, which are sorted in place. */
void pages_add_pfns(struct pages *p, u32 *pfns, u32 n);
/* Punches what was gathered. */
void pages_flush(struct pages *p);

#endif
