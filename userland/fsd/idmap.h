/* SPDX-License-Identifier: Apache-2.0 */
/* Owners as the guest knows them (inside) and as the host's file system has them (outside). */
#ifndef FSD_IDMAP_H
#define FSD_IDMAP_H

#include <stdint.h>

#define IDMAP_RANGES_MAX 8u
#define IDMAP_NOBODY 65534u /* what an outside id without a place inside looks like */

struct idmap {
	unsigned int n; /* 0: ids are the same on both sides */
	struct {
		uint32_t inside, outside, count;
	} range[IDMAP_RANGES_MAX];
};

/* Adds "INSIDE:OUTSIDE:COUNT". -EINVAL: not that, or it overlaps; -E2BIG: too many. */
int idmap_add(struct idmap *map, const char *text);
/* -EOVERFLOW: the id has no counterpart outside. */
int idmap_to_host(const struct idmap *map, uint32_t inside, uint32_t *outside);
uint32_t idmap_to_guest(const struct idmap *map, uint32_t outside);

#endif
