/* SPDX-License-Identifier: Apache-2.0 */
/* What a user types for an image. A name, parsed again, stays itself; its file in the store never leaves its folder. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "image/reference.h"
#include "image/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = xstrndup((const char *)data, size);
	struct image_reference ref, again;
	char path[STORE_PATH_MAX];
	struct err e = ERR_INIT;

	if (image_reference_parse(text, &ref, &e)) {
		if (!e.code || !e.msg[0])
			abort();
		return 0;
	}
	store_name_path(ref.name, path);
	if (!str_starts(path, "images/") || strchr(path + 7, '/') || path[7] == '.' || strlen(path + 7) > 255)
		abort();
	/* An absolute path may make a name longer than a user may type. */
	if (image_reference_parse(ref.name, &again, &e) == 0) {
		if (again.transport != ref.transport || strcmp(again.name, ref.name) != 0)
			abort();
		image_reference_free(&again);
	} else if (strlen(ref.name) <= IMAGE_NAME_MAX) {
		abort();
	}
	image_reference_free(&ref);
	return 0;
}
