/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One direction of a stream: bytes from a fd to a fd, or to a function, as they are, with the end of the input handed on as
 * a half-close. One buffer, so a slow reader slows the writer and nothing piles up here.
 */
#ifndef IO_FORWARD_H
#define IO_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "io/loop.h"

#define FORWARD_BUF_LEN 65536u

enum forward_kind {
	FORWARD_FD,	/* any file of the caller's: pipe, terminal, regular file; maybe non-blocking */
	FORWARD_SOCKET, /* a stream socket of ours */
	FORWARD_SINK,	/* out only: sink() */
};

struct forward {
	int in, out;
	enum forward_kind in_kind, out_kind;
	/* For FORWARD_SINK. Takes all of it at once. */
	void (*sink)(struct forward *f, const void *data, size_t len);
	/*
	 * Called once, from the loop: 0 the input ended and all of it was delivered; -EPIPE the output takes no more;
	 * else what broke. The fds are still the owner's.
	 */
	void (*ended)(struct forward *f, int reason);
	void *opaque;

	/* private */
	struct loop *loop;
	struct loop_op op;
	uint8_t *buf;
	size_t have, done;
	uint64_t bytes; /* delivered so far: whoever waits for the end can see that it moves */
	bool active, writing, polling;
};

/* in, out, kinds, sink, ended and opaque are filled in. */
void forward_start(struct forward *f, struct loop *loop);
/* Makes it end soon, with -ECANCELED. */
void forward_cancel(struct forward *f);
/* Only when it isn't active. */
void forward_free(struct forward *f);

#endif
