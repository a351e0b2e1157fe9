/* SPDX-License-Identifier: Apache-2.0 */
/* The path of a guest's streams: through microvm-vmm, or through the kernel's module (kmod/). */
#ifndef SANDBOX_VSOCK_PATH_H
#define SANDBOX_VSOCK_PATH_H

#include "base/err.h"

#define VSOCK_PATH_USER "user"
#define VSOCK_PATH_KERNEL "kernel"

/* Opens /dev/microvm; the error says whether the module is missing, or too old. */
int vsock_module_device_open(int *fd, struct err *e);

/*
 * wanted: "user", "kernel", or NULL: what MICROVM_VSOCK says, else the VMM's. *fd: the module's
 * open file, or -1. The path's name is returned, or NULL and an error.
 */
const char *vsock_path_choose(const char *wanted, int *fd, struct err *e);

#endif
