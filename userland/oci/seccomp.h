/* SPDX-License-Identifier: Apache-2.0 */
/* seccomp profiles to BPF, compiled here on the host so that the guest needs no compiler. */
#ifndef OCI_SECCOMP_H
#define OCI_SECCOMP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "guest-agent/agent.pb-c.h"

#define OCI_SECCOMP_MAX (1u << 20) /* bytes of a profile */

/*
 * linux.seccomp of config.json, or docker's profile format, which is the same with archMap and rules that depend on
 * capabilities: caps is the set (1 << CAP_x) the container will have. *out is malloc'd, for a Linux message to own.
 * System calls this library doesn't know are left out, as runc does. -ENOTSUP: a listener (SCMP_ACT_NOTIFY).
 */
int oci_seccomp_compile(const struct json_node *profile, uint64_t caps, Microvm__Seccomp **out, struct err *e);

/* The profile in a file. */
int oci_seccomp_load(const char *path, uint64_t caps, Microvm__Seccomp **out, struct err *e);

/* The profile of containers that ask for none: everything but what endangers the guest's kernel. */
int oci_seccomp_default(uint64_t caps, Microvm__Seccomp **out, struct err *e);

#endif
