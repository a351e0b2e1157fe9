/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that containerd runs the shim with, in a container's bundle. They return 0, or negative errno and e. */
#ifndef SHIM_COMMANDS_H
#define SHIM_COMMANDS_H

#include "base/err.h"
#include "shim/options.h"

/* Files in a bundle, as containerd and its other shims have them. */
#define SHIM_ADDRESS_FILE "address"
#define SHIM_PID_FILE "shim.pid" /* of the container that it was started for; locked as long as it lives */
#define SHIM_LOG_FIFO "log"

/* A shim for the container, or that of its pod; prints where it listens. */
int shim_start(const struct shim_options *o, struct err *e);
/* Takes away what is left of the container, whatever is left of the shim; prints a DeleteResponse. */
int shim_delete(const struct shim_options *o, struct err *e);

/* "unix://PATH" of a bundle's address file, which malloc'd *path is taken from. */
int shim_read_address(const char *bundle, char **path, struct err *e);
/* A stream connected to the socket at path, or negative errno. flags: SOCK_NONBLOCK, for who can't wait, or 0. */
int shim_connect(const char *path, int flags);

#endif
