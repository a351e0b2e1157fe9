/* SPDX-License-Identifier: Apache-2.0 */
/* The words of --volume, --mount and --disk: the first byte says which. */
#include <stdlib.h>

#include "base/util.h"
#include "sandbox/shares.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	struct share s;
	struct disk d;
	char *text;

	if (!size)
		return 0;
	text = xstrndup((const char *)data + 1, size - 1);
	if (data[0] == 'd') {
		if (!disk_parse(text, &d, &e))
			disk_free(&d);
	} else if (!(data[0] == 'm' ? share_parse_mount : share_parse_volume)(text, &s, &e)) {
		/* What is mounted in a container is below its root. */
		if (s.target[0] != '/' || !s.target[1] || strstr(s.target, "//") || strstr(s.target, "/../"))
			abort();
		share_free(&s);
	}
	free(text);
	return 0;
}
