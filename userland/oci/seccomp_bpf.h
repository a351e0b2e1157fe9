/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the OCI room: what profile reader and default profile share. */
#ifndef OCI_SECCOMP_BPF_H
#define OCI_SECCOMP_BPF_H

#include <seccomp.h>
#include <stdbool.h>

#include "oci/seccomp.h"

/* The filter's program as a message. ends_at: system calls above this number get ENOSYS; -1: no such rule. */
int oci_seccomp_export(scmp_filter_ctx ctx, int ends_at, uint32_t flags, Microvm__Seccomp **out, struct err *e);

static inline void cleanup_seccompp(scmp_filter_ctx *ctx)
{
	if (*ctx)
		seccomp_release(*ctx);
}
#define _cleanup_seccomp_ _cleanup_(cleanup_seccompp)

#endif
