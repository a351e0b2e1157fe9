/* SPDX-License-Identifier: Apache-2.0 */
/* Between state.c (the supervisor's side) and state_list.c (everyone else's). */
#ifndef SANDBOX_STATE_PRIVATE_H
#define SANDBOX_STATE_PRIVATE_H

#include "sandbox/state.h"

#define STATE_DEFAULT "/run/microvm"
#define STATE_JSON_MAX (16u << 20)

struct state {
	char *path;
	int dirfd, sandboxes, names, uids, lockfd;
};

void state_lock(struct state *state);
void state_unlock(struct state *state);
/* Removes a link of names/ or uids/ if it is that sandbox's. */
void state_link_release(int dirfd, const char *name, const char *id);
void state_uid_release(struct state *state, uint32_t uid, const char *id);
int state_write(int dirfd, const char *name, const char *text, size_t len);
void state_drop_live(int dirfd);
int state_sweep(struct state *state, struct err *e);

#endif
