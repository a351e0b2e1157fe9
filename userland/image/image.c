/* SPDX-License-Identifier: Apache-2.0 */
#include "image/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "image/limits.h"
#include "image/manifest.h"
#include "image/spawn.h"
#include "image/store.h"

#define TRIES_MAX 3 /* an image may be removed between its import and its use, but hardly thrice */

/* Does the layout's index still give the tag to the manifest we know? Anything odd: no, and the import will say why. */
static bool layout_unchanged(const struct image_reference *ref, const struct store_name *rec)
{
	_cleanup_free_ char *path = xasprintf("%s/index.json", ref->path), *text = NULL;
	const struct oci_descriptor *found;
	struct oci_index index;
	bool same = false;
	size_t len;

	if (read_file(AT_FDCWD, path, IMAGE_MANIFEST_MAX, &text, &len) || oci_index_parse(text, len, &index, NULL))
		return false;
	if (oci_index_by_tag(&index, ref->tag, &found, NULL) == 0)
		same = str_eq(found->digest, rec->target);
	oci_index_free(&index);
	return same;
}

static bool archive_unchanged(const struct image_reference *ref, const struct store_name *rec)
{
	struct store_stamp now;
	struct stat st;

	if (stat(ref->path, &st) < 0)
		return false;
	store_stamp_of(&st, &now);
	return store_stamp_equal(&rec->source, &now);
}

/* Warm: the id a reference stands for, without reading more than its index. False: it has to be imported. */
static bool find_warm(struct image_store *s, const struct image_reference *ref, char id[IMAGE_ID_MAX])
{
	struct store_name rec;
	bool warm;

	if (store_name_read(s, ref->name, &rec))
		return false;
	warm = ref->transport == IMAGE_OCI ? layout_unchanged(ref, &rec) : archive_unchanged(ref, &rec);
	snprintf(id, IMAGE_ID_MAX, "%s", rec.id);
	store_name_free(&rec);
	return warm;
}

/* The rootfs with a shared lock. -ENOENT also when it was removed while we waited for the lock. */
static int open_rootfs(struct image_store *s, const char *id, struct image *image)
{
	char path[STORE_PATH_MAX];
	struct stat st;

	store_rootfs_path(id, path);
	image->rootfs_path = xasprintf("%s/%s/rootfs.erofs", s->root, path);
	strcat(path, "/rootfs.erofs");
	image->rootfs_fd = openat(s->fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (image->rootfs_fd < 0)
		return -errno;
	while (flock(image->rootfs_fd, LOCK_SH) < 0)
		if (errno != EINTR)
			return -errno;
	if (fstat(image->rootfs_fd, &st) < 0)
		return -errno;
	if (st.st_nlink == 0)
		return -ENOENT;
	image->rootfs_bytes = (uint64_t)st.st_size;
	return 0;
}

static int read_config(struct image_store *s, const char *id, struct image *image, struct err *e)
{
	char path[STORE_PATH_MAX];
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	store_rootfs_path(id, path);
	strcat(path, "/config.json");
	r = read_file(s->fd, path, IMAGE_CONFIG_MAX, &text, &len);
	if (r)
		return r == -ENOENT ? r : err_errno(e, r, "image store %s: %s", s->root, path);
	return image_config_parse(text, len, &image->config, e);
}

/* -ENOENT, without a message: not in the store in a form we can use. */
static int open_image(struct image_store *s, const char *id, const char *name, struct image **found, struct err *e)
{
	struct image *image = xcalloc(1, sizeof(*image));
	struct store_image rec;
	int r;

	image->rootfs_fd = -1;
	snprintf(image->id, sizeof(image->id), "%s", id);
	image->name = xstrdup(name);
	r = store_image_read(s, id, &rec);
	if (!r) {
		image->size_bytes = rec.size_bytes;
		store_image_free(&rec);
		r = open_rootfs(s, id, image);
		if (r && r != -ENOENT)
			err_errno(e, r, "image store %s: rootfs of %s", s->root, id);
	}
	if (!r)
		r = read_config(s, id, image, e);
	if (r) {
		image_free(image);
		return r;
	}
	*found = image;
	return 0;
}

/* A name or id the user took from the store. *name is what to import anew if the image's files are of an older format. */
static int get_stored(struct image_store *s, const char *text, const struct image_get_options *options,
		      struct image **image, struct err *e)
{
	_cleanup_free_ char *name = NULL, *again = NULL;
	char id[IMAGE_ID_MAX];
	int r = store_lookup(s, text, id, &name, e);

	if (r)
		return r;
	r = open_image(s, id, name, image, e);
	if (r != -ENOENT)
		return r;
	if (!name)
		return err_set(e, ENOENT, "image %s is damaged; remove it (microvm rmi %.19s) and import it anew", id,
			       id);
	r = image_spawn_import(s, name, options, e);
	if (!r)
		r = store_lookup(s, name, id, &again, e);
	return r ? r : open_image(s, id, name, image, e);
}

int image_get(struct image_store *store, const char *text, const struct image_get_options *options,
	      struct image **image, struct err *e)
{
	_cleanup_(image_reference_free) struct image_reference ref = { 0 };
	char id[IMAGE_ID_MAX];
	int r = image_reference_parse(text, &ref, e), tries;

	if (r)
		return r;
	if (ref.transport == IMAGE_STORED)
		return get_stored(store, text, options, image, e);
	for (tries = 0; tries < TRIES_MAX; tries++) {
		if (find_warm(store, &ref, id)) {
			r = open_image(store, id, ref.name, image, e);
			if (r != -ENOENT)
				return r;
		}
		r = image_spawn_import(store, ref.name, options, e);
		if (r)
			return r;
		/* An archive too young to tell from its next version isn't warm, yet its import is what was asked for. */
		{
			struct store_name rec;

			if (store_name_read(store, ref.name, &rec))
				continue;
			r = open_image(store, rec.id, ref.name, image, e);
			store_name_free(&rec);
			if (r != -ENOENT)
				return r;
		}
	}
	return err_set(e, EAGAIN, "%s: removed again while it was imported; try again", ref.name);
}

void image_free(struct image *image)
{
	if (!image)
		return;
	cleanup_closep(&image->rootfs_fd);
	free(image->name);
	free(image->rootfs_path);
	image_config_free(&image->config);
	free(image);
}
