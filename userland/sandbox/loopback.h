/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP to the loopback of a pod's network namespace on the host, carried to the guest's: an engine's port forward
 * (`kubectl port-forward`) connects there, and what listens is in the guest. All of its ports lead to one socket of ours, by a
 * BPF program that the kernel asks for the listener of a new connection (BPF_PROG_TYPE_SK_LOOKUP, Linux 5.9).
 */
#ifndef SANDBOX_LOOPBACK_H
#define SANDBOX_LOOPBACK_H

#include "base/err.h"
#include "io/loop.h"

#define LOOPBACK_CONNECTIONS_MAX 64u /* of one pod at once */

struct loopback;

/* Takes the ports of the namespace at that path; connections wait. -EPERM, -EINVAL: the kernel has no such programs. */
int loopback_new(struct loopback **out, const char *netns, struct err *e);
/* From now on, by the VMM's socket at that path (which outlives it). Once. */
void loopback_serve(struct loopback *l, struct loop *loop, const char *socket);
/* Ends the connections, too, running the loop for it; not from within one of its callbacks. NULL is fine. */
void loopback_free(struct loopback *l);

#endif
