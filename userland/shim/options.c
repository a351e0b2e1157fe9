/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/options.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/util.h"

/* A row without a value sets the bool at its place. */
static const struct row {
	const char *name;
	size_t at;
	bool value;
} rows[] = {
	{ "namespace", offsetof(struct shim_options, namespace), true },
	{ "id", offsetof(struct shim_options, id), true },
	{ "bundle", offsetof(struct shim_options, bundle), true },
	{ "address", offsetof(struct shim_options, address), true },
	{ "publish-binary", offsetof(struct shim_options, publish_binary), true },
	{ "socket", offsetof(struct shim_options, socket), true },
	{ "debug", offsetof(struct shim_options, debug), false },
	{ "v", offsetof(struct shim_options, version), false },
	{ "info", offsetof(struct shim_options, info), false },
	{ "h", offsetof(struct shim_options, help), false },
	{ "help", offsetof(struct shim_options, help), false },
};

static const struct row *find(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++)
		if (strlen(rows[i].name) == len && !strncmp(rows[i].name, name, len))
			return &rows[i];
	return NULL;
}

static int parse_flag(int argc, char **argv, int *at, struct shim_options *o, struct err *e)
{
	const char *name = argv[*at] + 1 + (argv[*at][1] == '-');
	const char *equals = strchr(name, '=');
	const struct row *row = find(name, equals ? (size_t)(equals - name) : strlen(name));
	const char *value = equals ? equals + 1 : NULL;

	if (!row)
		return err_set(e, EINVAL, "'%.100s' is not a flag of the shim", argv[*at]);
	if (!row->value) {
		if (value && !str_eq(value, "true") && !str_eq(value, "false"))
			return err_set(e, EINVAL, "-%s is true or false, not '%.100s'", row->name, value);
		*(bool *)((char *)o + row->at) = !str_eq(value, "false");
		return 0;
	}
	if (!value && *at + 1 < argc)
		value = argv[++*at];
	if (!value)
		return err_set(e, EINVAL, "-%s wants a value", row->name);
	*(const char **)((char *)o + row->at) = value;
	return 0;
}

int shim_options_parse(int argc, char **argv, struct shim_options *o, struct err *e)
{
	int at;

	*o = (struct shim_options){ 0 };
	for (at = 1; at < argc && argv[at][0] == '-' && argv[at][1]; at++) {
		if (str_eq(argv[at], "--")) {
			at++;
			break;
		}
		if (parse_flag(argc, argv, &at, o, e))
			return -e->code;
	}
	if (at < argc)
		o->command = argv[at];
	return 0;
}
