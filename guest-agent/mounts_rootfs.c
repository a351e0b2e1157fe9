/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "guest-agent/container.h"
#include "guest-agent/mounts.h"

#define FILES_MAX 256u
#define PATH_LEN (sizeof(CONTAINER_RUN) + 192)

static void path_of(char path[PATH_LEN], const char *id, const char *name)
{
	snprintf(path, PATH_LEN, "%s/%.128s%s%s", CONTAINER_RUN, id, *name ? "/" : "", name);
}

/* A folder below the container's, opened. */
static int make_folder(const char *id, const char *name, struct err *e)
{
	char path[PATH_LEN];
	int fd;

	path_of(path, id, name);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return err_errno(e, errno, "%s", path);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? err_errno(e, errno, "%s", path) : fd;
}

/* A container with a user namespace sees its own ids in the layers: those on disk are the container's. */
static int map_ids(int mount, const Microvm__Linux *l, struct err *e)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP };
	_cleanup_close_ int ns = -1;

	if (!l || !rootfs_is_mapped(l))
		return 0;
	ns = mount_idmap_ns(l->uid_mappings, l->n_uid_mappings, l->gid_mappings, l->n_gid_mappings, e);
	if (ns < 0)
		return ns;
	attr.userns_fd = (uint64_t)ns;
	if (mount_setattr(mount, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return err_errno(e, errno, "the ids of the root file system can't be mapped");
	return 0;
}

/* A folder of the guest, such as one of a share that several containers have. */
static int clone_folder(const char *source, struct err *e)
{
	_cleanup_close_ int at = open(source, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd = at < 0 ? -1 : open_tree(at, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);

	return fd < 0 ? err_errno(e, errno, "it can't be used") : fd;
}

/* What an overlay writes to; made before the ids are mapped, as the agent itself is nobody afterwards. */
static int make_layer_folders(int layer, struct err *e)
{
	if (mkdirat(layer, "upper", 0755) < 0 || mkdirat(layer, "work", 0755) < 0)
		return err_errno(e, errno, "the writable layer");
	return 0;
}

/* Mounts at CONTAINER_RUN/id/name. */
static int mount_layer(const char *id, const char *name, const char *type, const char *source, const char *const *data,
		       size_t n, const Microvm__Linux *l, struct err *e)
{
	_cleanup_close_ int at = make_folder(id, name, e), mount = -1;
	int r = 0;

	if (at < 0)
		return at;
	mount = str_eq(type, "bind") ? clone_folder(source, e) : mount_new(type, source, data, n, 0, e);
	if (mount < 0)
		return err_wrap(e, "%s %s", type, source);
	if (str_eq(name, "layer"))
		r = make_layer_folders(mount, e);
	if (!r)
		r = map_ids(mount, l, e);
	if (!r && (r = mount_attach(mount, at)))
		err_errno(e, -r, "%s %s can't be mounted", type, source);
	return r;
}

static int mount_source(const char *id, const char *name, const Microvm__Rootfs *rootfs, const Microvm__Linux *l,
			struct err *e)
{
	static const char *const types[] = { "erofs", "ext4", "virtiofs", "bind", "tmpfs" };
	_cleanup_free_ const char **data = xcalloc(rootfs->n_options + 1, sizeof(*data));
	size_t i;

	for (i = 0; i < ARRAY_SIZE(types); i++)
		if (str_eq(rootfs->fstype, types[i]))
			break;
	if (i == ARRAY_SIZE(types))
		return err_set(e, ENOTSUP,
			       "\"%s\" is not a file system for a root; there are erofs, ext4, virtiofs and bind",
			       rootfs->fstype);
	for (i = 0; i < rootfs->n_options; i++)
		data[i] = rootfs->options[i];
	/* Below an overlay nothing is written. */
	if (rootfs->overlay || str_eq(rootfs->fstype, "erofs"))
		data[i++] = "ro";
	return mount_layer(id, name, rootfs->fstype, rootfs->source, data, i, l, e);
}

static int mount_layers(const char *id, const Microvm__Rootfs *rootfs, const Microvm__Linux *l, struct err *e)
{
	const char *data[3] = { "mode=755" };
	char size[64], inodes[64];
	size_t n = 1;
	int r;

	if (rootfs->writable_bytes) {
		snprintf(size, sizeof(size), "size=%llu", (unsigned long long)rootfs->writable_bytes);
		data[n++] = size;
	}
	if (rootfs->writable_inodes) {
		snprintf(inodes, sizeof(inodes), "nr_inodes=%llu", (unsigned long long)rootfs->writable_inodes);
		data[n++] = inodes;
	}
	r = mount_source(id, "lower", rootfs, l, e);
	return r ? r : mount_layer(id, "layer", "tmpfs", "layer", data, n, l, e);
}

static int mount_overlay(const char *id, bool userns, struct err *e)
{
	char lower[PATH_LEN + 16], upper[PATH_LEN + 16], work[PATH_LEN + 16];
	/* Its content is gone with the guest: nothing is gained by syncing it. */
	const char *data[] = { lower, upper, work, "volatile", "userxattr" };

	snprintf(lower, sizeof(lower), "lowerdir=%s/%.128s/lower", CONTAINER_RUN, id);
	snprintf(upper, sizeof(upper), "upperdir=%s/%.128s/layer/upper", CONTAINER_RUN, id);
	snprintf(work, sizeof(work), "workdir=%s/%.128s/layer/work", CONTAINER_RUN, id);
	return mount_layer(id, "root", "overlay", "overlay", data, ARRAY_SIZE(data) - !userns, NULL, e);
}

/* Puts a file that lies in the folder files over path in the root. */
static int cover_file(int root, int files, const char *name, const char *path)
{
	_cleanup_close_ int mount = open_tree(files, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	_cleanup_close_ int at = mount < 0 ? -errno : rootfs_make(root, path, false);

	return at < 0 ? at : mount_attach(mount, at);
}

/* A root without a layer is somebody's folder, whose own files stay as they are: a mount lies over each. */
static int write_file_over(int root, int files, size_t number, const Microvm__RootFile *f)
{
	char name[16];
	int r;

	snprintf(name, sizeof(name), "/%zu", number);
	r = rootfs_write(files, name, f->data.data, f->data.len, f->mode ? f->mode : 0644);
	return r ? r : cover_file(root, files, name + 1, f->path);
}

static int write_files(const char *id, const Microvm__Rootfs *rootfs, struct err *e)
{
	static const char *const mode[] = { "mode=755" };
	_cleanup_close_ int root = make_folder(id, "root", e), files = -1;
	size_t i;
	int r;

	if (root < 0)
		return root;
	if (rootfs->n_files > FILES_MAX)
		return err_set(e, E2BIG, "%zu files for the root file system, at most %u are taken", rootfs->n_files,
			       FILES_MAX);
	if (!rootfs->overlay && rootfs->n_files) {
		r = mount_layer(id, "files", "tmpfs", "files", mode, ARRAY_SIZE(mode), NULL, e);
		files = r ? r : make_folder(id, "files", e);
		if (files < 0)
			return files;
	}
	for (i = 0; i < rootfs->n_files; i++) {
		const Microvm__RootFile *f = rootfs->files[i];

		r = files >= 0 ? write_file_over(root, files, i, f)
			       : rootfs_write(root, f->path, f->data.data, f->data.len, f->mode ? f->mode : 0644);
		if (r)
			return err_errno(e, -r, "%s can't be written into the container", f->path);
	}
	return 0;
}

bool rootfs_is_mapped(const Microvm__Linux *l)
{
	return l && l->n_uid_mappings;
}

int rootfs_finish(const char *id, const Microvm__Rootfs *rootfs, bool userns, struct err *e)
{
	int r = rootfs->overlay ? mount_overlay(id, userns, e) : 0;

	if (!r)
		r = write_files(id, rootfs, e);
	return r ? err_wrap(e, "root file system") : 0;
}

int rootfs_mount(const char *id, const Microvm__Rootfs *rootfs, const Microvm__Linux *l, struct err *e)
{
	_cleanup_close_ int dir = -1, root = -1, files = -1;
	int r;

	r = mkdir_p(AT_FDCWD, CONTAINER_RUN, 0711);
	if (r)
		return err_errno(e, -r, "%s", CONTAINER_RUN);
	/* The root of a user namespace, who is nobody out here, has to get through to what is its own. */
	if (rootfs_is_mapped(l) && chmod(CONTAINER_RUN, 0711) < 0)
		return err_errno(e, errno, "%s", CONTAINER_RUN);
	dir = make_folder(id, "", e);
	root = dir < 0 ? dir : make_folder(id, "root", e);
	/* Before anything is in it that only the user namespace's root may reach. */
	files = root < 0 ? root : make_folder(id, "files", e);
	if (files < 0) {
		rootfs_unmount(id, NULL);
		return files;
	}
	r = rootfs->overlay ? mount_layers(id, rootfs, l, e) : mount_source(id, "root", rootfs, l, e);
	if (r)
		err_wrap(e, "root file system");
	else if (!rootfs_is_mapped(l))
		r = rootfs_finish(id, rootfs, false, e);
	if (r)
		rootfs_unmount(id, NULL);
	return r;
}

int rootfs_unmount(const char *id, struct err *e)
{
	static const char *const parts[] = { "root", "files", "layer", "lower" };
	char path[PATH_LEN];
	size_t i;
	int r = 0;

	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		path_of(path, id, parts[i]);
		/* EINVAL: not a mount point, as when there is no overlay. */
		if (umount2(path, UMOUNT_NOFOLLOW | MNT_DETACH) < 0 && errno != ENOENT && errno != EINVAL)
			r = err_errno(e, errno, "%s can't be unmounted", path);
		if (rmdir(path) < 0 && errno != ENOENT && !r)
			r = err_errno(e, errno, "%s can't be removed", path);
	}
	path_of(path, id, "");
	if (rmdir(path) < 0 && errno != ENOENT && !r)
		r = err_errno(e, errno, "%s can't be removed", path);
	return r;
}
