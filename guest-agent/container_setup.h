/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a process gets into a container; between container.c (the agent's side) and container_child.c (the new process').
 *
 *   agent ── fork ──> helper: joins namespaces, then clone3(CLONE_PARENT) with the new ones, into the cgroup
 *                        └──> child (a child of the agent): waits, sets everything up, waits, executes
 *
 * They talk by one socket of packets, of which the agent holds one end and both others the other: helper -> REPORT_PID;
 * agent, after it has written id mappings and limits from outside -> GO (its pid); child, when all is set up -> REPORT_READY; agent
 * -> GO; then the end of the socket says that execve succeeded. An error can come in place of each report.
 */
#ifndef AGENT_CONTAINER_SETUP_H
#define AGENT_CONTAINER_SETUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "guest-agent/agent.pb-c.h"

enum report_type { REPORT_PID = 1, REPORT_READY, REPORT_ERROR };

struct report {
	enum report_type type;
	int value; /* REPORT_PID: the pid; REPORT_ERROR: errno */
	char msg[ERR_MSG_MAX];
};

struct launch {
	const char *id;
	const Microvm__Process *process;
	const Microvm__Spec *spec;     /* of a container that is being made; NULL: exec in one that is there */
	const Microvm__Rootfs *rootfs; /* goes with spec */
	const Microvm__Seccomp *seccomp;
	pid_t pid;	     /* the child's, as the agent knows it; in the child, from the first GO on */
	uint64_t join_flags; /* exec: CLONE_NEW* of the namespaces to join */
	int join;	     /* exec: pidfd of the container's first process */
	int cgroup;	     /* folder's fd */
	int sync;	     /* the child's end */
	const int *stdio;
};

/* Runs in the forked helper, and in the child after it; neither returns. */
void container_helper(struct launch *l) __attribute__((noreturn));
void container_child(struct launch *l) __attribute__((noreturn));

/* ---- container_namespaces.c ---- */

/* Flags of the namespaces of l: those to be made new, and those to be joined by their path. */
int namespaces_check(const Microvm__Spec *spec, uint64_t *new_flags, uint64_t *joined_flags, struct err *e);
/* Joins those of which (CLONE_NEW* flags) that have a path. */
int namespaces_join(const Microvm__Linux *l, uint64_t which, struct err *e);
/* In a network namespace of its own nothing is up, not even the loopback device. */
int namespaces_loopback_up(struct err *e);
/* Whether who has those namespaces (CLONE_NEW*) for himself may set it. */
bool namespaces_sysctl_allowed(const char *name, uint64_t new_flags);
int namespaces_sysctl(const Microvm__Linux *l, uint64_t new_flags, struct err *e);
/* Offsets of the time namespace that the caller's next child will be in. */
int namespaces_time(const Microvm__Linux *l, struct err *e);

/* ---- container_hooks.c ---- */

/* Runs the hooks of that kind, with the container's state on their stdin. */
int container_hooks(const char *kind, const Microvm__Spec *spec, const char *id, const char *status, pid_t pid,
		    struct err *e);
/* The longest they can take, in seconds. */
unsigned int container_hooks_limit_s(const char *kind, const Microvm__Spec *spec);

/* ---- container_root.c: in the child ---- */

/* Mounts all and enters the root. With terminal, its two ends (devices_terminal()) are the caller's. */
int container_enter_root(struct launch *l, bool userns, bool terminal, int *master, int *slave, struct err *e);

#endif
