/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a file server serves: a tmpfs with a folder or file for each share, named by its number. Who makes it is in a mount
 * namespace of its own, so the host sees nothing of it, and it ends with the processes that have it.
 */
#ifndef SANDBOX_SHARE_TREE_H
#define SANDBOX_SHARE_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* Leaves the host's mount namespace: its later mounts come in, nothing gets out. */
int share_tree_own_mounts(struct err *e);
/*
 * On that folder. `grows`: what is added later is seen by who has entered the tree before. Without it whoever makes the tree
 * enters it, too.
 */
int share_tree_make(const char *path, bool grows, struct err *e);
/* It has ended for its maker; a server of it may still have it. Harmless when there is none. */
void share_tree_end(const char *path);
/* Of one that grows, in the process that will serve it: a view of its own, in which no share can be made. */
int share_tree_enter(const char *path, struct err *e);
/* The last step of one that doesn't grow: no share can be made any more. */
int share_tree_close(const char *path, struct err *e);

/*
 * Takes a file or folder of the host with all that is mounted below it; an fd, for share_tree_add. What is mounted there
 * later comes in, what is unmounted in the tree stays where it was.
 */
int share_tree_take(const char *source, struct err *e);
int share_tree_add(const char *path, size_t number, int tree, const char *source, bool read_only, struct err *e);

/* A share with its number, as share_tree_take() gave its tree. */
struct share_tree_item {
	size_t number;
	int tree;
	const char *source;
	bool read_only;
};
/*
 * Into the tree that a server has entered, grows or not, and has made its root: mntns_fd is its mount namespace. It sees them
 * at once. All or nothing.
 */
int share_tree_add_served(int mntns_fd, const struct share_tree_item *items, size_t n, struct err *e);
/* Those of n numbers that are there; nothing is left of them but what somebody has open. */
int share_tree_remove_served(int mntns_fd, size_t first, size_t n, struct err *e);

/* A mount as engines describe it (containerd's snapshotters): type, source and options as in fstab. */
struct share_mount {
	const char *type, *source;
	char *const *options;
	size_t options_n;
};
/*
 * Pure: an overlay's lowerdir with names from one folder, in which all of its layers are; both malloc'd. NULL: there is none, or
 * its names are too strange.
 */
char *share_tree_shorten(const char *lowers, char **folder);
/* Mounts them in order, each over the one before, as the share of that number, a folder. All or nothing. */
int share_tree_mount(const char *path, size_t number, const struct share_mount *mounts, size_t n, bool read_only,
		     struct err *e);
/* Harmless for one that isn't there. Who has a file open in it still has it. */
void share_tree_remove(const char *path, size_t number);

#endif
