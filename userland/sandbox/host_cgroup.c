/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host_cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"

#define ROOT "/sys/fs/cgroup"
#define MARK "trusted.microvm" /* on each cgroup that was made here */
#define TRIES 150	       /* until the last process of one is reaped, 20 ms each */
#define PAUSE_NS 20000000

/* ---- names ---------------------------------------------------------------------------------------------------------- */

/* Each part a name of its own: no "..", nothing empty but at the ends. */
static bool is_inside(const char *path)
{
	while (*path) {
		const size_t n = strcspn(path, "/");

		if ((n == 1 && path[0] == '.') || (n == 2 && path[0] == '.' && path[1] == '.') || n > NAME_MAX)
			return false;
		path += n + !!path[n];
	}
	return true;
}

/* "a-b.slice" is in "a.slice" (systemd.slice(5)); "" is the system's, and "-.slice" the root itself. */
static char *slice_folder(const char *slice, size_t len)
{
	static const char suffix[] = ".slice";
	const size_t stem = len >= sizeof(suffix) - 1 ? len - (sizeof(suffix) - 1) : 0;
	char *folder = xstrdup(""), *more;
	size_t i;

	if (!len) {
		free(folder);
		return xstrdup("system.slice/");
	}
	if (!stem || strncmp(slice + stem, suffix, sizeof(suffix) - 1) || memchr(slice, '/', len)) {
		free(folder);
		return NULL;
	}
	if (stem == 1 && slice[0] == '-')
		return folder;
	for (i = 1; i <= stem; i++) {
		if (i < stem && slice[i] != '-')
			continue;
		more = xasprintf("%s%.*s%s/", folder, (int)i, slice, suffix);
		free(folder);
		folder = more;
	}
	return folder;
}

static int systemd_folder(const char *path, char **folder, struct err *e)
{
	const char *prefix = strchr(path, ':') + 1, *name = strchr(prefix, ':') + 1;
	const int prefix_len = (int)(name - 1 - prefix);
	_cleanup_free_ char *slice = slice_folder(path, (size_t)(prefix - 1 - path));

	if (!slice || !*name || strchr(prefix, '/') || strchr(name, ':'))
		return err_set(e, EINVAL, "linux.cgroupsPath: '%.200s' is neither a path nor SLICE:PREFIX:NAME", path);
	*folder = xasprintf("%s%.*s%s%s.scope", slice, prefix_len, prefix, prefix_len ? "-" : "", name);
	return 0;
}

int host_cgroup_folder(const char *cgroups_path, char **folder, struct err *e)
{
	const char *path = cgroups_path;
	const char *colon = strchr(path, ':');

	*folder = NULL;
	if (*path != '/' && colon && strchr(colon + 1, ':')) {
		if (systemd_folder(path, folder, e))
			return -e->code;
	} else {
		while (*path == '/')
			path++;
		*folder = *path ? xstrdup(path) : NULL;
	}
	if (!*folder || (is_inside(*folder) && strlen(*folder) < PATH_MAX / 2))
		return 0;
	free(take_ptr(*folder));
	return err_set(e, EINVAL, "linux.cgroupsPath: '%.200s' leads out of the cgroups", cgroups_path);
}

/* ---- cgroups -------------------------------------------------------------------------------------------------------- */

/* The host's tree of cgroups, if it is of version 2; else -1. */
static int open_root(void)
{
	_cleanup_close_ int fd = open(ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;

	return fd >= 0 && !fstatfs(fd, &fs) && fs.f_type == CGROUP2_SUPER_MAGIC ? take_fd(&fd) : -1;
}

/* What is counted at all is said from above; who has processes of its own can't, or has said it already. */
static void count_below(int dir)
{
	static const char *const words[] = { "+cpu", "+io", "+memory", "+pids" };
	_cleanup_close_ int fd = openat(dir, "cgroup.subtree_control", O_WRONLY | O_CLOEXEC);
	size_t i;

	for (i = 0; fd >= 0 && i < ARRAY_SIZE(words); i++)
		if (write(fd, words[i], strlen(words[i])) < 0)
			log_debug("cgroup: %s: %s", words[i], strerror(errno));
}

/* Made and opened; who made it is written on it, as only that one is to remove it. */
static int make_one(int parent, const char *name)
{
	const bool made = !mkdirat(parent, name, 0755);
	_cleanup_close_ int fd = -1;

	if (!made && errno != EEXIST)
		return -errno;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (made && fsetxattr(fd, MARK, "1", 1, 0) < 0)
		log_debug("cgroup %s: %s", name, strerror(errno));
	return take_fd(&fd);
}

/* The folder, made with all above it. */
static int make_folder(int root, const char *folder)
{
	_cleanup_close_ int dir = fcntl(root, F_DUPFD_CLOEXEC, 0);

	if (dir < 0)
		return -errno;
	while (*folder) {
		const size_t n = strcspn(folder, "/");
		char name[NAME_MAX + 1];
		int next;

		snprintf(name, sizeof(name), "%.*s", (int)n, folder);
		folder += n + !!folder[n];
		if (!n)
			continue;
		count_below(dir);
		next = make_one(dir, name);
		if (next < 0)
			return next;
		close(dir);
		dir = next;
	}
	return take_fd(&dir);
}

/* A folder above may go at the same time, with somebody else's last cgroup in it: it is made again then. */
static int make_and_enter(int root, const char *folder)
{
	int i, r = -ENOENT;

	for (i = 0; i < TRIES && (r == -ENOENT || r == -ENODEV); i++) {
		_cleanup_close_ int dir = make_folder(root, folder), procs = -1;

		if (dir >= 0)
			procs = openat(dir, "cgroup.procs", O_WRONLY | O_CLOEXEC);
		r = dir < 0 ? dir : procs < 0 || write(procs, "0", 1) < 0 ? -errno : 0;
	}
	return r;
}

static int open_own(void)
{
	_cleanup_free_ char *text = NULL, *path = NULL;
	char *line;

	if (read_file(AT_FDCWD, "/proc/self/cgroup", 65536, &text, NULL))
		return -1;
	line = str_starts(text, "0::") ? text : strstr(text, "\n0::");
	if (!line)
		return -1;
	line += *line == '\n' ? 4 : 3;
	line[strcspn(line, "\n")] = '\0';
	path = xasprintf(ROOT "%s/cgroup.procs", line);
	return open(path, O_WRONLY | O_CLOEXEC);
}

/*
 * podman 4.3 denies the cgroup of a pod every device, where it makes cgroups itself, and the kernel then denies them to all below
 * it, whatever is allowed there. Nobody can live there who has to open as much as /dev/null.
 */
static bool denies_devices(void)
{
	_cleanup_close_ int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	return fd < 0 && errno == EPERM;
}

int host_cgroup_enter(struct host_cgroup *c, const char *folder, struct err *e)
{
	_cleanup_close_ int root = open_root();
	int r;

	if (root < 0) {
		log_debug("no cgroup v2 at " ROOT ": nothing counts what %s uses", folder);
		return 0;
	}
	c->before = open_own();
	r = make_and_enter(root, folder);
	if (!r) {
		c->folder = xstrdup(folder);
		if (!denies_devices())
			return 0;
		log_debug("cgroup " ROOT "/%s denies its processes /dev/null; nothing is counted there", folder);
		host_cgroup_leave(c);
		return 0;
	}
	cleanup_closep(&c->before);
	host_cgroup_remove(folder);
	return err_set(e, -r,
		       "linux.cgroupsPath: cannot make and enter " ROOT "/%s: %s; let the engine name another one "
		       "(--cgroup-parent), or none",
		       folder, strerror(-r));
}

/* One that somebody else made stays. True: it is not there any more. */
static bool remove_one(const char *path, int tries)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	char mark;

	if (getxattr(path, MARK, &mark, sizeof(mark)) < 0)
		return errno == ENOENT;
	while (rmdir(path) < 0) {
		if (errno == ENOENT)
			return true;
		if (errno != EBUSY || !--tries)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

void host_cgroup_remove(const char *folder)
{
	_cleanup_free_ char *path = folder ? xasprintf(ROOT "/%s", folder) : NULL;
	int tries = TRIES;
	char *slash;

	for (; path && strlen(path) > strlen(ROOT); *slash = '\0') {
		slash = strrchr(path, '/');
		if (!slash[1])
			continue;
		if (!remove_one(path, tries)) {
			/* Those above may well have others in them. */
			if (tries == TRIES && errno == EBUSY)
				log_warn("cgroup %s has processes that do not end; remove it (rmdir) when they have",
					 path);
			return;
		}
		tries = 1;
	}
}

void host_cgroup_forget(struct host_cgroup *c)
{
	cleanup_closep(&c->before);
	free(take_ptr(c->folder));
}

void host_cgroup_leave(struct host_cgroup *c)
{
	_cleanup_close_ int root = -1;

	if (!c->folder)
		return;
	/* It may have gone meanwhile. */
	if (c->before < 0 || write(c->before, "0", 1) < 0) {
		root = open(ROOT "/cgroup.procs", O_WRONLY | O_CLOEXEC);
		if (root < 0 || write(root, "0", 1) < 0)
			log_debug("cgroup %s can't be left", c->folder);
	}
	host_cgroup_remove(c->folder);
	host_cgroup_forget(c);
}
