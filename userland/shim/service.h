/* SPDX-License-Identifier: Apache-2.0 */
/* containerd's task service, version 2: the table of its RPCs. arg of the peer that serves it: struct shim. */
#ifndef SHIM_SERVICE_H
#define SHIM_SERVICE_H

#include "rpc/ttrpc.h"

#define TASK_SERVICE "containerd.task.v2.Task"

extern const struct ttrpc_service task_service;

/* For a client of the service. NULL: there is no such method. */
const struct ttrpc_method *task_method(const char *name);

#endif
