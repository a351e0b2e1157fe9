/* SPDX-License-Identifier: Apache-2.0 */
/* The host's ends of a process' standard streams, opened as containerd's clients named them. Nothing here waits for anybody. */
#ifndef SHIM_STREAMS_H
#define SHIM_STREAMS_H

#include <stdbool.h>

#include "base/err.h"

struct streams_config {
	const char *out, *err;	    /* uri.h; "": none */
	bool terminal;		    /* then there is no err */
	const char *id, *namespace; /* a program that takes the output is told */
};

struct streams {
	int fds[3];  /* -1: none */
	int in_keep; /* a writer of our own, so that a client that leaves is not the end of the input */
};

#define STREAMS_INIT                                  \
	{                                             \
		.fds = { -1, -1, -1 }, .in_keep = -1, \
	}

/* The output's. */
int streams_open(struct streams *s, const struct streams_config *c, struct err *e);
/* The input's, which is a FIFO's path. */
int streams_open_input(struct streams *s, const char *path, struct err *e);
/* No client will write any more: what is in the FIFO is the rest of it. */
void streams_close_input(struct streams *s);
void streams_close(struct streams *s);

#endif
