/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers that join the VM of another one, as those of podman's pods do, and docker's `--network container:NAME`: a
 * namespace in config.json is that of a process, and the process is the supervisor of a container that runs.
 *
 * Such a container has a supervisor, a folder and a record of its own; in the folder the sockets of the VM are links to those of
 * the sandbox that has it. It ends when its connection to the agent does.
 */
#ifndef SANDBOX_JOIN_H
#define SANDBOX_JOIN_H

#include "sandbox/bundle.h"
#include "sandbox/state.h"

/*
 * Whose VM it joins: 1, and *vm is that sandbox, the caller's; 0: nobody's. The paths in the bundle's spec are those of the
 * guest then. -ENOTSUP: a namespace of a process that is no container's, or containers of two VMs.
 */
int join_find(const struct sandbox_paths *paths, struct bundle *b, struct state_ref *vm, struct err *e);
/* Pure: the same among the n sandboxes of a list; *id is one of theirs, or NULL. */
int join_resolve(const struct state_ref *list, size_t n, struct bundle *b, const char **id, struct err *e);
/* Of one whose supervisor was killed, what is left of it in the other's file server. */
void join_sweep(struct state *state, const struct sandbox_record *r);

#endif
