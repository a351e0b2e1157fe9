/* SPDX-License-Identifier: Apache-2.0 */
/* The caller's terminal: raw while a container has it, and as it was before on every way out. */
#ifndef SANDBOX_TERMINAL_H
#define SANDBOX_TERMINAL_H

#include <stdint.h>

#include "base/err.h"

/*
 * Makes fd raw. A small process of its own waits for this one's end and then gives the terminal back as it was, so that
 * it is restored even when this process is killed with SIGKILL. -ENOTTY.
 */
int terminal_raw(int fd, struct err *e);
/* As it was. Does nothing when it isn't raw. */
void terminal_restore(void);
/* Both 0 when it isn't known. */
void terminal_size(int fd, uint32_t *rows, uint32_t *cols);

/*
 * Makes a terminal, raw, which becomes our controlling one and fd 0, 1 and 2; its other side goes to who listens at that Unix
 * socket, as engines have it with --console-socket. We must lead a session without a terminal.
 */
int terminal_to_engine(const char *socket_path, struct err *e);

#endif
