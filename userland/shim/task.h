/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tasks of one shim: containers of one VM and the processes in them, as containerd's task API knows them. What an RPC asks
 * for begins here and is answered when the guest has answered; nothing waits.
 */
#ifndef SHIM_TASK_H
#define SHIM_TASK_H

#include <stdbool.h>
#include <stdint.h>

#include "rpc/ttrpc.h"
#include "sandbox/bundle.h"
#include "sandbox/pod.h"
#include "sandbox/stdio.h"
#include "shim/api.h"
#include "shim/events.h"
#include "shim/streams.h"

/* An RPC that is answered later; NULL when nobody waits for it (any more). */
struct pending {
	struct pending *next; /* of a list of several that wait for the same */
	struct pending **list;
	struct ttrpc_call *call;
};
void pending_set(struct pending *p, struct ttrpc_call *call);
/* One more of a list, malloc'd; goes when it is answered or given up. */
void pending_add(struct pending **list, struct ttrpc_call *call);
/* Both are harmless when nobody waits. */
void pending_reply(struct pending *p, const ProtobufCMessage *m);
void pending_fail(struct pending *p, const struct err *e);
void pending_reply_all(struct pending **list, const ProtobufCMessage *m);

enum process_state { PROCESS_CREATING, PROCESS_CREATED, PROCESS_STARTING, PROCESS_RUNNING, PROCESS_STOPPED };

struct task;
struct process {
	struct process *next;
	struct task *task;
	char *exec_id;	      /* "": the container's first */
	char *in, *out, *err; /* as containerd said them */
	bool terminal;
	uint32_t rows, cols;
	enum process_state state;
	uint32_t exit_status;
	int64_t exited_at_ns;
	Microvm__Process *spec; /* of an exec, until it runs */
	struct streams streams;
	struct stdio stdio;
	bool connected;	   /* stdio is in use */
	bool input_closed; /* before there was one */
	/* The end of the streams, step by step (process.c). */
	struct loop_op step_op, still_op;
	uint64_t still_bytes;
	bool draining, still;
	void (*streams_done)(struct process *p);
	bool deleting;
	/* It has ended, and its output is on its way to who reads it. */
	struct loop_op exit_op;
	bool exiting;
	unsigned int exit_rounds, unread_rounds;
	struct pending start, deletion; /* start: of the first process also its creation */
	struct pending *waiting;
};

struct task {
	struct task *next;
	struct shim *shim;
	char *id, *bundle_path;
	struct bundle bundle;
	struct pod_files files;
	uint32_t guest_pid;
	bool asked; /* the agent, for its creation */
	bool in_guest, paused;
	bool idle, waking;  /* no process of it is in the guest, or not yet (pause.h) */
	uint64_t killed_ns; /* when SIGKILL was first sent to it, by the monotonic clock; 0: it was not */
	/* Of its memory, in bytes, and CPU time, in thousandths of a CPU; 0: none. asked: by an Update that is under way. */
	uint64_t mem_limit, mem_limit_asked, cpu_limit, cpu_limit_asked;
	TASK(CreateTaskRequest) * request; /* until the guest has it */
	struct process first;
	struct process *execs;
};

struct shim {
	struct loop *loop;
	const char *id; /* of the container that the shim was started for */
	const char *namespace;
	struct events *events;
	struct pod *pod; /* NULL: it could not be started */
	bool pod_ready;
	struct err pod_error; /* why there is none, or no more */
	struct task *tasks;
	struct loop_op overdue_op; /* until what was killed has to have ended */
	/* A Shutdown was answered, and no task is left. */
	void (*over)(struct shim *s);
};

/* ---- one function an RPC (service.c has the table); each answers its call, now or later ------------------------------ */

void task_create(struct shim *s, struct ttrpc_call *call, const TASK(CreateTaskRequest) * req);
void task_start(struct shim *s, struct ttrpc_call *call, const char *id, const char *exec_id);
void task_exec(struct shim *s, struct ttrpc_call *call, const TASK(ExecProcessRequest) * req);
void task_delete(struct shim *s, struct ttrpc_call *call, const char *id, const char *exec_id);
void task_wait(struct shim *s, struct ttrpc_call *call, const char *id, const char *exec_id);

/* Before anything else. */
void tasks_init(struct shim *s);
/* NULL and e: no such container or process. */
struct task *task_find(struct shim *s, const char *id, struct err *e);
struct process *process_find(struct shim *s, const char *id, const char *exec_id, struct err *e);
/* The agent, if that container is in the guest; NULL and e. */
struct agent *task_agent(struct task *t, struct err *e);
/* A size that came before the process is there is kept for it. */
void process_resize(struct process *p, uint32_t rows, uint32_t cols);
uint32_t task_pid(const struct task *t);
/* Asks the agent for the container, with its files and streams. Negative errno and e: it wasn't asked. */
int task_ask_creation(struct task *t, agent_done_fn done, struct err *e);
/* Those that wait for the guest, or for the pod's first container: are made, or refused. */
void tasks_create_waiting(struct shim *s);
void tasks_refuse_waiting(struct shim *s, const struct err *e);
/*
 * The containers or their limits have changed: what the guest is to do with follows (fit.c). fewer_cpus: of CPUs less, too; not while
 * a pod's containers come, of which the next may need what this one doesn't.
 */
void tasks_fit_vm(struct shim *s, bool fewer_cpus);

/* SIGKILL is on its way to its first process: the guest has to end it (overdue.c). */
void task_killed(struct task *t);

/* ---- news from the pod ------------------------------------------------------------------------------------------------ */

void tasks_pod_ready(struct shim *s, const struct err *e);
void tasks_pod_ended(struct shim *s, const struct err *e);
/* The loop runs no more, and the pod has ended. */
void tasks_free(struct shim *s);

#endif
