/* SPDX-License-Identifier: Apache-2.0 */
/* Leaving a process behind that goes on when its caller returns, once it is known whether it could begin. */
#ifndef SANDBOX_BACKGROUND_H
#define SANDBOX_BACKGROUND_H

#include "base/err.h"

/*
 * Returns in a new process of a session of its own, with *ready_fd to say how it went. The old one waits for that and exits:
 * with 0, after it has printed what background_ready_say() said if that was not "", or with a status and a line of the log.
 */
int background_fork(int *ready_fd, struct err *e);
/* Both close *ready_fd. Negative errno: whoever waited has gone. */
int background_ready_say(int *ready_fd, const char *text);
int background_failed_say(int *ready_fd, int status, const char *msg);
/* Writes our pid there, so that nobody sees half of it. */
int background_pid_file(const char *path, struct err *e);

#endif
