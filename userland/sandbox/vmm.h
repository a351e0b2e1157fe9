/* SPDX-License-Identifier: Apache-2.0 */
/* microvm-vmm as a child: started in a pid namespace of its own with the fds its vmspec names, watched, ended. */
#ifndef SANDBOX_VMM_H
#define SANDBOX_VMM_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/vmspec.h"

struct vmm {
	pid_t pid; /* 0: not running, or reaped */
	int pidfd;
	int status; /* of waitid: exit status, or 128 + signal; once pid is 0 */
};

#define VMM_INIT            \
	{                   \
		.pidfd = -1 \
	}

/*
 * Starts program. The fds in spec are this process' own and stay so; the child gets copies of them, of `err_fd` as its
 * stderr, and nothing else. It is killed when this process ends, however that happens.
 */
int vmm_spawn(const char *program, const struct vmspec *spec, int err_fd, struct vmm *vmm, struct err *e);
/*
 * In a child that will be a program of the sandbox's, first thing: it dies with its parent, has a session of its own, and
 * signals as a new program expects them. The parent may have died before; then nobody holds the other end of the child's
 * sockets, and it ends by that. Async-signal-safe.
 */
void vmm_child_begin(void);
/* Harmless when it has been reaped. */
void vmm_signal(struct vmm *vmm, int number);
/* SIGKILL and reap. Harmless when it has ended. */
void vmm_kill(struct vmm *vmm);
/* Reaps it; waits until it ends. */
void vmm_reap(struct vmm *vmm);

#endif
