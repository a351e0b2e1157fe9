/* SPDX-License-Identifier: Apache-2.0 */
/* For a while in another network namespace. Of the calling thread; sockets stay where they were made. */
#ifndef BASE_NETNS_H
#define BASE_NETNS_H

#include "base/err.h"

/* Into that one; *back: the one that we were in, for netns_leave(), and to be closed, whatever comes of it. */
int netns_enter(int netns_fd, int *back, struct err *e);
int netns_leave(int back, struct err *e);

#endif
