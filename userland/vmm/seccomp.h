/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each thread of a running VMM may ask of the kernel: one table of system calls per role (base/seccomp.h).
 * Anything else ends the VM, and the report names it.
 */
#ifndef VMM_SECCOMP_H
#define VMM_SECCOMP_H

#include <stddef.h>

#include "vmm/ending.h"

enum seccomp_role { SECCOMP_VCPU, SECCOMP_IO, SECCOMP_MAIN, SECCOMP_ROLES };

/* The process's handler for denied calls. Before the threads start. */
int seccomp_prepare(struct ending *ending);
/* The calling thread keeps to its role from here on. Needs no_new_privs. Negative errno. */
int seccomp_enter(enum seccomp_role role);
/* Distinct system calls a role may make; for tests. */
size_t seccomp_calls(enum seccomp_role role);

#endif
