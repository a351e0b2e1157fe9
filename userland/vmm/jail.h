/* SPDX-License-Identifier: Apache-2.0 */
/* The jail that a VMM enters before its guest runs: nothing of the host but the files that it holds open. */
#ifndef VMM_JAIL_H
#define VMM_JAIL_H

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define JAIL_FDS 1024u /* open files at most: one for each vsock stream */

struct jail {
	uid_t uid;
	gid_t gid;
	uint64_t file_bytes;   /* no file grows past this */
	uint64_t memory_bytes; /* address space at most */
	int parent_fd;	       /* pidfd of the parent; -1: not checked */
};

/*
 * Called with one thread and as root, as process 1 of a pid namespace (the parent makes it, as it takes a fork). In order:
 * own mount, net, ipc and uts namespaces; an empty root; limits; uid and gid; no capabilities; no_new_privs; death with
 * the parent. What is left to do is seccomp_enter() in each thread.
 */
int jail_enter(const struct jail *jail, struct err *e);
/* Dies with the parent, jailed or not. */
int jail_bind_parent(int parent_fd, struct err *e);

#endif
