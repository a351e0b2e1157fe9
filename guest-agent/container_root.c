/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "guest-agent/container.h"
#include "guest-agent/container_setup.h"
#include "guest-agent/devices.h"
#include "guest-agent/mounts.h"

/* The container's root, mounted on itself: pivot_root wants a mount, and it has to be this namespace's own. */
static int own_root(const struct launch *l, struct err *e)
{
	_cleanup_close_ int at = -1, tree = -1;
	char path[sizeof(CONTAINER_RUN) + 160];
	int r;

	/* What happens in the agent's namespace may come in here, but nothing gets out. */
	if (mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0)
		return err_errno(e, errno, "mount propagation");
	if (rootfs_is_mapped(l->spec->linux) && (r = rootfs_finish(l->id, l->rootfs, true, e)))
		return r;
	snprintf(path, sizeof(path), "%s/%.128s/root", CONTAINER_RUN, l->id);
	at = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	tree = at < 0 ? -1 : open_tree(at, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
	r = tree < 0 ? -errno : mount_attach(tree, at);
	if (!r)
		r = mount_attr(tree, true, 0, 0, MS_PRIVATE);
	return r ? err_errno(e, -r, "root %s", path) : take_fd(&tree);
}

/*
 * The kernel's first root can't be replaced, only covered: then what is mounted on it goes, so that the container's root
 * has nothing but the initramfs under it.
 */
static int cover_root(int root)
{
	_cleanup_close_ int old = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *ent;

	if (old < 0 || fchdir(root) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || fchdir(old) < 0)
		return -errno;
	d = fdopendir(take_fd(&old));
	while (d && (ent = readdir(d)))
		/* Most are no mount points, and in a user namespace those of the agent stay: both are told by EINVAL. */
		if (!str_eq(ent->d_name, ".") && !str_eq(ent->d_name, ".."))
			umount2(ent->d_name, MNT_DETACH | UMOUNT_NOFOLLOW);
	if (fchdir(root) < 0 || chroot(".") < 0)
		return -errno;
	return 0;
}

static int replace_root(int root)
{
	if (fchdir(root) < 0)
		return -errno;
	/* The old root comes to lie on the new one, and is what "." means then. */
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return errno == EINVAL ? cover_root(root) : -errno;
	if (umount2(".", MNT_DETACH) < 0)
		return -errno;
	return 0;
}

static int leave_old_root(const Microvm__Spec *spec, int root, struct err *e)
{
	const char *propagation = spec->linux->rootfs_propagation;
	bool all;
	int r = replace_root(root);

	if (!r && chdir("/") < 0)
		r = -errno;
	if (r)
		return err_errno(e, -r, "the container's root can't be entered");
	if (spec->root && spec->root->readonly)
		r = mount_attr(root, false, MOUNT_ATTR_RDONLY, 0, 0);
	if (!r && *propagation) {
		uint64_t kind = mount_propagation(propagation, &all);

		if (!kind)
			return err_set(e, EINVAL, "linux.rootfsPropagation: there is no \"%s\"", propagation);
		r = mount_attr(root, all, 0, 0, kind);
	}
	return r ? err_errno(e, -r, "the root's mount options") : 0;
}

static bool has_bind(const Microvm__Spec *spec, const char *destination)
{
	size_t i, k;

	for (i = 0; i < spec->n_mounts; i++)
		for (k = 0; str_eq(spec->mounts[i]->destination, destination) && k < spec->mounts[i]->n_options; k++)
			if (str_eq(spec->mounts[i]->options[k], "bind") || str_eq(spec->mounts[i]->options[k], "rbind"))
				return true;
	return false;
}

static int fill_root(const struct launch *l, int root, bool userns, bool terminal, int *master, int *slave,
		     struct err *e)
{
	const Microvm__Spec *spec = l->spec;
	size_t i;
	int r = 0;

	/* With what the root itself has, whatever comes to lie over it. */
	for (i = 0; !r && i < spec->n_mounts; i++)
		if (mount_is_fill(spec->mounts[i]))
			r = mount_fill(root, spec->mounts[i], e);
	for (i = 0; !r && i < spec->n_mounts; i++)
		r = mount_in_root(root, spec->mounts[i], userns, e);
	/* A /dev that comes from elsewhere is not this container's to fill. */
	if (!r && !has_bind(spec, "/dev"))
		r = devices_make(root, spec->linux, e);
	if (!r && terminal) {
		r = devices_terminal(root, master, slave, e);
		if (!r)
			r = devices_console(root, *slave, e);
	}
	if (!r && spec->hooks)
		r = container_hooks("createContainer", spec, l->id, "creating", l->pid, e);
	if (!r)
		r = mount_readonly(root, spec->linux->readonly_paths, spec->linux->n_readonly_paths, e);
	if (!r)
		r = mount_mask(root, spec->linux->masked_paths, spec->linux->n_masked_paths, e);
	return r;
}

int container_enter_root(struct launch *l, bool userns, bool terminal, int *master, int *slave, struct err *e)
{
	_cleanup_close_ int root = own_root(l, e);
	int r;

	if (root < 0)
		return root;
	r = fill_root(l, root, userns, terminal, master, slave, e);
	return r ? r : leave_old_root(l->spec, root, e);
}
