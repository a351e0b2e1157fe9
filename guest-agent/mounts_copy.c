/* SPDX-License-Identifier: Apache-2.0 */
/* What was below a tmpfs' place, copied into it. The tmpfs' own size is the limit; sockets and pipes stay behind. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "guest-agent/mounts.h"

#define DEPTH_MAX 128

static int copy_folder(int from, int to, unsigned int depth);

static int copy_file(int from, int to, const char *name)
{
	_cleanup_close_ int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	_cleanup_close_ int out = -1;
	ssize_t n;

	if (in < 0)
		return -errno;
	out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0)
		return -errno;
	while ((n = sendfile(out, in, NULL, 1 << 20)) > 0)
		;
	return n < 0 ? -errno : 0;
}

static int copy_symlink(int from, int to, const char *name)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(from, name, target, sizeof(target) - 1);

	if (n < 0)
		return -errno;
	target[n] = '\0';
	return symlinkat(target, to, name) < 0 ? -errno : 0;
}

static int copy_subfolder(int from, int to, const char *name, unsigned int depth)
{
	_cleanup_close_ int in = -1, out = -1;

	if (mkdirat(to, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	in = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	out = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return in < 0 || out < 0 ? -errno : copy_folder(in, out, depth + 1);
}

static int copy_entry(int from, int to, const char *name, unsigned int depth)
{
	struct stat st;
	int r;

	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (S_ISREG(st.st_mode))
		r = copy_file(from, to, name);
	else if (S_ISDIR(st.st_mode))
		r = copy_subfolder(from, to, name, depth);
	else if (S_ISLNK(st.st_mode))
		r = copy_symlink(from, to, name);
	else
		return 0;
	if (!r && fchownat(to, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	/* After the owner, whose change takes set-id bits away. */
	if (!r && !S_ISLNK(st.st_mode) && fchmodat(to, name, st.st_mode & 07777, 0) < 0)
		r = -errno;
	return r;
}

static int copy_folder(int from, int to, unsigned int depth)
{
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *ent;
	int fd, r = 0;

	if (depth > DEPTH_MAX)
		return -ELOOP;
	fd = fcntl(from, F_DUPFD_CLOEXEC, 3);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		return r;
	}
	while (!r && (ent = readdir(d)))
		if (!str_eq(ent->d_name, ".") && !str_eq(ent->d_name, ".."))
			r = copy_entry(from, to, ent->d_name, depth);
	return r;
}

int mount_copy_up(int from, int to)
{
	struct stat st;
	int r = copy_folder(from, to, 0);

	if (!r && (fstat(from, &st) < 0 || fchown(to, st.st_uid, st.st_gid) < 0 || fchmod(to, st.st_mode & 07777) < 0))
		r = -errno;
	return r;
}
