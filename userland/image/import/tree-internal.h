/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by tree.c and whiteout.c only. */
#ifndef IMAGE_IMPORT_TREE_INTERNAL_H
#define IMAGE_IMPORT_TREE_INTERNAL_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct tree_time {
	char *path; /* below the root, without symlinks */
	struct timespec mtime;
};

/* Hashes of (folder's inode, name); 0 is an empty slot. */
struct name_set {
	uint64_t *slots;
	size_t room, used; /* room: 0 or a power of two */
};

struct tree {
	int root;
	char *cached_path;  /* the folder last found, as it was asked for; NULL: none */
	char *cached_canon; /* where that is */
	int cached_fd;
	struct tree_time *times;
	size_t times_n, times_room;
	struct name_set made; /* by the current layer */
};

#endif
