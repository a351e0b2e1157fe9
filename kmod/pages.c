// SPDX-License-Identifier: GPL-2.0-only
#ifdef __KERNEL__
#include <linux/sort.h>
#endif

#include "pages.h"

int pages_check(const struct mem_map *mem, const u64 *offset, u64 file_bytes)
{
	u32 i;

	for (i = 0; i < MICROVM_REGIONS_MAX; i++) {
		if (i >= mem->regions_n) {
			if (offset[i])
				return -EINVAL;
			continue;
		}
		if ((mem->regions[i].gpa | mem->regions[i].len_bytes | offset[i]) % GUEST_PAGE ||
		    offset[i] > file_bytes || mem->regions[i].len_bytes > file_bytes - offset[i])
			return -EINVAL;
	}
	return 0;
}

void pages_flush(struct pages *p)
{
	if (p->end > p->start) {
		p->punches++;
		if (p->punch(p->arg, p->start, p->end - p->start))
			p->refused++;
		else
			p->bytes += p->end - p->start;
	}
	p->start = 0;
	p->end = 0;
}

/* [start, end) of the file. */
static void join_range(struct pages *p, u64 start, u64 end)
{
	if (p->end > p->start && start == p->end) {
		p->end = end;
	} else if (p->end > p->start && end == p->start) {
		p->start = start;
	} else {
		pages_flush(p);
		p->start = start;
		p->end = end;
	}
}

static void add_piece(struct pages *p, bool user, u64 from, u64 len)
{
	u32 i;

	for (i = 0; len && i < p->mem->regions_n; i++) {
		const struct microvm_region *r = &p->mem->regions[i];
		u64 first = user ? r->user_addr : r->gpa, at = from - first;

		/* Written so that no sum can overflow. */
		if (from < first || at >= r->len_bytes || len > r->len_bytes - at)
			continue;
		if ((at | len) % GUEST_PAGE)
			break;
		join_range(p, p->offset[i] + at, p->offset[i] + at + len);
		return;
	}
	p->refused++;
}

void pages_add(struct pages *p, u64 gpa, u64 len)
{
	add_piece(p, false, gpa, len);
}

void pages_add_user(struct pages *p, const void __user *addr, u64 len)
{
	add_piece(p, true, (unsigned long)addr, len);
}

static int compare(const void *a, const void *b)
{
	const u32 *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

void pages_add_pfns(struct pages *p, u32 *pfns, u32 n)
{
	u32 i;

	sort(pfns, n, sizeof(*pfns), compare, NULL);
	for (i = 0; i < n; i++)
		if (!i || pfns[i] != pfns[i - 1])
			pages_add(p, (u64)pfns[i] * GUEST_PAGE, GUEST_PAGE);
}
