/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks that are programs of the host (OCI runtime spec, "POSIX-platform Hooks"): all but startContainer, which is the guest's. */
#ifndef SANDBOX_HOOKS_H
#define SANDBOX_HOOKS_H

#include "base/err.h"
#include "guest-agent/agent.pb-c.h"
#include "sandbox/state.h"

struct hook_child {
	pid_t pid; /* leads a process group of its own */
	int pidfd;
	int output; /* stdout and stderr of it */
};
#define HOOK_CHILD_INIT                    \
	{                                  \
		.pidfd = -1, .output = -1, \
	}

/* Starts it in `cwd` (NULL: here) and in that network namespace (-1: ours), with the state as its stdin. */
int hook_start(const Microvm__Hook *h, const char *state, const char *cwd, int netns_fd, struct hook_child *c,
	       struct err *e);
/* Waits for its end, after a SIGKILL to all of it if `kill_it`. Fails if it did, with the last line it said. */
int hook_end(const Microvm__Hook *h, struct hook_child *c, bool kill_it, struct err *e);

/* poststop hooks, in order, each whatever the one before did; what fails is said in the log. */
void hooks_run_poststop(const Microvm__Hooks *hooks, const struct sandbox_record *r);

#endif
