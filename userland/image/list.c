/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "image/store.h"

/* "oci:/dir:tag" is repository "oci:/dir" and tag "tag"; without a tag in the name, the one in the source is shown. */
static void split_name(const struct store_name *name, struct image_info *info)
{
	struct image_reference ref;

	if (image_reference_parse(name->name, &ref, NULL) || !ref.path) {
		info->repository = xstrdup(name->name);
		return;
	}
	info->repository = xasprintf("%s:%s", image_transports[ref.transport].name, ref.path);
	info->tag = xstrdup(ref.tag ? ref.tag : name->tag);
	image_reference_free(&ref);
}

static void fill(struct image_store *s, const struct store_image *image, struct image_info *info)
{
	char path[STORE_PATH_MAX];
	_cleanup_close_ int fd = -1;
	struct stat st;

	snprintf(info->id, sizeof(info->id), "%s", image->id);
	info->created_s = image->created_s;
	info->size_bytes = image->size_bytes;
	store_rootfs_path(image->id, path);
	strcat(path, "/rootfs.erofs");
	fd = openat(s->fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0)
		info->disk_bytes = (uint64_t)st.st_blocks * 512;
	info->in_use = flock(fd, LOCK_EX | LOCK_NB) < 0;
}

static int newest_first(const void *a, const void *b)
{
	const struct image_info *x = a, *y = b;
	int r;

	if (x->created_s != y->created_s)
		return x->created_s < y->created_s ? 1 : -1;
	r = strcmp(x->id, y->id);
	if (!r && x->repository && y->repository)
		r = strcmp(x->repository, y->repository);
	return r ? r : strcmp(x->tag ? x->tag : "", y->tag ? y->tag : "");
}

int image_list(struct image_store *s, struct image_info **list, size_t *n, struct err *e)
{
	struct store_image *images = NULL;
	struct store_name *names = NULL;
	size_t images_n = 0, names_n = 0, i, j;
	struct image_info *rows = NULL;
	int r = store_image_list(s, &images, &images_n, e);

	if (!r)
		r = store_name_list(s, &names, &names_n, e);
	*n = 0;
	if (!r)
		rows = xcalloc(images_n + names_n, sizeof(*rows));
	for (i = 0; !r && i < images_n; i++) {
		size_t first = *n;

		for (j = 0; j < names_n; j++)
			if (str_eq(names[j].id, images[i].id))
				split_name(&names[j], &rows[(*n)++]);
		if (*n == first)
			(*n)++;
		fill(s, &images[i], &rows[first]);
		for (j = first + 1; j < *n; j++) {
			struct image_info one = rows[first];

			one.repository = rows[j].repository;
			one.tag = rows[j].tag;
			rows[j] = one;
		}
	}
	store_image_list_free(images, images_n);
	store_name_list_free(names, names_n);
	if (r)
		return r;
	qsort(rows, *n, sizeof(*rows), newest_first);
	*list = rows;
	return 0;
}

void image_list_free(struct image_info *list, size_t n)
{
	while (list && n) {
		n--;
		free(list[n].repository);
		free(list[n].tag);
	}
	free(list);
}

/* nftw has no argument of its own for this. */
static __thread uint64_t *counted;

static int count_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	if (type == FTW_F)
		*counted += (uint64_t)st->st_blocks * 512;
	return 0;
}

int image_disk_usage(struct image_store *s, struct image_usage *usage, struct err *e)
{
	const struct {
		const char *folder;
		uint64_t *bytes;
	} parts[] = {
		{ "blobs", &usage->blob_bytes },
		{ "rootfs", &usage->rootfs_bytes },
		{ "tmp", &usage->tmp_bytes },
	};
	struct store_image *images = NULL;
	struct store_name *names = NULL;
	size_t n, i;
	int r;

	*usage = (struct image_usage){ 0 };
	r = store_image_list(s, &images, &n, e);
	if (r)
		return r;
	usage->images_n = n;
	store_image_list_free(images, n);
	r = store_name_list(s, &names, &n, e);
	if (r)
		return r;
	usage->names_n = n;
	store_name_list_free(names, n);
	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		_cleanup_free_ char *path = xasprintf("%s/%s", s->root, parts[i].folder);

		counted = parts[i].bytes;
		if (nftw(path, count_file, 16, FTW_PHYS | FTW_MOUNT) < 0 && errno != ENOENT)
			return err_errno(e, errno, "image store %s: counting", s->root);
	}
	return 0;
}
