/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The containers of the sandbox and their processes, by id: what was started, what has ended how, and who waits for it.
 * A task is a container with its processes. The processes are the agent's children and are reaped here.
 */
#ifndef AGENT_TASKS_H
#define AGENT_TASKS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "guest-agent/agent.pb-c.h"
#include "guest-agent/container.h"
#include "guest-agent/events.h"
#include "guest-agent/stdio.h"
#include "io/loop.h"
#include "rpc/ttrpc.h"

#define TASKS_MAX 256u
#define TASK_PROCS_MAX 256u /* of one container; those that have ended are forgotten first */

struct task_waiter;

struct task_proc {
	struct task_proc *next;
	struct task *task;
	char exec_id[EVENT_ID_MAX + 1]; /* "": the container's first process */
	pid_t pid;
	bool exited, oom_killed;
	int ended_by; /* the signal that SIGKILL stands for (init_signal.h); 0: none */
	uint32_t exit_status;
	int64_t exited_at_ns;
	struct stdio_set *stdio;
	struct task_waiter *waiters;
};

struct task {
	struct task *next;
	struct tasks *owner;
	char id[EVENT_ID_MAX + 1];
	struct container *container; /* NULL while it is being removed */
	const void *keeper;	     /* NULL: nobody, or it has gone: */
	bool abandoned;		     /* to be removed when its first process has ended */
	bool started;
	bool gone;		 /* removed; memory stays until oom_poll has ended */
	struct task_proc *procs; /* newest first; the first process is the last */
	unsigned int procs_n;
	struct loop_op oom_poll;
};

struct tasks {
	struct loop *loop;
	struct stdio stdio;
	struct events events;
	struct task *first;
	unsigned int n;
	int signal_fd;
	struct loop_op signal_poll, reap_more, bury;
	/* Called when a container's first process has ended; it must not remove tasks. May be NULL. */
	void (*ended)(struct tasks *ts, void *arg);
	void *ended_arg;
};

/* Blocks SIGCHLD and reads it from a signalfd from now on. Negative errno. */
int tasks_init(struct tasks *ts, struct loop *loop);

/* keeper: who calls tasks_abandon() with it ends the container; NULL: it ends with the sandbox. */
int tasks_create(struct tasks *ts, const Microvm__CreateContainerRequest *req, const void *keeper, pid_t *pid,
		 struct err *e);
/* Kills the keeper's containers, and removes each when it has ended. */
void tasks_abandon(struct tasks *ts, const void *keeper);
/* One of them may have ended. */
void tasks_bury(struct tasks *ts);
void tasks_bury_done(struct loop_op *op, int res);
int tasks_start(struct tasks *ts, const char *id, struct err *e);
int tasks_exec(struct tasks *ts, const Microvm__ExecRequest *req, pid_t *pid, struct err *e);
int tasks_signal(struct tasks *ts, const Microvm__SignalRequest *req, struct err *e);
int tasks_remove(struct tasks *ts, const char *id, struct err *e);
/* Answers the call, now or when the process has ended. */
void tasks_wait(struct tasks *ts, const char *id, const char *exec_id, struct ttrpc_call *call);

/* -ENOENT if there is none, with a message. */
int tasks_find(struct tasks *ts, const char *id, struct task **out, struct err *e);
int tasks_find_proc(struct tasks *ts, const char *id, const char *exec_id, struct task_proc **out, struct err *e);

/* How many first processes are still there. */
unsigned int tasks_running(const struct tasks *ts);
/* To the first process of each container, or to all processes. */
void tasks_signal_all(struct tasks *ts, int signal, bool all);
/* Removes every container; for the end of the sandbox. */
void tasks_remove_all(struct tasks *ts);

#endif
