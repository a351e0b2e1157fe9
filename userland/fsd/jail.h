/* SPDX-License-Identifier: Apache-2.0 */
/* The jail of a file server: of the host it sees the share, and itself in /proc. */
#ifndef FSD_JAIL_H
#define FSD_JAIL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Called with one thread and as root. In order: own mount, pid, net, ipc and uts namespaces (unless it is process 1 of a
 * pid namespace already, a child goes on and the caller's process only waits for it); the share bound to itself without
 * devices and set-id programs, read-only if so, and made the root; limits; the capabilities that owners need.
 * *root_fd, *proc_fd: the share, and /proc/self/fd, which is also the current folder.
 */
int fsd_jail_enter(const char *shared_dir, bool read_only, uint32_t fd_limit, int *root_fd, int *proc_fd,
		   struct err *e);
/* Without a jail: the same two fds, and the current folder. */
int fsd_jail_none(const char *shared_dir, int *root_fd, int *proc_fd, struct err *e);
/* Raises the limit of open files as far as may be; returns what *fd_limit can be. */
uint32_t fsd_jail_files(uint32_t fd_limit);
/* The list of system calls, from here on. */
int fsd_jail_seccomp(struct err *e);

#endif
