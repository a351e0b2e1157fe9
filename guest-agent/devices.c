/* SPDX-License-Identifier: Apache-2.0 */
#include "guest-agent/devices.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "guest-agent/mounts.h"

#define DEVICES_MAX 4096u

struct node {
	const char *path;
	mode_t mode; /* with S_IFCHR and the like */
	dev_t dev;
	uid_t uid;
	gid_t gid;
};

/* Those that the runtime spec wants in every container ("Default Devices"); console and ptmx are made elsewhere. */
static const struct {
	const char *path;
	unsigned int major, minor;
} defaults[] = {
	{ "/dev/null", 1, 3 },	 { "/dev/zero", 1, 5 },	   { "/dev/full", 1, 7 },
	{ "/dev/random", 1, 8 }, { "/dev/urandom", 1, 9 }, { "/dev/tty", 5, 0 },
};

static const struct {
	const char *path, *target;
} links[] = {
	{ "fd", "/proc/self/fd" },	 { "stdin", "/proc/self/fd/0" }, { "stdout", "/proc/self/fd/1" },
	{ "stderr", "/proc/self/fd/2" }, { "ptmx", "pts/ptmx" },
};

/* The folder a path is in, made if needed; *name is its last part. */
static int parent_of(int root, const char *path, const char **name)
{
	_cleanup_free_ char *dir = xstrdup(path);
	char *slash = strrchr(dir, '/');

	*name = strrchr(path, '/');
	if (!slash || !slash[1] || str_eq(slash + 1, ".") || str_eq(slash + 1, ".."))
		return -EINVAL;
	(*name)++;
	*slash = '\0';
	return rootfs_make(root, *dir ? dir : "/", true);
}

/* The guest's own device in place of a node that can't be made. */
static int bind_node(int root, const struct node *n)
{
	_cleanup_close_ int fd = open_tree(AT_FDCWD, n->path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	_cleanup_close_ int at = -1;

	if (fd < 0)
		return -errno;
	at = rootfs_make(root, n->path, false);
	return at < 0 ? at : mount_attach(fd, at);
}

static int make_node(int root, const struct node *n)
{
	const char *name;
	_cleanup_close_ int parent = parent_of(root, n->path, &name);
	struct stat st;

	if (parent < 0)
		return parent;
	if (mknodat(parent, name, n->mode, n->dev) < 0) {
		if (errno == EPERM)
			return bind_node(root, n);
		if (errno != EEXIST)
			return -errno;
		if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		/* An empty file is the place at which one was mounted before, in a root where none can be made. */
		if (S_ISREG(st.st_mode) && !st.st_size)
			return bind_node(root, n);
		if ((st.st_mode & S_IFMT) != (n->mode & S_IFMT) || st.st_rdev != n->dev)
			return -EEXIST;
	}
	/* Nothing of the container runs yet, so the name is still what was just made or looked at: no symlink. */
	if (fchownat(parent, name, n->uid, n->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchmodat(parent, name, n->mode & 07777, 0) < 0)
		return -errno;
	return 0;
}

static int parse_device(const Microvm__Device *d, struct node *n, struct err *e)
{
	static const struct {
		char type;
		mode_t mode;
	} types[] = {
		{ 'c', S_IFCHR },
		{ 'u', S_IFCHR },
		{ 'b', S_IFBLK },
		{ 'p', S_IFIFO },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(types); i++)
		if (d->type[0] == types[i].type && !d->type[1])
			break;
	if (i == ARRAY_SIZE(types))
		return err_set(e, EINVAL, "device %s: \"%s\" is no type; there are c, b and p", d->path, d->type);
	if (d->major < 0 || d->major > 0xfff || d->minor < 0 || d->minor > 0xfffff)
		return err_set(e, ERANGE, "device %s: there is no %lld:%lld", d->path, (long long)d->major,
			       (long long)d->minor);
	*n = (struct node){
		.path = d->path,
		.mode = types[i].mode | (d->file_mode ? (mode_t)d->file_mode->value & 07777 : 0666),
		.dev = d->type[0] == 'p' ? 0 : makedev((unsigned int)d->major, (unsigned int)d->minor),
		.uid = d->uid ? (uid_t)d->uid->value : 0,
		.gid = d->gid ? (gid_t)d->gid->value : 0,
	};
	return 0;
}

static int make_links(int root, struct err *e)
{
	_cleanup_close_ int dev = rootfs_make(root, "/dev", true);
	size_t i;

	if (dev < 0)
		return err_errno(e, -dev, "/dev");
	for (i = 0; i < ARRAY_SIZE(links); i++) {
		/* ptmx: an image's own node would be the guest's terminals. */
		if (str_eq(links[i].path, "ptmx") && unlinkat(dev, links[i].path, 0) < 0 && errno != ENOENT)
			return err_errno(e, errno, "/dev/%s", links[i].path);
		if (symlinkat(links[i].target, dev, links[i].path) < 0 && errno != EEXIST)
			return err_errno(e, errno, "/dev/%s", links[i].path);
	}
	return 0;
}

static Microvm__Int64Value *number(int64_t v)
{
	Microvm__Int64Value *m = xcalloc(1, sizeof(*m));

	microvm__int64_value__init(m);
	m->value = v;
	return m;
}

static void set_text(char **field, const char *text)
{
	if (*field != protobuf_c_empty_string)
		free(*field);
	*field = xstrdup(text);
}

static void allow(Microvm__Linux *l, const Microvm__Device *d)
{
	Microvm__DeviceRule *rule = xcalloc(1, sizeof(*rule));

	microvm__device_rule__init(rule);
	rule->allow = true;
	rule->type = xstrdup(d->type);
	rule->major = number(d->major);
	rule->minor = number(d->minor);
	rule->access = xstrdup("rwm");
	l->resources->devices =
		xreallocarray(l->resources->devices, l->resources->n_devices + 1, sizeof(*l->resources->devices));
	l->resources->devices[l->resources->n_devices++] = rule;
}

int devices_resolve(Microvm__Linux *l, struct err *e)
{
	struct stat st;
	size_t i;

	if (l->n_devices > DEVICES_MAX)
		return err_set(e, E2BIG, "%zu devices, at most %u are taken", l->n_devices, DEVICES_MAX);
	for (i = 0; i < l->n_devices; i++) {
		Microvm__Device *d = l->devices[i];

		if (!d->source[0])
			continue;
		if (lstat(d->source, &st) < 0)
			return err_errno(e, errno, "device %s", d->source);
		if (!S_ISBLK(st.st_mode) && !S_ISCHR(st.st_mode))
			return err_set(e, EINVAL, "device %s: it is none", d->source);
		set_text(&d->type, S_ISBLK(st.st_mode) ? "b" : "c");
		d->major = major(st.st_rdev);
		d->minor = minor(st.st_rdev);
		if (l->resources)
			allow(l, d);
	}
	return 0;
}

int devices_make(int root, const Microvm__Linux *l, struct err *e)
{
	struct node n;
	size_t i;
	int r;

	for (i = 0; i < ARRAY_SIZE(defaults); i++) {
		n = (struct node){ .path = defaults[i].path,
				   .mode = S_IFCHR | 0666,
				   .dev = makedev(defaults[i].major, defaults[i].minor) };
		r = make_node(root, &n);
		if (r)
			return err_errno(e, -r, "device %s", n.path);
	}
	if (l && l->n_devices > DEVICES_MAX)
		return err_set(e, E2BIG, "%zu devices, at most %u are taken", l->n_devices, DEVICES_MAX);
	for (i = 0; l && i < l->n_devices; i++) {
		r = parse_device(l->devices[i], &n, e);
		if (r)
			return r;
		r = make_node(root, &n);
		if (r)
			return err_errno(e, -r, "device %s", n.path);
	}
	return make_links(root, e);
}

int devices_terminal(int root, int *master, int *slave, struct err *e)
{
	_cleanup_close_ int m = rootfs_open(root, "/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK);
	struct statfs fs;
	int unlock = 0, s;

	if (m < 0)
		return err_errno(e, -m, "terminal: /dev/pts/ptmx; a terminal needs a mount of type devpts on /dev/pts");
	if (fstatfs(m, &fs) < 0 || fs.f_type != DEVPTS_SUPER_MAGIC)
		return err_set(e, EINVAL, "terminal: /dev/pts is no devpts; mount one there");
	if (fcntl(m, F_SETFL, O_RDWR) < 0 || ioctl(m, TIOCSPTLCK, &unlock) < 0)
		return err_errno(e, errno, "terminal");
	/* By the master, not by a name that could lead elsewhere. */
	s = ioctl(m, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (s < 0)
		return err_errno(e, errno, "terminal");
	*master = take_fd(&m);
	*slave = s;
	return 0;
}

int devices_console(int root, int slave, struct err *e)
{
	_cleanup_close_ int at = rootfs_make(root, "/dev/console", false);
	_cleanup_close_ int pts = -1, tree = -1;
	char path[64];
	unsigned int n;
	int r;

	if (at < 0)
		return err_errno(e, -at, "/dev/console");
	if (ioctl(slave, TIOCGPTN, &n) < 0) {
		struct stat st;

		/* The slave's side doesn't know that call; its number is the device's minor. */
		if (fstat(slave, &st) < 0)
			return err_errno(e, errno, "terminal");
		n = minor(st.st_rdev);
	}
	snprintf(path, sizeof(path), "/dev/pts/%u", n);
	pts = rootfs_open(root, path, O_PATH);
	if (pts < 0)
		return err_errno(e, -pts, "%s", path);
	tree = open_tree(pts, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	r = tree < 0 ? -errno : mount_attach(tree, at);
	return r ? err_errno(e, -r, "/dev/console") : 0;
}
