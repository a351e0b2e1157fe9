/* SPDX-License-Identifier: Apache-2.0 */
#include "image/limits.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

int image_limits_get(struct image_limits *limits, struct err *e)
{
	const struct image_limits defaults = IMAGE_LIMITS_DEFAULT;
	const struct {
		const char *name;
		uint64_t *value;
	} table[] = {
		{ IMAGE_ENV_MAX_BYTES, &limits->unpacked_bytes },
		{ IMAGE_ENV_MAX_ENTRIES, &limits->entries },
		{ IMAGE_ENV_MAX_RATIO, &limits->ratio },
	};
	size_t i;

	*limits = defaults;
	for (i = 0; i < ARRAY_SIZE(table); i++) {
		const char *text = getenv(table[i].name);

		if (text && (parse_size(text, table[i].value) || !*table[i].value))
			return err_set(e, EINVAL, "%s=%.64s: not a number above 0; give one such as 1000000 or 64G",
				       table[i].name, text);
	}
	return 0;
}
