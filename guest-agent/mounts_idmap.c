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

#define MAPPINGS_MAX 340u	/* the kernel's own limit */

static int write_map(pid_t pid, const char *file, Microvm__IDMapping *const *list, size_t n, struct err *e)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = -1;
	char path[64];
	size_t i, used = 0;

	if (!n)
		return 0;
	if (n > MAPPINGS_MAX)
		return err_set(e, E2BIG, "%s: %zu mappings, the kernel takes %u", file, n, MAPPINGS_MAX);
	text = xcalloc(n, 36);
	for (i = 0; i < n; i++)
		used += (size_t)snprintf(text + used, 36, "%u %u %u\n", list[i]->container_id, list[i]->host_id, list[i]->size);
	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	/* The kernel wants all of it in one write. */
	if (fd < 0 || write(fd, text, used) < 0)
		return err_errno(e, errno, "%s: the mappings are not possible", file);
	return 0;
}

int idmap_write(pid_t pid, Microvm__IDMapping *const *uids, size_t uids_n, Microvm__IDMapping *const *gids, size_t gids_n,
		struct err *e)
{
	int r = write_map(pid, "uid_map", uids, uids_n, e);

	return r ? r : write_map(pid, "gid_map", gids, gids_n, e);
}

int mount_idmap_ns(Microvm__IDMapping *const *uids, size_t uids_n, Microvm__IDMapping *const *gids, size_t gids_n,
		   struct err *e)
{
	char path[64];
	pid_t pid;
	int fd, r;

	/* A process is needed to name a new namespace by; it does nothing but be there. */
	pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
	if (pid < 0)
		return err_errno(e, errno, "a user namespace");
	if (!pid)
		for (;;)
			pause();
	r = idmap_write(pid, uids, uids_n, gids, gids_n, e);
	snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
	fd = r ? r : open(path, O_RDONLY | O_CLOEXEC);
	if (!r && fd < 0)
		fd = err_errno(e, errno, "%s", path);
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return fd;
}
