/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/volumes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "sandbox/state.h"

#define TRIES 16 /* against others who make and remove the same name */

static int check_name(const char *name, struct err *e)
{
	if (state_name_valid(name))
		return 0;
	return err_set(e, EINVAL,
		       "create %s: \"%s\" includes invalid characters for a local volume name, only "
		       "\"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed",
		       name, name);
}

/* The folder of the volume, locked, and still the one of that name. -ENOENT, -EWOULDBLOCK, -ESTALE: look again. */
static int open_locked(const char *folder, int operation)
{
	_cleanup_close_ int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct stat a, b;

	if (fd < 0)
		return -errno;
	if (flock(fd, operation | LOCK_NB) < 0)
		return -errno;
	if (fstat(fd, &a) < 0 || lstat(folder, &b) < 0 || a.st_ino != b.st_ino)
		return -ESTALE;
	return take_fd(&fd);
}

int volume_use(const char *store, const char *name, int *lock_fd, char **path, struct err *e)
{
	_cleanup_free_ char *folder = xasprintf("%s/volumes/%s", store, name);
	_cleanup_free_ char *data = xasprintf("%s/_data", folder);
	_cleanup_close_ int fd = -1;
	int r = check_name(name, e), i;

	if (r)
		return r;
	r = mkdir_p(AT_FDCWD, folder, 0700);
	for (i = 0; !r && fd < 0 && i < TRIES; i++) {
		fd = open_locked(folder, LOCK_SH);
		/* It is being removed, or was. */
		if (fd == -ESTALE || fd == -ENOENT || fd == -EWOULDBLOCK)
			r = mkdir_p(AT_FDCWD, folder, 0700);
		else if (fd < 0)
			r = fd;
	}
	if (!r && fd < 0)
		r = -EBUSY;
	if (!r && mkdir(data, 0755) < 0 && errno != EEXIST)
		r = -errno;
	if (r)
		return err_errno(e, r, "volume %s: %s", name, folder);
	if (lock_fd)
		*lock_fd = take_fd(&fd);
	if (path)
		*path = xstrdup(data);
	return 0;
}

bool volume_is_anonymous(const char *name)
{
	return strlen(name) == 64 && strspn(name, "0123456789abcdef") == 64;
}

/* ---- what a new one begins with ------------------------------------------------------------------------------------ */

static int is_empty(const char *path)
{
	_cleanup_closedir_ DIR *d = opendir(path);
	struct dirent *ent;

	if (!d)
		return -errno;
	while ((ent = readdir(d)))
		if (!str_eq(ent->d_name, ".") && !str_eq(ent->d_name, ".."))
			return 0;
	return 1;
}

/* *fd: locked, and not empty from now on. */
static int begin_fill(const char *data, const char *mark, int *fd)
{
	_cleanup_close_ int lock = open(mark, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct stat st;
	int r;

	if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) < 0 || fstat(lock, &st) < 0)
		return -errno;
	/* One that was interrupted goes on. */
	if (!st.st_size) {
		r = is_empty(data);
		if (r <= 0)
			return r;
		r = write_full(lock, "copying\n", strlen("copying\n"));
		if (!r && fdatasync(lock) < 0)
			r = -errno;
		if (r)
			return r;
	}
	*fd = take_fd(&lock);
	return 0;
}

int volume_fill_begin(const char *store, const char *name, int *fd, struct err *e)
{
	_cleanup_free_ char *data = xasprintf("%s/volumes/%s/_data", store, name);
	_cleanup_free_ char *mark = xasprintf("%s/volumes/%s/copy", store, name);
	int r;

	*fd = -1;
	r = begin_fill(data, mark, fd);
	return r ? err_errno(e, r, "volume %s: %s", name, mark) : 0;
}

int volume_fill_end(int *fd)
{
	int r = 0;

	if (*fd < 0)
		return 0;
	if (syncfs(*fd) < 0 || ftruncate(*fd, 0) < 0)
		r = -errno;
	cleanup_closep(fd);
	return r;
}

/* ---- all of them ----------------------------------------------------------------------------------------------------- */

int volume_find(const char *store, const char *name, struct volume_info *out, struct err *e)
{
	char *path = xasprintf("%s/volumes/%s/_data", store, name);
	struct stat st;

	if (!state_name_valid(name) || stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
		free(path);
		return err_set(e, ENOENT, "get %s: no such volume", name);
	}
	*out = (struct volume_info){ .name = xstrdup(name), .path = path, .created_s = st.st_ctime };
#ifdef STATX_BTIME
	struct statx stx;

	if (!statx(AT_FDCWD, path, 0, STATX_BTIME, &stx) && stx.stx_mask & STATX_BTIME)
		out->created_s = stx.stx_btime.tv_sec;
#endif
	return 0;
}

void volume_info_free(struct volume_info *v)
{
	free(v->name);
	free(v->path);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct volume_info *)a)->name, ((const struct volume_info *)b)->name);
}

int volume_list(const char *store, struct volume_info **list, size_t *n, struct err *e)
{
	_cleanup_free_ char *folder = xasprintf("%s/volumes", store);
	_cleanup_closedir_ DIR *d = opendir(folder);
	struct volume_info one;
	struct dirent *ent;

	*list = NULL;
	*n = 0;
	if (!d)
		return errno == ENOENT ? 0 : err_errno(e, errno, "%s", folder);
	while ((ent = readdir(d))) {
		/* What is no volume, or goes away just now, is none. */
		if (volume_find(store, ent->d_name, &one, NULL))
			continue;
		*list = xreallocarray(*list, *n + 1, sizeof(**list));
		(*list)[(*n)++] = one;
	}
	if (*n)
		qsort(*list, *n, sizeof(**list), by_name);
	return 0;
}

void volume_list_free(struct volume_info *list, size_t n)
{
	while (n--)
		volume_info_free(&list[n]);
	free(list);
}

uint64_t volume_bytes(const struct volume_info *v)
{
	char *paths[] = { v->path, NULL };
	FTS *fts = fts_open(paths, FTS_PHYSICAL | FTS_XDEV, NULL);
	uint64_t blocks = 0;
	FTSENT *ent;

	while (fts && (ent = fts_read(fts)))
		if (ent->fts_info != FTS_DP && ent->fts_info != FTS_NS && ent->fts_info != FTS_DNR)
			blocks += (uint64_t)ent->fts_statp->st_blocks;
	if (fts)
		fts_close(fts);
	return blocks * 512;
}

int volume_remove(const char *store, const char *name, struct err *e)
{
	_cleanup_free_ char *folder = xasprintf("%s/volumes/%s", store, name);
	_cleanup_close_ int fd = -1;
	int r;

	if (!state_name_valid(name))
		return err_set(e, ENOENT, "get %s: no such volume", name);
	fd = open_locked(folder, LOCK_EX);
	if (fd == -ENOENT || fd == -ESTALE)
		return err_set(e, ENOENT, "get %s: no such volume", name);
	if (fd == -EWOULDBLOCK)
		return err_set(e, EBUSY, "remove %s: volume is in use", name);
	if (fd < 0)
		return err_errno(e, fd, "remove %s", name);
	r = remove_tree(AT_FDCWD, folder);
	return r ? err_errno(e, r, "remove %s: %s", name, folder) : 0;
}
