/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A folder that a stranger's archive is unpacked into. Names are looked up in it as in a container's root, so nothing
 * outside is ever reached: a name with `..` is refused, a symlink that climbs above the root is not followed but
 * refused, an absolute one starts at the tree's root. Nobody else may write below the root meanwhile.
 */
#ifndef IMAGE_IMPORT_TREE_H
#define IMAGE_IMPORT_TREE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/err.h"

struct tree;

/* root stays the caller's and must outlive the tree. */
struct tree *tree_new(int root);
void tree_free(struct tree *t); /* NULL is fine */

/*
 * Turns an entry's name into a clean relative one ("" is the root itself), malloced: leading slashes, "." and double
 * slashes go. -EINVAL for `..`, -ENAMETOOLONG; what says in messages which name it was ("entry", "hard link to").
 */
int tree_clean_path(const char *what, const char *raw, char **clean, struct err *e);

/* Where the last component of a path is to be found. */
struct tree_place {
	int dirfd;	      /* O_PATH; the tree's own, good until the next call */
	const char *name;     /* within the path given; "" for the root itself, then dirfd is the root */
	const char *dir_path; /* of dirfd below the root, without symlinks; the tree's own likewise */
};

/*
 * Follows all of path but its last component. Folders that are missing are made (root's, 0755) if make is true, else
 * -ENOENT. -ELOOP: a symlink on the way escapes, -ENOTDIR: something on the way is no folder; both say which.
 */
int tree_find(struct tree *t, const char *path, bool make, struct tree_place *p, struct err *e);

/* Removes what is at the place; folders with all below. Nothing there is fine. */
int tree_clear(struct tree *t, const struct tree_place *p, struct err *e);

/* A folder's modification time, set at the end by tree_finish, because what is made in it later changes it. */
void tree_note_time(struct tree *t, const struct tree_place *p, struct timespec mtime);
int tree_finish(struct tree *t, struct err *e);

/* A new layer begins: what was made before is below it from now on. */
void tree_next_layer(struct tree *t);
/* The current layer has made what is at this place. */
void tree_note_made(struct tree *t, const struct tree_place *p);
/* Whiteouts: hides what lower layers have at this place, or (opaque) all over in dirfd; what this layer made stays. */
int tree_hide(struct tree *t, const struct tree_place *p, struct err *e);
int tree_hide_below(struct tree *t, const struct tree_place *p, struct err *e);

#endif
