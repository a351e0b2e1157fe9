/* SPDX-License-Identifier: Apache-2.0 */
#include "guest-agent/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "guest-agent/container.h"

#define CGROUP_FILE_MAX (1u << 20)
#define CONTAINERS_DIR CGROUP_ROOT "/" CONTAINER_CGROUP

int cgroup_write(const struct cgroup *g, const char *file, const char *value, struct err *e)
{
	_cleanup_close_ int fd = openat(g->dir, file, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 && errno == ENOENT)
		return err_set(e, ENOTSUP, "cgroup: the guest's kernel has no %s, which \"%s\" was asked for", file,
			       value);
	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		return err_errno(e, errno, "cgroup: \"%s\" for %s", value, file);
	return 0;
}

bool cgroup_has(const struct cgroup *g, const char *file)
{
	return faccessat(g->dir, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

uint64_t cgroup_read_key(const struct cgroup *g, const char *file, const char *key)
{
	_cleanup_free_ char *text = NULL;
	size_t key_len = strlen(key);
	char *line, *save = NULL;

	if (read_file(g->dir, file, CGROUP_FILE_MAX, &text, NULL))
		return 0;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (!strncmp(line, key, key_len) && line[key_len] == ' ')
			return strtoull(line + key_len + 1, NULL, 10);
	return 0;
}

/* Every controller there is, for the containers' cgroups; the root's children have them already. */
static void enable_controllers(int dir)
{
	_cleanup_close_ int control = openat(dir, "cgroup.subtree_control", O_WRONLY | O_CLOEXEC);
	_cleanup_free_ char *text = NULL;
	char *name, *save = NULL, word[64];

	if (control < 0 || read_file(dir, "cgroup.controllers", 4096, &text, NULL))
		return;
	for (name = strtok_r(text, " \n", &save); name; name = strtok_r(NULL, " \n", &save)) {
		int n = snprintf(word, sizeof(word), "+%s", name);

		/* One by one, and without complaint: a limit that needs what is missing will complain. */
		if (write(control, word, (size_t)n) < 0)
			continue;
	}
}

static int open_containers(struct err *e)
{
	int dir, made = mkdir(CONTAINERS_DIR, 0755);

	if (made < 0 && errno != EEXIST)
		return err_errno(e, errno, "cgroup %s", CONTAINERS_DIR);
	dir = open(CONTAINERS_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir < 0)
		return err_errno(e, errno, "cgroup %s", CONTAINERS_DIR);
	if (!made)
		enable_controllers(dir);
	return dir;
}

/* OOM events are a service; without memory cgroups there are none. */
static void watch_events(struct cgroup *g)
{
	char path[sizeof(CONTAINERS_DIR) + sizeof(g->name) + 32];

	if (!cgroup_has(g, "memory.events"))
		return;
	g->events = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	snprintf(path, sizeof(path), "%s/%s/memory.events", CONTAINERS_DIR, g->name);
	if (g->events >= 0 && inotify_add_watch(g->events, path, IN_MODIFY) < 0)
		cleanup_closep(&g->events);
}

int cgroup_create(struct cgroup *g, const char *name, struct err *e)
{
	_cleanup_close_ int parent = open_containers(e);

	if (parent < 0)
		return parent;
	*g = (struct cgroup)CGROUP_INIT;
	if ((size_t)snprintf(g->name, sizeof(g->name), "%s", name) >= sizeof(g->name))
		return err_set(e, ENAMETOOLONG, "cgroup %s: the name is too long", name);
	if (mkdirat(parent, name, 0755) < 0)
		return err_errno(e, errno, "cgroup %s/%s", CONTAINERS_DIR, name);
	g->dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (g->dir < 0) {
		int code = errno;

		unlinkat(parent, name, AT_REMOVEDIR);
		return err_errno(e, code, "cgroup %s/%s", CONTAINERS_DIR, name);
	}
	watch_events(g);
	return 0;
}

/* Waits until "key value" stands in cgroup.events, which polls with POLLPRI when it changes. */
static int wait_event(const struct cgroup *g, const char *key, uint64_t value)
{
	_cleanup_close_ int fd = openat(g->dir, "cgroup.events", O_RDONLY | O_CLOEXEC);
	uint64_t deadline = monotonic_ns() + CGROUP_WAIT_MS * 1000000ull;

	if (fd < 0)
		return -errno;
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLPRI };
		uint64_t now;
		char buf[256];

		/* Reading arms the poll, so the look at the value comes after it. */
		if (pread(fd, buf, sizeof(buf), 0) < 0)
			return -errno;
		if (cgroup_read_key(g, "cgroup.events", key) == value)
			return 0;
		now = monotonic_ns();
		if (now >= deadline)
			return -ETIMEDOUT;
		if (poll(&p, 1, (int)((deadline - now) / 1000000) + 1) < 0 && errno != EINTR)
			return -errno;
	}
}

int cgroup_freeze(struct cgroup *g, bool freeze, struct err *e)
{
	int r = cgroup_write(g, "cgroup.freeze", freeze ? "1" : "0", e);

	if (r)
		return r;
	r = wait_event(g, "frozen", freeze);
	if (!r)
		return 0;
	if (freeze)
		cgroup_write(g, "cgroup.freeze", "0", NULL);
	return err_errno(e, -r, "cgroup %s: its processes did not %s", g->name, freeze ? "freeze" : "thaw");
}

int cgroup_kill(struct cgroup *g, struct err *e)
{
	return cgroup_write(g, "cgroup.kill", "1", e);
}

/* A container may have made cgroups below its own: deepest first. */
static int remove_below(int parent, const char *name, unsigned int depth)
{
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *ent;

	if (depth > CGROUP_DEPTH_MAX)
		return -ELOOP;
	d = open_dir(parent, name, O_NOFOLLOW);
	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while ((ent = readdir(d)))
		if (ent->d_type == DT_DIR && ent->d_name[0] != '.')
			remove_below(dirfd(d), ent->d_name, depth + 1);
	return unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

int cgroup_remove(struct cgroup *g, struct err *e)
{
	_cleanup_close_ int parent = -1;
	int r, tries;

	if (g->dir < 0)
		return 0;
	cgroup_write(g, "cgroup.freeze", "0", NULL);
	r = cgroup_kill(g, e);
	if (!r) {
		r = wait_event(g, "populated", 0);
		if (r)
			err_errno(e, -r, "cgroup %s: processes that were killed are still there", g->name);
	}
	cleanup_closep(&g->events);
	cleanup_closep(&g->device_prog);
	cleanup_closep(&g->dir);
	parent = open(CONTAINERS_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0)
		return err_errno(e, errno, "cgroup %s", CONTAINERS_DIR);
	/* A task that is on its way out holds its cgroup a moment longer than "populated" says. */
	for (tries = 0; tries < 50; tries++) {
		r = remove_below(parent, g->name, 0);
		if (r != -EBUSY)
			break;
		usleep(10000);
	}
	return r ? err_errno(e, -r, "cgroup %s can't be removed", g->name) : 0;
}

static int each_pid_below(int parent, const char *name, unsigned int depth, int (*fn)(void *, pid_t), void *opaque)
{
	_cleanup_closedir_ DIR *d = NULL;
	_cleanup_free_ char *text = NULL;
	char *line, *save = NULL;
	struct dirent *ent;
	int r = 0;

	if (depth > CGROUP_DEPTH_MAX)
		return 0;
	d = open_dir(parent, name, O_NOFOLLOW);
	if (!d)
		return errno == ENOENT ? 0 : -errno;
	if (!read_file(dirfd(d), "cgroup.procs", CGROUP_FILE_MAX, &text, NULL)) {
		for (line = strtok_r(text, "\n", &save); line && !r; line = strtok_r(NULL, "\n", &save)) {
			pid_t pid = (pid_t)strtol(line, NULL, 10);

			/* 0 stands for a process of another pid namespace, which can't be below the agent's. */
			if (pid > 0)
				r = fn(opaque, pid);
		}
	}
	while (!r && (ent = readdir(d)))
		if (ent->d_type == DT_DIR && ent->d_name[0] != '.')
			r = each_pid_below(dirfd(d), ent->d_name, depth + 1, fn, opaque);
	return r;
}

int cgroup_each_pid(const struct cgroup *g, int (*fn)(void *opaque, pid_t pid), void *opaque, struct err *e)
{
	int r = each_pid_below(g->dir, ".", 0, fn, opaque);

	return r < 0 ? err_errno(e, -r, "cgroup %s: its processes can't be listed", g->name) : r;
}

uint64_t cgroup_oom_kills(const struct cgroup *g)
{
	return cgroup_read_key(g, "memory.events", "oom_kill");
}
