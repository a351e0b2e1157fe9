/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel module's way from what a guest names to holes in its memory, as it is in the module: none outside of guest
 * memory, none of what was not named, and one for each contiguous range of a request's numbers.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define __user
#define sort(base, n, size, compare, swap) qsort(base, n, size, compare)

/* NOLINTBEGIN(bugprone-suspicious-include): it is built for this kernel of ours */
#include "kmod/pages.c"
/* NOLINTEND(bugprone-suspicious-include) */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The file: 64 pages for the low region, 8 that are nobody's, 32 for the high one. */
#define LOW_PAGES 64u
#define GAP_PAGES 8u
#define HIGH_PAGES 32u
#define FILE_PAGES (LOW_PAGES + GAP_PAGES + HIGH_PAGES)
#define LOW_PFN 16u
#define HIGH_PFN 0x100000u
#define USER 0x700000000000ull

static bool named[FILE_PAGES], punched[FILE_PAGES];

static void must(bool x)
{
	if (!x)
		abort();
}

static int punch(void *arg, u64 offset, u64 len)
{
	u64 i;

	must(!(offset % GUEST_PAGE) && len && !(len % GUEST_PAGE));
	must(offset / GUEST_PAGE + len / GUEST_PAGE <= FILE_PAGES);
	for (i = offset / GUEST_PAGE; i < (offset + len) / GUEST_PAGE; i++) {
		must(named[i]);
		punched[i] = true;
	}
	/* Some holes can't be made. */
	return *(const u8 *)arg & 1 ? -EIO : 0;
}

/* Page of the file, or FILE_PAGES. */
static u32 page_of(u64 pfn)
{
	if (pfn >= LOW_PFN && pfn < LOW_PFN + LOW_PAGES)
		return (u32)(pfn - LOW_PFN);
	if (pfn >= HIGH_PFN && pfn < HIGH_PFN + HIGH_PAGES)
		return (u32)(pfn - HIGH_PFN) + LOW_PAGES + GAP_PAGES;
	return FILE_PAGES;
}

/* Both bounds are guest memory, and of one region. */
static bool is_range(u64 gpa, u64 len)
{
	u64 first = gpa / GUEST_PAGE, last;

	if (gpa % GUEST_PAGE || len % GUEST_PAGE || !len || gpa + len < gpa)
		return false;
	last = (gpa + len) / GUEST_PAGE - 1;
	return page_of(first) < FILE_PAGES && page_of(last) < FILE_PAGES &&
	       page_of(last) - page_of(first) == last - first;
}

static void name_range(u64 gpa, u64 len)
{
	u64 i;

	if (is_range(gpa, len))
		for (i = 0; i < len / GUEST_PAGE; i++)
			named[page_of(gpa / GUEST_PAGE) + i] = true;
}

static void add_ranges(struct pages *p, const uint8_t *data, size_t size)
{
	for (; size >= 10; data += 10, size -= 10) {
		u64 gpa, user = 0;
		u16 len;

		memcpy(&gpa, data, sizeof(gpa));
		memcpy(&len, data + 8, sizeof(len));
		/* Most of the input near memory, some anywhere. */
		if (data[7] & 1)
			gpa = (u64)(gpa % (data[7] & 2 ? 0x60000 : 0x100040)) * (data[7] & 4 ? 1 : GUEST_PAGE);
		if (data[7] & 8) {
			name_range(gpa, (u64)len * 512);
			pages_add(p, gpa, (u64)len * 512);
			continue;
		}
		/* By the owner's addresses: guest memory there is without a hole between the regions. */
		user = USER + gpa % ((u64)(LOW_PAGES + HIGH_PAGES + 4) * GUEST_PAGE);
		gpa = user - USER < (u64)LOW_PAGES * GUEST_PAGE
			      ? (u64)LOW_PFN * GUEST_PAGE + (user - USER)
			      : (u64)HIGH_PFN * GUEST_PAGE + (user - USER - (u64)LOW_PAGES * GUEST_PAGE);
		name_range(gpa, (u64)len * 512);
		pages_add_user(p, (const void *)(uintptr_t)user, (u64)len * 512);
	}
}

static void add_pfns(struct pages *p, const uint8_t *data, size_t size)
{
	static u32 pfns[PFNS_MAX];
	u32 n = 0, i, ranges = 0;

	for (; size >= 2 && n < PFNS_MAX; data += 2, size -= 2) {
		u16 v;

		memcpy(&v, data, sizeof(v));
		pfns[n++] = v & 0x8000 ? HIGH_PFN - 4 + v % 64 : v & 0x4000 ? 0xffffffffu - v % 64 : v % 128;
	}
	for (i = 0; i < n; i++)
		name_range((u64)pfns[i] * GUEST_PAGE, GUEST_PAGE);
	pages_add_pfns(p, pfns, n);
	pages_flush(p);
	for (i = 0; i < FILE_PAGES; i++) {
		must(named[i] == punched[i]);
		ranges += named[i] && (!i || !named[i - 1]);
	}
	must(p->punches == ranges);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct mem_map mem = {
		.regions_n = 2,
		.regions = { { LOW_PFN * GUEST_PAGE, LOW_PAGES * GUEST_PAGE, USER },
			     { (u64)HIGH_PFN * GUEST_PAGE, HIGH_PAGES * GUEST_PAGE, USER + LOW_PAGES * GUEST_PAGE } },
	};
	static const u64 offset[MICROVM_REGIONS_MAX] = { 0, (LOW_PAGES + GAP_PAGES) * GUEST_PAGE };
	struct pages p = { .mem = &mem, .offset = offset, .punch = punch };
	u32 i;

	if (size < 2)
		return 0;
	p.arg = (void *)(uintptr_t)data;
	must(!pages_check(&mem, offset, FILE_PAGES * GUEST_PAGE));
	must(pages_check(&mem, offset, FILE_PAGES * GUEST_PAGE - 1));
	memset(named, 0, sizeof(named));
	memset(punched, 0, sizeof(punched));
	if (data[0] & 2) {
		add_ranges(&p, data + 1, size - 1);
		pages_flush(&p);
		for (i = 0; i < FILE_PAGES; i++)
			must(named[i] == punched[i]);
	} else {
		add_pfns(&p, data + 1, size - 1);
	}
	must(p.bytes % GUEST_PAGE == 0);
	return 0;
}
