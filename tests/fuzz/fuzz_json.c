/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON reader: any bytes are refused, or are a document that can be walked to its leaves. */
#include <stdint.h>
#include <stdlib.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct json_node *n)
{
	struct json_node child;
	struct err e = ERR_INIT;
	char path[40];
	const char *s;
	size_t count, i;
	uint64_t u;
	int64_t v;
	bool b;

	json_path(n, path, sizeof(path));
	json_as_string(n, &s, &e);
	json_as_bool(n, &b, &e);
	json_as_u64(n, 0, UINT64_MAX, &u, &e);
	json_as_i64(n, INT64_MIN, INT64_MAX, &v, &e);
	if (json_as_array(n, 1000, &count, &e) == 0)
		for (i = 0; i < count; i++)
			if (json_entry(n, i, &child))
				walk(&child);
	if (json_as_object(n, &e) == 0 && json_member(n, "a", &child))
		walk(&child);
}

static void get_each(const struct json_node *root)
{
	struct err e = ERR_INIT;
	char **list = NULL;
	char *text = NULL;
	size_t n;

	json_get_string(root, "s", &text, &e);
	free(text);
	if (json_get_strings(root, "l", 16, &list, &n, &e) == 0)
		json_free_strings(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_node root = { 0 };
	struct err e = ERR_INIT;

	if (json_parse((const char *)data, size, 1u << 16, &root, &e) == 0) {
		walk(&root);
		if (json_as_object(&root, &e) == 0)
			get_each(&root);
	}
	json_done(&root);
	return 0;
}
