/* SPDX-License-Identifier: GPL-2.0-only */
/* Eventfds of a queue: one that wakes the session's thread, one that interrupts the guest. All under the session's lock. */
#ifndef MICROVM_NOTIFY_H
#define MICROVM_NOTIFY_H

#include "session.h"

/* From here on the eventfd's signals wake the session; negative errno. */
int kick_set(struct session *s, struct kick *k, int fd);
/* Nothing, if none was set. */
void kick_clear(struct kick *k);
int call_set(struct eventfd_ctx **call, int fd);
void call_clear(struct eventfd_ctx **call);

#endif
