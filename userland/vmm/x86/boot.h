/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts into guest memory what a kernel is started with by PVH (Xen's public/arch-x86/hvm/start_info.h): the kernel's
 * segments, the initramfs as high as it goes below the hole, start info, memory map, command line, MP table.
 */
#ifndef VMM_X86_BOOT_H
#define VMM_X86_BOOT_H

#include <stdint.h>

#include "base/err.h"
#include "vmm/memory.h"

struct boot_entry {
	uint32_t rip, rbx; /* the kernel's entry, and what PVH has in ebx: the start info's address */
};

struct boot_files {
	int kernel_fd, initramfs_fd; /* initramfs_fd -1: none */
};

/* Loads kernel and initramfs and writes the MP table, with lines_n interrupt lines from GUEST_GSI_FIRST on. */
int boot_load(const struct guest_mem *mem, const struct boot_files *files, unsigned int vcpus, unsigned int lines_n,
	      struct boot_entry *out, struct err *e);
/* The command line, once it is final: at most VMSPEC_CMDLINE_MAX bytes with its NUL. */
void boot_set_cmdline(const struct guest_mem *mem, const char *cmdline);

#endif
