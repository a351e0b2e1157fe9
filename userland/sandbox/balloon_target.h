/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest of a VM that this process supervises is to do with, told to its VMM (base/balloon.h) from the event loop. */
#ifndef SANDBOX_BALLOON_TARGET_H
#define SANDBOX_BALLOON_TARGET_H

#include "base/balloon.h"
#include "io/loop.h"

struct balloon_target {
	struct loop *loop;
	struct loop_op op;
	int dirfd, fd;	       /* the sandbox's folder; a question that is under way, or -1 */
	uint64_t wanted, told; /* bytes */
	struct balloon_answer answer;
};

/* given: bytes, what the VM was made with. dirfd stays the caller's. */
void balloon_target_begin(struct balloon_target *t, struct loop *loop, int dirfd, uint64_t given);
/* One question after the other; what is wanted last counts. A VMM that can't be told is a warning. */
void balloon_target_set(struct balloon_target *t, uint64_t bytes);
/* Nothing is under way any more: runs the loop for that. */
void balloon_target_end(struct balloon_target *t);

#endif
