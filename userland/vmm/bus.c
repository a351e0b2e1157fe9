/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/bus.h"

#include <errno.h>
#include <string.h>

int bus_add(struct bus *bus, const struct bus_range *range)
{
	unsigned int i, at;

	if (!range->len_bytes || range->base + range->len_bytes < range->base)
		return -EINVAL;
	if (bus->n == BUS_RANGES_MAX)
		return -ENOSPC;
	for (at = 0; at < bus->n && bus->ranges[at].base < range->base; at++)
		;
	if (at < bus->n && range->base + range->len_bytes > bus->ranges[at].base)
		return -EEXIST;
	if (at > 0 && bus->ranges[at - 1].base + bus->ranges[at - 1].len_bytes > range->base)
		return -EEXIST;
	for (i = bus->n; i > at; i--)
		bus->ranges[i] = bus->ranges[i - 1];
	bus->ranges[at] = *range;
	bus->n++;
	return 0;
}

/* Ranges are sorted by address, so that a search halves them. */
static const struct bus_range *bus_find(const struct bus *bus, uint64_t addr, unsigned int len)
{
	unsigned int lo = 0, hi = bus->n;

	if (len != 1 && len != 2 && len != 4 && len != 8)
		return NULL;
	while (lo < hi) {
		unsigned int mid = (lo + hi) / 2;
		const struct bus_range *r = &bus->ranges[mid];

		if (addr < r->base)
			hi = mid;
		else if (addr - r->base >= r->len_bytes)
			lo = mid + 1;
		else
			return len <= r->len_bytes - (addr - r->base) ? r : NULL;
	}
	return NULL;
}

void bus_read(const struct bus *bus, uint64_t addr, void *data, unsigned int len)
{
	const struct bus_range *r = bus_find(bus, addr, len);

	if (r)
		r->read(r->arg, addr - r->base, data, len);
	else
		memset(data, 0xff, len);
}

void bus_write(const struct bus *bus, uint64_t addr, const void *data, unsigned int len)
{
	const struct bus_range *r = bus_find(bus, addr, len);

	if (r)
		r->write(r->arg, addr - r->base, data, len);
}
