/* SPDX-License-Identifier: Apache-2.0 */
/* check, version */
#include <stddef.h>
#include <stdio.h>

#include "base/util.h"
#include "cli/cli.h"
#include "sandbox/sandbox.h"

struct check_options {
	char *format;
};

static const struct opt check_opts[] = {
	{ "format", 0, OPT_STRING, WORD_FORMAT, "FORMAT", "table or json", offsetof(struct check_options, format) },
};

/* For people: a remedy has a line of its own, below what it is for. */
static void print_checks(const struct check *checks, size_t n, const char *const *results)
{
	size_t i;

	for (i = 0; i < n; i++) {
		printf("%-9s %-13s %s\n", results[checks[i].result], checks[i].name, checks[i].found);
		if (checks[i].remedy[0])
			printf("%-23s -> %s\n", "", checks[i].remedy);
	}
}

static int check_run(const struct cli_global *global, void *options, int argc, char **argv, struct err *e)
{
	static const char *const columns[] = { "CHECK", "RESULT", "FOUND", "REMEDY" };
	static const char *const results[] = {
		[CHECK_OK] = "ok", [CHECK_OPTIONAL] = "optional", [CHECK_MISSING] = "missing"
	};
	const struct sandbox_paths paths = { .state = global->state, .store = global->store };
	const struct check_options *o = options;
	const struct check *checks;
	enum format format;
	struct table *t;
	int r, missing = 0;
	size_t n, i;

	r = format_parse(o->format, &format, e);
	if (r)
		return r;
	checks = sandbox_check(&paths, &n);
	for (i = 0; i < n; i++)
		missing |= checks[i].result == CHECK_MISSING;
	if (format == FORMAT_TABLE) {
		print_checks(checks, n, results);
		return missing;
	}
	t = table_new(format, columns, ARRAY_SIZE(columns));
	for (i = 0; i < n; i++) {
		table_add(t, checks[i].name);
		table_add(t, results[checks[i].result]);
		table_add(t, checks[i].found);
		table_add(t, checks[i].remedy);
	}
	r = table_print(t, e);
	return r ? r : missing;
}

const struct command cmd_check = {
	.name = "check",
	.synopsis = "",
	.help = "name every missing piece of this host, and its remedy",
	.opts = check_opts,
	.opts_n = ARRAY_SIZE(check_opts),
	.options_size = sizeof(struct check_options),
	.max_args = 0,
	.fail_status = 1,
	.run = check_run,
};

static int version_run(const struct cli_global *global, void *options, int argc, char **argv, struct err *e)
{
	puts("microvm " MICROVM_VERSION);
	return 0;
}

const struct command cmd_version = {
	.name = "version",
	.synopsis = "",
	.help = "print the version",
	.max_args = 0,
	.fail_status = 1,
	.run = version_run,
};
