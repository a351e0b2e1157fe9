/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json_tokener.h>

#include "base/json_lexis.h"
#include "base/util.h"

int json_parse(const char *text, size_t len, size_t max_bytes, struct json_node *root, struct err *e)
{
	enum json_tokener_error why;
	struct json_tokener *tok;
	size_t end;

	memset(root, 0, sizeof(*root));
	if (len > max_bytes || len > INT_MAX)
		return err_set(e, EFBIG, "JSON of %zu bytes: more than the %zu that are read", len, max_bytes);
	end = json_first_odd(text, len);
	if (end < len)
		return err_set(e, EINVAL,
			       "not JSON: unexpected character, or a number that is out of range, at byte %zu", end);
	tok = json_tokener_new_ex(JSON_DEPTH_MAX);
	if (!tok)
		return err_set(e, ENOMEM, "out of memory");
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	root->value = json_tokener_parse_ex(tok, text, (int)len);
	why = json_tokener_get_error(tok);
	end = json_tokener_get_parse_end(tok);
	/* A bare number at the top ends only with the text; the tokener waits for more, so tell it that there is none. */
	if (why == json_tokener_continue) {
		root->value = json_tokener_parse_ex(tok, "", 1);
		why = json_tokener_get_error(tok);
		end = len;
	}
	json_tokener_free(tok);
	if (why == json_tokener_success && end < len) {
		end += strspn(text + end, " \t\r\n");
		if (end < len)
			why = json_tokener_error_parse_unexpected;
	}
	if (why != json_tokener_success) {
		json_done(root);
		return err_set(e, EINVAL, "not JSON: %s at byte %zu",
			       why == json_tokener_continue ? "ends early" : json_tokener_error_desc(why), end);
	}
	if (!root->value)
		return err_set(e, EINVAL, "not a JSON document: null");
	return 0;
}

void json_done(struct json_node *root)
{
	if (root->value)
		json_object_put(root->value);
	root->value = NULL;
}

const char *json_path(const struct json_node *n, char *buf, size_t size)
{
	size_t at = size - 1;

	if (!n || !n->parent) {
		snprintf(buf, size, "the document");
		return buf;
	}
	buf[at] = '\0';
	/* From the end to the front: nodes know only their parents. */
	for (; n->parent; n = n->parent) {
		char part[80];
		int len;

		if (n->key)
			len = snprintf(part, sizeof(part), "%s%.64s", n->parent->parent ? "." : "", n->key);
		else
			len = snprintf(part, sizeof(part), "[%zu]", n->index);
		if ((size_t)len > at)
			break;
		at -= len;
		memcpy(buf + at, part, len);
	}
	return buf + at;
}

int json_fail(const struct json_node *n, struct err *e, int errno_code, const char *fmt, ...)
{
	char path[256], msg[ERR_MSG_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	return err_set(e, errno_code, "%s: %s", json_path(n, path, sizeof(path)), msg);
}

static const char *type_name(enum json_type t)
{
	static const char *const names[] = {
		[json_type_null] = "null",     [json_type_boolean] = "boolean", [json_type_double] = "fraction",
		[json_type_int] = "integer",   [json_type_object] = "object",	[json_type_array] = "array",
		[json_type_string] = "string",
	};

	return (size_t)t < ARRAY_SIZE(names) ? names[t] : "something else";
}

static int expect(const struct json_node *n, enum json_type want, struct err *e)
{
	enum json_type got = json_object_get_type(n->value);

	if (got == want)
		return 0;
	return json_fail(n, e, EINVAL, "expected %s, got %s", type_name(want), type_name(got));
}

int json_as_object(const struct json_node *n, struct err *e)
{
	return expect(n, json_type_object, e);
}

int json_as_array(const struct json_node *n, size_t max, size_t *count, struct err *e)
{
	int r = expect(n, json_type_array, e);

	if (r)
		return r;
	*count = json_object_array_length(n->value);
	if (*count > max)
		return json_fail(n, e, E2BIG, "%zu entries, at most %zu are taken", *count, max);
	return 0;
}

int json_as_string(const struct json_node *n, const char **s, struct err *e)
{
	int r = expect(n, json_type_string, e);

	if (r)
		return r;
	*s = json_object_get_string(n->value);
	if (strlen(*s) != (size_t)json_object_get_string_len(n->value))
		return json_fail(n, e, EINVAL, "has a NUL character inside");
	return 0;
}

int json_as_bool(const struct json_node *n, bool *v, struct err *e)
{
	int r = expect(n, json_type_boolean, e);

	if (!r)
		*v = json_object_get_boolean(n->value);
	return r;
}

int json_as_u64(const struct json_node *n, uint64_t lo, uint64_t hi, uint64_t *v, struct err *e)
{
	int r = expect(n, json_type_int, e);
	uint64_t u;

	if (r)
		return r;
	/* json-c clamps: a negative number reads as 0 here, so ask for the sign first. */
	u = json_object_get_uint64(n->value);
	if ((u == 0 && json_object_get_int64(n->value) < 0) || u < lo || u > hi)
		return json_fail(n, e, ERANGE, "%s is not within %llu and %llu", json_object_get_string(n->value),
				 (unsigned long long)lo, (unsigned long long)hi);
	*v = u;
	return 0;
}

int json_as_i64(const struct json_node *n, int64_t lo, int64_t hi, int64_t *v, struct err *e)
{
	int r = expect(n, json_type_int, e);
	int64_t i;

	if (r)
		return r;
	i = json_object_get_int64(n->value);
	if ((i == INT64_MAX && json_object_get_uint64(n->value) != INT64_MAX) || i < lo || i > hi)
		return json_fail(n, e, ERANGE, "%s is not within %lld and %lld", json_object_get_string(n->value),
				 (long long)lo, (long long)hi);
	*v = i;
	return 0;
}

bool json_member(const struct json_node *object, const char *key, struct json_node *child)
{
	*child = (struct json_node){ .parent = object, .key = key };
	json_object_object_get_ex(object->value, key, &child->value);
	return child->value != NULL;
}

bool json_entry(const struct json_node *array, size_t i, struct json_node *child)
{
	*child = (struct json_node){ .parent = array, .index = i };
	child->value = json_object_array_get_idx(array->value, i);
	return child->value != NULL;
}

int json_get_object(const struct json_node *object, const char *key, struct json_node *child, bool *present,
		    struct err *e)
{
	bool there = json_member(object, key, child);

	if (present)
		*present = there;
	return there ? json_as_object(child, e) : 0;
}

int json_get_array(const struct json_node *object, const char *key, size_t max, struct json_node *child, size_t *count,
		   struct err *e)
{
	*count = 0;
	return json_member(object, key, child) ? json_as_array(child, max, count, e) : 0;
}

int json_get_string(const struct json_node *object, const char *key, char **s, struct err *e)
{
	struct json_node n;
	const char *v;
	int r;

	if (!json_member(object, key, &n))
		return 0;
	r = json_as_string(&n, &v, e);
	if (!r)
		*s = xstrdup(v);
	return r;
}

int json_get_bool(const struct json_node *object, const char *key, bool *v, bool *present, struct err *e)
{
	struct json_node n;
	bool there = json_member(object, key, &n);

	if (present)
		*present = there;
	return there ? json_as_bool(&n, v, e) : 0;
}

int json_get_u64(const struct json_node *object, const char *key, uint64_t lo, uint64_t hi, uint64_t *v, bool *present,
		 struct err *e)
{
	struct json_node n;
	bool there = json_member(object, key, &n);

	if (present)
		*present = there;
	return there ? json_as_u64(&n, lo, hi, v, e) : 0;
}

int json_get_i64(const struct json_node *object, const char *key, int64_t lo, int64_t hi, int64_t *v, bool *present,
		 struct err *e)
{
	struct json_node n;
	bool there = json_member(object, key, &n);

	if (present)
		*present = there;
	return there ? json_as_i64(&n, lo, hi, v, e) : 0;
}

int json_get_strings(const struct json_node *object, const char *key, size_t max, char ***list, size_t *n,
		     struct err *e)
{
	struct json_node array, entry;
	size_t count, i;
	char **strings;
	int r = json_get_array(object, key, max, &array, &count, e);

	*n = 0;
	if (r || !array.value) {
		if (!r)
			*list = NULL;
		return r;
	}
	strings = xcalloc(count + 1, sizeof(*strings));
	for (i = 0; i < count; i++) {
		const char *s;

		if (!json_entry(&array, i, &entry))
			r = json_fail(&entry, e, EINVAL, "expected string, got null");
		else
			r = json_as_string(&entry, &s, e);
		if (r) {
			json_free_strings(strings);
			return r;
		}
		strings[i] = xstrdup(s);
	}
	*list = strings;
	*n = count;
	return 0;
}

void json_free_strings(char **list)
{
	size_t i;

	for (i = 0; list && list[i]; i++)
		free(list[i]);
	free(list);
}
