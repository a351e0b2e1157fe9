/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

#define PAGE 4096ull
#define HUGE_PAGE (2ull << 20)

struct guest_mem {
	int fd;
	void *reserved; /* what was mapped to find room for an aligned base */
	size_t reserved_bytes;
	uint64_t bytes;
	size_t regions_n;
	struct guest_mem_region regions[2];
	size_t readable_n;
	struct guest_mem_region readable[GUEST_GSI_LAST]; /* no device has more than one */
};

static int make_memfd(uint64_t bytes, struct err *e)
{
	int fd = memfd_create("microvm-guest", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("microvm-guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return err_errno(e, errno, "guest memory: memfd_create");
	/* Whoever maps it relies on its size: a shorter file would mean SIGBUS for them. */
	if (ftruncate(fd, (off_t)bytes) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		err_errno(e, errno, "guest memory: a file of %llu MiB", (unsigned long long)(bytes >> 20));
		close(fd);
		return -e->code;
	}
	return fd;
}

/* Mapped at a multiple of 2 MiB, as the guest's addresses are, so that huge pages can back it. */
static int map_aligned(struct guest_mem *mem, struct err *e)
{
	void *base, *hva;

	mem->reserved_bytes = mem->bytes + HUGE_PAGE;
	base = mmap(NULL, mem->reserved_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return err_errno(e, errno, "guest memory: address space for %llu MiB",
				 (unsigned long long)(mem->bytes >> 20));
	mem->reserved = base;
	hva = (void *)ALIGN_UP((uintptr_t)base, (uintptr_t)HUGE_PAGE);
	hva = mmap(hva, mem->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, mem->fd, 0);
	if (hva == MAP_FAILED)
		return err_errno(e, errno, "guest memory: mapping %llu MiB", (unsigned long long)(mem->bytes >> 20));
	/* A core dump of the VMM must not carry what guests keep in their memory. */
	if (madvise(hva, mem->bytes, MADV_DONTDUMP))
		return err_errno(e, errno, "guest memory: MADV_DONTDUMP");
	mem->regions[0].hva = hva;
	return 0;
}

int guest_mem_new(struct guest_mem **out, uint64_t bytes, struct err *e)
{
	const uint64_t low = min_t(uint64_t, bytes, GUEST_HOLE_START);
	struct guest_mem *mem;

	if (!bytes || bytes % HUGE_PAGE)
		return err_set(e, EINVAL, "guest memory of %llu bytes is not a multiple of 2 MiB",
			       (unsigned long long)bytes);
	mem = xcalloc(1, sizeof(*mem));
	mem->bytes = bytes;
	mem->fd = make_memfd(bytes, e);
	if (mem->fd < 0 || map_aligned(mem, e) < 0) {
		guest_mem_free(mem);
		return -e->code;
	}
	mem->regions[0].len_bytes = low;
	mem->regions_n = 1;
	if (bytes > low) {
		mem->regions[1] = (struct guest_mem_region){
			.gpa = GUEST_HOLE_END,
			.len_bytes = bytes - low,
			.fd_offset = low,
			.hva = (char *)mem->regions[0].hva + low,
		};
		mem->regions_n = 2;
	}
	*out = mem;
	return 0;
}

void guest_mem_free(struct guest_mem *mem)
{
	if (!mem)
		return;
	if (mem->reserved)
		munmap(mem->reserved, mem->reserved_bytes);
	if (mem->fd >= 0)
		close(mem->fd);
	free(mem);
}

int guest_mem_fd(const struct guest_mem *mem)
{
	return mem->fd;
}

size_t guest_mem_regions(const struct guest_mem *mem, const struct guest_mem_region **regions)
{
	*regions = mem->regions;
	return mem->regions_n;
}

uint64_t guest_mem_bytes(const struct guest_mem *mem)
{
	return mem->bytes;
}

uint64_t guest_mem_touched(const struct guest_mem *mem)
{
	struct stat st;

	/* fstat(2) itself, as the library's may be newfstatat(2), which takes paths and which a jail may not have. */
	return syscall(SYS_fstat, mem->fd, &st) ? 0 : (uint64_t)st.st_blocks * 512;
}

int guest_mem_release(const struct guest_mem *mem, const void *hva, uint64_t len)
{
	/* One mapping holds both regions, in the order of the file. */
	const uint64_t off = (uintptr_t)hva - (uintptr_t)mem->regions[0].hva;

	if (off % PAGE || !len || len % PAGE)
		return -EINVAL;
	if (off >= mem->bytes || len > mem->bytes - off)
		return -EFAULT;
	return fallocate(mem->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) ? -errno : 0;
}

uint64_t guest_mem_low_bytes(const struct guest_mem *mem)
{
	return mem->regions[0].len_bytes;
}

/* Where all of [gpa, gpa + len) lies in one of the regions, or NULL. */
static void *find(const struct guest_mem_region *regions, size_t n, uint64_t gpa, uint64_t len)
{
	size_t i;

	for (i = 0; len && i < n; i++) {
		const struct guest_mem_region *r = &regions[i];

		/* Written so that no sum can overflow. */
		if (gpa >= r->gpa && gpa - r->gpa < r->len_bytes && len <= r->len_bytes - (gpa - r->gpa))
			return (char *)r->hva + (gpa - r->gpa);
	}
	return NULL;
}

void *guest_mem_slice(const struct guest_mem *mem, uint64_t gpa, uint64_t len)
{
	return find(mem->regions, mem->regions_n, gpa, len);
}

int guest_mem_add_readable(struct guest_mem *mem, uint64_t gpa, const void *hva, uint64_t len_bytes)
{
	if (mem->readable_n == ARRAY_SIZE(mem->readable))
		return -ENOSPC;
	mem->readable[mem->readable_n++] = (struct guest_mem_region){
		.gpa = gpa,
		.len_bytes = len_bytes,
		.hva = (void *)(uintptr_t)hva,
	};
	return 0;
}

const void *guest_mem_readable(const struct guest_mem *mem, uint64_t gpa, uint64_t len)
{
	const void *p = guest_mem_slice(mem, gpa, len);

	return p ? p : find(mem->readable, mem->readable_n, gpa, len);
}

void guest_mem_huge(const struct guest_mem *mem, uint64_t gpa, uint64_t len)
{
	const uint64_t first = ALIGN_DOWN(gpa, HUGE_PAGE), bytes = ALIGN_UP(gpa + len, HUGE_PAGE) - first;
	char *hva = guest_mem_slice(mem, first, bytes);
	uint64_t at;

	if (!hva)
		return;
	/* There must be something to collapse. */
	for (at = 0; at < bytes; at += HUGE_PAGE)
		*(volatile char *)(hva + at) = 0;
	/* Asked for like this it is done whatever the host's policy for shared memory is (by default: never). */
	if (madvise(hva, bytes, MADV_COLLAPSE))
		return; /* no huge page to be had: it works, with more faults */
}

int guest_mem_load(const struct guest_mem *mem, uint64_t gpa, int fd, uint64_t off, uint64_t len)
{
	const uint64_t skip = off % PAGE;
	char *to = guest_mem_slice(mem, gpa, len);
	char *from;

	if (!len)
		return 0;
	if (!to)
		return -EFAULT;
	/* Not read(): the kernel copies byte by byte where it believes that to be fast. A file that can't be mapped is read. */
	from = mmap(NULL, skip + len, PROT_READ, MAP_PRIVATE, fd, (off_t)(off - skip));
	if (from == MAP_FAILED)
		return pread_full(fd, to, len, (off_t)off);
	memcpy(to, from + skip, len);
	munmap(from, skip + len);
	return 0;
}
