/* SPDX-License-Identifier: Apache-2.0 */
/* The shim itself: what `start` leaves behind, until containerd shuts it down. */
#ifndef SHIM_SERVE_H
#define SHIM_SERVE_H

#include "base/err.h"
#include "sandbox/bundle.h"

struct serve_config {
	const char *id, *namespace; /* of the first container */
	const struct bundle *bundle;
	const char *events_address; /* containerd's, for events; NULL: none */
	const char *socket_path;    /* removed when nobody can connect any more */
	int listen_fd;
	int told_fd; /* has a byte when containerd knows that path, and ends without one if it never will; -1: it knows */
};

/* Returns when it was shut down: 0, or why it can't serve. */
int shim_serve(const struct serve_config *c, struct err *e);

#endif
