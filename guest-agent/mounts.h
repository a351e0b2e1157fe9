/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's file system. Everything is done by descriptors (fsopen, open_tree, move_mount, openat2 with
 * RESOLVE_IN_ROOT), because the tree was written by a stranger: a symlink in the image leads nowhere outside of it.
 */
#ifndef AGENT_MOUNTS_H
#define AGENT_MOUNTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "guest-agent/agent.pb-c.h"

/* ---- paths inside a root (mounts_path.c). root is a folder's fd, O_PATH will do; all return a fd or negative errno ---- */

/* openat2 with RESOLVE_IN_ROOT and no magic links; O_CLOEXEC is added. */
int rootfs_open(int root, const char *path, int flags);
/* O_PATH of path, which is made when it's not there: folders with mode 0755; the last part is a file unless folder. */
int rootfs_make(int root, const char *path, bool folder);
/* Writes a file, in place of any file or symlink that is there, making the folders on its way. Returns 0. */
int rootfs_write(int root, const char *path, const void *data, size_t len, mode_t mode);

/* ---- options (mounts_options.c) ---- */

struct mount_plan {
	bool bind, recursive, remount, copy_up, fill, idmap, idmap_recursive;
	uint64_t set, clear;	     /* MOUNT_ATTR_* of the mount itself */
	uint64_t set_all, clear_all; /* … and of all below it */
	uint64_t propagation;	     /* MS_PRIVATE …; 0: as it comes */
	bool propagation_all;
	bool read_only; /* "ro", for file systems that have to know */
	/* What goes to the file system: "key" or "key=value", the message's own strings. */
	const char **data;
	size_t data_n;
};

/* Sorts the options of m; free with mount_plan_free. -EINVAL names the option. */
int mount_plan_parse(const Microvm__Mount *m, struct mount_plan *p, struct err *e);
void mount_plan_free(struct mount_plan *p);

/* "private", "rslave" …; 0 if it is none. */
uint64_t mount_propagation(const char *name, bool *recursive);

/* ---- mounting (mounts.c) ---- */

/* Mounts m inside root. userns: the caller lives in a user namespace of its own. */
int mount_in_root(int root, const Microvm__Mount *m, bool userns, struct err *e);
/* A new file system that is not mounted anywhere yet: a fd. data as above; source may be NULL. */
int mount_new(const char *type, const char *source, const char *const *data, size_t n, uint64_t attr, struct err *e);
/* Puts a detached mount at an O_PATH descriptor. Returns 0 or negative errno. */
int mount_attach(int mount, int at);
/* mount_setattr on the mount at fd. Returns 0 or negative errno. */
int mount_attr(int fd, bool recursive, uint64_t set, uint64_t clear, uint64_t propagation);
/* Hides each path (a folder under an empty read-only one, a file under /dev/null); what isn't there is fine. */
int mount_mask(int root, char *const *paths, size_t n, struct err *e);
/* Makes each path read-only, with all below; what isn't there is fine. */
int mount_readonly(int root, char *const *paths, size_t n, struct err *e);

/* Copies the folder from into the folder to, whose own files stay (mounts_copy.c). An error names the file. */
int mount_copy_up(int from, int to, struct err *e);
/*
 * Whether m is a new volume that begins with what the root has at its place ("copyup"). It is to be filled before anything
 * is mounted in the root.
 */
bool mount_is_fill(const Microvm__Mount *m);
int mount_fill(int root, const Microvm__Mount *m, struct err *e);

/* A user namespace with these mappings, for idmapped mounts: a fd (mounts_idmap.c). */
int mount_idmap_ns(Microvm__IDMapping *const *uids, size_t uids_n, Microvm__IDMapping *const *gids, size_t gids_n,
		   struct err *e);
/* Writes the mappings of pid's user namespace. */
int idmap_write(pid_t pid, Microvm__IDMapping *const *uids, size_t uids_n, Microvm__IDMapping *const *gids,
		size_t gids_n, struct err *e);

/* ---- the root (mounts_rootfs.c), in the agent's mount namespace ---- */

/*
 * Mounts the container's root at CONTAINER_RUN/id/root, over CONTAINER_RUN/id/{lower,layer} where it is an overlay. For a
 * linux with user namespace mappings the layers are mapped likewise, and the rest is left to rootfs_finish(). On failure
 * nothing is left.
 */
int rootfs_mount(const char *id, const Microvm__Rootfs *rootfs, const Microvm__Linux *l, struct err *e);
bool rootfs_is_mapped(const Microvm__Linux *l);
/*
 * The overlay itself, and the files of the request. With mapped layers it takes a root of the user namespace to make
 * things in them, so there the container's first process does it, in its own mount namespace.
 */
int rootfs_finish(const char *id, const Microvm__Rootfs *rootfs, bool userns, struct err *e);
int rootfs_unmount(const char *id, struct err *e);

#endif
