/* SPDX-License-Identifier: Apache-2.0 */
/* A growing list of strings that it owns. v is NULL-terminated as soon as something was pushed, NULL before. */
#ifndef SANDBOX_STRV_H
#define SANDBOX_STRV_H

#include <stddef.h>

struct strv {
	char **v;
	size_t n;
};

/* Copies s. */
void strv_push(struct strv *list, const char *s);
/* Takes s, which was malloc'ed. */
void strv_push_take(struct strv *list, char *s);
/* All of a NULL-terminated array; NULL is an empty one. */
void strv_push_all(struct strv *list, char *const *v);
/* The entry that starts with "NAME=" for an "NAME=VALUE" or "NAME" text; NULL if there is none. */
const char *strv_env_find(const struct strv *env, const char *text);
/* Puts "NAME=VALUE" in place of an entry of that name, or at the end. */
void strv_env_set(struct strv *env, const char *assignment);
/* Takes the entry of that name away. */
void strv_env_unset(struct strv *env, const char *name);
void strv_clear(struct strv *list);

#endif
