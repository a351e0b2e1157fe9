/* SPDX-License-Identifier: Apache-2.0 */
/* What PID 1 does to make a system of a bare kernel, in two steps, and how it ends it. */
#ifndef AGENT_INIT_H
#define AGENT_INIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Words of ours on the kernel's command line. */
struct init_words {
	bool debug;	   /* microvm.debug: a talkative log on the console */
	uint32_t port;	   /* microvm.port=N: the host's port to connect to, and its side is vhost-vsock; 0: neither */
	bool ready_reboot; /* microvm.ready=reboot: end where the host would be told, to measure a boot without one */
};

/* Only what is needed before the host is told: /proc, and the command line. */
int init_early(struct init_words *words, struct err *e);
/* All the rest: file systems, cgroups, loopback, signals. */
int init_late(struct err *e);

/* Syncs and powers off: at the VMM's port, else by a reset. Does not return. */
void poweroff(void) __attribute__((noreturn));

#endif
