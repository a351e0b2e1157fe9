/* SPDX-License-Identifier: Apache-2.0 */
/* An image's configuration: refused with a message, or every list of it is there and ends. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "image/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t length(char **list)
{
	size_t n = 0, bytes = 0;

	if (!list)
		abort();
	for (; list[n]; n++)
		bytes += strlen(list[n]);
	return n + bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image_config c;
	struct err e = ERR_INIT;

	if (image_config_parse((const char *)data, size, &c, &e)) {
		if (!e.code || !e.msg[0])
			abort();
		return 0;
	}
	if (!c.architecture || !c.os || (c.working_dir && c.working_dir[0] != '/') || length(c.diff_ids) < c.diff_ids_n)
		abort();
	length(c.env);
	length(c.entrypoint);
	length(c.cmd);
	length(c.exposed_ports);
	length(c.volumes);
	image_config_free(&c);
	return 0;
}
