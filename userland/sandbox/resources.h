/* SPDX-License-Identifier: Apache-2.0 */
/* What a running sandbox uses, and what it may use from now on. */
#ifndef SANDBOX_RESOURCES_H
#define SANDBOX_RESOURCES_H

#include <stdint.h>

#include "base/balloon.h"
#include "base/err.h"
#include "guest-agent/agent.pb-c.h"
#include "sandbox/state.h"

struct sandbox_stats {
	uint64_t at_ns;	 /* monotonic */
	uint64_t cpu_ns; /* of the container since its start */
	uint64_t memory_bytes, memory_file_bytes,
		memory_limit_bytes; /* of the container; UINT64_MAX: no limit of its own */
	uint64_t pids, io_read_bytes, io_write_bytes;
	struct balloon_answer vm;
};

/* -ESRCH: it does not run. */
int sandbox_stats(const struct state_ref *ref, struct sandbox_stats *out, struct err *e);
/* Asks the VMM; target_bytes counts for BALLOON_TARGET alone. */
int sandbox_balloon(const struct state_ref *ref, enum balloon_op op, uint64_t target_bytes,
		    struct balloon_answer *answer, struct err *e);

/* 0: stays as it is. */
struct resource_update {
	uint64_t mem_bytes; /* what the guest is to do with */
	uint64_t nano_cpus;
	int64_t pids_limit; /* -1: none */
};

/*
 * The same as an engine says it: a whole linux.resources, for the container's cgroup. A limit of memory moves the balloon, too, of a VM
 * that is its own and that no other container has joined.
 */
int sandbox_update_resources(struct state *state, const struct state_ref *ref, const Microvm__Resources *res,
			     struct err *e);
/* The container's processes, by their pids in the guest; *pids is malloc'd. */
int sandbox_processes(const struct state_ref *ref, uint32_t **pids, size_t *n, struct err *e);
/* All is checked before anything is changed. */
int sandbox_update(const struct state_ref *ref, const struct resource_update *u, struct err *e);

#endif
