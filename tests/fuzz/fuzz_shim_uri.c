/* SPDX-License-Identifier: Apache-2.0 */
/* Where a stream goes, as a client of containerd says it: what is taken is bounded, and a path is absolute. */
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "shim/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = xstrndup((const char *)data, size);
	struct err e = ERR_INIT;
	struct uri u;

	if (uri_parse(text, &u, &e)) {
		if (!e.code || !e.msg[0] || u.path)
			abort();
	} else {
		if (u.kind != URI_NONE && (u.path[0] != '/' || strlen(u.path) > URI_MAX))
			abort();
		if (u.args_n > URI_ARGS_MAX || u.args[u.args_n])
			abort();
		uri_free(&u);
	}
	free(text);
	return 0;
}
