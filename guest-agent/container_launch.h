/* SPDX-License-Identifier: Apache-2.0 */
/* Getting a process into a container, as container.c sees it. */
#ifndef AGENT_CONTAINER_LAUNCH_H
#define AGENT_CONTAINER_LAUNCH_H

#include "guest-agent/container_setup.h"

/*
 * Makes the process of l (whose sync is set here) and returns when it's all set up and waits: *sync is how to let it go,
 * *console the terminal's master or -1. On failure no process is left.
 */
int launch_prepare(struct launch *l, int *sync, int *console, pid_t *pid, struct err *e);

/* Lets it go, and returns when its program is executed or could not be. limit_s: what its hooks may take. */
int launch_go(int sync, pid_t pid, unsigned int limit_s, struct err *e);

#endif
