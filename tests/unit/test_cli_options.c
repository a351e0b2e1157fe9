/* SPDX-License-Identifier: Apache-2.0 */
/* The command line's parser, and that every row of the tables is in the manual page. */
#include <check.h>
#include <ctype.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "cli/cli.h"
#include "sandbox/options.h"

Suite *test_suite(void);

static struct run_options o;
static int rest;
static bool help;
static struct err e;
static char *words[32];

static int parse(const char *line)
{
	static char buf[512];
	int n = 0;
	char *word;

	cli_options_free(cmd_run.opts, cmd_run.opts_n, &o);
	o = (struct run_options)RUN_OPTIONS_INIT;
	help = false;
	e = (struct err)ERR_INIT;
	snprintf(buf, sizeof(buf), "%s", line);
	for (word = strtok(buf, " "); word; word = strtok(NULL, " "))
		words[n++] = word;
	words[n] = NULL;
	return cli_parse(cmd_run.opts, cmd_run.opts_n, &o, true, n, words, &rest, &help, &e);
}

START_TEST(test_forms)
{
	ck_assert_int_eq(parse("-it --rm -e A=1 --env=B=2 -eC=3 -e=D=4 -m64m --cpus 1.5 img sh -c -e"), 0);
	ck_assert(o.process.interactive && o.process.tty && o.remove);
	ck_assert_uint_eq(o.process.env.n, 4);
	ck_assert_str_eq(o.process.env.v[1], "B=2");
	ck_assert_str_eq(o.process.env.v[2], "C=3");
	ck_assert_str_eq(o.process.env.v[3], "D=4");
	ck_assert_uint_eq(o.mem_bytes, 64 << 20);
	ck_assert_uint_eq(o.nano_cpus, 1500000000);
	/* What stands behind the image is the container's. */
	ck_assert_int_eq(rest, 4);
	ck_assert_str_eq(words[3], "-e");
}
END_TEST

START_TEST(test_flags_and_values)
{
	ck_assert_int_eq(parse("--sig-proxy=false -t=false --entrypoint= --pids-limit -1 -- -img"), 0);
	ck_assert(!o.sig_proxy && !o.process.tty);
	ck_assert_str_eq(o.entrypoint, "");
	ck_assert_int_eq(o.pids_limit, -1);
	ck_assert_int_eq(rest, 1);
	ck_assert_str_eq(words[0], "-img");
	ck_assert_int_eq(parse("--timeout 1m30s img"), 0);
	ck_assert_uint_eq(o.timeout_ns, 90000000000ull);
	ck_assert_int_eq(parse("--name one --name two img"), 0);
	ck_assert_str_eq(o.name, "two");
}
END_TEST

START_TEST(test_help)
{
	ck_assert_int_eq(parse("--help"), 0);
	ck_assert(help);
	/* -h is docker's hostname. */
	ck_assert_int_eq(parse("-h box img"), 0);
	ck_assert(!help);
	ck_assert_str_eq(o.hostname, "box");
}
END_TEST

static const struct {
	const char *line, *says;
} bad[] = {
	{ "--no-such img", "--no-such" },
	{ "-Z img", "-Z" },
	{ "-itZ img", "-Z" },
	{ "--memory", "--memory" },
	{ "-e", "-e" },
	{ "--memory 64q img", "64q" },
	{ "--memory -1 img", "-1" },
	{ "--memory 99999999999999999999 img", "99999999999999999999" },
	{ "--cpus abc img", "abc" },
	{ "--cpus 1. img", "1." },
	{ "--cpus 1.0000000001 img", "1." },
	{ "--cpus -1 img", "-1" },
	{ "--pids-limit x img", "x" },
	{ "--pids-limit -2 img", "-2" },
	{ "--timeout soon img", "soon" },
	{ "--rm=maybe img", "maybe" },
	{ "--device /dev/sda img", "device" },
	{ "--publish 80:80 img", "network" },
};

START_TEST(test_bad)
{
	ck_assert_int_lt(parse(bad[_i].line), 0);
	ck_assert_msg(strstr(e.msg, bad[_i].says), "'%s' does not say '%s'", e.msg, bad[_i].says);
}
END_TEST

/* Each option once in a table: two rows of one name or letter would hide each other. */
START_TEST(test_tables)
{
	size_t i, j, c;

	for (c = 0; c < cli_commands_n; c++) {
		const struct command *cmd = cli_commands[c];

		ck_assert_ptr_nonnull(cmd->run);
		ck_assert_ptr_eq(cli_command_find(cmd->name), cmd);
		for (i = 0; i < cmd->opts_n; i++) {
			const struct opt *a = &cmd->opts[i];

			ck_assert_msg(a->kind == OPT_FLAG || a->kind == OPT_REFUSED || a->metavar,
				      "--%s has no metavar", a->name);
			ck_assert_msg(a->kind == OPT_REFUSED || a->offset < cmd->options_size, "--%s", a->name);
			for (j = 0; j < i; j++) {
				ck_assert_str_ne(a->name, cmd->opts[j].name);
				ck_assert_msg(!a->letter || a->letter != cmd->opts[j].letter, "-%c is there twice",
					      a->letter);
			}
		}
	}
}
END_TEST

/* Whether the page has the option, as mdoc's ".It Fl -name" or "Fl -name" writes it. */
static bool page_has(const char *page, const char *name)
{
	_cleanup_free_ char *mark = xasprintf("-%s", name);
	const char *at = page;

	while ((at = strstr(at, mark))) {
		char after = at[strlen(mark)];

		if ((at[-1] == ' ' || at[-1] == '-') && !isalnum((unsigned char)after) && after != '-')
			return true;
		at++;
	}
	return false;
}

START_TEST(test_manual_has_all)
{
	_cleanup_free_ char *page = NULL;
	size_t c, i;

	/* Tests run in the sources' folder. */
	ck_assert_int_eq(read_file(AT_FDCWD, "docs/man/microvm.1", 1 << 20, &page, NULL), 0);
	for (i = 0; i < cli_global_opts_n; i++)
		ck_assert_msg(page_has(page, cli_global_opts[i].name), "microvm(1) has no --%s",
			      cli_global_opts[i].name);
	for (c = 0; c < cli_commands_n; c++) {
		_cleanup_free_ char *heading = xasprintf(".Ss %s", cli_commands[c]->name);

		if (cli_commands[c]->hidden)
			continue;
		ck_assert_msg(strstr(page, heading), "microvm(1) has no %s", cli_commands[c]->name);
		for (i = 0; i < cli_commands[c]->opts_n; i++)
			ck_assert_msg(cli_commands[c]->opts[i].kind == OPT_REFUSED ||
					      page_has(page, cli_commands[c]->opts[i].name),
				      "microvm(1) has no --%s of %s", cli_commands[c]->opts[i].name,
				      cli_commands[c]->name);
	}
}
END_TEST

START_TEST(test_spans)
{
	char text[64];

	format_span(0, text, sizeof(text));
	ck_assert_str_eq(text, "Less than a second");
	format_span(59, text, sizeof(text));
	ck_assert_str_eq(text, "59 seconds");
	format_span(90, text, sizeof(text));
	ck_assert_str_eq(text, "About a minute");
	format_span(7300, text, sizeof(text));
	ck_assert_str_eq(text, "2 hours");
	format_span(5 * 86400, text, sizeof(text));
	ck_assert_str_eq(text, "5 days");
	format_bytes(1500, text, sizeof(text));
	ck_assert_str_eq(text, "1.50kB");
	format_bytes(123456789, text, sizeof(text));
	ck_assert_str_eq(text, "123MB");
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("cli_options");
	TCase *t = tcase_create("options");

	tcase_add_test(t, test_forms);
	tcase_add_test(t, test_flags_and_values);
	tcase_add_test(t, test_help);
	tcase_add_loop_test(t, test_bad, 0, ARRAY_SIZE(bad));
	tcase_add_test(t, test_tables);
	tcase_add_test(t, test_manual_has_all);
	tcase_add_test(t, test_spans);
	suite_add_tcase(s, t);
	return s;
}
