/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of tasks: ends of processes, and those who wait for them. */
#ifndef AGENT_REAP_H
#define AGENT_REAP_H

#include "guest-agent/tasks.h"

/* Reaps what has ended; when that is a lot, the rest comes in the next turn of the loop. */
void tasks_reap(struct tasks *ts);
/* Queues an event for OOM kills that are new. */
void task_take_oom(struct task *t);
/* The process will never be known to have ended. */
void task_waiters_fail(struct task_proc *p);

#endif
