/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "sandbox/strv.h"

static const struct opt *find_long(const struct opt *opts, size_t n, const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (strlen(opts[i].name) == len && !strncmp(opts[i].name, name, len))
			return &opts[i];
	return NULL;
}

static const struct opt *find_letter(const struct opt *opts, size_t n, char letter)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (opts[i].letter == letter)
			return &opts[i];
	return NULL;
}

static int set_flag(const struct opt *o, bool *flag, const char *value, struct err *e)
{
	if (!value || str_eq(value, "true") || str_eq(value, "1"))
		*flag = true;
	else if (str_eq(value, "false") || str_eq(value, "0"))
		*flag = false;
	else
		return err_set(e, EINVAL, "--%s is true or false, not '%s'", o->name, value);
	return 0;
}

/* "1.5" in billionths. */
static int parse_cpus(const char *s, uint64_t *nano)
{
	const char *point = strchr(s, '.');
	uint64_t whole, part = 0, scale = 1000000000;
	char digits[16];
	size_t len = point ? (size_t)(point - s) : strlen(s);

	if (len >= sizeof(digits) || (!len && !point))
		return -EINVAL;
	memcpy(digits, s, len);
	digits[len] = '\0';
	if (!len)
		whole = 0;
	else if (parse_u64(digits, 0, 1000000, &whole))
		return -EINVAL;
	if (point) {
		if (!point[1] || strlen(point + 1) > 9)
			return -EINVAL;
		for (s = point + 1; *s; s++) {
			if (*s < '0' || *s > '9')
				return -EINVAL;
			scale /= 10;
			part += (uint64_t)(*s - '0') * scale;
		}
	}
	*nano = whole * 1000000000 + part;
	return 0;
}

static int set_value(const struct opt *o, void *options, const char *value, struct err *e)
{
	void *at = (char *)options + o->offset;
	uint64_t v;

	switch (o->kind) {
	case OPT_STRING:
		free(*(char **)at);
		*(char **)at = xstrdup(value);
		return 0;
	case OPT_LIST: strv_push(at, value); return 0;
	case OPT_SIZE:
		if (parse_size(value, at))
			return err_set(e, EINVAL, "--%s '%s' is not a size; say 64m or 1g", o->name, value);
		return 0;
	case OPT_DURATION:
		if (parse_duration(value, at))
			return err_set(e, EINVAL, "--%s '%s' is not a time; say 90s or 1m30s", o->name, value);
		return 0;
	case OPT_NUMBER:
		if (str_eq(value, "-1")) {
			*(int64_t *)at = -1;
			return 0;
		}
		if (parse_u64(value, 0, INT64_MAX, &v))
			return err_set(e, EINVAL, "--%s '%s' is not a number from 0 up, or -1", o->name, value);
		*(int64_t *)at = (int64_t)v;
		return 0;
	case OPT_CPUS:
		if (parse_cpus(value, at))
			return err_set(e, EINVAL, "--%s '%s' is not a number of CPUs; say 2 or 0.5", o->name, value);
		return 0;
	default: return err_set(e, EINVAL, "--%s: %s", o->name, o->help);
	}
}

static int unknown(const char *arg, struct err *e)
{
	return err_set(e, EINVAL, "unknown option %s; see --help", arg);
}

/* "--name", "--name=value", "--name value". *used: how many further words it took. */
static int parse_long(const struct opt *opts, size_t n, void *options, char **argv, int left, int *used, struct err *e)
{
	const char *name = argv[0] + 2, *eq = strchr(name, '=');
	const struct opt *o = find_long(opts, n, name, eq ? (size_t)(eq - name) : strlen(name));

	if (!o)
		return unknown(argv[0], e);
	if (o->kind == OPT_REFUSED)
		return err_set(e, ENOTSUP, "--%s: %s", o->name, o->help);
	if (o->kind == OPT_FLAG)
		return set_flag(o, (bool *)((char *)options + o->offset), eq ? eq + 1 : NULL, e);
	if (eq)
		return set_value(o, options, eq + 1, e);
	if (left < 2)
		return err_set(e, EINVAL, "--%s wants a value (%s); see --help", o->name, o->metavar);
	*used = 1;
	return set_value(o, options, argv[1], e);
}

/* "-it", "-e K=V", "-eK=V", "-e=K=V" as docker takes them. */
static int parse_short(const struct opt *opts, size_t n, void *options, char **argv, int left, int *used, struct err *e)
{
	const char *s;

	for (s = argv[0] + 1; *s; s++) {
		const struct opt *o = find_letter(opts, n, *s);
		char name[3] = { '-', *s };

		if (!o)
			return unknown(name, e);
		if (o->kind == OPT_REFUSED)
			return err_set(e, ENOTSUP, "-%c (--%s): %s", *s, o->name, o->help);
		if (o->kind == OPT_FLAG) {
			bool *flag = (bool *)((char *)options + o->offset);

			if (s[1] == '=')
				return set_flag(o, flag, s + 2, e);
			*flag = true;
			continue;
		}
		if (s[1])
			return set_value(o, options, s + 1 + (s[1] == '='), e);
		if (left < 2)
			return err_set(e, EINVAL, "-%c wants a value (%s); see --help", *s, o->metavar);
		*used = 1;
		return set_value(o, options, argv[1], e);
	}
	return 0;
}

int cli_parse(const struct opt *opts, size_t opts_n, void *options, bool stops_at_argument, int argc, char **argv,
	      int *rest, bool *help, struct err *e)
{
	int i, n = 0;

	for (i = 0; i < argc; i++) {
		char *arg = argv[i];
		int used = 0, r;

		if (str_eq(arg, "--")) {
			i++;
			break;
		}
		if (arg[0] != '-' || !arg[1]) {
			if (stops_at_argument)
				break;
			argv[n++] = arg;
			continue;
		}
		/* -h is docker's --hostname where the command has that. */
		if (str_eq(arg, "--help") || (str_eq(arg, "-h") && !find_letter(opts, opts_n, 'h'))) {
			*help = true;
			*rest = 0;
			return 0;
		}
		if (arg[1] == '-')
			r = parse_long(opts, opts_n, options, &argv[i], argc - i, &used, e);
		else
			r = parse_short(opts, opts_n, options, &argv[i], argc - i, &used, e);
		if (r)
			return r;
		i += used;
	}
	for (; i < argc; i++)
		argv[n++] = argv[i];
	argv[n] = NULL;
	*rest = n;
	return 0;
}

void cli_options_free(const struct opt *opts, size_t opts_n, void *options)
{
	size_t i;

	for (i = 0; i < opts_n; i++) {
		void *at = (char *)options + opts[i].offset;

		if (opts[i].kind == OPT_STRING) {
			free(*(char **)at);
			*(char **)at = NULL;
		} else if (opts[i].kind == OPT_LIST) {
			strv_clear(at);
		}
	}
}

void cli_print_options(const struct opt *opts, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		char left[64], letter[8] = "    ";

		if (opts[i].kind == OPT_REFUSED)
			continue;
		if (opts[i].letter)
			snprintf(letter, sizeof(letter), "-%c, ", opts[i].letter);
		snprintf(left, sizeof(left), "%s--%s%s%s", letter, opts[i].name, opts[i].metavar ? " " : "",
			 opts[i].metavar ? opts[i].metavar : "");
		printf("  %-30s %s\n", left, opts[i].help);
	}
}
