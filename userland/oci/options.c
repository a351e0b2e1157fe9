/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/options.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/capability.h"
#include "base/cleanup.h"
#include "oci/pb.h"

#define OPTIONS_MAX 4096u /* entries of one list; a command line has room for more */

/* "key=value" or docker's older "key:value"; *value is NULL when there is neither. */
static size_t split_word(const char *word, const char **value)
{
	size_t n = strcspn(word, "=:");

	*value = word[n] ? word + n + 1 : NULL;
	return n;
}

static int security_flag(const char *word, const char *value, bool *flag, struct err *e)
{
	if (!value || str_eq(value, "true"))
		*flag = true;
	else if (str_eq(value, "false"))
		*flag = false;
	else
		return err_set(e, EINVAL, "--security-opt %s: expected true or false", word);
	return 0;
}

int oci_options_security(char *const *words, struct oci_security *s, struct err *e)
{
	for (; words && *words; words++) {
		const char *value;
		size_t n = split_word(*words, &value);
		int r = 0;

		if (n == strlen("no-new-privileges") && str_starts(*words, "no-new-privileges"))
			r = security_flag(*words, value, &s->no_new_privileges, e);
		else if (n == strlen("seccomp") && str_starts(*words, "seccomp") && value && *value)
			s->seccomp = value;
		else if (n == strlen("systempaths") && str_starts(*words, "systempaths") && str_eq(value, "unconfined"))
			s->systempaths_unconfined = true;
		else if (n == strlen("apparmor") && str_starts(*words, "apparmor"))
			r = str_eq(value, "unconfined")
				    ? 0
				    : err_set(e, ENOTSUP, "--security-opt %s: the guest has no AppArmor; leave it out",
					      *words);
		else if (n == strlen("label") && str_starts(*words, "label"))
			r = str_eq(value, "disable")
				    ? 0
				    : err_set(e, ENOTSUP, "--security-opt %s: the guest has no SELinux; leave it out",
					      *words);
		else
			r = err_set(e, EINVAL,
				    "--security-opt %s: not known; there are no-new-privileges, "
				    "seccomp=unconfined|default|FILE and systempaths=unconfined",
				    *words);
		if (r)
			return r;
	}
	return 0;
}

/* Sets the bits of the names in list; *all when ALL is among them. */
static int parse_caps(const char *flag, char *const *list, uint64_t *caps, bool *all, struct err *e)
{
	for (*caps = 0, *all = false; list && *list; list++) {
		int cap;

		if (!strcasecmp(*list, "ALL") || !strcasecmp(*list, "CAP_ALL")) {
			*all = true;
			continue;
		}
		cap = capability_parse(*list);
		if (cap < 0)
			return err_set(e, EINVAL, "%s %s: no such capability; capabilities(7) has their names", flag,
				       *list);
		*caps |= 1ull << cap;
	}
	return 0;
}

int oci_options_caps(const struct oci_options *o, uint64_t base, uint64_t *caps, struct err *e)
{
	bool add_all, drop_all;
	uint64_t add, drop;
	int r = parse_caps("--cap-add", o->cap_add, &add, &add_all, e);

	if (!r)
		r = parse_caps("--cap-drop", o->cap_drop, &drop, &drop_all, e);
	if (r)
		return r;
	if (o->privileged)
		*caps = CAPABILITY_ALL;
	else if (add_all)
		*caps = CAPABILITY_ALL & ~drop;
	else if (drop_all)
		*caps = add;
	else
		*caps = (base & ~drop) | add;
	return 0;
}

static void add_cap_names(size_t *n, char ***list, uint64_t caps)
{
	unsigned int i;

	for (i = 0; i < CAPABILITY_COUNT; i++)
		if (caps & (1ull << i))
			pb_append(*n, *list, xstrdup(capability_name(i)));
}

Microvm__Capabilities *oci_caps_message(uint64_t caps)
{
	Microvm__Capabilities *c = pb_new(Microvm__Capabilities, microvm__capabilities);

	add_cap_names(&c->n_bounding, &c->bounding, caps);
	add_cap_names(&c->n_effective, &c->effective, caps);
	add_cap_names(&c->n_permitted, &c->permitted, caps);
	return c;
}

uint64_t oci_caps_bounding(const Microvm__Capabilities *c)
{
	uint64_t caps = 0;
	size_t i;

	for (i = 0; c && i < c->n_bounding; i++) {
		int cap = capability_parse(c->bounding[i]);

		if (cap >= 0)
			caps |= 1ull << cap;
	}
	return caps;
}

static char **env_find(Microvm__Process *p, const char *name, size_t name_len)
{
	size_t i;

	for (i = 0; i < p->n_env; i++)
		if (!strncmp(p->env[i], name, name_len) && p->env[i][name_len] == '=')
			return &p->env[i];
	return NULL;
}

int oci_options_env(Microvm__Process *p, const char *what, char *const *list, struct err *e)
{
	for (; list && *list; list++) {
		size_t name_len = strcspn(*list, "=");
		char **old;

		if (!name_len)
			return err_set(e, EINVAL, "%s \"%s\": has no name; expected NAME=VALUE", what, *list);
		old = env_find(p, *list, name_len);
		if ((*list)[name_len]) {
			if (p->n_env >= OPTIONS_MAX)
				return err_set(e, E2BIG, "%s: more than %u variables", what, OPTIONS_MAX);
			if (old)
				pb_set(old, xstrdup(*list));
			else
				pb_append(p->n_env, p->env, xstrdup(*list));
		} else if (old) {
			size_t at = (size_t)(old - p->env);

			free(*old);
			memmove(old, old + 1, (--p->n_env - at) * sizeof(*old));
		}
	}
	return 0;
}

void oci_mount_options(Microvm__Mount *m, const char *options)
{
	while (options && *options) {
		size_t n = strcspn(options, ",");

		if (n)
			pb_append(m->n_options, m->options, xstrndup(options, n));
		options += n + (options[n] == ',');
	}
}

void oci_mount_tmpfs(Microvm__Spec *spec, const char *path, const char *options)
{
	Microvm__Mount *m = pb_new(Microvm__Mount, microvm__mount);
	size_t i;

	m->destination = xstrdup(path);
	m->type = xstrdup("tmpfs");
	m->source = xstrdup("tmpfs");
	oci_mount_options(m, options);
	for (i = 0; i < spec->n_mounts; i++) {
		if (!str_eq(spec->mounts[i]->destination, path))
			continue;
		microvm__mount__free_unpacked(spec->mounts[i], NULL);
		spec->mounts[i] = m;
		return;
	}
	pb_append(spec->n_mounts, spec->mounts, m);
}

/* The same set that docker takes; what isn't here would reach the kernel as tmpfs' own option. */
static bool tmpfs_option_known(const char *option, size_t len)
{
	static const char *const flags[] = {
		"defaults",    "ro",	    "rw",	  "suid",	 "nosuid",	  "dev",
		"nodev",       "exec",	    "noexec",	  "sync",	 "async",	  "dirsync",
		"remount",     "mand",	    "nomand",	  "atime",	 "noatime",	  "diratime",
		"nodiratime",  "relatime",  "norelatime", "strictatime", "nostrictatime", "private",
		"rprivate",    "shared",    "rshared",	  "slave",	 "rslave",	  "unbindable",
		"runbindable", "tmpcopyup",
	};
	static const char *const keys[] = { "size=", "mode=", "uid=", "gid=", "nr_inodes=", "nr_blocks=", "mpol=" };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(flags); i++)
		if (strlen(flags[i]) == len && !memcmp(flags[i], option, len))
			return true;
	for (i = 0; i < ARRAY_SIZE(keys); i++)
		if (len > strlen(keys[i]) && !memcmp(keys[i], option, strlen(keys[i])))
			return true;
	return false;
}

static int add_tmpfs(Microvm__Spec *spec, const char *arg, struct err *e)
{
	size_t path_len = strcspn(arg, ":");
	_cleanup_free_ char *path = xstrndup(arg, path_len), *options = NULL;
	const char *given = arg[path_len] ? arg + path_len + 1 : "", *s;

	if (path[0] != '/' || str_eq(path, "/"))
		return err_set(e, EINVAL, "--tmpfs %s: \"%s\" is not an absolute path of a folder below /", arg, path);
	for (s = given; *s; s += strspn(s, ",")) {
		size_t n = strcspn(s, ",");

		if (n && !tmpfs_option_known(s, n))
			return err_set(e, EINVAL,
				       "--tmpfs %s: option \"%.*s\" is not known; there are size=, mode=, uid=, gid=, "
				       "ro, exec and the like",
				       arg, (int)n, s);
		s += n;
	}
	options = xasprintf("noexec,nosuid,nodev,%s", given);
	oci_mount_tmpfs(spec, path, options);
	return 0;
}

static unsigned int path_depth(const char *p)
{
	unsigned int n = 0;

	for (; *p; p++)
		n += *p == '/' && p[1] && p[1] != '/';
	return n;
}

int oci_options_tmpfs(Microvm__Spec *spec, char *const *list, struct err *e)
{
	size_t first = spec->n_mounts, i, k;

	for (; list && *list; list++) {
		int r = add_tmpfs(spec, *list, e);

		if (r)
			return r;
		if (spec->n_mounts - first > OPTIONS_MAX)
			return err_set(e, E2BIG, "--tmpfs: more than %u", OPTIONS_MAX);
	}
	/* Outer ones first, or they would hide the inner ones. A handful at most: insertion sort, stable. */
	for (i = first + 1; i < spec->n_mounts; i++) {
		Microvm__Mount *m = spec->mounts[i];

		for (k = i; k > first && path_depth(spec->mounts[k - 1]->destination) > path_depth(m->destination); k--)
			spec->mounts[k] = spec->mounts[k - 1];
		spec->mounts[k] = m;
	}
	return 0;
}

int oci_options_sysctl(Microvm__Linux *l, char *const *list, struct err *e)
{
	for (; list && *list; list++) {
		size_t n = strcspn(*list, "=");

		if (!n || !(*list)[n])
			return err_set(e, EINVAL, "--sysctl %s: expected NAME=VALUE", *list);
		pb_append(l->n_sysctl, l->sysctl, pb_name_value(xstrndup(*list, n), xstrdup(*list + n + 1)));
	}
	return 0;
}

static int parse_limit(const char *s, uint64_t *v)
{
	if (str_eq(s, "-1") || str_eq(s, "unlimited")) {
		*v = UINT64_MAX;
		return 0;
	}
	return parse_u64(s, 0, UINT64_MAX, v);
}

static int add_ulimit(Microvm__Process *p, const char *arg, struct err *e)
{
	static const char *const names[] = {
		"core",	  "cpu",   "data", "fsize",  "locks",  "memlock",    "msgqueue", "nice",
		"nofile", "nproc", "rss",  "rtprio", "rttime", "sigpending", "stack",	 "as",
	};
	size_t name_len = strcspn(arg, "="), i;
	const char *value = arg[name_len] ? arg + name_len + 1 : "";
	_cleanup_free_ char *soft = xstrndup(value, strcspn(value, ":"));
	Microvm__Rlimit *l;
	uint64_t s, h;
	char *c;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (strlen(names[i]) == name_len && !memcmp(names[i], arg, name_len))
			break;
	if (i == ARRAY_SIZE(names))
		return err_set(e, EINVAL, "--ulimit %s: no such limit as \"%.*s\"; see getrlimit(2)", arg,
			       (int)name_len, arg);
	if (parse_limit(soft, &s) || (value[strlen(soft)] && parse_limit(value + strlen(soft) + 1, &h)))
		return err_set(e, EINVAL, "--ulimit %s: expected NAME=SOFT[:HARD], in numbers", arg);
	if (!value[strlen(soft)])
		h = s;
	if (s > h)
		return err_set(e, EINVAL, "--ulimit %s: the soft limit is above the hard one", arg);
	l = pb_new(Microvm__Rlimit, microvm__rlimit);
	l->type = xasprintf("RLIMIT_%s", names[i]);
	for (c = l->type; *c; c++)
		if (*c >= 'a' && *c <= 'z')
			*c -= 'a' - 'A';
	l->soft = s;
	l->hard = h;
	for (i = 0; i < p->n_rlimits; i++) {
		if (!str_eq(p->rlimits[i]->type, l->type))
			continue;
		microvm__rlimit__free_unpacked(p->rlimits[i], NULL);
		p->rlimits[i] = l;
		return 0;
	}
	pb_append(p->n_rlimits, p->rlimits, l);
	return 0;
}

int oci_options_ulimit(Microvm__Process *p, char *const *list, struct err *e)
{
	int r = 0;

	for (; !r && list && *list; list++)
		r = add_ulimit(p, *list, e);
	return r;
}
