/* SPDX-License-Identifier: Apache-2.0 */
/* Where a device's registers are found: guest physical ranges and who answers for them. Filled before the guest runs, then read only. */
#ifndef VMM_BUS_H
#define VMM_BUS_H

#include <stdint.h>

struct bus_range {
	uint64_t base, len_bytes;
	/* Called by vCPU threads, several at once; len 1, 2, 4 or 8; offset + len lies within the range. */
	void (*read)(void *arg, uint64_t offset, void *data, unsigned int len);
	void (*write)(void *arg, uint64_t offset, const void *data, unsigned int len);
	void *arg;
};

#define BUS_RANGES_MAX 48u

struct bus {
	struct bus_range ranges[BUS_RANGES_MAX];
	unsigned int n;
};

/* -ENOSPC, -EEXIST (overlap). */
int bus_add(struct bus *bus, const struct bus_range *range);
/* Reads of addresses nobody owns give all ones, writes are dropped, as on hardware. */
void bus_read(const struct bus *bus, uint64_t addr, void *data, unsigned int len);
void bus_write(const struct bus *bus, uint64_t addr, const void *data, unsigned int len);

#endif
