/* SPDX-License-Identifier: Apache-2.0 */
/* Connections of the host to what listens on the guest's loopback (GUEST_TCP_PORT). */
#ifndef AGENT_TCP_H
#define AGENT_TCP_H

#include "io/loop.h"

#define TCP_CONNECTIONS_MAX 64u

struct tcp {
	struct loop *loop;
	unsigned int n;
};

/* The host has connected; takes fd. */
void tcp_accepted(struct tcp *t, int fd);

#endif
