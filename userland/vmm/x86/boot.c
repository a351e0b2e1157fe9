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

static int load_kernel(const struct guest_mem *mem, int fd, struct elf_kernel *kernel, struct err *e)
{
	struct elf_source src = { .read = read_kernel, .arg = &fd };
	size_t i;
	int r;

	if (file_size(fd, &src.len_bytes, e) || elf_parse(&src, kernel, e))
		return err_wrap(e, "kernel");
	if (!guest_mem_slice(mem, kernel->low_gpa, kernel->high_gpa - kernel->low_gpa))
		return err_set(e, ENOMEM, "kernel: needs memory up to %llu MiB and the guest has %llu MiB; give it more memory",
			       (unsigned long long)(kernel->high_gpa >> 20) + 1, (unsigned long long)(guest_mem_low_bytes(mem) >> 20));
	/* What a segment has beyond its file's bytes is zero as the memory is new. */
	for (i = 0; i < kernel->segments_n; i++) {
		const struct elf_segment *s = &kernel->segments[i];

		r = guest_mem_load(mem, s->gpa, fd, s->file_off, s->file_bytes);
		if (r < 0)
			return err_errno(e, r, "kernel: reading %llu bytes at %llu", (unsigned long long)s->file_bytes,
					 (unsigned long long)s->file_off);
	}
	return 0;
}

static int load_initramfs(const struct guest_mem *mem, int fd, uint64_t kernel_end, struct hvm_module *module, struct err *e)
{
	const uint64_t top = guest_mem_low_bytes(mem);
	uint64_t len, gpa;
	int r;

	if (file_size(fd, &len, e))
		return err_wrap(e, "initramfs");
	if (!len)
		return err_set(e, ENODATA, "initramfs: the file is empty");
	if (len > top || ALIGN_DOWN(top - len, PAGE) < kernel_end)
		return err_set(e, ENOMEM, "initramfs: %llu MiB don't fit above the kernel in %llu MiB; give the guest more memory",
			       (unsigned long long)(len >> 20), (unsigned long long)(top >> 20));
	gpa = ALIGN_DOWN(top - len, PAGE);
	r = guest_mem_load(mem, gpa, fd, 0, len);
	if (r < 0)
		return err_errno(e, r, "initramfs: reading %llu bytes", (unsigned long long)len);
	*module = (struct hvm_module){ .gpa = gpa, .len_bytes = len };
	return 0;
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

int boot_load(const struct guest_mem *mem, int kernel_fd, int initramfs_fd, unsigned int vcpus, struct boot_entry *out,
	      struct err *e)
{
	/* The least a VM has is VMSPEC_MEM_MIN, so the low MiB is always there. */
	char *low = guest_mem_slice(mem, 0, HIGH_GPA);
	struct hvm_start_info *info;
	struct elf_kernel kernel;

	if (!low)
		return err_set(e, ENOMEM, "the guest has less than 1 MiB of memory");
	info = (struct hvm_start_info *)(low + START_INFO_GPA);
	*info = (struct hvm_start_info){ .magic = HVM_START_MAGIC, .version = 1, .cmdline_gpa = CMDLINE_GPA,
					 .memmap_gpa = MEMMAP_GPA };
	if (load_kernel(mem, kernel_fd, &kernel, e))
		return -e->code;
	if (initramfs_fd >= 0) {
		if (load_initramfs(mem, initramfs_fd, kernel.high_gpa, (struct hvm_module *)(low + MODULE_GPA), e))
			return -e->code;
		info->modules_n = 1;
		info->modules_gpa = MODULE_GPA;
	}
	info->memmap_n = fill_memmap(mem, (struct hvm_memmap *)(low + MEMMAP_GPA));
	mptable_fill((uint8_t *)low + MPTABLE_GPA, vcpus);
	*out = (struct boot_entry){ .rip = kernel.entry_gpa, .rbx = START_INFO_GPA };
	return 0;
}

void boot_set_cmdline(const struct guest_mem *mem, const char *cmdline)
{
	size_t len = strnlen(cmdline, VMSPEC_CMDLINE_MAX - 1);
	char *to = guest_mem_slice(mem, CMDLINE_GPA, VMSPEC_CMDLINE_MAX);

	memcpy(to, cmdline, len);
	to[len] = 0;
}
