/* SPDX-License-Identifier: Apache-2.0 */
/* /dev of a container. */
#ifndef AGENT_DEVICES_H
#define AGENT_DEVICES_H

#include <stdbool.h>

#include "base/err.h"
#include "guest-agent/agent.pb-c.h"

/*
 * Makes the devices that every container has and those of l, and the customary symlinks, below root. Where nodes can't be
 * made (in a user namespace), the guest's own are mounted.
 */
int devices_make(int root, const Microvm__Linux *l, struct err *e);

/*
 * Fills in what the spec says of a device by naming one of the guest's: type, numbers, and a rule that lets the container
 * use it. Before the rules are applied.
 */
int devices_resolve(Microvm__Linux *l, struct err *e);

/*
 * A new pseudo terminal of the devpts that is mounted at /dev/pts below root; whoever may have put something else there
 * gets an error. -> *master, *slave (both O_CLOEXEC, O_NOCTTY).
 */
int devices_terminal(int root, int *master, int *slave, struct err *e);

/* Puts the terminal at /dev/console. */
int devices_console(int root, int slave, struct err *e);

#endif
