/* SPDX-License-Identifier: Apache-2.0 */
/* What is in the store, and taking it out again. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/log.h"
#include "base/util.h"
#include "image/manifest.h"
#include "image/store.h"

static void push(char ***list, const char *text)
{
	size_t n = 0;

	while (*list && (*list)[n])
		n++;
	*list = xreallocarray(*list, n + 2, sizeof(**list));
	(*list)[n] = xstrdup(text);
	(*list)[n + 1] = NULL;
}

static int unname(struct image_store *s, const char *name, struct image_removed *removed, struct err *e)
{
	char path[STORE_PATH_MAX];

	store_name_path(name, path);
	if (unlinkat(s->fd, path, 0) < 0 && errno != ENOENT)
		return err_errno(e, errno, "image store %s: removing %s", s->root, path);
	push(&removed->untagged, name);
	return 0;
}

/* Out of the way in one step, so that nobody meets half an image; then gone. Its lock is held by the caller. */
static int remove_rootfs(struct image_store *s, const char *id, struct err *e)
{
	char path[STORE_PATH_MAX], away[STORE_PATH_MAX + 8];
	struct store_tmp tmp;
	int r = store_tmp_take(s, NULL, &tmp, e);

	if (r)
		return r;
	store_rootfs_path(id, path);
	snprintf(away, sizeof(away), "%s/gone", tmp.path);
	if (renameat(s->fd, path, s->fd, away) < 0 && errno != ENOENT)
		r = err_errno(e, errno, "image store %s: removing %s", s->root, path);
	store_tmp_drop(s, &tmp);
	return r;
}

/*
 * A sandbox holds its lock for as long as it lives; a listing, or an import that ends, for a moment only, so a lock that
 * is taken is asked for again before it's called in use.
 */
static int lock_rootfs(int fd)
{
	const struct timespec moment = { .tv_nsec = 20000000 };
	int tries;

	for (tries = 0; tries < 10; tries++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		nanosleep(&moment, NULL);
	}
	return -EBUSY;
}

static int remove_image(struct image_store *s, const char *id, const struct store_name *names, size_t n,
			struct image_removed *removed, struct err *e)
{
	char path[STORE_PATH_MAX];
	_cleanup_close_ int fd = -1;
	size_t i;
	int r = 0;

	store_rootfs_path(id, path);
	strcat(path, "/rootfs.erofs");
	fd = openat(s->fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0 && lock_rootfs(fd))
		return err_set(e, EBUSY,
			       "image %.19s is in use by a sandbox; remove that first (microvm ps -a, microvm rm)", id);
	for (i = 0; !r && i < n; i++)
		if (str_eq(names[i].id, id))
			r = unname(s, names[i].name, removed, e);
	if (!r)
		r = remove_rootfs(s, id, e);
	if (!r)
		push(&removed->deleted, id);
	return r;
}

static int remove_found(struct image_store *s, const char *id, const char *name, bool force,
			struct image_removed *removed, struct err *e)
{
	struct store_name *names = NULL;
	size_t n = 0, mine = 0, i;
	int r = store_name_list(s, &names, &n, e);

	for (i = 0; i < n; i++)
		mine += str_eq(names[i].id, id);
	if (!r && name && mine > 1)
		r = unname(s, name, removed, e);
	else if (!r && mine > 1 && !force)
		r = err_set(e, EEXIST, "image %.19s has %zu names; remove it by name, or all of them with -f", id,
			    mine);
	else if (!r)
		r = remove_image(s, id, names, n, removed, e);
	store_name_list_free(names, n);
	return r;
}

int image_remove(struct image_store *s, const char *text, bool force, struct image_removed *removed, struct err *e)
{
	_cleanup_(image_reference_free) struct image_reference ref = { 0 };
	struct image_removed done = { 0 };
	_cleanup_free_ char *name = NULL;
	char id[IMAGE_ID_MAX];
	int r = image_reference_parse(text, &ref, e);

	if (!r)
		r = store_lookup(s, ref.name, id, &name, e);
	if (!r)
		r = remove_found(s, id, name, force, &done, e);
	if (!r && done.deleted)
		store_collect(s);
	if (!done.untagged)
		done.untagged = xcalloc(1, sizeof(char *));
	if (!done.deleted)
		done.deleted = xcalloc(1, sizeof(char *));
	if (removed && !r)
		*removed = done;
	else
		image_removed_free(&done);
	return r;
}

void image_removed_free(struct image_removed *removed)
{
	json_free_strings(removed->untagged);
	json_free_strings(removed->deleted);
	*removed = (struct image_removed){ 0 };
}

static int compare_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void collect_folder(struct image_store *s, const char *algorithm, char **used, size_t n)
{
	_cleanup_free_ char *folder = xasprintf("blobs/%s", algorithm);
	_cleanup_closedir_ DIR *d = open_dir(s->fd, folder, 0);
	struct dirent *ent;

	if (!d)
		return;
	while ((ent = readdir(d))) {
		_cleanup_free_ char *digest = xasprintf("%s:%s", algorithm, ent->d_name);

		if (ent->d_name[0] != '.' && !(n && bsearch(&digest, used, n, sizeof(*used), compare_text)) &&
		    unlinkat(dirfd(d), ent->d_name, 0) < 0)
			log_warn("image store %s: cannot remove %s/%s", s->root, folder, ent->d_name);
	}
}

void store_collect(struct image_store *s)
{
	_cleanup_close_ int lock = store_lock(s, LOCK_EX, false);
	struct store_image *images = NULL;
	_cleanup_free_ char **used = NULL;
	size_t n = 0, used_n = 0, i, j;

	if (lock < 0 || store_image_list(s, &images, &n, NULL))
		return;
	for (i = 0; i < n; i++) {
		used = xreallocarray(used, used_n + images[i].blobs_n + 1, sizeof(*used));
		for (j = 0; j < images[i].blobs_n; j++)
			used[used_n++] = images[i].blobs[j];
	}
	if (used_n)
		qsort(used, used_n, sizeof(*used), compare_text);
	collect_folder(s, "sha256", used, used_n);
	collect_folder(s, "sha512", used, used_n);
	store_image_list_free(images, n);
}
