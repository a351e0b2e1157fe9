/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store's insides, for userland/image and its import folder only.
 *
 * Locks, all flock(2), so that they end with their process:
 *   lock              shared while an import adds blobs, exclusive while blobs that no image has are removed
 *   tmp/NAME          exclusive by whoever works in that folder; an unlocked one is litter
 *   rootfs/HEX/rootfs.erofs   shared by sandboxes, exclusive while the image is removed
 * tmp/HEX (an image's id) is where that image is made: its lock lets one process do it while the others wait.
 */
#ifndef IMAGE_STORE_H
#define IMAGE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/err.h"
#include "image/image.h"

/* Changes when a rootfs.erofs made by an older version must not be used any more. */
#define STORE_FORMAT 1u
#define STORE_RECORD_MAX (1u << 20)
#define STORE_PATH_MAX 320u /* of anything below the root */

struct image_store {
	char *root;
	int fd; /* of root; everything is reached from it */
};

/* "-ENOSPC while writing" and the like as a person needs it: says which folder is full. Keeps other errors as they are. */
int store_explain(const struct image_store *s, struct err *e);

/* A folder of one's own below tmp/, locked. name is NULL for any, or an image's hex digits, then another's end is awaited. */
struct store_tmp {
	int fd;			   /* -1: none */
	char path[STORE_PATH_MAX]; /* "tmp/…" below the root */
};

int store_tmp_take(struct image_store *s, const char *name, struct store_tmp *tmp, struct err *e);
/* Removes it with all that is in it. */
void store_tmp_drop(struct image_store *s, struct store_tmp *tmp);

/* Takes the store's lock; the fd holds it. wait false: -EWOULDBLOCK when another has it. */
int store_lock(struct image_store *s, int flock_operation, bool wait);

/* fsync of a folder below the root, so that a rename in it lasts. */
int store_sync_folder(struct image_store *s, const char *path);

/* "blobs/sha256/HEX"; digest was checked. */
void store_blob_path(const char *digest, char path[STORE_PATH_MAX]);
/* "rootfs/HEX"; id is "sha256:HEX". */
void store_rootfs_path(const char *id, char path[STORE_PATH_MAX]);

/* ---- records.c ---- */

/* Tells one version of a file from the next without reading it. */
struct store_stamp {
	uint64_t dev, ino, size, mtime_ns, ctime_ns; /* all 0: not known */
};

void store_stamp_of(const struct stat *st, struct store_stamp *stamp);
/* False for unknown ones. */
bool store_stamp_equal(const struct store_stamp *a, const struct store_stamp *b);

/* images/NAME: a name stands for an image, because its source (a layout's index, an archive) said so. */
struct store_name {
	char *name;   /* struct image_reference's name */
	char *tag;    /* as the source has it; NULL: none */
	char *target; /* digest the source gave for it */
	char id[IMAGE_ID_MAX];
	struct store_stamp source; /* of an archive */
};

/* The file of a name: "images/…", escaped and at most 255 bytes. */
void store_name_path(const char *name, char path[STORE_PATH_MAX]);
/* -ENOENT without one, or if it's damaged (it's made anew then). */
int store_name_read(struct image_store *s, const char *name, struct store_name *rec);
void store_name_free(struct store_name *rec);
int store_name_list(struct image_store *s, struct store_name **list, size_t *n, struct err *e);
void store_name_list_free(struct store_name *list, size_t n);
/* JSON to be written; malloced. */
char *store_name_json(const struct store_name *rec);

/* rootfs/HEX/record.json */
struct store_image {
	char id[IMAGE_ID_MAX];
	char **blobs; /* digests of manifest, configuration and layers; NULL-terminated */
	size_t blobs_n;
	uint64_t size_bytes; /* of the blobs */
	int64_t created_s;
};

/* -ENOENT when the image isn't there, is damaged, or of another STORE_FORMAT. */
int store_image_read(struct image_store *s, const char *id, struct store_image *rec);
void store_image_free(struct store_image *rec);
int store_image_list(struct image_store *s, struct store_image **list, size_t *n, struct err *e);
void store_image_list_free(struct store_image *list, size_t n);
char *store_image_json(const struct store_image *rec);

/* ---- lookup.c ---- */

/*
 * Finds a stored image by name, by the tag it had in its source, or by id or the start of one. *name is NULL when it was
 * found by id. -ENOENT, -EINVAL when several fit.
 */
int store_lookup(struct image_store *s, const char *text, char id[IMAGE_ID_MAX], char **name, struct err *e);

/* ---- remove.c ---- */

/* Removes blobs no image has. Does nothing when an import is under way; the next removal or import does it then. */
void store_collect(struct image_store *s);

#endif
