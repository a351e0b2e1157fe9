/* SPDX-License-Identifier: Apache-2.0 */
/* How much a stranger's image may make this host do. Each limit's error names the variable that raises it. */
#ifndef IMAGE_LIMITS_H
#define IMAGE_LIMITS_H

#include <stdint.h>

#include "base/err.h"

#define IMAGE_MANIFEST_MAX (4u << 20) /* bytes of a manifest or index; what registries take at most, too */
#define IMAGE_INDEX_ENTRIES_MAX 4096u
#define IMAGE_INDEX_DEPTH_MAX 4u /* an index of indexes of … */
#define IMAGE_PATH_MAX 4095u	 /* of an entry in a layer */
#define IMAGE_COMPONENT_MAX 255u /* NAME_MAX */
#define IMAGE_DEPTH_MAX 256u	 /* folders within each other; those who walk trees hold one fd a level */

struct image_limits {
	uint64_t unpacked_bytes; /* all layers of an image together, holes of sparse files counted */
	uint64_t entries;	 /* files, folders, links in all layers together */
	uint64_t ratio;		 /* unpacked to compressed bytes of a layer, asked once it is past ratio_from_bytes */
	uint64_t ratio_from_bytes;
};

/*
 * Ratio: programs and text are at 2 to 20; zeros are at 230 with gzip -1 and at 1,032 with gzip at its best, and at far
 * more with zstd. Small layers may be anything.
 */
#define IMAGE_LIMITS_DEFAULT                                                                                      \
	{                                                                                                         \
		.unpacked_bytes = 32ull << 30, .entries = 2000000, .ratio = 100, .ratio_from_bytes = 64ull << 20, \
	}

#define IMAGE_ENV_MAX_BYTES "MICROVM_IMAGE_MAX_BYTES"
#define IMAGE_ENV_MAX_ENTRIES "MICROVM_IMAGE_MAX_ENTRIES"
#define IMAGE_ENV_MAX_RATIO "MICROVM_IMAGE_MAX_RATIO"

/* The defaults, with what the environment says instead. -EINVAL for a value that is none. */
int image_limits_get(struct image_limits *limits, struct err *e);

#endif
