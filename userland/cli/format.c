/* SPDX-License-Identifier: Apache-2.0 */
/* Lists for people and for programs. */
#include <errno.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "cli/cli.h"
#include "sandbox/strv.h"

struct table {
	enum format format;
	const char *const *columns;
	size_t columns_n;
	struct strv cells;
};

int format_parse(const char *text, enum format *format, struct err *e)
{
	if (!text || str_eq(text, "table"))
		*format = FORMAT_TABLE;
	else if (str_eq(text, "json") || str_eq(text, "{{json .}}"))
		*format = FORMAT_JSON;
	else
		return err_set(e, EINVAL, "--format '%s' is not there; take table or json", text);
	return 0;
}

struct table *table_new(enum format format, const char *const *columns, size_t columns_n)
{
	struct table *t = xcalloc(1, sizeof(*t));

	t->format = format;
	t->columns = columns;
	t->columns_n = columns_n;
	return t;
}

void table_add(struct table *t, const char *value)
{
	strv_push(&t->cells, value ? value : "");
}

void table_addf(struct table *t, const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		s = xstrdup("");
	va_end(ap);
	strv_push_take(&t->cells, s);
}

/* "IMAGE ID" is ImageID in JSON, as docker has it. */
static void json_key(const char *column, char *key, size_t size)
{
	bool upper = true;
	size_t n = 0;

	for (; *column && n + 1 < size; column++) {
		char c = *column;

		if (c == ' ') {
			upper = true;
			continue;
		}
		if (!upper && c >= 'A' && c <= 'Z')
			c += 'a' - 'A';
		key[n++] = c;
		upper = false;
	}
	key[n] = '\0';
	if (n >= 2 && !strcmp(key + n - 2, "Id"))
		key[n - 1] = 'D';
}

static void print_json(const struct table *t)
{
	size_t row, col;

	for (row = 0; row < t->cells.n / t->columns_n; row++) {
		struct json_object *o = json_object_new_object();

		for (col = 0; col < t->columns_n; col++) {
			char key[32];

			json_key(t->columns[col], key, sizeof(key));
			json_object_object_add(o, key, json_object_new_string(t->cells.v[row * t->columns_n + col]));
		}
		puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE));
		json_object_put(o);
	}
}

/* Characters, not bytes, so that what isn't ASCII is aligned, too. */
static size_t width(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += (*s & 0xc0) != 0x80;
	return n;
}

/* What came from a guest or an image may hold anything; a terminal gets printable text. */
static void print_clean(const char *s)
{
	for (; *s; s++)
		putchar((unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s);
}

static void print_row(const struct table *t, const char *const *cells, const size_t *widths)
{
	size_t col;

	for (col = 0; col < t->columns_n; col++) {
		print_clean(cells[col]);
		if (col + 1 < t->columns_n)
			printf("%*s", (int)(widths[col] + 3 - width(cells[col])), "");
	}
	putchar('\n');
}

static void print_table(const struct table *t)
{
	size_t *widths = xcalloc(t->columns_n, sizeof(*widths)), i, col;

	for (col = 0; col < t->columns_n; col++) {
		widths[col] = width(t->columns[col]);
		for (i = col; i < t->cells.n; i += t->columns_n)
			widths[col] = max_t(size_t, widths[col], width(t->cells.v[i]));
	}
	print_row(t, t->columns, widths);
	for (i = 0; i + t->columns_n <= t->cells.n; i += t->columns_n)
		print_row(t, (const char *const *)&t->cells.v[i], widths);
	free(widths);
}

int table_print(struct table *t, struct err *e)
{
	int r = 0;

	if (t->format == FORMAT_JSON)
		print_json(t);
	else
		print_table(t);
	if (fflush(stdout) || ferror(stdout))
		r = err_errno(e, errno, "cannot write to stdout");
	table_free(t);
	return r;
}

void table_free(struct table *t)
{
	strv_clear(&t->cells);
	free(t);
}

void format_span(int64_t seconds, char *buf, size_t size)
{
	static const struct {
		int64_t from, unit;
		const char *name;
	} units[] = {
		{ 2 * 365 * 86400, 365 * 86400, "years" },
		{ 60 * 86400, 30 * 86400, "months" },
		{ 14 * 86400, 7 * 86400, "weeks" },
		{ 48 * 3600, 86400, "days" },
		{ 7200, 3600, "hours" },
		{ 120, 60, "minutes" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(units); i++) {
		if (seconds >= units[i].from) {
			snprintf(buf, size, "%lld %s", (long long)(seconds / units[i].unit), units[i].name);
			return;
		}
	}
	if (seconds >= 3600)
		snprintf(buf, size, "About an hour");
	else if (seconds >= 60)
		snprintf(buf, size, "About a minute");
	else if (seconds == 1)
		snprintf(buf, size, "1 second");
	else if (seconds < 1)
		snprintf(buf, size, "Less than a second");
	else
		snprintf(buf, size, "%lld seconds", (long long)seconds);
}

void format_ago(int64_t since_s, char *buf, size_t size)
{
	char span[64];

	if (!since_s) {
		snprintf(buf, size, "N/A");
		return;
	}
	format_span(time(NULL) - since_s, span, sizeof(span));
	snprintf(buf, size, "%s ago", span);
}

void format_time(int64_t since_s, char *buf, size_t size)
{
	time_t t = since_s;
	struct tm tm;

	gmtime_r(&t, &tm);
	if (!strftime(buf, size, "%Y-%m-%d %H:%M:%S +0000 UTC", &tm))
		buf[0] = '\0';
}

void format_bytes(uint64_t bytes, char *buf, size_t size)
{
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB" };
	double v = (double)bytes;
	size_t u = 0;

	while (v >= 1000 && u + 1 < ARRAY_SIZE(units)) {
		v /= 1000;
		u++;
	}
	snprintf(buf, size, "%.*f%s", u && v < 10 ? 2 : u && v < 100 ? 1 : 0, v, units[u]);
}
