/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checked reading of JSON that a stranger wrote. A json_node is a value and the way to it, so that every complaint names
 * its place: "process.args[2]: expected string, got number". Nodes live on the reader's stack; a child points at its
 * parent, which must outlive it. Values are json-c's and live as long as the document. `null` counts as absent, as in Go,
 * whose programs write most of what is read here.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <json-c/json_object.h>

#include "base/err.h"

#define JSON_DEPTH_MAX 64

struct json_node {
	struct json_object *value;
	const struct json_node *parent; /* NULL: the document */
	const char *key;		/* name in the parent; NULL: index counts */
	size_t index;
};

/*
 * Parses len bytes of UTF-8 (RFC 8259, strictly: one value, no comments, no trailing commas), at most max_bytes of it and
 * JSON_DEPTH_MAX levels. root is the document's node: root->value is the caller's, who ends it with json_done().
 * -EINVAL: not JSON (the message says where), -EFBIG: too long.
 */
int json_parse(const char *text, size_t len, size_t max_bytes, struct json_node *root, struct err *e);
void json_done(struct json_node *root); /* may be called twice, or on a zeroed node */

/* "the document" or a path like linux.resources.devices[3].type, into buf, which is returned; cut at its front if it's too long. */
const char *json_path(const struct json_node *n, char *buf, size_t size);
/* Fails with -code: "PATH: message". */
int json_fail(const struct json_node *n, struct err *e, int errno_code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* ---- one node, which must be of that type: 0 or -EINVAL ---- */

int json_as_object(const struct json_node *n, struct err *e);
int json_as_array(const struct json_node *n, size_t max, size_t *count, struct err *e); /* -E2BIG over max entries */
int json_as_string(const struct json_node *n, const char **s, struct err *e); /* no NUL inside; the document's */
int json_as_bool(const struct json_node *n, bool *v, struct err *e);
int json_as_u64(const struct json_node *n, uint64_t lo, uint64_t hi, uint64_t *v, struct err *e); /* -ERANGE */
int json_as_i64(const struct json_node *n, int64_t lo, int64_t hi, int64_t *v, struct err *e);

/* ---- going down ---- */

/* The member of an object, or entry of an array. False: absent or null; child is then of no use but in json_fail. */
bool json_member(const struct json_node *object, const char *key, struct json_node *child);
bool json_entry(const struct json_node *array, size_t i, struct json_node *child);

/*
 * Members that may be absent: then 0 is returned and *v left alone, and *present (may be NULL) is false. Strings and
 * lists are copies (malloc); what *s and *list pointed at before is not freed.
 */
int json_get_object(const struct json_node *object, const char *key, struct json_node *child, bool *present,
		    struct err *e);
int json_get_array(const struct json_node *object, const char *key, size_t max, struct json_node *child, size_t *count,
		   struct err *e); /* *count is 0 when absent */
int json_get_string(const struct json_node *object, const char *key, char **s, struct err *e);
int json_get_bool(const struct json_node *object, const char *key, bool *v, bool *present, struct err *e);
int json_get_u64(const struct json_node *object, const char *key, uint64_t lo, uint64_t hi, uint64_t *v, bool *present,
		 struct err *e);
int json_get_i64(const struct json_node *object, const char *key, int64_t lo, int64_t hi, int64_t *v, bool *present,
		 struct err *e);
/* A list of at most max strings, NULL-terminated, *n of them; *list is NULL when absent. Free with json_free_strings. */
int json_get_strings(const struct json_node *object, const char *key, size_t max, char ***list, size_t *n,
		     struct err *e);
void json_free_strings(char **list); /* up to the NULL; NULL is fine */

#endif
