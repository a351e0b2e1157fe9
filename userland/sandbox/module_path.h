/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel's module (kmod/) can do in place of microvm-vmm, and by which of the two paths a sandbox has it done. */
#ifndef SANDBOX_MODULE_PATH_H
#define SANDBOX_MODULE_PATH_H

#include "base/err.h"

#define MODULE_PATH_USER "user"	    /* through microvm-vmm */
#define MODULE_PATH_KERNEL "kernel" /* through the module */
#define MODULE_PATH_VHOST "vhost"   /* streams only: through the kernel's own vhost-vsock (vhost.h), to compare with */

/* A guest's streams, and the pages that it gives back. */
enum module_part { MODULE_VSOCK, MODULE_BALLOON };

/* Opens /dev/microvm for it; the error says whether the module is missing, too old, or without it. */
int module_open(enum module_part part, int *fd, struct err *e);

/*
 * wanted: a path, or NULL: what the environment says (MICROVM_VSOCK, MICROVM_BALLOON), else `otherwise`, which is NULL for the
 * best that there is: the kernel's where module_open() succeeds. *fd: the module's open file, or vhost's, or -1. The path is returned, or
 * NULL and an error that names the option.
 */
const char *module_path_choose(enum module_part part, const char *wanted, const char *otherwise, int *fd,
			       struct err *e);

#endif
