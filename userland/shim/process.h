/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the room: a process of a task, from its streams to its end. */
#ifndef SHIM_PROCESS_H
#define SHIM_PROCESS_H

#include "shim/task.h"

#define PROCESS_KILLED_STATUS 137u /* its VM has ended under it */

void process_init(struct process *p, struct task *t, const char *exec_id);
/* Opens what containerd named; the strings are copied. */
int process_open(struct process *p, const char *in, const char *out, const char *err, bool terminal, struct err *e);
/* No client writes to it any more. */
void process_close_input(struct process *p);
/* Streams into the guest; fills the message for the agent. */
int process_connect(struct process *p, Microvm__Stdio *msg, struct err *e);
/*
 * Ends them; done is called from the loop when nothing is in flight any more. drain: what comes is delivered first, unless
 * nothing moves for PROCESS_STILL_NS: a FIFO that nobody reads is not waited for.
 */
#define PROCESS_STILL_NS 3000000000ull
void process_end_streams(struct process *p, bool drain, void (*done)(struct process *p));
/*
 * Once; harmless for one that never ran. It is told when its output has been taken, as clients stop reading when they hear
 * of the end; after PROCESS_EXIT_ROUNDS ms in any case.
 */
#define PROCESS_EXIT_ROUNDS 1000u
#define PROCESS_UNREAD_ROUNDS 100u /* of them, for a FIFO that may have no reader */
void process_exited(struct process *p, uint32_t status, int64_t at_ns);
/* It runs: says so to who asked for its start, and to containerd. */
void process_started(struct process *p);
void process_answer_delete(struct process *p);
/* Frees what it has; its streams are over. */
void process_clear(struct process *p);
/* Of an exec: out of its task's list, and freed. */
void process_forget(struct process *p);

/* task.c: the container, when its first process is deleted and its output delivered. */
void task_delete_first(struct process *p);

#endif
