/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/pause.h"

#include <errno.h>

#include "base/log.h"
#include "base/util.h"
#include "sandbox/state.h"
#include "shim/process.h"

#define SIGNAL_MAX 64u

bool pause_fits(const struct task *t)
{
	/* With streams somebody expects it to say or hear something. */
	return t->bundle.pause && !*t->first.in && !*t->first.out && !*t->first.err && !t->first.terminal;
}

void pause_start(struct process *p, struct ttrpc_call *call)
{
	struct err e = ERR_INIT;

	if (p->state != PROCESS_CREATED) {
		err_set(&e, EBUSY, "container %s: it was started before", p->task->id);
		ttrpc_fail(call, &e);
		return;
	}
	p->state = PROCESS_STARTING;
	pending_set(&p->start, call);
	process_started(p);
}

int pause_signal(struct process *p, uint32_t signal, struct err *e)
{
	if (signal > SIGNAL_MAX)
		return err_set(e, EINVAL, "container %s: there is no signal %u", p->task->id, signal);
	if (p->state == PROCESS_STOPPED)
		return err_set(e, ESRCH, "container %s: process already finished", p->task->id);
	if (p->task->waking)
		return err_set(e, EBUSY, "container %s: its process is being started", p->task->id);
	if (signal_ends(signal))
		process_exited(p, 128 + signal, realtime_ns());
	return 0;
}

/* ---- waking ----------------------------------------------------------------------------------------------------------- */

static void wake_failed(struct task *t, const struct err *e)
{
	log_error("container %s: %s", t->id, e->msg);
	t->waking = false;
	tasks_refuse_waiting(t->shim, e);
	process_exited(&t->first, PROCESS_KILLED_STATUS, realtime_ns());
}

static void on_started(const ProtobufCMessage *reply, const struct err *e, void *arg)
{
	struct task *t = arg;

	if (!reply) {
		wake_failed(t, e);
		return;
	}
	t->waking = t->idle = false;
	tasks_create_waiting(t->shim);
}

static void on_created(const ProtobufCMessage *reply, const struct err *e, void *arg)
{
	struct task *t = arg;
	Microvm__ContainerRequest req;
	struct agent *agent = pod_agent(t->shim->pod);
	struct err gone = ERR_INIT;

	if (!reply || !agent) {
		err_set(&gone, ESRCH, "the VM does not run");
		wake_failed(t, reply ? &gone : e);
		return;
	}
	t->guest_pid = ((const Microvm__ProcessReply *)reply)->pid;
	t->in_guest = true;
	microvm__container_request__init(&req);
	req.id = t->id;
	agent_start_container_async(agent, &req, on_started, t);
}

void pause_wake(struct task *t)
{
	struct err e = ERR_INIT;

	if (t->waking)
		return;
	t->waking = true;
	bundle_leave_to_vm(&t->bundle);
	if (task_ask_creation(t, on_created, &e))
		wake_failed(t, &e);
}
