/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What other processes ask of a supervisor, by its socket `control` (SOCK_SEQPACKET): one request, one answer, both of a fixed
 * size. What changes the record goes this way, so that one process alone writes it; the others speak to the guest themselves.
 */
#ifndef SANDBOX_CONTROL_H
#define SANDBOX_CONTROL_H

#include <stdint.h>

#include "base/err.h"
#include "sandbox/state.h"

enum control_op {
	CONTROL_START, /* what was created runs */
	CONTROL_PAUSE,
	CONTROL_RESUME,
	CONTROL_END, /* what was created and not started ends, as if by that signal */
	CONTROL_OP_N,
};

struct control_request {
	uint32_t op;
	uint32_t signal; /* of CONTROL_END */
};

struct control_answer {
	int32_t error; /* 0, or errno and why */
	char msg[ERR_MSG_MAX];
};

/* -ESRCH: the sandbox has ended; -EBUSY: it is not in a state for that; else what the supervisor said. */
int sandbox_control(const struct state_ref *ref, enum control_op op, uint32_t signal, struct err *e);

struct sandbox;
/* The supervisor's side: listens in the sandbox's folder. */
int control_listen(struct sandbox *s, struct err *e);
/* The answer to CONTROL_START, which waits for it; error NULL: it runs. Harmless when nobody waits. */
void control_answer(struct sandbox *s, const struct err *error);
/* Nothing more is taken; who waits for an answer still does. */
void control_stop(struct sandbox *s);

#endif
