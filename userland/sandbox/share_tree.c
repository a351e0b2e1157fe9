/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/share_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

#define DATA_MAX 4095u /* mount(2) takes a page */

static const unsigned long tree_flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;

int share_tree_own_mounts(struct err *e)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return err_errno(e, errno, "mounts of its own");
	return 0;
}

int share_tree_make(const char *path, bool grows, struct err *e)
{
	if (mount("shares", path, "tmpfs", tree_flags, "size=256k,mode=0755") < 0)
		return err_errno(e, errno, "a tmpfs on %s", path);
	if (grows && mount(NULL, path, NULL, MS_SHARED, NULL) < 0) {
		err_errno(e, errno, "%s: sharing it", path);
		umount2(path, MNT_DETACH);
		return -e->code;
	}
	return 0;
}

void share_tree_end(const char *path)
{
	/* Lazily, with all that is mounted in it. */
	umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
}

int share_tree_close(const char *path, struct err *e)
{
	return mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | tree_flags, NULL) < 0
		       ? err_errno(e, errno, "%s read-only", path)
		       : 0;
}

int share_tree_enter(const char *path, struct err *e)
{
	int r = share_tree_own_mounts(e);

	return r ? r : share_tree_close(path, e);
}

/* ---- shares ------------------------------------------------------------------------------------------------------- */

static void place_of(char at[], size_t size, const char *path, size_t number)
{
	snprintf(at, size, "%s/%zu", path, number);
}

int share_tree_take(const char *source, struct err *e)
{
	int tree = open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

	return tree < 0 ? err_errno(e, errno, "%s", source) : tree;
}

static int make_place(const char *at, bool folder)
{
	_cleanup_close_ int file = -1;

	if (folder)
		return mkdir(at, 0755) < 0 ? -errno : 0;
	file = open(at, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	return file < 0 ? -errno : 0;
}

static int attach(const char *at, int tree, const char *source, bool read_only, struct err *e)
{
	/* A slave: else an end in the tree would be one on the host, too. */
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, .propagation = MS_SLAVE };

	if (read_only)
		attr.attr_set |= MOUNT_ATTR_RDONLY;
	if (mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
		return err_errno(e, errno, "%s can't be made %s", source, read_only ? "read-only" : "a share");
	if (move_mount(tree, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_errno(e, errno, "%s can't be shared", source);
	return 0;
}

/* Places are made in one folder, and mounted on in another: both are views of the same tmpfs. */
static void remove_at(const char *places, const char *path, size_t number)
{
	char at[4096];

	place_of(at, sizeof(at), path, number);
	/* A folder of a root may have several, one over the other. */
	while (!umount2(at, MNT_DETACH | UMOUNT_NOFOLLOW))
		;
	place_of(at, sizeof(at), places, number);
	if (unlink(at) < 0 && (errno == EISDIR || errno == EPERM))
		rmdir(at);
}

static int add_at(const char *places, const char *path, const struct share_tree_item *item, struct err *e)
{
	char at[4096];
	struct stat st;
	int r;

	place_of(at, sizeof(at), places, item->number);
	if (fstat(item->tree, &st) < 0)
		return err_errno(e, errno, "%s", item->source);
	r = make_place(at, S_ISDIR(st.st_mode));
	if (r)
		return err_errno(e, r, "a place for %s", item->source);
	place_of(at, sizeof(at), path, item->number);
	r = attach(at, item->tree, item->source, item->read_only, e);
	if (r)
		remove_at(places, path, item->number);
	return r;
}

int share_tree_add(const char *path, size_t number, int tree, const char *source, bool read_only, struct err *e)
{
	const struct share_tree_item item = {
		.number = number, .tree = tree, .source = source, .read_only = read_only
	};

	return add_at(path, path, &item, e);
}

void share_tree_remove(const char *path, size_t number)
{
	remove_at(path, path, number);
}

/* ---- of a server that runs ------------------------------------------------------------------------------------------- */

struct visit {
	const struct share_tree_item *items; /* to be added; NULL: to be removed, from `first` on */
	size_t first, n;
};

/* In a process of its own, as one can't go back to where it came from while others share its root and folder. */
static int visit_served(int mntns_fd, const struct visit *v, struct err *e)
{
	struct mount_attr attr = { .attr_clr = MOUNT_ATTR_RDONLY };
	int places, r = 0;
	size_t i;

	if (setns(mntns_fd, CLONE_NEWNS) < 0)
		return err_errno(e, errno, "the file server's mounts");
	/* What is served is read-only; a mount of our own of the same tmpfs needs not be. */
	places = open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (places < 0 || mount_setattr(places, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 || fchdir(places) < 0)
		return err_errno(e, errno, "the file server's tree");
	for (i = 0; v->items && !r && i < v->n; i++)
		r = add_at(".", "", &v->items[i], e);
	for (; v->items && r && i > 1; i--)
		remove_at(".", "", v->items[i - 2].number);
	for (i = 0; !v->items && i < v->n; i++)
		remove_at(".", "", v->first + i);
	return r;
}

static int visit(int mntns_fd, const struct visit *v, struct err *e)
{
	struct err *said = mmap(NULL, sizeof(*said), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = 0, r;
	pid_t pid;

	if (said == MAP_FAILED)
		return err_errno(e, errno, "memory for an answer");
	*said = (struct err)ERR_INIT;
	pid = fork();
	if (!pid)
		_exit(visit_served(mntns_fd, v, said) ? 1 : 0);
	r = pid < 0 ? -errno : 0;
	while (!r && waitpid(pid, &status, 0) < 0)
		r = errno == EINTR ? 0 : -errno;
	if (r)
		err_errno(e, r, "a process that visits the file server");
	else if (status)
		r = said->code ? err_set(e, said->code, "%s", said->msg)
			       : err_set(e, EIO, "who visits the file server was killed");
	munmap(said, sizeof(*said));
	return r;
}

int share_tree_add_served(int mntns_fd, const struct share_tree_item *items, size_t n, struct err *e)
{
	return visit(mntns_fd, &(struct visit){ .items = items, .n = n }, e);
}

int share_tree_remove_served(int mntns_fd, size_t first, size_t n, struct err *e)
{
	return visit(mntns_fd, &(struct visit){ .first = first, .n = n }, e);
}

/* ---- mounts of engines ---------------------------------------------------------------------------------------------- */

/* Words of mount(8) that are no file system's own. */
static const struct {
	const char *word;
	unsigned long set, clear;
} words[] = {
	{ "ro", MS_RDONLY, 0 },
	{ "rw", 0, MS_RDONLY },
	{ "bind", MS_BIND, 0 },
	{ "rbind", MS_BIND | MS_REC, 0 },
	{ "nosuid", MS_NOSUID, 0 },
	{ "suid", 0, MS_NOSUID },
	{ "nodev", MS_NODEV, 0 },
	{ "dev", 0, MS_NODEV },
	{ "noexec", MS_NOEXEC, 0 },
	{ "exec", 0, MS_NOEXEC },
	{ "sync", MS_SYNCHRONOUS, 0 },
	{ "async", 0, MS_SYNCHRONOUS },
	{ "dirsync", MS_DIRSYNC, 0 },
	{ "noatime", MS_NOATIME, 0 },
	{ "atime", 0, MS_NOATIME },
	{ "nodiratime", MS_NODIRATIME, 0 },
	{ "diratime", 0, MS_NODIRATIME },
	{ "relatime", MS_RELATIME, 0 },
	{ "norelatime", 0, MS_RELATIME },
	{ "strictatime", MS_STRICTATIME, 0 },
	{ "nostrictatime", 0, MS_STRICTATIME },
	{ "lazytime", MS_LAZYTIME, 0 },
	{ "defaults", 0, 0 },
};

static bool take_word(const char *option, unsigned long *flags)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(words); i++)
		if (str_eq(words[i].word, option)) {
			*flags = (*flags | words[i].set) & ~words[i].clear;
			return true;
		}
	return false;
}

/* The options that are the file system's own, as one text; those that begin with `but` are `instead`. malloc'd. */
static char *join_options(const struct share_mount *m, const char *but, const char *instead, unsigned long *flags)
{
	char *data = xstrdup(""), *more;
	size_t i;

	*flags = str_eq(m->type, "bind") ? MS_BIND : 0;
	for (i = 0; i < m->options_n; i++) {
		const bool other = but && str_starts(m->options[i], but);

		if (take_word(m->options[i], flags))
			continue;
		more = xasprintf("%s%s%s%s", data, *data ? "," : "", other ? but : m->options[i], other ? instead : "");
		free(data);
		data = more;
	}
	return data;
}

char *share_tree_shorten(const char *lowers, char **folder)
{
	const size_t size = 2 * strlen(lowers) + 2;
	size_t common = strcspn(lowers, ":"), n, len = 0;
	const char *l;
	char *out;

	*folder = NULL;
	for (l = lowers; *l; l += n + (l[n] == ':')) {
		size_t i = 0;

		n = strcspn(l, ":");
		while (i < common && i < n && l[i] == lowers[i])
			i++;
		common = i;
	}
	while (common && lowers[common - 1] != '/')
		common--;
	/* A colon behind a backslash is a name's own. */
	if (common < 2 || lowers[0] != '/' || strchr(lowers, '\\'))
		return NULL;
	*folder = xasprintf("%.*s", (int)common, lowers);
	/* A name that ends in a slash leaves nothing, which is the folder itself. */
	out = xcalloc(1, size);
	for (l = lowers; *l; l += n + (l[n] == ':')) {
		n = strcspn(l, ":");
		len += (size_t)snprintf(out + len, size - len, "%s%.*s", len ? ":" : "",
					n > common ? (int)(n - common) : 1, n > common ? l + common : ".");
	}
	return out;
}

static int mount_data(const char *at, const struct share_mount *m, unsigned long flags, const char *data, struct err *e)
{
	if (strlen(data) > DATA_MAX)
		return err_set(e, E2BIG, "%s %s: its options have more than %u bytes; the image has too many layers",
			       m->type, m->source, DATA_MAX);
	return mount(m->source, at, m->type, flags | MS_NOSUID | MS_NODEV, data) < 0
		       ? err_errno(e, errno, "mount %s %s", m->type, m->source)
		       : 0;
}

/* Layers of an image lie beside each other: named from the folder that they are in, several hundred go into a page. */
static int mount_from_folder(const char *at, const struct share_mount *m, unsigned long flags, struct err *e)
{
	static const char lowerdir[] = "lowerdir=";
	_cleanup_free_ char *folder = NULL, *lowers = NULL, *data = NULL;
	_cleanup_close_ int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	unsigned long ignored;
	size_t i;
	int r;

	for (i = 0; !lowers && i < m->options_n; i++)
		if (str_starts(m->options[i], lowerdir))
			lowers = share_tree_shorten(m->options[i] + strlen(lowerdir), &folder);
	data = join_options(m, lowers ? lowerdir : NULL, lowers, &ignored);
	if (folder && (here < 0 || chdir(folder) < 0))
		return err_errno(e, errno, "%s", folder);
	r = mount_data(at, m, flags, data, e);
	if (folder && fchdir(here) < 0)
		return err_errno(e, errno, "the working directory");
	return r;
}

static int mount_one(const char *at, const struct share_mount *m, bool read_only, struct err *e)
{
	_cleanup_close_ int tree = -1;
	unsigned long flags;
	_cleanup_free_ char *data = join_options(m, NULL, NULL, &flags);

	/* Now, as nobody else hears of what changes in a mount. */
	flags |= read_only ? MS_RDONLY : 0;
	if (!(flags & MS_BIND))
		return strlen(data) > DATA_MAX ? mount_from_folder(at, m, flags, e) : mount_data(at, m, flags, data, e);
	tree = open_tree(AT_FDCWD, m->source,
			 OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (flags & MS_REC ? (unsigned int)AT_RECURSIVE : 0));
	if (tree < 0)
		return err_errno(e, errno, "mount bind %s", m->source);
	return attach(at, tree, m->source, flags & MS_RDONLY, e);
}

int share_tree_mount(const char *path, size_t number, const struct share_mount *mounts, size_t n, bool read_only,
		     struct err *e)
{
	char at[4096];
	size_t i;
	int r;

	place_of(at, sizeof(at), path, number);
	r = make_place(at, true);
	if (r)
		return err_errno(e, r, "a place for the root");
	for (i = 0; !r && i < n; i++)
		r = mount_one(at, &mounts[i], read_only, e);
	if (r)
		share_tree_remove(path, number);
	return r;
}
