/* SPDX-License-Identifier: Apache-2.0 */
#include "fsd/idmap.h"

#include <errno.h>

#include "base/util.h"

static bool overlaps(uint32_t a, uint32_t b, uint32_t a_n, uint32_t b_n)
{
	return a < (uint64_t)b + b_n && b < (uint64_t)a + a_n;
}

int idmap_add(struct idmap *map, const char *text)
{
	uint64_t v[3];
	unsigned int i;

	if (map->n == IDMAP_RANGES_MAX)
		return -E2BIG;
	for (i = 0; i < ARRAY_SIZE(v); i++) {
		const char *end = strchrnul(text, ':');
		char digits[12];

		if ((size_t)(end - text) >= sizeof(digits) || (*end == ':') != (i < 2))
			return -EINVAL;
		memcpy(digits, text, end - text);
		digits[end - text] = 0;
		/* The last id of 32 bits means "unchanged" to chown(2). */
		if (parse_u64(digits, i == 2, UINT32_MAX, &v[i]))
			return -EINVAL;
		text = end + 1;
	}
	if (v[0] + v[2] > UINT32_MAX || v[1] + v[2] > UINT32_MAX)
		return -EINVAL;
	for (i = 0; i < map->n; i++)
		if (overlaps(map->range[i].inside, v[0], map->range[i].count, v[2]) ||
		    overlaps(map->range[i].outside, v[1], map->range[i].count, v[2]))
			return -EINVAL;
	map->range[map->n].inside = v[0];
	map->range[map->n].outside = v[1];
	map->range[map->n++].count = v[2];
	return 0;
}

int idmap_to_host(const struct idmap *map, uint32_t inside, uint32_t *outside)
{
	unsigned int i;

	*outside = inside;
	if (!map->n)
		return inside == UINT32_MAX ? -EOVERFLOW : 0;
	for (i = 0; i < map->n; i++)
		if (inside - map->range[i].inside < map->range[i].count) {
			*outside = map->range[i].outside + (inside - map->range[i].inside);
			return 0;
		}
	return -EOVERFLOW;
}

uint32_t idmap_to_guest(const struct idmap *map, uint32_t outside)
{
	unsigned int i;

	if (!map->n)
		return outside;
	for (i = 0; i < map->n; i++)
		if (outside - map->range[i].outside < map->range[i].count)
			return map->range[i].inside + (outside - map->range[i].outside);
	return IDMAP_NOBODY;
}
