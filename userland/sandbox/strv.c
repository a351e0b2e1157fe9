/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/strv.h"

#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "base/util.h"

void strv_push_take(struct strv *list, char *s)
{
	list->v = xreallocarray(list->v, list->n + 2, sizeof(*list->v));
	list->v[list->n++] = s;
	list->v[list->n] = NULL;
}

void strv_push(struct strv *list, const char *s)
{
	strv_push_take(list, xstrdup(s));
}

void strv_push_all(struct strv *list, char *const *v)
{
	for (; v && *v; v++)
		strv_push(list, *v);
}

static ssize_t env_index(const struct strv *env, const char *text)
{
	size_t len = strcspn(text, "="), i;

	for (i = 0; i < env->n; i++)
		if (!strncmp(env->v[i], text, len) && env->v[i][len] == '=')
			return i;
	return -1;
}

const char *strv_env_find(const struct strv *env, const char *text)
{
	ssize_t i = env_index(env, text);

	return i < 0 ? NULL : env->v[i];
}

void strv_env_set(struct strv *env, const char *assignment)
{
	ssize_t i = env_index(env, assignment);

	if (i < 0) {
		strv_push(env, assignment);
		return;
	}
	free(env->v[i]);
	env->v[i] = xstrdup(assignment);
}

void strv_env_unset(struct strv *env, const char *name)
{
	ssize_t i = env_index(env, name);

	if (i < 0)
		return;
	free(env->v[i]);
	memmove(&env->v[i], &env->v[i + 1], (env->n - i) * sizeof(*env->v));
	env->n--;
}

void strv_clear(struct strv *list)
{
	size_t i;

	for (i = 0; i < list->n; i++)
		free(list->v[i]);
	free(list->v);
	list->v = NULL;
	list->n = 0;
}
