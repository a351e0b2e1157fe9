/* SPDX-License-Identifier: Apache-2.0 */
/* The command line: one row an option, from which the help text is made too. */
#include "fsd/options.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "fsd/session.h"

#define FD_LIMIT_DEFAULT 65536u
#define FD_LIMIT_MIN 64u

typedef int set_fn(struct options *o, const char *value);

static int set_dir(struct options *o, const char *value)
{
	o->shared_dir = value;
	return *value ? 0 : -EINVAL;
}

static int set_socket(struct options *o, const char *value)
{
	o->socket_path = value;
	return *value ? 0 : -EINVAL;
}

static int set_number(const char *value, uint64_t lo, uint64_t hi, uint32_t *to)
{
	uint64_t v = 0;
	int r = parse_u64(value, lo, hi, &v);

	*to = (uint32_t)v;
	return r;
}

static int set_fd(struct options *o, const char *value)
{
	uint32_t fd = 0;
	int r = set_number(value, 0, INT32_MAX, &fd);

	o->fd = (int)fd;
	return r;
}

/* Its place among the words, or -EINVAL. */
static int find_word(const char *value, const char *const *words, int n)
{
	int i;

	for (i = 0; i < n; i++)
		if (str_eq(words[i], value))
			return i;
	return -EINVAL;
}

static int set_cache(struct options *o, const char *value)
{
	static const char *const modes[] = {
		[FS_CACHE_NONE] = "none",
		[FS_CACHE_AUTO] = "auto",
		[FS_CACHE_ALWAYS] = "always",
	};
	int i = find_word(value, modes, ARRAY_SIZE(modes));

	o->fs.cache = i < 0 ? FS_CACHE_AUTO : (enum fs_cache)i;
	return min_t(int, i, 0);
}

static int set_locks(struct options *o, const char *value)
{
	static const char *const places[] = {
		[FS_LOCKS_LOCAL] = "local",
		[FS_LOCKS_AUTO] = "auto",
		[FS_LOCKS_REMOTE] = "remote",
	};
	int i = find_word(value, places, ARRAY_SIZE(places));

	o->fs.locks = i < 0 ? FS_LOCKS_LOCAL : (enum fs_locks)i;
	return min_t(int, i, 0);
}

static int set_timeout(struct options *o, const char *value)
{
	return parse_duration(value, &o->fs.attr_timeout_ns);
}

static int set_xattrmap(struct options *o, const char *value)
{
	struct err e = ERR_INIT;

	xattrmap_free(take_ptr(o->fs.xattrmap));
	o->fs.xattr = true;
	return xattrmap_parse(value, &o->fs.xattrmap, &e);
}

static int set_uids(struct options *o, const char *value)
{
	return idmap_add(&o->fs.uids, value);
}

static int set_gids(struct options *o, const char *value)
{
	return idmap_add(&o->fs.gids, value);
}

static int set_queues(struct options *o, const char *value)
{
	return set_number(value, 1, SESSION_QUEUES_MAX - 1, &o->queues);
}

static int set_limit(struct options *o, const char *value)
{
	return set_number(value, FD_LIMIT_MIN, 1u << 20, &o->fs.fd_limit);
}

static int set_inode_limit(struct options *o, const char *value)
{
	return set_number(value, FD_LIMIT_MIN, UINT32_MAX - 1, &o->fs.inode_limit);
}

/* Flags: a row without `set` makes the bool at `flag` what `value` says. */
static const struct row {
	const char *name, *metavar, *help;
	set_fn *set;
	size_t flag;
	bool value;
} rows[] = {
	{ "shared-dir", "DIR", "the folder that is shared (required)", set_dir, 0, false },
	{ "fd", "N", "a connected Unix stream socket with the front end", set_fd, 0, false },
	{ "socket-path", "PATH", "listen there, and serve the one front end that connects", set_socket, 0, false },
	{ "readonly", NULL, "let the guest change nothing", NULL, offsetof(struct options, fs.read_only), true },
	{ "cache", "MODE", "what the guest may keep: none, auto (1 s; the default), always", set_cache, 0, false },
	{ "attr-timeout", "TIME", "how long it may keep names and attributes, whatever the mode: 5, 250ms", set_timeout,
	  0, false },
	{ "writeback", NULL, "let it keep written data for a while (only it writes to the share)", NULL,
	  offsetof(struct options, fs.writeback), true },
	{ "xattr", NULL, "extended attributes", NULL, offsetof(struct options, fs.xattr), true },
	{ "no-xattr", NULL, "none (the default)", NULL, offsetof(struct options, fs.xattr), false },
	{ "xattrmap", "RULES",
	  "names of attributes on the host, as :TYPE:SCOPE:KEY:PREPEND: or :map:KEY:PREPEND:", set_xattrmap, 0, false },
	{ "posix-acl", NULL, "POSIX access control lists (with --xattr)", NULL, offsetof(struct options, fs.posix_acl),
	  true },
	{ "locks", "WHERE",
	  "local: among the guest's processes (the default); remote: with the host's too; auto: so if a wait can be "
	  "ended",
	  set_locks, 0, false },
	{ "announce-submounts", NULL, "show file systems mounted below the folder as such", NULL,
	  offsetof(struct options, fs.announce_submounts), true },
	{ "uid-map", "IN:OUT:N", "N users from IN on in the guest are those from OUT on here; may be repeated",
	  set_uids, 0, false },
	{ "gid-map", "IN:OUT:N", "the same for groups", set_gids, 0, false },
	{ "queues", "N", "request queues at most (8)", set_queues, 0, false },
	{ "fd-limit", "N", "files open at most, known ones included (65536, or what the system allows)", set_limit, 0,
	  false },
	{ "inode-limit", "N", "files and folders known at most (1048576)", set_inode_limit, 0, false },
	{ "no-jail", NULL, "stay outside of the jail; for debuggers and sanitizers", NULL,
	  offsetof(struct options, no_jail), true },
	{ "version", NULL, "print the version", NULL, offsetof(struct options, version), true },
	{ "help", NULL, "print this", NULL, offsetof(struct options, help), true },
};

void options_help(FILE *f)
{
	size_t i;

	fputs("usage: microvm-fsd --shared-dir DIR {--fd N | --socket-path PATH} [OPTION…]\n\n"
	      "Serves a folder to one virtual machine by virtio-fs, as a vhost-user back end. Ends with its front "
	      "end.\n\n",
	      f);
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		char left[48];

		snprintf(left, sizeof(left), "--%s %s", rows[i].name, rows[i].metavar ? rows[i].metavar : "");
		fprintf(f, "  %-24s %s\n", left, rows[i].help);
	}
}

static const struct row *find_row(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++)
		if (strlen(rows[i].name) == len && !strncmp(rows[i].name, name, len))
			return &rows[i];
	return NULL;
}

static int parse_one(struct options *o, int argc, char **argv, int *at, struct err *e)
{
	const char *arg = argv[*at], *equals = strchrnul(arg, '='), *value = *equals ? equals + 1 : NULL;
	const struct row *row = str_starts(arg, "--") ? find_row(arg + 2, (size_t)(equals - arg - 2)) : NULL;
	int r;

	if (!row)
		return err_set(e, EINVAL, "'%s' is not an option; --help lists them", arg);
	if (!row->set) {
		if (value)
			return err_set(e, EINVAL, "--%s takes no value", row->name);
		*(bool *)((char *)o + row->flag) = row->value;
		return 0;
	}
	if (!value && *at + 1 < argc)
		value = argv[++*at];
	if (!value)
		return err_set(e, EINVAL, "--%s wants a value: %s", row->name, row->metavar);
	r = row->set(o, value);
	return r ? err_set(e, EINVAL, "--%s: '%s' is not right: %s", row->name, value, row->help) : 0;
}

int options_parse(int argc, char **argv, struct options *o, struct err *e)
{
	int i;

	*o = (struct options){
		.fd = -1,
		.queues = 8,
		.fs = { .cache = FS_CACHE_AUTO, .fd_limit = FD_LIMIT_DEFAULT, .attr_timeout_ns = UINT64_MAX },
	};
	for (i = 1; i < argc; i++)
		if (parse_one(o, argc, argv, &i, e))
			return -e->code;
	if (o->help || o->version)
		return 0;
	if (!o->shared_dir)
		return err_set(e, EINVAL, "which folder? --shared-dir DIR says so");
	if ((o->fd >= 0) == (o->socket_path != NULL))
		return err_set(e, EINVAL, "where is the front end? Either --fd N or --socket-path PATH says so");
	if (o->fs.posix_acl && (!o->fs.xattr || o->fs.uids.n || o->fs.gids.n || o->fs.xattrmap))
		return err_set(e, EINVAL, "--posix-acl goes with --xattr, and not with mapped users, groups or names");
	if (o->fs.writeback && o->fs.cache == FS_CACHE_NONE)
		return err_set(e, EINVAL, "--writeback keeps data, --cache none keeps nothing: not both");
	return 0;
}

void options_free(struct options *o)
{
	xattrmap_free(take_ptr(o->fs.xattrmap));
}
