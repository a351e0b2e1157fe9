/* SPDX-License-Identifier: Apache-2.0 */
#include "fsd/xattrmap.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/util.h"

#define RULES_MAX 64u

enum rule_type { RULE_PREFIX, RULE_OK, RULE_BAD, RULE_UNSUPPORTED };
enum rule_scope { SCOPE_CLIENT = 1, SCOPE_SERVER = 2, SCOPE_ALL = 3 };

struct rule {
	enum rule_type type;
	enum rule_scope scope;
	char *key, *prepend;
};

struct xattrmap {
	unsigned int n;
	struct rule rules[RULES_MAX];
};

static const struct {
	const char *name;
	int value;
} types[] = { { "prefix", RULE_PREFIX }, { "ok", RULE_OK }, { "bad", RULE_BAD }, { "unsupported", RULE_UNSUPPORTED } },
  scopes[] = { { "client", SCOPE_CLIENT }, { "server", SCOPE_SERVER }, { "all", SCOPE_ALL } };

static int add(struct xattrmap *map, enum rule_type type, enum rule_scope scope, const char *key, const char *prepend)
{
	if (map->n == RULES_MAX)
		return -E2BIG;
	map->rules[map->n++] = (struct rule){ type, scope, xstrdup(key), xstrdup(prepend) };
	return 0;
}

/* Cuts the next field off *text, which ends at c. NULL: it does not end. */
static char *field(char **text, char c)
{
	char *start = *text, *end = strchr(start, c);

	if (!end)
		return NULL;
	*end = 0;
	*text = end + 1;
	return start;
}

static int add_map(struct xattrmap *map, const char *key, const char *prepend)
{
	int r = add(map, RULE_PREFIX, SCOPE_ALL, key, prepend);

	if (!r && *key) {
		/* Neither may the guest name what is on the host under the prefix, nor is the bare key of the host its. */
		r = add(map, RULE_BAD, SCOPE_CLIENT, prepend, "");
		if (!r)
			r = add(map, RULE_BAD, SCOPE_SERVER, key, "");
		if (!r)
			r = add(map, RULE_OK, SCOPE_ALL, "", "");
	} else if (!r) {
		r = add(map, RULE_BAD, SCOPE_ALL, "", "");
	}
	return r;
}

/* One rule, its separator first. */
static int parse_rule(struct xattrmap *map, char **text)
{
	char c = *(*text)++, *word = field(text, c), *scope = NULL, *key, *prepend;
	size_t t, s;

	if (!word)
		return -EINVAL;
	if (str_eq(word, "map")) {
		key = field(text, c);
		prepend = key ? field(text, c) : NULL;
		return prepend && *prepend ? add_map(map, key, prepend) : -EINVAL;
	}
	scope = field(text, c);
	key = scope ? field(text, c) : NULL;
	prepend = key ? field(text, c) : NULL;
	if (!prepend)
		return -EINVAL;
	for (t = 0; t < ARRAY_SIZE(types) && !str_eq(types[t].name, word); t++)
		;
	for (s = 0; s < ARRAY_SIZE(scopes) && !str_eq(scopes[s].name, scope); s++)
		;
	if (t == ARRAY_SIZE(types) || s == ARRAY_SIZE(scopes))
		return -EINVAL;
	return add(map, types[t].value, scopes[s].value, key, prepend);
}

int xattrmap_parse(const char *rules, struct xattrmap **out, struct err *e)
{
	_cleanup_free_ char *copy = xstrdup(rules);
	struct xattrmap *map = xcalloc(1, sizeof(*map));
	char *at = copy;
	int r = 0;

	while (!r) {
		at += strspn(at, " \t\n");
		if (!*at)
			break;
		r = parse_rule(map, &at);
	}
	if (!r && !map->n)
		r = -EINVAL;
	if (r) {
		xattrmap_free(map);
		return err_set(e, -r, "--xattrmap '%s': %s", rules,
			       r == -E2BIG ? "too many rules" : "not rules of the form :TYPE:SCOPE:KEY:PREPEND:");
	}
	*out = map;
	return 0;
}

void xattrmap_free(struct xattrmap *map)
{
	unsigned int i;

	for (i = 0; map && i < map->n; i++) {
		free(map->rules[i].key);
		free(map->rules[i].prepend);
	}
	free(map);
}

int xattrmap_to_host(const struct xattrmap *map, const char *name, char *host)
{
	unsigned int i;
	size_t n = 0;

	if (!map) {
		memcpy(host, name, strlen(name) + 1);
		return 0;
	}
	for (i = 0; i < map->n; i++) {
		const struct rule *rule = &map->rules[i];

		if (!(rule->scope & SCOPE_CLIENT) || !str_starts(name, rule->key))
			continue;
		if (rule->type == RULE_BAD)
			return -EPERM;
		if (rule->type == RULE_UNSUPPORTED)
			return -EOPNOTSUPP;
		if (rule->type == RULE_PREFIX)
			n = strlen(rule->prepend);
		if (n + strlen(name) >= XATTR_NAME_BYTES)
			return -ERANGE;
		memcpy(host, rule->prepend, n);
		memcpy(host + n, name, strlen(name) + 1);
		return 0;
	}
	return -EPERM;
}

const char *xattrmap_to_guest(const struct xattrmap *map, const char *host)
{
	unsigned int i;

	if (!map)
		return host;
	for (i = 0; i < map->n; i++) {
		const struct rule *rule = &map->rules[i];
		size_t n = strlen(rule->prepend);

		if (!(rule->scope & SCOPE_SERVER))
			continue;
		if (rule->type == RULE_PREFIX) {
			/* What has the prefix is the guest's name; a bare one belongs to the host. */
			if (!strncmp(host, rule->prepend, n) && str_starts(host + n, rule->key))
				return host + n;
			continue;
		}
		/* For these, PREPEND is how the host's name starts. */
		if (!strncmp(host, rule->prepend, n) && str_starts(host, rule->key))
			return rule->type == RULE_OK ? host : NULL;
	}
	return NULL;
}
