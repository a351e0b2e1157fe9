/* SPDX-License-Identifier: Apache-2.0 */
#include "io/relay.h"

#include "base/cleanup.h"

static void direction_ended(struct forward *f, int reason)
{
	struct relay *r = f->opaque;

	if (--r->open)
		return;
	forward_free(&r->from[0]);
	forward_free(&r->from[1]);
	cleanup_closep(&r->fd[0]);
	cleanup_closep(&r->fd[1]);
	r->ended(r);
}

void relay_start(struct relay *r, struct loop *loop, int a, int b)
{
	unsigned int i;

	r->fd[0] = a;
	r->fd[1] = b;
	r->open = 2;
	for (i = 0; i < 2; i++) {
		r->from[i] = (struct forward){
			.in = r->fd[i],
			.in_kind = FORWARD_SOCKET,
			.out = r->fd[!i],
			.out_kind = FORWARD_SOCKET,
			.ended = direction_ended,
			.opaque = r,
		};
		forward_start(&r->from[i], loop);
	}
}

void relay_cancel(struct relay *r)
{
	forward_cancel(&r->from[0]);
	forward_cancel(&r->from[1]);
}
