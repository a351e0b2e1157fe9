/* SPDX-License-Identifier: Apache-2.0 */
/* The path of the pages that a guest gives back: through microvm-vmm, or through the kernel's module (kmod/). */
#ifndef SANDBOX_BALLOON_PATH_H
#define SANDBOX_BALLOON_PATH_H

#include <stdbool.h>

#include "base/err.h"

/*
 * wanted: "user", "kernel", or NULL: what MICROVM_BALLOON says, else the VMM's. pressure: the host is to be asked what it
 * wants, which only the module does. *fd: the module's open file, or -1. The path's name is returned, or NULL and an error.
 */
const char *balloon_path_choose(const char *wanted, bool pressure, int *fd, struct err *e);
/* Opens /dev/microvm for it; the error says what is missing. */
int balloon_module_device_open(int *fd, struct err *e);

#endif
