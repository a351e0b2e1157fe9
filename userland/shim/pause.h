/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pod's own container, whose program does nothing but be there ("pause"). What it would hold for the others is the VM's:
 * network, ipc and uts are the guest's own. So its task is idle: it runs as long as the VM does, and no process of it is in the
 * guest. The first container that shares the pod's pid namespace wakes it, as somebody has to be number 1 in that.
 */
#ifndef SHIM_PAUSE_H
#define SHIM_PAUSE_H

#include "shim/task.h"

/* Whether a task that is being created can be idle. */
bool pause_fits(const struct task *t);
void pause_start(struct process *p, struct ttrpc_call *call);
/* As the kernel does it to a program that takes no care of signals. 0, or negative errno and e. */
int pause_signal(struct process *p, uint32_t signal, struct err *e);
/* Its process starts; tasks_create_waiting() follows. When it can't, they are refused and the task has ended. */
void pause_wake(struct task *t);

#endif
