/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an image has at the place of a tmpfs or of a new volume, copied into it: files, folders and symlinks with owners,
 * modes, times, extended attributes and hard links; devices, sockets and pipes stay behind. The size of what is copied to is
 * the limit.
 *
 * Each file or symlink is made under a name of its own and then renamed, so what is there is whole, and a copy that was
 * interrupted can be begun anew: what is there already stays.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "guest-agent/mounts.h"

#define DEPTH_MAX 128
#define UNFINISHED ".microvm-copy" /* in the folder that is copied to */
#define XATTR_NAMES_MAX 65536u
#define XATTR_VALUE_MAX 65536u
#define LINKED_MAX 256u

/* A file of several names, of which some are still to come. */
struct linked {
	dev_t dev;
	ino_t ino;
	nlink_t left; /* 0: unused */
	int fd;	      /* O_PATH: the copy */
};

struct copy {
	int to; /* the outermost folder */
	unsigned int depth;
	struct err *e;
	struct linked linked[LINKED_MAX]; /* past so many at a time each name gets a file of its own */
	char names[XATTR_NAMES_MAX];
	char value[XATTR_VALUE_MAX];
};

static int copy_folder(struct copy *c, int from, int to);

/* Attributes that the file system copied to has not, or that are not anybody's to set, are left out. */
static int copy_xattrs(struct copy *c, int from, int to)
{
	ssize_t n = flistxattr(from, c->names, sizeof(c->names));
	const char *name = c->names;

	if (n < 0)
		return errno == EOPNOTSUPP ? 0 : -errno;
	for (; name < c->names + n; name += strlen(name) + 1) {
		ssize_t len;

		if (str_starts(name, "trusted."))
			continue;
		len = fgetxattr(from, name, c->value, sizeof(c->value));
		if (len < 0 && errno != ENODATA && errno != EOPNOTSUPP)
			return -errno;
		if (len >= 0 && fsetxattr(to, name, c->value, (size_t)len, 0) < 0 && errno != EOPNOTSUPP)
			return -errno;
	}
	return 0;
}

/* The owner before modes and attributes, as its change takes set-id bits and capabilities away; times at the end. */
static int copy_attributes(struct copy *c, int from, int to)
{
	struct stat st;
	int r;

	if (fstat(from, &st) < 0 || fchown(to, st.st_uid, st.st_gid) < 0)
		return -errno;
	r = copy_xattrs(c, from, to);
	if (r)
		return r;
	if (fchmod(to, st.st_mode & 07777) < 0 || futimens(to, (struct timespec[]){ st.st_atim, st.st_mtim }) < 0)
		return -errno;
	return 0;
}

static int make_file(struct copy *c, int from, const char *name)
{
	_cleanup_close_ int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	_cleanup_close_ int out = -1;
	ssize_t n;

	if (in < 0)
		return -errno;
	out = openat(c->to, UNFINISHED, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0)
		return -errno;
	while ((n = sendfile(out, in, NULL, 1 << 20)) > 0)
		;
	return n < 0 ? -errno : copy_attributes(c, in, out);
}

static int make_symlink(struct copy *c, int from, const char *name, const struct stat *st)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(from, name, target, sizeof(target) - 1);

	if (n < 0)
		return -errno;
	target[n] = '\0';
	if (symlinkat(target, c->to, UNFINISHED) < 0 ||
	    fchownat(c->to, UNFINISHED, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return 0;
}

static void forget_link(struct linked *l)
{
	close(l->fd);
	l->left = 0;
}

/* 0: name is now one of a file's that was copied before; -ENOENT: no such file. */
static int make_link(struct copy *c, int to, const char *name, const struct stat *st)
{
	struct linked *l;
	int r;

	for (l = c->linked; l < c->linked + LINKED_MAX; l++) {
		if (!l->left || l->dev != st->st_dev || l->ino != st->st_ino)
			continue;
		r = linkat(l->fd, "", to, name, AT_EMPTY_PATH) < 0 ? -errno : 0;
		if (!--l->left)
			forget_link(l);
		return r;
	}
	return -ENOENT;
}

/* The file `name`, just made, has more names in what is copied. */
static int await_links(struct copy *c, int to, const char *name, const struct stat *st)
{
	struct linked *l;

	for (l = c->linked; l < c->linked + LINKED_MAX; l++) {
		if (l->left)
			continue;
		l->fd = openat(to, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (l->fd < 0)
			return -errno;
		l->dev = st->st_dev;
		l->ino = st->st_ino;
		l->left = st->st_nlink - 1;
		return 0;
	}
	return 0;
}

static int copy_subfolder(struct copy *c, int from, int to, const char *name)
{
	_cleanup_close_ int in = -1, out = -1;
	int r;

	if (mkdirat(to, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	in = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	out = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (in < 0 || out < 0)
		return -errno;
	c->depth++;
	r = copy_folder(c, in, out);
	c->depth--;
	return r;
}

static int copy_entry(struct copy *c, int from, int to, const char *name)
{
	struct stat st, there;
	int r;

	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return copy_subfolder(c, from, to, name);
	if ((!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode)) || !fstatat(to, name, &there, AT_SYMLINK_NOFOLLOW))
		return 0;
	if (S_ISREG(st.st_mode) && st.st_nlink > 1 && !make_link(c, to, name, &st))
		return 0;
	r = S_ISREG(st.st_mode) ? make_file(c, from, name) : make_symlink(c, from, name, &st);
	if (!r && renameat(c->to, UNFINISHED, to, name) < 0)
		r = -errno;
	if (r)
		unlinkat(c->to, UNFINISHED, 0);
	if (!r && S_ISREG(st.st_mode) && st.st_nlink > 1)
		r = await_links(c, to, name, &st);
	return r;
}

/* The innermost name is said first, the folders around it are put before it on the way out. */
static int fail(struct copy *c, int r, const char *name)
{
	if (c->e && c->e->code)
		return err_wrap(c->e, "%s", name);
	return err_errno(c->e, -r, "%s", name);
}

static int copy_folder(struct copy *c, int from, int to)
{
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *ent;
	int r = 0;

	if (c->depth > DEPTH_MAX)
		return -ELOOP;
	d = open_dir(from, ".", 0);
	if (!d)
		return -errno;
	for (errno = 0; !r && (ent = readdir(d)); errno = 0) {
		if (str_eq(ent->d_name, ".") || str_eq(ent->d_name, ".."))
			continue;
		r = copy_entry(c, from, to, ent->d_name);
		if (r)
			fail(c, r, ent->d_name);
	}
	if (!r)
		r = errno ? -errno : copy_attributes(c, from, to);
	return r;
}

int mount_copy_up(int from, int to, struct err *e)
{
	struct copy *c = xcalloc(1, sizeof(*c));
	unsigned int i;
	int r;

	c->to = to;
	c->e = e;
	if (e)
		e->code = 0;
	/* Of a copy that was interrupted. */
	unlinkat(to, UNFINISHED, 0);
	r = copy_folder(c, from, to);
	for (i = 0; i < LINKED_MAX; i++)
		if (c->linked[i].left)
			forget_link(&c->linked[i]);
	free(c);
	if (r && e && !e->code)
		err_errno(e, -r, ".");
	return r;
}
