/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/x86/boot.h"

#include <errno.h>
#include <linux/types.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "base/vmspec.h"
#include "vmm/x86/elf.h"
#include "vmm/x86/mptable.h"

/* Where in the first 640 KiB things stand. The guest copies them before it uses that memory for itself. */
#define START_INFO_GPA 0x6000u
#define MODULE_GPA 0x6100u
#define MEMMAP_GPA 0x6200u
#define CMDLINE_GPA 0x7000u

#define HIGH_GPA 0x100000ull
#define PAGE 4096ull
#define HUGE (2ull << 20)
#define FIRST_BLOCK_GPA (8ull << 20)
#define FIRST_BLOCK_BYTES (4ull << 20)
#define TABLES_BYTES (1ull << 20) /* of Linux, beside the structures of pages */

#define HVM_START_MAGIC 0x336ec578u
enum { MEMMAP_RAM = 1, MEMMAP_RESERVED = 2 };

struct hvm_start_info {
	__le32 magic, version, flags, modules_n;
	__le64 modules_gpa, cmdline_gpa, rsdp_gpa, memmap_gpa;
	__le32 memmap_n, reserved;
};

struct hvm_module {
	__le64 gpa, len_bytes, cmdline_gpa, reserved;
};

struct hvm_memmap {
	__le64 gpa, len_bytes;
	__le32 type, reserved;
};

static int read_kernel(void *arg, void *buf, size_t len, uint64_t off)
{
	return pread_full(*(const int *)arg, buf, len, (off_t)off);
}

static int file_size(int fd, uint64_t *len, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st))
		return err_errno(e, errno, "fstat");
	if (!S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "is no regular file");
	*len = (uint64_t)st.st_size;
	return 0;
}

struct boot_layout {
	struct elf_kernel kernel;
	uint64_t initramfs_gpa, initramfs_bytes;
};

static int place_kernel(const struct guest_mem *mem, int fd, struct elf_kernel *kernel, struct err *e)
{
	struct elf_source src = { .read = read_kernel, .arg = &fd };

	if (file_size(fd, &src.len_bytes, e) || elf_parse(&src, kernel, e))
		return -e->code;
	if (!guest_mem_slice(mem, kernel->low_gpa, kernel->high_gpa - kernel->low_gpa))
		return err_set(e, ENOMEM, "needs memory up to %llu MiB and the guest has %llu MiB; give it more memory",
			       (unsigned long long)(kernel->high_gpa >> 20) + 1,
			       (unsigned long long)(guest_mem_low_bytes(mem) >> 20));
	return 0;
}

static int place_initramfs(const struct guest_mem *mem, int fd, struct boot_layout *at, struct err *e)
{
	const uint64_t top = guest_mem_low_bytes(mem);
	uint64_t len;

	if (file_size(fd, &len, e))
		return -e->code;
	if (!len)
		return err_set(e, ENODATA, "the file is empty");
	if (len > top || ALIGN_DOWN(top - len, PAGE) < at->kernel.high_gpa)
		return err_set(e, ENOMEM, "%llu MiB don't fit above the kernel in %llu MiB; give the guest more memory",
			       (unsigned long long)(len >> 20) + 1, (unsigned long long)(top >> 20));
	at->initramfs_gpa = ALIGN_DOWN(top - len, PAGE);
	at->initramfs_bytes = len;
	return 0;
}

/* How many bytes of the kernel's file go to the 2 MiB at gpa: between its parts, and behind them, there may be room that is not used yet. */
static uint64_t kernel_bytes_in(const struct elf_kernel *kernel, uint64_t gpa)
{
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < kernel->segments_n; i++) {
		const struct elf_segment *s = &kernel->segments[i];
		const uint64_t from = max_t(uint64_t, gpa, s->gpa),
			       to = min_t(uint64_t, gpa + HUGE, s->gpa + s->file_bytes);

		sum += to > from ? to - from : 0;
	}
	return sum;
}

/*
 * Huge pages for what a Linux guest uses most of before it is up, whatever it goes on to do: its image; the first 2 MiB;
 * the first 4 MiB block that its page allocator hands out; and the top, where it puts a structure for each page (64 bytes
 * for 4 KiB), per-CPU data and hash tables, right below the initramfs.
 */
static void back_boot_memory(const struct guest_mem *mem, const struct boot_layout *at)
{
	const struct guest_mem_region *regions;
	const size_t n = guest_mem_regions(mem, &regions);
	const struct guest_mem_region *last = &regions[n - 1];
	const uint64_t tables = (regions[0].len_bytes + (n > 1 ? last->len_bytes : 0)) / 64 + TABLES_BYTES;
	const uint64_t top = n > 1 ? at->initramfs_bytes : at->initramfs_bytes + tables;
	uint64_t gpa;

	if (at->kernel.high_gpa - at->kernel.low_gpa < HUGE)
		return; /* no Linux */
	/* In its last 2 MiB a kernel has zeroed data, and makes its first page tables. */
	for (gpa = ALIGN_DOWN(at->kernel.low_gpa, HUGE); gpa < at->kernel.high_gpa; gpa += HUGE)
		if (gpa + HUGE >= at->kernel.high_gpa || kernel_bytes_in(&at->kernel, gpa) >= HUGE / 4)
			guest_mem_huge(mem, gpa, HUGE);
	guest_mem_huge(mem, 0, HIGH_GPA);
	if (at->kernel.low_gpa >= FIRST_BLOCK_GPA + FIRST_BLOCK_BYTES)
		guest_mem_huge(mem, FIRST_BLOCK_GPA, FIRST_BLOCK_BYTES);
	if (n > 1)
		guest_mem_huge(mem, last->gpa + last->len_bytes - min_t(uint64_t, tables, last->len_bytes), tables);
	if (top && top < regions[0].len_bytes / 2)
		guest_mem_huge(mem, regions[0].len_bytes - top, top);
}

static int load_files(const struct guest_mem *mem, const struct boot_files *files, const struct boot_layout *at,
		      struct err *e)
{
	size_t i;
	int r = 0;

	/* What a segment has beyond its file's bytes is zero as the memory is new. */
	for (i = 0; i < at->kernel.segments_n && !r; i++) {
		const struct elf_segment *s = &at->kernel.segments[i];

		r = guest_mem_load(mem, s->gpa, files->kernel_fd, s->file_off, s->file_bytes);
	}
	if (r < 0)
		return err_errno(e, r, "reading the kernel");
	if (at->initramfs_bytes)
		r = guest_mem_load(mem, at->initramfs_gpa, files->initramfs_fd, 0, at->initramfs_bytes);
	return r < 0 ? err_errno(e, r, "reading the initramfs") : 0;
}

static unsigned int fill_memmap(const struct guest_mem *mem, struct hvm_memmap *map)
{
	const struct guest_mem_region *regions;
	size_t n = guest_mem_regions(mem, &regions);
	unsigned int used = 0;

	map[used++] = (struct hvm_memmap){ 0, MPTABLE_GPA, MEMMAP_RAM, 0 };
	map[used++] = (struct hvm_memmap){ MPTABLE_GPA, HIGH_GPA - MPTABLE_GPA, MEMMAP_RESERVED, 0 };
	map[used++] = (struct hvm_memmap){ HIGH_GPA, regions[0].len_bytes - HIGH_GPA, MEMMAP_RAM, 0 };
	if (n > 1)
		map[used++] = (struct hvm_memmap){ regions[1].gpa, regions[1].len_bytes, MEMMAP_RAM, 0 };
	return used;
}

int boot_load(const struct guest_mem *mem, const struct boot_files *files, unsigned int vcpus, unsigned int lines_n,
	      struct boot_entry *out, struct err *e)
{
	struct boot_layout at = { .initramfs_bytes = 0 };
	struct hvm_start_info *info;
	char *low;

	if (place_kernel(mem, files->kernel_fd, &at.kernel, e))
		return err_wrap(e, "kernel");
	if (files->initramfs_fd >= 0 && place_initramfs(mem, files->initramfs_fd, &at, e))
		return err_wrap(e, "initramfs");
	back_boot_memory(mem, &at);
	if (load_files(mem, files, &at, e))
		return -e->code;
	low = guest_mem_slice(mem, 0, HIGH_GPA); /* there, as the kernel is above it */
	info = (struct hvm_start_info *)(low + START_INFO_GPA);
	*info = (struct hvm_start_info){
		.magic = HVM_START_MAGIC, .version = 1, .cmdline_gpa = CMDLINE_GPA, .memmap_gpa = MEMMAP_GPA
	};
	if (at.initramfs_bytes) {
		info->modules_n = 1;
		info->modules_gpa = MODULE_GPA;
		*(struct hvm_module *)(low + MODULE_GPA) =
			(struct hvm_module){ .gpa = at.initramfs_gpa, .len_bytes = at.initramfs_bytes };
	}
	info->memmap_n = fill_memmap(mem, (struct hvm_memmap *)(low + MEMMAP_GPA));
	mptable_fill((uint8_t *)low + MPTABLE_GPA, vcpus, GUEST_GSI_FIRST, GUEST_GSI_FIRST + lines_n);
	*out = (struct boot_entry){ .rip = at.kernel.entry_gpa, .rbx = START_INFO_GPA };
	return 0;
}

void boot_set_cmdline(const struct guest_mem *mem, const char *cmdline)
{
	size_t len = strnlen(cmdline, VMSPEC_CMDLINE_MAX - 1);
	char *to = guest_mem_slice(mem, CMDLINE_GPA, VMSPEC_CMDLINE_MAX);

	memcpy(to, cmdline, len);
	to[len] = 0;
}
