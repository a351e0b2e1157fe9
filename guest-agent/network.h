/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's interfaces, set up as the host's network namespace has them. */
#ifndef AGENT_NETWORK_H
#define AGENT_NETWORK_H

#include "base/err.h"
#include "guest-agent/agent.pb-c.h"

/* Once, before the first container. An interface is found by its MAC; the error names what could not be made. */
int network_set_up(const Microvm__Network *network, struct err *e);

#endif
