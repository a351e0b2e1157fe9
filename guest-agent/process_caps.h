/* SPDX-License-Identifier: Apache-2.0 */
/* The five capability sets of a process. */
#ifndef AGENT_PROCESS_CAPS_H
#define AGENT_PROCESS_CAPS_H

#include <stdint.h>

#include "base/err.h"
#include "guest-agent/agent.pb-c.h"

struct caps {
	uint64_t bounding, effective, inheritable, permitted, ambient;
};

/* What this kernel doesn't know, or the agent doesn't have, can't be granted and is left out; c NULL: none at all. */
void caps_parse(const Microvm__Capabilities *c, struct caps *caps);
/* First, while CAP_SETPCAP is there. */
int caps_drop_bounding(const struct caps *caps, struct err *e);
/* Last, after the change of ids. */
int caps_apply(const struct caps *caps, struct err *e);

#endif
