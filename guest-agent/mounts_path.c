/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "guest-agent/mounts.h"

#define LINKS_MAX 40 /* as the kernel's */

int rootfs_open(int root, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CLOEXEC),
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int fd;

	/* EAGAIN: something was renamed meanwhile and the kernel could not vouch for "..". */
	do
		fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	while (fd < 0 && (errno == EAGAIN || errno == EINTR));
	return fd < 0 ? -errno : fd;
}

/* A path while it is being made. */
struct walk {
	char path[PATH_MAX];
	unsigned int links;
};

/* Puts what the dangling symlink says in place of the part that ends at end. */
static int splice_link(struct walk *w, size_t start, size_t end, const char *target)
{
	char rest[PATH_MAX];
	int n;

	if (++w->links > LINKS_MAX)
		return -ELOOP;
	memcpy(rest, w->path + end, strlen(w->path + end) + 1);
	if (target[0] == '/')
		start = 0;
	n = snprintf(w->path + start, sizeof(w->path) - start, "%s%s", target, rest);
	return (size_t)n >= sizeof(w->path) - start ? -ENAMETOOLONG : 0;
}

/* Makes the part [start, end) of the path, whose parent is there. -EAGAIN: the path is another now. */
static int make_part(int root, struct walk *w, size_t start, size_t end, bool folder)
{
	char name[NAME_MAX + 1], target[PATH_MAX], saved = w->path[start];
	_cleanup_close_ int parent = -1;
	ssize_t n;
	int r;

	if (end - start > NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(name, w->path + start, end - start);
	name[end - start] = '\0';
	w->path[start] = '\0';
	parent = rootfs_open(root, start ? w->path : "/", O_PATH | O_DIRECTORY);
	w->path[start] = saved;
	if (parent < 0)
		return parent;
	n = readlinkat(parent, name, target, sizeof(target) - 1);
	if (n >= 0) {
		target[n] = '\0';
		r = splice_link(w, start, end, target);
		return r ? r : -EAGAIN;
	}
	if (folder)
		return mkdirat(parent, name, 0755) < 0 && errno != EEXIST ? -errno : 0;
	r = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (r < 0)
		return errno == EEXIST ? 0 : -errno;
	close(r);
	return 0;
}

/* From the front, the first part that isn't there is made. */
static int make_missing(int root, struct walk *w, bool folder)
{
	size_t start = strspn(w->path, "/");

	while (w->path[start]) {
		size_t end = start + strcspn(w->path + start, "/");
		size_t next = end + strspn(w->path + end, "/");
		char saved = w->path[end];
		int fd, r;

		w->path[end] = '\0';
		fd = rootfs_open(root, w->path, O_PATH);
		w->path[end] = saved;
		if (fd >= 0)
			close(fd);
		else if (fd != -ENOENT)
			return fd;
		r = fd >= 0 ? 0 : make_part(root, w, start, end, folder || w->path[next]);
		if (r)
			return r;
		start = next;
	}
	return 0;
}

int rootfs_make(int root, const char *path, bool folder)
{
	int fd = rootfs_open(root, path, O_PATH), r;
	struct walk w = { .links = 0 };

	if (fd != -ENOENT)
		return fd;
	if (strlen(path) >= sizeof(w.path))
		return -ENAMETOOLONG;
	memcpy(w.path, path, strlen(path) + 1);
	/* Bounded by the links that may be followed. */
	do
		r = make_missing(root, &w, folder);
	while (r == -EAGAIN);
	return r ? r : rootfs_open(root, w.path, O_PATH);
}

int rootfs_write(int root, const char *path, const void *data, size_t len, mode_t mode)
{
	_cleanup_free_ char *dir = xstrdup(path);
	_cleanup_close_ int parent = -1, fd = -1;
	char *name = strrchr(dir, '/');

	if (!name || !name[1] || str_eq(name + 1, ".") || str_eq(name + 1, ".."))
		return -EINVAL;
	*name++ = '\0';
	parent = rootfs_make(root, *dir ? dir : "/", true);
	if (parent < 0)
		return parent;
	if (unlinkat(parent, name, 0) < 0 && errno != ENOENT)
		return -errno;
	fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	/* Past the umask. */
	if (fchmod(fd, mode & 07777) < 0)
		return -errno;
	return write_full(fd, data, len);
}
