/* SPDX-License-Identifier: Apache-2.0 */
/* One call to the agent of a sandbox that another process supervises. */
#ifndef SANDBOX_REMOTE_H
#define SANDBOX_REMOTE_H

#include "agent/agent.h"
#include "sandbox/state.h"

/* -ESRCH: it does not run (any more, or yet). */
int remote_check_running(const struct state_ref *ref, struct err *e);
/* Connects to the agent and calls fn(agent, id of the container, arg, e) with it; errors name the sandbox. */
int remote_call(const struct state_ref *ref, int (*fn)(struct agent *agent, const char *id, void *arg, struct err *e),
		void *arg, struct err *e);

#endif
