/* SPDX-License-Identifier: Apache-2.0 */
#include "image/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"

static const char *const folders[] = { "blobs", "blobs/sha256", "blobs/sha512", "images", "rootfs", "tmp" };

static int make_folders(struct image_store *s, struct err *e)
{
	size_t i;
	int r;

	r = mkdir_p(AT_FDCWD, s->root, 0700);
	if (r)
		return err_errno(e, r, "image store %s: making it", s->root);
	s->fd = open(s->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->fd < 0)
		return err_errno(e, errno, "image store %s: opening it", s->root);
	for (i = 0; i < ARRAY_SIZE(folders); i++)
		if (mkdirat(s->fd, folders[i], 0700) < 0 && errno != EEXIST)
			return err_errno(e, errno, "image store %s: making folder %s", s->root, folders[i]);
	return 0;
}

/* Removes what dead processes left below tmp/. Whatever can't be removed is left for the next time. */
static void sweep(struct image_store *s)
{
	_cleanup_closedir_ DIR *d = open_dir(s->fd, "tmp", 0);
	struct dirent *ent;

	if (!d)
		return;
	while ((ent = readdir(d))) {
		_cleanup_close_ int item = -1;

		if (ent->d_name[0] == '.')
			continue;
		item = openat(dirfd(d), ent->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
		if (item < 0 || flock(item, LOCK_EX | LOCK_NB) < 0)
			continue;
		if (remove_tree(dirfd(d), ent->d_name))
			log_info("image store %s: cannot remove tmp/%s yet", s->root, ent->d_name);
	}
}

int image_store_open(const char *root, struct image_store **store, struct err *e)
{
	struct image_store *s;
	int r = 0;

	if (geteuid() != 0)
		return err_set(
			e, EPERM,
			"image store %s: images need root (files of all owners, device nodes); run this with sudo",
			root);
	s = xcalloc(1, sizeof(*s));
	s->root = image_absolute_path(root);
	s->fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* tmp is made last: when it's there, all is. */
	if (s->fd < 0 || faccessat(s->fd, "tmp", F_OK, 0) < 0) {
		cleanup_closep(&s->fd);
		r = make_folders(s, e);
	}
	if (r) {
		image_store_close(s);
		return r;
	}
	sweep(s);
	*store = s;
	return 0;
}

void image_store_close(struct image_store *s)
{
	if (!s)
		return;
	cleanup_closep(&s->fd);
	free(s->root);
	free(s);
}

int store_explain(const struct image_store *s, struct err *e)
{
	char before[ERR_MSG_MAX];

	if (!e || (e->code != ENOSPC && e->code != EDQUOT) || strstr(e->msg, "make room"))
		return e ? -e->code : -EIO;
	memcpy(before, e->msg, sizeof(before));
	return err_set(e, e->code,
		       "image store %s is full; make room there (microvm rmi) or use another folder: %.700s", s->root,
		       before);
}

/* Locks the folder that path names, whatever other processes do to it meanwhile. 1: it vanished, try again. */
static int lock_folder(struct image_store *s, const char *path, bool wait, struct store_tmp *tmp)
{
	struct stat st;

	tmp->fd = openat(s->fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (tmp->fd < 0)
		return errno == ENOENT ? 1 : -errno;
	if (flock(tmp->fd, LOCK_EX | (wait ? 0 : LOCK_NB)) < 0) {
		int r = errno == EWOULDBLOCK ? 1 : -errno;

		cleanup_closep(&tmp->fd);
		return r;
	}
	/* Swept between mkdir and flock? */
	if (fstat(tmp->fd, &st) < 0 || st.st_nlink == 0) {
		cleanup_closep(&tmp->fd);
		return 1;
	}
	return 0;
}

static int empty_folder(int folder)
{
	_cleanup_closedir_ DIR *d = open_dir(folder, ".", 0);
	struct dirent *ent;
	int r = 0;

	if (!d)
		return -errno;
	while (!r && (ent = readdir(d)))
		if (!str_eq(ent->d_name, ".") && !str_eq(ent->d_name, ".."))
			r = remove_tree(dirfd(d), ent->d_name);
	return r;
}

int store_tmp_take(struct image_store *s, const char *name, struct store_tmp *tmp, struct err *e)
{
	char id[65];
	int r;

	tmp->fd = -1;
	do {
		random_id(id);
		id[16] = '\0';
		snprintf(tmp->path, sizeof(tmp->path), "tmp/%s", name ? name : id);
		r = mkdirat(s->fd, tmp->path, 0700) < 0 && errno != EEXIST ? -errno : 0;
		if (!r)
			r = lock_folder(s, tmp->path, name != NULL, tmp);
	} while (r > 0);
	if (!r && name)
		r = empty_folder(tmp->fd); /* of what one who was killed had made */
	return r ? err_errno(e, r, "image store %s: making %s", s->root, tmp->path) : 0;
}

void store_tmp_drop(struct image_store *s, struct store_tmp *tmp)
{
	if (tmp->fd < 0)
		return;
	if (remove_tree(s->fd, tmp->path))
		log_warn("image store %s: cannot remove %s", s->root, tmp->path);
	cleanup_closep(&tmp->fd);
}

int store_lock(struct image_store *s, int flock_operation, bool wait)
{
	_cleanup_close_ int fd = openat(s->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || flock(fd, flock_operation | (wait ? 0 : LOCK_NB)) < 0)
		return -errno;
	return take_fd(&fd);
}

int store_sync_folder(struct image_store *s, const char *path)
{
	_cleanup_close_ int fd = openat(s->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

void store_blob_path(const char *digest, char path[STORE_PATH_MAX])
{
	snprintf(path, STORE_PATH_MAX, "blobs/%.6s/%.128s", digest, digest + 7);
}

void store_rootfs_path(const char *id, char path[STORE_PATH_MAX])
{
	snprintf(path, STORE_PATH_MAX, "rootfs/%.64s", id + 7);
}
