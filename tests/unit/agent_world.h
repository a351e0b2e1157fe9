/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest without a VM: the agent's serving side as a process of its own, on Unix sockets instead of vsock, with
 * containers that are plain processes (agent_world.c defines container_create() and the rest). Between it and the host
 * side of the library stands a relay that answers "CONNECT <port>\n" as the VMM does.
 */
#ifndef TESTS_AGENT_WORLD_H
#define TESTS_AGENT_WORLD_H

#include <stdint.h>
#include <sys/types.h>

#include "agent/agent.h"
#include "io/loop.h"

struct world_options {
	uint64_t claim_ms; /* how long streams and requests wait for each other; 0: as in a guest */
	uint64_t grace_ms; /* between SIGTERM and SIGKILL */
	bool strangers;	   /* whoever connects is not the host */
};

struct world {
	char dir[64];
	char vsock[96]; /* the "VMM's" socket */
	pid_t guest, relay;
	struct loop *loop;
	struct agent *agent; /* on the control connection */
	int closed_n, closed_reason;
};

void world_start(struct world *w, const struct world_options *o);
/* Ends what is left of it. */
void world_stop(struct world *w);
/* Waits for the guest's own end: 0 if it powered off in order. */
int world_guest_status(struct world *w);

#endif
