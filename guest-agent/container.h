/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers of the guest: made from the checked Spec of agent.proto, ended and measured here. The agent's serving side
 * (serve.c, reap.c, stdio.c, events.c) is the only caller, always from the loop's thread.
 *
 * Who does what:
 *  - Everything here is synchronous and bounded in time: a wait on a child (set-up, hooks, a hostile /etc/passwd that is a
 *    FIFO) has a deadline of CONTAINER_SETUP_S, or the hook's own; past it the child is killed and the call fails with
 *    -ETIMEDOUT. Nothing here runs the loop.
 *  - The processes are children of the agent (PID 1). Reaping is the caller's: it runs waitpid(-1) from the loop, so a pid
 *    that was returned stays valid until container_exited() was called for it. Helpers (hooks, intermediate children)
 *    are waited for here, by pid, before the call returns.
 *  - The agent blocks SIGCHLD and others (signalfd) and ignores SIGPIPE: children reset mask and dispositions before exec.
 *  - Fds of the agent are all O_CLOEXEC; a child still closes everything above 2 before exec (close_range), ignoring none.
 *  - Messages don't outlive a call: what is needed later (seccomp for exec, poststop hooks) is copied.
 *  - init_late() has mounted /proc /sys /dev /dev/pts /dev/shm /run /tmp and cgroup2 on /sys/fs/cgroup, with all
 *    controllers enabled for the root's children. The agent itself stays in the root cgroup; containers are below
 *    /sys/fs/cgroup/CONTAINER_CGROUP/.
 *
 * All return 0 or a negative errno, and a message in e that names the thing, the cause and the next step.
 */
#ifndef AGENT_CONTAINER_H
#define AGENT_CONTAINER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "guest-agent/agent.pb-c.h"

#define CONTAINER_CGROUP "microvm"   /* the cgroup below which all containers' are */
#define CONTAINER_RUN "/run/microvm" /* state of containers: root mounts, writable layers */
#define CONTAINER_SETUP_S 10u /* of the guest's own time: what its host does not give it a CPU for does not count */
#define CONTAINER_FILL_S 600u /* more, where a new volume gets the image's files */

struct container;

/*
 * How a new process is wired. stdio are the child's ends (pipe ends or /dev/null, never -1) and stay the caller's, who
 * closes them afterwards; they are O_CLOEXEC. With process.terminal they are not used: the pty is made here, in the
 * container's own devpts, and console_master is the caller's afterwards (O_CLOEXEC, otherwise -1).
 */
struct container_io {
	int stdio[3];	    /* in */
	int console_master; /* out */
};

/*
 * Makes the container up to the point where only the exec of its program is missing: root mounted, cgroup made and
 * limited, namespaces, mounts, createContainer hooks done, the process waiting. *pid: it, in the agent's namespace.
 * The id was checked by the caller: 1..128 of [A-Za-z0-9_.-], no leading dot, not in use. -ENOTSUP for what the guest
 * refuses (apparmor_profile, unknown mount options, …). -ENOENT or -EACCES and GUEST_EXEC_ERROR: its program is not there, or
 * not executable for its user. On failure nothing is left.
 */
int container_create(struct container **out, const Microvm__CreateContainerRequest *req, struct container_io *io,
		     pid_t *pid, struct err *e);

/*
 * Lets the process go on: startContainer hooks in it, exec, poststart hooks in the agent's namespaces. Returns when exec
 * has succeeded or failed: -ENOENT (no such interpreter), -ENOEXEC (not a program), for the front ends' 127 and 126. After a
 * failure the process is dead or dying; its exit is reaped as any other.
 */
int container_start(struct container *c, struct err *e);

/* A further process in the running container. Returns when its exec has succeeded or failed, as container_start does. */
int container_exec(struct container *c, const Microvm__Process *process, const char *exec_id, struct container_io *io,
		   pid_t *pid, struct err *e);

/* Sends signal (1..64) to pid, which must be one of the container's that was not reaped yet; all: to every process in its cgroup. */
int container_signal(struct container *c, pid_t pid, int signal, bool all, struct err *e);

/* cgroup.freeze, and waits (bounded) until cgroup.events says so. */
int container_pause(struct container *c, struct err *e);
int container_resume(struct container *c, struct err *e);

int container_update(struct container *c, const Microvm__Resources *resources, struct err *e);
/* stats was initialised with microvm__stats__init(). A controller's file that is not there leaves zeros. */
int container_stats(struct container *c, Microvm__Stats *stats, struct err *e);
/* Pids in the agent's namespace, at most max of them; *n: how many. */
int container_pids(struct container *c, uint32_t *pids, size_t max, size_t *n, struct err *e);

/*
 * A fd that polls readable when the memory cgroup's events may have changed; -1 if there is none. It stays the
 * container's. container_oom_take() drains it and returns how many OOM kills are new since the last call.
 */
int container_oom_fd(const struct container *c);
uint64_t container_oom_take(struct container *c);
/* Whether any process of the container was ever killed for memory. */
bool container_oom_killed(const struct container *c);

/* The caller reaped pid. After the first process' end everything else in the container is killed (its pid namespace may be shared). */
void container_exited(struct container *c, pid_t pid);

/*
 * Kills what still runs (bounded wait), runs the poststop hooks, removes mounts and cgroup and frees c, in any case; an
 * error says what could not be undone.
 */
int container_remove(struct container *c, struct err *e);

#endif
