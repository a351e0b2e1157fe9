/* SPDX-License-Identifier: Apache-2.0 */
/* Two stream sockets as one connection: what comes from either goes to the other, half-closes included. */
#ifndef IO_RELAY_H
#define IO_RELAY_H

#include "io/forward.h"

struct relay {
	/* Called once, from the loop, when both directions are over; the sockets are closed then, and r may be freed. */
	void (*ended)(struct relay *r);

	/* private */
	int fd[2];
	struct forward from[2]; /* from fd[i] to the other */
	unsigned int open;
};

/* r->ended is filled in. The sockets are the relay's from here on. */
void relay_start(struct relay *r, struct loop *loop, int a, int b);
/* Makes it end soon. */
void relay_cancel(struct relay *r);

#endif
