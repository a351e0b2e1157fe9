/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/uri.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* %41 and, in a query, '+' for a space (RFC 3986, and HTML's forms). NULL: malformed, or a NUL in it. */
static char *decode(const char *text, size_t len, bool query)
{
	char *out = xcalloc(1, len + 1);
	size_t i, n = 0;

	for (i = 0; i < len; i++) {
		if (text[i] != '%') {
			out[n++] = query && text[i] == '+' ? ' ' : text[i];
			continue;
		}
		if (len - i < 3 || hex(text[i + 1]) < 0 || hex(text[i + 2]) < 0)
			break;
		out[n] = (char)(hex(text[i + 1]) << 4 | hex(text[i + 2]));
		if (!out[n++])
			break;
		i += 2;
	}
	if (i == len)
		return out;
	free(out);
	return NULL;
}

static int add_arg(struct uri *u, const char *text, const char *from, size_t len, struct err *e)
{
	if (u->args_n == URI_ARGS_MAX)
		return err_set(e, E2BIG, "'%.200s': more than %u arguments", text, URI_ARGS_MAX);
	u->args[u->args_n] = decode(from, len, true);
	if (!u->args[u->args_n])
		return err_set(e, EINVAL, "'%.200s': a '%%' without two hex digits behind it", text);
	u->args_n++;
	return 0;
}

static int parse_query(struct uri *u, const char *text, const char *query, struct err *e)
{
	int r = 0;

	while (!r && *query) {
		const size_t len = strcspn(query, "&"), key = strcspn(query, "=&");

		if (len) {
			r = add_arg(u, text, query, key, e);
			if (!r)
				r = add_arg(u, text, query + key + (key < len), len - key - (key < len), e);
		}
		query += len + !!query[len];
	}
	return r;
}

static int parse_rest(struct uri *u, const char *text, const char *rest, struct err *e)
{
	/* Behind "//" there may be a host's name, which must be empty. */
	const size_t len = strcspn(rest, "?#");

	if (rest[0] != '/')
		return err_set(e, EINVAL, "'%.200s': behind '//' there has to be an absolute path", text);
	u->path = decode(rest, len, false);
	if (!u->path)
		return err_set(e, EINVAL, "'%.200s': a '%%' without two hex digits behind it", text);
	return u->kind == URI_BINARY && rest[len] == '?' ? parse_query(u, text, rest + len + 1, e) : 0;
}

int uri_parse(const char *text, struct uri *out, struct err *e)
{
	const char *colon = strstr(text, "://");
	int r;

	*out = (struct uri){ .kind = URI_NONE };
	if (!*text)
		return 0;
	if (strlen(text) > URI_MAX)
		return err_set(e, E2BIG, "a stream's target of %zu bytes; at most %u are taken", strlen(text), URI_MAX);
	if (text[0] == '/') {
		out->kind = URI_PATH;
		out->path = xstrdup(text);
		return 0;
	}
	if (colon && str_starts(text, "file://"))
		out->kind = URI_FILE;
	else if (colon && str_starts(text, "binary://"))
		out->kind = URI_BINARY;
	else
		return err_set(e, ENOTSUP,
			       "'%.200s': there are the absolute path of a FIFO, file:///PATH and binary:///PROGRAM",
			       text);
	r = parse_rest(out, text, colon + 3, e);
	if (r)
		uri_free(out);
	return r;
}

void uri_free(struct uri *u)
{
	free(u->path);
	while (u->args_n)
		free(u->args[--u->args_n]);
	*u = (struct uri){ .kind = URI_NONE };
}
