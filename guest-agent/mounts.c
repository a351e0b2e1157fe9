/* SPDX-License-Identifier: Apache-2.0 */
#include "guest-agent/mounts.h"

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

int mount_attach(int mount, int at)
{
	if (move_mount(mount, "", at, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return -errno;
	return 0;
}

int mount_attr(int fd, bool recursive, uint64_t set, uint64_t clear, uint64_t propagation)
{
	struct mount_attr attr = { .attr_set = set, .attr_clr = clear, .propagation = propagation };

	if (!set && !clear && !propagation)
		return 0;
	if (mount_setattr(fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attr, sizeof(attr)) < 0)
		return -errno;
	return 0;
}

/* What the file system itself said, which is more than an errno: "e tmpfs: Bad value for 'size'". */
static int fs_fail(int fs, struct err *e, int code, const char *what)
{
	char said[256];
	ssize_t n = read(fs, said, sizeof(said) - 1);

	if (n <= 2)
		return err_errno(e, code, "%s", what);
	said[n] = '\0';
	said[strcspn(said, "\n")] = '\0';
	return err_set(e, code, "%s: %s", what, said + 2);
}

static int fs_option(int fs, const char *option, struct err *e)
{
	const char *value = strchr(option, '=');
	_cleanup_free_ char *key = xstrndup(option, value ? (size_t)(value - option) : strlen(option));
	int r = value ? fsconfig(fs, FSCONFIG_SET_STRING, key, value + 1, 0)
		      : fsconfig(fs, FSCONFIG_SET_FLAG, key, NULL, 0);
	char what[160];

	if (!r)
		return 0;
	r = errno;
	snprintf(what, sizeof(what), "option \"%.100s\"", option);
	return fs_fail(fs, e, r, what);
}

int mount_new(const char *type, const char *source, const char *const *data, size_t n, uint64_t attr, struct err *e)
{
	_cleanup_close_ int fs = fsopen(type, FSOPEN_CLOEXEC);
	int fd, r = 0;
	size_t i;

	if (fs < 0)
		return errno == ENODEV ? err_set(e, ENODEV, "the guest's kernel has no file system \"%s\"", type)
				       : err_errno(e, errno, "file system \"%s\"", type);
	if (source && *source && fsconfig(fs, FSCONFIG_SET_STRING, "source", source, 0) < 0)
		return fs_fail(fs, e, errno, "source");
	for (i = 0; !r && i < n; i++)
		r = fs_option(fs, data[i], e);
	if (r)
		return r;
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return fs_fail(fs, e, errno, "the file system can't be made");
	fd = fsmount(fs, FSMOUNT_CLOEXEC, (unsigned int)attr);
	return fd < 0 ? fs_fail(fs, e, errno, "the file system can't be mounted") : fd;
}

/* Kernel file systems: "ro" is a matter of the mount; one instance may be mounted elsewhere, writable. */
static bool is_virtual(const char *type)
{
	static const char *const types[] = { "proc",   "sysfs",	  "tmpfs",    "devpts",
					     "mqueue", "cgroup2", "devtmpfs", "securityfs" };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(types); i++)
		if (str_eq(type, types[i]))
			return true;
	return false;
}

static int clone_tree(const char *source, bool recursive)
{
	int fd = open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0));

	return fd < 0 ? -errno : fd;
}

static int make_new(const Microvm__Mount *m, struct mount_plan *p, bool userns, struct err *e)
{
	const char *type = str_eq(m->type, "cgroup") ? "cgroup2" : m->type;
	int fd;

	if (!*type)
		return err_set(e, EINVAL, "has no type");
	if (p->read_only && !is_virtual(type))
		p->data[p->data_n++] = "ro";
	fd = mount_new(type, m->source, p->data, p->data_n, 0, e);
	/*
	 * In a user namespace sysfs needs a network namespace of one's own, cgroup2 a cgroup namespace. The agent's mount of
	 * it, with the options of this one, shows the same.
	 */
	if (fd == -EPERM && (userns || str_eq(type, "cgroup2"))) {
		if (str_eq(type, "sysfs"))
			fd = clone_tree("/sys", true);
		else if (str_eq(type, "cgroup2"))
			fd = clone_tree("/sys/fs/cgroup", true);
	}
	return fd < 0 && !(e && e->code) ? err_errno(e, -fd, "%s", type) : fd;
}

static int make_bind(const Microvm__Mount *m, const struct mount_plan *p, bool userns, struct err *e)
{
	_cleanup_close_ int fd = clone_tree(m->source, p->recursive), ns = -1;
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP };

	if (fd < 0)
		return err_errno(e, -fd, "source %s", m->source);
	if (p->idmap && (m->n_uid_mappings || m->n_gid_mappings)) {
		if (userns)
			return err_set(e, ENOTSUP,
				       "idmapped mounts can't be made in a container with a user namespace");
		ns = mount_idmap_ns(m->uid_mappings, m->n_uid_mappings, m->gid_mappings, m->n_gid_mappings, e);
		if (ns < 0)
			return ns;
		attr.userns_fd = (uint64_t)ns;
		if (mount_setattr(fd, "", AT_EMPTY_PATH | (p->idmap_recursive ? AT_RECURSIVE : 0), &attr,
				  sizeof(attr)) < 0)
			return err_errno(e, errno, "the ids of %s can't be mapped", m->source);
	}
	return take_fd(&fd);
}

static int remount(int root, const Microvm__Mount *m, const struct mount_plan *p, struct err *e)
{
	_cleanup_close_ int at = rootfs_open(root, m->destination, O_PATH);
	int r;

	if (at < 0)
		return err_errno(e, -at, "nothing to remount");
	r = mount_attr(at, false, p->set, p->clear, p->propagation);
	if (!r)
		r = mount_attr(at, true, p->set_all, p->clear_all, 0);
	return r ? err_errno(e, -r, "its options can't be changed") : 0;
}

static int copy_up(int root, const Microvm__Mount *m, int fd, struct err *e)
{
	_cleanup_close_ int from = rootfs_open(root, m->destination, O_RDONLY | O_DIRECTORY);
	_cleanup_close_ int to = -1;
	int r;

	if (from == -ENOENT)
		return 0;
	to = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (from < 0 || to < 0)
		return err_errno(e, from < 0 ? -from : errno, "what was there can't be copied");
	r = mount_copy_up(from, to, e);
	return r ? err_wrap(e, "what was there can't be copied") : 0;
}

bool mount_is_fill(const Microvm__Mount *m)
{
	size_t i;

	for (i = 0; i < m->n_options; i++)
		if (str_eq(m->options[i], "copyup"))
			return true;
	return false;
}

int mount_fill(int root, const Microvm__Mount *m, struct err *e)
{
	_cleanup_close_ int to = -1;
	struct mount_plan p;
	int r = mount_plan_parse(m, &p, e);

	if (r)
		return r;
	mount_plan_free(&p);
	to = open(m->source, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (to < 0)
		return err_errno(e, errno, "mount %s: source %s", m->destination, m->source);
	r = copy_up(root, m, to, e);
	return r ? err_wrap(e, "mount %s", m->destination) : 0;
}

static int do_mount(int root, const Microvm__Mount *m, struct mount_plan *p, bool userns, struct err *e)
{
	_cleanup_close_ int fd = -1, at = -1;
	struct stat st;
	int r;

	if (p->remount)
		return remount(root, m, p, e);
	fd = p->bind ? make_bind(m, p, userns, e) : make_new(m, p, userns, e);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return err_errno(e, errno, "it can't be looked at");
	if (p->copy_up && (r = copy_up(root, m, fd, e)))
		return r;
	r = mount_attr(fd, true, p->set_all, p->clear_all, 0);
	if (!r)
		r = mount_attr(fd, false, p->set, p->clear, 0);
	if (r)
		return err_errno(e, -r, "its options can't be set");
	at = rootfs_make(root, m->destination, S_ISDIR(st.st_mode));
	if (at < 0)
		return err_errno(e, -at, "the place for it can't be made");
	r = mount_attach(fd, at);
	if (!r)
		r = mount_attr(fd, p->propagation_all, 0, 0, p->propagation);
	return r ? err_errno(e, -r, "it can't be put there") : 0;
}

int mount_in_root(int root, const Microvm__Mount *m, bool userns, struct err *e)
{
	struct mount_plan p;
	int r = mount_plan_parse(m, &p, e);

	if (r)
		return r;
	if (e)
		e->code = 0;
	r = do_mount(root, m, &p, userns, e);
	mount_plan_free(&p);
	return r ? err_wrap(e, "mount %s (%s)", m->destination, p.bind ? "bind" : m->type) : 0;
}

/* A place for it: the tree at at, cloned, so that it can differ from what it's a copy of. */
static int clone_at(int at)
{
	int fd = open_tree(at, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);

	return fd < 0 ? -errno : fd;
}

int mount_readonly(int root, char *const *paths, size_t n, struct err *e)
{
	size_t i;

	for (i = 0; i < n; i++) {
		_cleanup_close_ int at = rootfs_open(root, paths[i], O_PATH);
		_cleanup_close_ int fd = -1;
		int r;

		if (at == -ENOENT || at == -ENOTDIR)
			continue;
		fd = at < 0 ? at : clone_at(at);
		r = fd < 0 ? fd : mount_attr(fd, true, MOUNT_ATTR_RDONLY, 0, 0);
		if (!r)
			r = mount_attach(fd, at);
		if (r)
			return err_errno(e, -r, "read-only path %s", paths[i]);
	}
	return 0;
}

static int mask_one(int at, int *empty)
{
	static const char *const options[] = { "size=0", "nr_inodes=1" };
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (fstat(at, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode)) {
		/* One empty folder hides them all. */
		if (*empty < 0)
			*empty = mount_new("tmpfs", "tmpfs", options, ARRAY_SIZE(options),
					   MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
					   NULL);
		fd = *empty < 0 ? *empty : dup(*empty);
	} else {
		fd = clone_tree("/dev/null", false);
	}
	return fd < 0 ? fd : mount_attach(fd, at);
}

int mount_mask(int root, char *const *paths, size_t n, struct err *e)
{
	_cleanup_close_ int first = -1;
	size_t i;

	for (i = 0; i < n; i++) {
		_cleanup_close_ int at = rootfs_open(root, paths[i], O_PATH);
		_cleanup_close_ int empty = -1;
		int r;

		if (at == -ENOENT || at == -ENOTDIR)
			continue;
		/* After the first one is mounted, further ones are clones of it. */
		if (at >= 0 && first >= 0)
			empty = clone_at(first);
		r = at < 0 ? at : mask_one(at, &empty);
		if (r)
			return err_errno(e, -r, "masked path %s", paths[i]);
		if (first < 0 && empty >= 0)
			first = take_fd(&empty);
	}
	return 0;
}
