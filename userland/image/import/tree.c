/* SPDX-License-Identifier: Apache-2.0 */
#include "image/import/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "image/import/tree-internal.h"
#include "image/limits.h"

#define SYMLINKS_MAX 40 /* as the kernel's own walk */

static void cache_drop(struct tree *t)
{
	if (t->cached_fd >= 0 && t->cached_fd != t->root)
		close(t->cached_fd);
	t->cached_fd = -1;
	free(t->cached_path);
	free(t->cached_canon);
	t->cached_path = NULL;
	t->cached_canon = NULL;
}

void tree_free(struct tree *t)
{
	size_t i;

	if (!t)
		return;
	cache_drop(t);
	for (i = 0; i < t->times_n; i++)
		free(t->times[i].path);
	free(t->times);
	free(t->made.slots);
	free(t);
}

int tree_clean_path(const char *what, const char *raw, char **clean, struct err *e)
{
	_cleanup_free_ char *out = xcalloc(1, strlen(raw) + 1);
	const char *s = raw;
	unsigned int depth = 0;
	size_t used = 0;

	for (;;) {
		size_t n;

		s += strspn(s, "/");
		n = strcspn(s, "/");
		if (!n)
			break;
		if (n == 1 && *s == '.') {
			s += n;
			continue;
		}
		if (n == 2 && s[0] == '.' && s[1] == '.')
			return err_set(e, EINVAL, "%s '%.256s': names outside the image ('..') are refused", what, raw);
		if (n > IMAGE_COMPONENT_MAX)
			return err_set(e, ENAMETOOLONG, "%s '%.64s…': a name of %zu bytes, %u is the limit", what, raw,
				       n, IMAGE_COMPONENT_MAX);
		if (++depth > IMAGE_DEPTH_MAX)
			return err_set(e, ENAMETOOLONG, "%s '%.64s…': more than %u folders deep", what, raw,
				       IMAGE_DEPTH_MAX);
		if (used)
			out[used++] = '/';
		memcpy(out + used, s, n);
		used += n;
		s += n;
	}
	if (used > IMAGE_PATH_MAX)
		return err_set(e, ENAMETOOLONG, "%s '%.64s…': a path of %zu bytes, %u is the limit", what, raw, used,
			       IMAGE_PATH_MAX);
	*clean = take_ptr(out);
	return 0;
}

/* Opens a folder by a path that must have no symlink in it. "" is the root. */
static int open_plain(int root, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
	};
	long fd = syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

/*
 * A walk through a path whose parts may be symlinks, as in a chroot: todo is what is still to go, canon where fd is. The
 * last own_len bytes of todo are of the path that was asked for, what is before them came from symlinks.
 */
struct walk {
	int fd;
	char todo[2 * PATH_MAX + 2];
	size_t own_len;
	bool own; /* the current component is of the path that was asked for */
	char canon[PATH_MAX];
	unsigned int symlinks, depth;
};

static void walk_close(struct walk *w)
{
	cleanup_closep(&w->fd);
}

/* Puts a symlink's target before what is left to go. */
static int walk_symlink(struct tree *t, struct walk *w, const char *path, const char *name, struct err *e)
{
	char target[PATH_MAX], rest[PATH_MAX + 1];
	ssize_t n = readlinkat(w->fd, name, target, sizeof(target) - 1);

	if (n < 0)
		return err_errno(e, errno, "'%.256s': reading symlink '%.128s'", path, name);
	target[n] = '\0';
	if (++w->symlinks > SYMLINKS_MAX)
		return err_set(e, ELOOP, "'%.256s': goes through more than %d symlinks", path, SYMLINKS_MAX);
	if (target[0] == '/') {
		cleanup_closep(&w->fd);
		w->fd = open_plain(t->root, "");
		w->canon[0] = '\0';
		w->depth = 0;
		if (w->fd < 0)
			return err_errno(e, w->fd, "'%.256s'", path);
	}
	if (strlen(w->todo) >= sizeof(rest) || snprintf(rest, sizeof(rest), "%s", w->todo) < 0 ||
	    (size_t)snprintf(w->todo, sizeof(w->todo), "%s/%s", target, rest) > PATH_MAX)
		return err_set(e, ENAMETOOLONG, "'%.256s': too long by way of symlink '%.128s'", path, name);
	return 0;
}

static int walk_up(struct tree *t, struct walk *w, const char *path, struct err *e)
{
	char *slash = strrchr(w->canon, '/');

	if (!*w->canon)
		return err_set(e, ELOOP, "'%.256s': a symlink on the way leads out of the image; refused", path);
	*(slash ? slash : w->canon) = '\0';
	w->depth--;
	cleanup_closep(&w->fd);
	w->fd = open_plain(t->root, w->canon);
	return w->fd < 0 ? err_errno(e, w->fd, "'%.256s'", path) : 0;
}

/* Into folder name, which is there. */
static int walk_down(struct walk *w, const char *path, const char *name, struct err *e)
{
	int fd = openat(w->fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	size_t used = strlen(w->canon);

	if (fd < 0)
		return err_errno(e, errno, "'%.256s': folder '%.128s'", path, name);
	close(w->fd);
	w->fd = fd;
	if (++w->depth > IMAGE_DEPTH_MAX || used + strlen(name) + 2 > sizeof(w->canon))
		return err_set(e, ENAMETOOLONG, "'%.64s…': more than %u folders deep by way of symlinks", path,
			       IMAGE_DEPTH_MAX);
	snprintf(w->canon + used, sizeof(w->canon) - used, "%s%s", used ? "/" : "", name);
	return 0;
}

static int make_folder(struct tree *t, struct walk *w, const char *name)
{
	struct tree_place p = { .dirfd = w->fd, .name = name, .dir_path = w->canon };

	if (mkdirat(w->fd, name, 0755) < 0)
		return -errno;
	/* mkdirat's mode is cut by the umask; the owner is ours, root. */
	if (fchmodat(w->fd, name, 0755, 0) < 0)
		return -errno;
	tree_note_time(t, &p, (struct timespec){ 0 });
	tree_note_made(t, &p);
	return 0;
}

static int walk_step(struct tree *t, struct walk *w, const char *path, const char *name, bool make, struct err *e)
{
	struct stat st;
	int r;

	if (str_eq(name, "."))
		return 0;
	if (str_eq(name, ".."))
		return walk_up(t, w, path, e);
	if (fstatat(w->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			return err_errno(e, errno, "'%.256s': '%.128s'", path, name);
		/* What an entry's own name implies is made; a symlink doesn't get its target. */
		if (!w->own)
			return err_set(e, ENOENT,
				       "'%.256s': a symlink on the way leads to '/%.128s%s%.64s', which isn't there",
				       path, w->canon, *w->canon ? "/" : "", name);
		if (!make)
			return err_set(e, ENOENT, "'%.256s': not there", path);
		r = make_folder(t, w, name);
		if (r)
			return err_errno(e, r, "'%.256s': making folder '%.128s'", path, name);
		return walk_down(w, path, name, e);
	}
	if (S_ISLNK(st.st_mode))
		return walk_symlink(t, w, path, name, e);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ENOTDIR, "'%.256s': '/%.128s%s%.64s' is no folder", path, w->canon,
			       *w->canon ? "/" : "", name);
	return walk_down(w, path, name, e);
}

/* The slow way to a folder: step by step, making what is missing, following symlinks under our own rules. */
static int walk_folder(struct tree *t, const char *path, const char *dir, bool make, struct err *e)
{
	_cleanup_(walk_close) struct walk w = { .fd = open_plain(t->root, "") };
	int r;

	if (w.fd < 0)
		return err_errno(e, w.fd, "'%.256s'", path);
	snprintf(w.todo, sizeof(w.todo), "%s", dir);
	w.own_len = strlen(w.todo);
	for (;;) {
		char name[IMAGE_COMPONENT_MAX + 1];
		size_t skip = strspn(w.todo, "/"), n = strcspn(w.todo + skip, "/");

		if (!n)
			break;
		if (n >= sizeof(name))
			return err_set(e, ENAMETOOLONG, "'%.256s': a symlink on the way has too long a name", path);
		memcpy(name, w.todo + skip, n);
		name[n] = '\0';
		memmove(w.todo, w.todo + skip + n, strlen(w.todo + skip + n) + 1);
		w.own = strlen(w.todo) < w.own_len;
		w.own_len = min_t(size_t, w.own_len, strlen(w.todo));
		r = walk_step(t, &w, path, name, make, e);
		if (r)
			return r;
	}
	t->cached_fd = take_fd(&w.fd);
	t->cached_canon = xstrdup(w.canon);
	return 0;
}

int tree_find(struct tree *t, const char *path, bool make, struct tree_place *p, struct err *e)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *dir = slash ? xstrndup(path, (size_t)(slash - path)) : xstrdup("");
	int r;

	/* Archives come folder by folder: nearly always it is the one of the entry before. */
	if (!t->cached_path || strcmp(t->cached_path, dir) != 0) {
		cache_drop(t);
		r = open_plain(t->root, dir);
		if (r >= 0) {
			t->cached_fd = r;
			t->cached_canon = xstrdup(dir);
		} else {
			r = walk_folder(t, path, dir, make, e);
			if (r)
				return r;
		}
		t->cached_path = take_ptr(dir);
	}
	p->dirfd = t->cached_fd;
	p->dir_path = t->cached_canon;
	p->name = slash ? slash + 1 : path;
	return 0;
}

int tree_clear(struct tree *t, const struct tree_place *p, struct err *e)
{
	int r = remove_tree(p->dirfd, p->name);

	return r ? err_errno(e, r, "removing '/%.256s/%.128s'", p->dir_path, p->name) : 0;
}

void tree_note_time(struct tree *t, const struct tree_place *p, struct timespec mtime)
{
	if (t->times_n == t->times_room) {
		t->times_room = t->times_room ? 2 * t->times_room : 256;
		t->times = xreallocarray(t->times, t->times_room, sizeof(*t->times));
	}
	t->times[t->times_n].path = xasprintf("%s%s%s", p->dir_path, *p->dir_path && *p->name ? "/" : "", p->name);
	t->times[t->times_n++].mtime = mtime;
}

struct tree *tree_new(int root)
{
	const struct tree_place top = { .dirfd = root, .name = "", .dir_path = "" };
	struct tree *t = xcalloc(1, sizeof(*t));

	t->root = root;
	t->cached_fd = -1;
	/* Unless an entry says otherwise: the same image is to give the same tree. */
	tree_note_time(t, &top, (struct timespec){ 0 });
	return t;
}

int tree_finish(struct tree *t, struct err *e)
{
	size_t i;

	cache_drop(t);
	for (i = 0; i < t->times_n; i++) {
		struct timespec times[2] = { t->times[i].mtime, t->times[i].mtime };
		_cleanup_close_ int fd = open_plain(t->root, t->times[i].path);

		/* A later entry may have taken its place. */
		if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
			continue;
		if (fd < 0 || utimensat(fd, "", times, AT_EMPTY_PATH) < 0)
			return err_errno(e, fd < 0 ? fd : errno, "'/%.256s': setting its time", t->times[i].path);
	}
	return 0;
}
