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
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"

#define ROOT "/sys/fs/cgroup"
#define TRIES 50 /* until the last process of one is reaped, 20 ms each */
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

/* The folder, made with all above it. */
static int make_folder(const char *folder)
{
	_cleanup_close_ int dir = open(ROOT, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;

	if (dir < 0 || fstatfs(dir, &fs) < 0)
		return -errno;
	if (fs.f_type != CGROUP2_SUPER_MAGIC)
		return -ENODEV;
	while (*folder) {
		const size_t n = strcspn(folder, "/");
		char name[NAME_MAX + 1];
		int next;

		snprintf(name, sizeof(name), "%.*s", (int)n, folder);
		folder += n + !!folder[n];
		if (!n)
			continue;
		count_below(dir);
		if (mkdirat(dir, name, 0755) < 0 && errno != EEXIST)
			return -errno;
		next = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0)
			return -errno;
		close(dir);
		dir = next;
	}
	return take_fd(&dir);
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

void host_cgroup_enter(struct host_cgroup *c, const char *folder)
{
	_cleanup_close_ int dir = make_folder(folder), procs = -1;
	int r = dir < 0 ? dir : 0;

	if (!r) {
		c->before = open_own();
		procs = openat(dir, "cgroup.procs", O_WRONLY | O_CLOEXEC);
		r = procs < 0 || write(procs, "0", 1) < 0 ? -errno : 0;
	}
	if (!r) {
		c->folder = xstrdup(folder);
		return;
	}
	log_debug("cgroup %s: %s", folder, strerror(-r));
	cleanup_closep(&c->before);
	if (dir >= 0)
		host_cgroup_remove(folder);
}

void host_cgroup_remove(const char *folder)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	_cleanup_free_ char *path = folder ? xasprintf(ROOT "/%s", folder) : NULL;
	int i;

	for (i = 0; path && i < TRIES && rmdir(path) < 0 && errno == EBUSY; i++)
		nanosleep(&pause, NULL);
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
	cleanup_closep(&c->before);
	host_cgroup_remove(c->folder);
	free(take_ptr(c->folder));
}
