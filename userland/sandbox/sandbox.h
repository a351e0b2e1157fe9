/* SPDX-License-Identifier: Apache-2.0 */
/* What front ends call: run a container in a VM of its own, and reach those that run. */
#ifndef SANDBOX_SANDBOX_H
#define SANDBOX_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "sandbox/options.h"
#include "sandbox/state.h"

/* Exit statuses that are not the container's own; 125, 126 and 127 are docker's. */
enum {
	SANDBOX_EXIT_ERROR = 125,    /* microvm itself failed */
	SANDBOX_EXIT_NOEXEC = 126,   /* the command can't be executed */
	SANDBOX_EXIT_NOTFOUND = 127, /* there is no such command */
};

/*
 * The whole life of a sandbox with one container; pipeline.c has its stages. Returns the exit status (0..255). When it is
 * not the container's own, e says why. Detached: returns when the container has started, and prints the id to stdout.
 * timings: how long each stage took goes to stderr.
 */
int sandbox_run(const struct sandbox_paths *paths, const struct run_options *o, bool timings, struct err *e);

/* A further process in a running container. Likewise. */
int sandbox_exec(struct state_ref *ref, const struct process_options *o, char *const *command, struct err *e);

/* A signal to the container's first process. SIGKILL to a guest that does not answer ends its VM, and returns when it has ended. */
int sandbox_signal(struct state_ref *ref, int signal, struct err *e);
/* The same to every process of the container. */
int sandbox_signal_all(struct state_ref *ref, int signal, struct err *e);
/* Stop signal, timeout, SIGKILL, then the VM itself; returns when it has ended. timeout_ns UINT64_MAX: the sandbox's own. */
int sandbox_stop(struct state_ref *ref, uint64_t timeout_ns, struct err *e);
/* Waits until its supervisor is gone; false when the time was up. */
bool sandbox_wait_ended(struct state_ref *ref, uint64_t timeout_ns);
/* Ends the VM at once, and waits until its supervisor has cleaned up. */
int sandbox_kill_vm(struct state_ref *ref, struct err *e);

/* Checks of this host (check.c): what is there, what is missing and what to do about it. */
enum check_result { CHECK_OK, CHECK_OPTIONAL, CHECK_MISSING };
struct check {
	const char *name;
	enum check_result result;
	char found[256];  /* what was found */
	char remedy[256]; /* "" where none is needed */
};
/* All of them, in a static array of *n. */
const struct check *sandbox_check(const struct sandbox_paths *paths, size_t *n);

/* The store's folder, as the options or the environment say, or the default. */
const char *sandbox_store_path(const struct sandbox_paths *paths);

#endif
