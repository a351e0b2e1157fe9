/* SPDX-License-Identifier: Apache-2.0 */
/* A kernel file: what of an ELF64 vmlinux goes where, and where PVH enters it. Pure: reads through a function, touches no guest. */
#ifndef VMM_X86_ELF_H
#define VMM_X86_ELF_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define ELF_SEGMENTS_MAX 32u

struct elf_source {
	/* Reads exactly len bytes at off; negative errno, -ENODATA when the file ends before. */
	int (*read)(void *arg, void *buf, size_t len, uint64_t off);
	void *arg;
	uint64_t len_bytes; /* the file's */
};

struct elf_segment {
	uint64_t gpa, file_off, file_bytes, mem_bytes; /* file_bytes <= mem_bytes; all of it within the file */
};

struct elf_kernel {
	uint32_t entry_gpa; /* 32-bit entry with paging off, within a segment (XEN_ELFNOTE_PHYS32_ENTRY) */
	size_t segments_n;  /* at least one */
	struct elf_segment segments[ELF_SEGMENTS_MAX];
	uint64_t low_gpa, high_gpa; /* all segments lie in [low, high) */
};

int elf_parse(const struct elf_source *src, struct elf_kernel *out, struct err *e);

#endif
