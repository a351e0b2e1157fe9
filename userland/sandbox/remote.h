/* SPDX-License-Identifier: Apache-2.0 */
/* Calls to the agent, the VMM and the supervisor of a sandbox that another process supervises. */
#ifndef SANDBOX_REMOTE_H
#define SANDBOX_REMOTE_H

#include <sys/types.h>

#include "agent/agent.h"
#include "sandbox/state.h"

/* -ESRCH: it does not run (any more, or yet). */
int remote_check_running(const struct state_ref *ref, struct err *e);
/* Connects to the agent and calls fn(agent, id of the container, arg, e) with it; errors name the sandbox. */
int remote_call(const struct state_ref *ref, int (*fn)(struct agent *agent, const char *id, void *arg, struct err *e),
		void *arg, struct err *e);
/*
 * One packet to a SOCK_SEQPACKET socket of the sandbox's folder, and the answer to it. Its length in bytes, 0 if the other
 * side hung up, or negative errno: -ECONNREFUSED and -ENOENT if nobody listens, -EAGAIN when the time was up.
 */
ssize_t remote_ask(const struct state_ref *ref, const char *socket_name, unsigned int timeout_s, const void *req,
		   size_t req_bytes, void *answer, size_t answer_bytes);
/* Then it is the process that a record means, and no later owner of the number. */
bool remote_is_child_of(pid_t pid, pid_t parent);

#endif
