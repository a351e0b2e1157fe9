/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json_lexis.h"

#include <stdbool.h>
#include <string.h>

#include "base/util.h"

/* A string without control characters; its escapes are json-c's to check. Behind its last quote, or NULL. */
static const char *take_string(const char *p, const char *end)
{
	for (p++; p < end && *p != '"'; p++) {
		if ((unsigned char)*p < 0x20)
			return NULL;
		if (*p == '\\' && p + 1 < end)
			p++;
	}
	return p < end ? p + 1 : NULL;
}

static const char *take_digits(const char *p, const char *end)
{
	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p;
}

static bool fits_64_bits(const char *digits, size_t len, bool negative)
{
	char copy[21];
	uint64_t v;

	if (len >= sizeof(copy))
		return false;
	memcpy(copy, digits, len);
	copy[len] = '\0';
	return parse_u64(copy, 0, negative ? (uint64_t)INT64_MAX + 1 : UINT64_MAX, &v) == 0;
}

/* RFC 8259, 6: -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)? */
static const char *take_number(const char *p, const char *end)
{
	bool negative = *p == '-';
	const char *digits = p + negative, *after = take_digits(digits, end), *q;

	if (after == digits || (*digits == '0' && after > digits + 1))
		return NULL;
	p = after;
	if (p < end && *p == '.') {
		q = take_digits(p + 1, end);
		if (q == p + 1)
			return NULL;
		p = q;
	}
	if (p < end && (*p | 0x20) == 'e') {
		const char *exponent = p + 1;

		if (exponent < end && (*exponent == '+' || *exponent == '-'))
			exponent++;
		q = take_digits(exponent, end);
		if (q == exponent)
			return NULL;
		p = q;
	}
	return p > after || fits_64_bits(digits, (size_t)(after - digits), negative) ? p : NULL;
}

static const char *take_word(const char *p, const char *end)
{
	static const char *const words[] = { "null", "true", "false" };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(words); i++)
		if ((size_t)(end - p) >= strlen(words[i]) && !strncmp(p, words[i], strlen(words[i])))
			return p + strlen(words[i]);
	return NULL;
}

size_t json_first_odd(const char *text, size_t len)
{
	const char *p = text, *end = text + len;

	while (p < end) {
		const char *next;

		if (*p && strchr(" \t\r\n[]{}:,", *p))
			next = p + 1;
		else if (*p == '"')
			next = take_string(p, end);
		else if (*p == '-' || (*p >= '0' && *p <= '9'))
			next = take_number(p, end);
		else
			next = take_word(p, end);
		if (!next)
			return (size_t)(p - text);
		p = next;
	}
	return len;
}
