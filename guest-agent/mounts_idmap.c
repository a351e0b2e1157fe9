/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "guest-agent/mounts.h"

#define MAPPINGS_MAX 340u /* the kernel's own limit */

static int write_map(int proc, const char *file, Microvm__IDMapping *const *list, size_t n, struct err *e)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = -1;
	size_t i, used = 0;

	if (!n)
		return 0;
	if (n > MAPPINGS_MAX)
		return err_set(e, E2BIG, "%s: %zu mappings, the kernel takes %u", file, n, MAPPINGS_MAX);
	text = xcalloc(n, 36);
	for (i = 0; i < n; i++)
		used += (size_t)snprintf(text + used, 36, "%u %u %u\n", list[i]->container_id, list[i]->host_id,
					 list[i]->size);
	fd = openat(proc, file, O_WRONLY | O_CLOEXEC);
	/* The kernel wants all of it in one write. */
	if (fd < 0 || write(fd, text, used) < 0)
		return err_errno(e, errno, "%s: the mappings are not possible", file);
	return 0;
}

static int write_maps(int proc, Microvm__IDMapping *const *uids, size_t uids_n, Microvm__IDMapping *const *gids,
		      size_t gids_n, struct err *e)
{
	int r = write_map(proc, "uid_map", uids, uids_n, e);

	return r ? r : write_map(proc, "gid_map", gids, gids_n, e);
}

int idmap_write(pid_t pid, Microvm__IDMapping *const *uids, size_t uids_n, Microvm__IDMapping *const *gids,
		size_t gids_n, struct err *e)
{
	_cleanup_close_ int proc = -1;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d", pid);
	proc = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return proc < 0 ? err_errno(e, errno, "%s", path) : write_maps(proc, uids, uids_n, gids, gids_n, e);
}

/*
 * A process to name a new namespace by. It opens its own folder in /proc, into the table of fds that both have: a caller
 * in a pid namespace of its own doesn't know its child's number in the /proc that it sees.
 */
static pid_t make_holder(int *proc, struct err *e)
{
	int fds[2], fd = -1;
	ssize_t n;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(e, errno, "pipe");
	pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (!pid) {
		fd = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (write(fds[1], &fd, sizeof(fd)) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	n = pid < 0 ? -1 : read(fds[0], &fd, sizeof(fd));
	close(fds[0]);
	close(fds[1]);
	if (pid < 0)
		return err_errno(e, errno, "a user namespace");
	*proc = n == sizeof(fd) ? fd : -1;
	return pid;
}

int mount_idmap_ns(Microvm__IDMapping *const *uids, size_t uids_n, Microvm__IDMapping *const *gids, size_t gids_n,
		   struct err *e)
{
	_cleanup_close_ int proc = -1;
	pid_t pid = make_holder(&proc, e);
	int fd, r;

	if (pid < 0)
		return pid;
	r = proc < 0 ? err_set(e, ENOENT, "a user namespace: no /proc")
		     : write_maps(proc, uids, uids_n, gids, gids_n, e);
	fd = r ? r : openat(proc, "ns/user", O_RDONLY | O_CLOEXEC);
	if (!r && fd < 0)
		fd = err_errno(e, errno, "a user namespace");
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return fd;
}
