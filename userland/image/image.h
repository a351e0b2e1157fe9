/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images: a reference becomes a root file system (EROFS, read-only, one file per image, shared by all sandboxes) and the
 * image's configuration. Everything lives in a content-addressed store:
 *
 *   blobs/sha256/HEX         manifests, configurations and layers as they came, checked against their digests
 *   images/NAME              one record per name: which image, and by which manifest
 *   rootfs/HEX/              rootfs.erofs, config.json, record.json of image sha256:HEX
 *   tmp/                     work in progress; what no living process has locked is swept when a store is opened
 *
 * Several processes may use one store. A warm image_get reads four small files; what needs digests, archives or
 * mkfs.erofs happens in another program, microvm-import, so that its libraries cost a warm start nothing and what
 * decodes a stranger's archive is a process apart.
 */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "image/config.h"
#include "image/reference.h"

#define IMAGE_ID_MAX 80u /* "sha256:" and 64 hex digits, with room for the NUL */
#define IMAGE_STORE_DEFAULT "/var/lib/microvm"

struct image_store;

/*
 * Opens the store below root, making its folders when they aren't there (mode 0700). Needs root: images hold files of
 * all owners and device nodes. -EPERM, -ENOSPC, -EROFS …
 */
int image_store_open(const char *root, struct image_store **store, struct err *e);
void image_store_close(struct image_store *store); /* NULL is fine */

/*
 * Says how far a cold image_get is: what is "copy", "unpack" or "build" with the layer's digest or the like behind it;
 * total is 0 where it isn't known. Called from image_get itself, at most about ten times a second.
 */
typedef void image_progress_fn(void *opaque, const char *what, uint64_t done_bytes, uint64_t total_bytes);

struct image_get_options {
	image_progress_fn *progress; /* NULL: quiet */
	void *opaque;
	const char *importer; /* path of microvm-import; NULL: beside this program, or in ../libexec/microvm */
};

struct image {
	char id[IMAGE_ID_MAX]; /* "sha256:…", the digest of its configuration, as docker has it */
	char *name;	       /* canonical name it was found by; NULL when it was found by id and has none */
	char *rootfs_path;
	/*
	 * The EROFS image, read-only, with a shared flock(2): as long as this open file description lives in any process
	 * (inherited, dup'ed or sent), image_remove refuses. Hand on this very one, not another open of rootfs_path.
	 */
	int rootfs_fd;
	uint64_t rootfs_bytes;
	uint64_t size_bytes; /* of its blobs: what a registry would transfer */
	struct image_config config;
};

/*
 * Finds the image ref stands for and, when it isn't in the store yet, imports it: every byte is checked against its
 * digest, layers are unpacked once, an EROFS image is built once. options may be NULL. SIGINT and SIGTERM end an import
 * as they end the caller; nothing is left behind.
 *
 * -ENOENT: no such image, file or tag (the message says what there is), -EBADMSG: a digest, length or format is wrong,
 * -ENOTSUP: known but not for us (architecture, encryption, registries), -E2BIG: over a limit (limits.h), -ENOSPC.
 */
int image_get(struct image_store *store, const char *ref, const struct image_get_options *options, struct image **image,
	      struct err *e);
void image_free(struct image *image); /* closes rootfs_fd unless it was taken (take_fd); NULL is fine */

struct image_info {
	char id[IMAGE_ID_MAX];
	char *repository;    /* the name up to its tag; NULL: the image has no name (any more) */
	char *tag;	     /* NULL: none */
	int64_t created_s;   /* 0: the image doesn't say */
	uint64_t size_bytes; /* blobs */
	uint64_t disk_bytes; /* what its rootfs takes on disk */
	bool in_use;	     /* a sandbox has it */
};

/* One entry per name, and one for each image without a name; newest first. Free with image_list_free. */
int image_list(struct image_store *store, struct image_info **list, size_t *n, struct err *e);
void image_list_free(struct image_info *list, size_t n);

struct image_removed {
	char **untagged; /* names, NULL-terminated */
	char **deleted;	 /* ids, NULL-terminated */
};

/*
 * Takes a name (or any text image_get finds in the store) away; with its last name the image goes, and blobs that no
 * other image has. By id: takes all of its names, which needs force when there are several. Never removes an image that
 * is in use: -EBUSY. removed may be NULL; free with image_removed_free.
 */
int image_remove(struct image_store *store, const char *ref, bool force, struct image_removed *removed, struct err *e);
void image_removed_free(struct image_removed *removed);

struct image_usage {
	uint64_t images_n, names_n;
	uint64_t blob_bytes, rootfs_bytes, tmp_bytes;
};

int image_disk_usage(struct image_store *store, struct image_usage *usage, struct err *e);

#endif
