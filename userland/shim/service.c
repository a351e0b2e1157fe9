/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/service.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "oci/spec.h"
#include "shim/metrics.h"
#include "shim/pause.h"
#include "shim/process.h"
#include "shim/task.h"

#define RESOURCES_TYPE "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"

static void reply_empty(struct ttrpc_call *call)
{
	Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;

	ttrpc_reply(call, &empty.base);
}

/* ---- calls that are the agent's answer, passed on ------------------------------------------------------------------- */

struct relay {
	struct pending pending;
	struct shim *shim;
	char *id;
	/* What follows a success, before the answer; NULL: nothing. The task may be gone. */
	void (*then)(struct task *t);
};

static struct relay *relay_new(struct shim *s, struct ttrpc_call *call, const char *id, void (*then)(struct task *t))
{
	struct relay *r = xcalloc(1, sizeof(*r));

	pending_set(&r->pending, call);
	r->shim = s;
	r->id = xstrdup(id);
	r->then = then;
	return r;
}

static void relay_free(struct relay *r)
{
	free(r->id);
	free(r);
}

static void on_relayed(const ProtobufCMessage *reply, const struct err *e, void *arg)
{
	Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
	struct relay *r = arg;
	struct err none = ERR_INIT;
	struct task *t = task_find(r->shim, r->id, &none);

	if (reply && t && r->then)
		r->then(t);
	if (reply)
		pending_reply(&r->pending, &empty.base);
	else
		pending_fail(&r->pending, e);
	relay_free(r);
}

/* The agent for a call about that container; otherwise the call is answered. */
static struct agent *agent_for(struct shim *s, struct ttrpc_call *call, const char *id)
{
	struct err e = ERR_INIT;
	struct task *t = task_find(s, id, &e);
	struct agent *agent = t ? task_agent(t, &e) : NULL;

	if (!agent)
		ttrpc_fail(call, &e);
	return agent;
}

/* Passes on a call that says a container's id and no more. */
static void relay(struct shim *s, struct ttrpc_call *call, char *id,
		  void (*ask)(struct agent *a, const Microvm__ContainerRequest *req, agent_done_fn done, void *arg),
		  agent_done_fn done, void (*then)(struct task *t))
{
	struct agent *agent = agent_for(s, call, id);
	Microvm__ContainerRequest req;

	microvm__container_request__init(&req);
	req.id = id;
	if (agent)
		ask(agent, &req, done, relay_new(s, call, id, then));
}

/* ---- states --------------------------------------------------------------------------------------------------------- */

static Containerd__V1__Types__Status status_of(const struct process *p)
{
	switch (p->state) {
	case PROCESS_CREATING:
	case PROCESS_CREATED:
	case PROCESS_STARTING: return CONTAINERD__V1__TYPES__STATUS__CREATED;
	case PROCESS_RUNNING:
		return p->task->paused ? CONTAINERD__V1__TYPES__STATUS__PAUSED : CONTAINERD__V1__TYPES__STATUS__RUNNING;
	default: return CONTAINERD__V1__TYPES__STATUS__STOPPED;
	}
}

static void serve_state(struct ttrpc_call *call, const ProtobufCMessage *m, void *arg)
{
	const TASK(StateRequest) *req = (const TASK(StateRequest) *)m;
	struct err e = ERR_INIT;
	struct process *p = process_find(arg, req->id, req->exec_id, &e);
	TASK(StateResponse) answer;
	Google__Protobuf__Timestamp at;

	if (!p) {
		ttrpc_fail(call, &e);
		return;
	}
	containerd__task__v2__state_response__init(&answer);
	timestamp_fill(&at, p->exited_at_ns);
	answer.id = *p->exec_id ? p->exec_id : p->task->id;
	answer.exec_id = p->exec_id;
	answer.bundle = p->task->bundle_path;
	answer.pid = task_pid(p->task);
	answer.status = status_of(p);
	answer.stdin = p->in ? p->in : answer.stdin;
	answer.stdout = p->out ? p->out : answer.stdout;
	answer.stderr = p->err ? p->err : answer.stderr;
	answer.terminal = p->terminal;
	answer.exit_status = p->exit_status;
	answer.exited_at = &at;
	ttrpc_reply(call, &answer.base);
}

static void serve_connect(struct ttrpc_call *call, const ProtobufCMessage *m, void *arg)
{
	const TASK(ConnectRequest) *req = (const TASK(ConnectRequest) *)m;
	struct err e = ERR_INIT;
	const struct task *t = task_find(arg, req->id, &e);
	TASK(ConnectResponse) answer;

	/* A containerd that was started again asks. Its last one was killed before it created, or while it deleted: it cleans up. */
	if (!t) {
		ttrpc_fail(call, &e);
		return;
	}
	containerd__task__v2__connect_response__init(&answer);
	answer.shim_pid = (uint32_t)getpid();
	answer.task_pid = task_pid(t);
	answer.version = (char *)MICROVM_VERSION;
	ttrpc_reply(call, &answer.base);
}

/* ---- from beginning to end ------------------------------------------------------------------------------------------ */

static void serve_create(struct ttrpc_call *call, const ProtobufCMessage *m, void *arg)
{
	task_create(arg, call, (const TASK(CreateTaskRequest) *)m);
}

static void serve_start(struct ttrpc_call *call, const ProtobufCMessage *m, void *arg)
{
	const TASK(StartRequest) *req = (const TASK(StartRequest) *)m;

	task_start(arg, call, req->id, req->exec_id);
}

static void serve_exec(struct ttrpc_call *call, const ProtobufCMessage *m, void *arg)
{
	task_exec(arg, call, (const TASK(ExecProcessRequest) *)m);
}

static void serve_wait(struct ttrpc_call *call, const ProtobufCMessage *m, void *arg)
{
	const TASK(WaitRequest) *req = (const TASK(WaitRequest) *)m;

	task_wait(arg, call, req->id, req->exec_id);
}

static void serve_delete(struct ttrpc_call *call, const ProtobufCMessage *m, void *arg)
{
	const TASK(DeleteRequest) *req = (const TASK(DeleteRequest) *)m;

	task_delete(arg, call, req->id, req->exec_id);
}

static void serve_shutdown(struct ttrpc_call *call, const ProtobufCMessage *m, void *arg)
{
	struct shim *s = arg;

	reply_empty(call);
	/* The pod's others go on. */
	if (!s->tasks)
		s->over(s);
}

static void serve_checkpoint(struct ttrpc_call *call, const ProtobufCMessage *m, void *arg)
{
	struct err e = ERR_INIT;

	err_set(&e, ENOTSUP, "checkpoint: not implemented; a VM can't be saved yet");
	ttrpc_fail(call, &e);
}

/* ---- while it runs -------------------------------------------------------------------------------------------------- */

static void serve_kill(struct ttrpc_call *call, const ProtobufCMessage *m, void *arg)
{
	const TASK(KillRequest) *req = (const TASK(KillRequest) *)m;
	struct shim *s = arg;
	struct err e = ERR_INIT;
	struct process *p = process_find(s, req->id, req->exec_id, &e);
	struct agent *agent;
	Microvm__SignalRequest sig;

	if (p && p->task->idle) {
		if (pause_signal(p, req->signal, &e))
			ttrpc_fail(call, &e);
		else
			reply_empty(call);
		return;
	}
	agent = p ? task_agent(p->task, &e) : NULL;
	/* "Not found" is what containerd takes for "has ended". */
	if (agent && p->state == PROCESS_STOPPED && !req->all)
		err_set(&e, ESRCH, "container %s: process already finished", req->id);
	else if (agent && *p->exec_id && p->state != PROCESS_RUNNING)
		err_set(&e, EBUSY, "container %s: process %s was not started", req->id, req->exec_id);
	if (!agent || e.code) {
		ttrpc_fail(call, &e);
		return;
	}
	microvm__signal_request__init(&sig);
	sig.id = req->id;
	sig.exec_id = req->exec_id;
	sig.signal = req->signal;
	sig.all = req->all;
	if (req->signal == SIGKILL && !*p->exec_id)
		task_killed(p->task);
	agent_signal_process_async(agent, &sig, on_relayed, relay_new(s, call, req->id, NULL));
}

static void then_paused(struct task *t)
{
	EVENT(TaskPaused) event;

	t->paused = true;
	containerd__events__task_paused__init(&event);
	event.container_id = t->id;
	events_publish(t->shim->events, EVENT_PAUSED, &event.base);
}

static void then_resumed(struct task *t)
{
	EVENT(TaskResumed) event;

	t->paused = false;
	containerd__events__task_resumed__init(&event);
	event.container_id = t->id;
	events_publish(t->shim->events, EVENT_RESUMED, &event.base);
}

static void serve_pause(struct ttrpc_call *call, const ProtobufCMessage *m, void *arg)
{
	const TASK(PauseRequest) *req = (const TASK(PauseRequest) *)m;

	relay(arg, call, req->id, agent_pause_container_async, on_relayed, then_paused);
}

static void serve_resume(struct ttrpc_call *call, const ProtobufCMessage *m, void *arg)
{
	const TASK(ResumeRequest) *req = (const TASK(ResumeRequest) *)m;

	relay(arg, call, req->id, agent_resume_container_async, on_relayed, then_resumed);
}

static void serve_resize(struct ttrpc_call *call, const ProtobufCMessage *m, void *arg)
{
	const TASK(ResizePtyRequest) *req = (const TASK(ResizePtyRequest) *)m;
	struct err e = ERR_INIT;
	struct process *p = process_find(arg, req->id, req->exec_id, &e);

	if (p && (req->height > UINT16_MAX || req->width > UINT16_MAX))
		err_set(&e, EINVAL, "a terminal of %u rows and %u columns", req->height, req->width);
	if (!p || e.code) {
		ttrpc_fail(call, &e);
		return;
	}
	process_resize(p, req->height, req->width);
	reply_empty(call);
}

static void serve_close_io(struct ttrpc_call *call, const ProtobufCMessage *m, void *arg)
{
	const TASK(CloseIORequest) *req = (const TASK(CloseIORequest) *)m;
	struct err e = ERR_INIT;
	struct process *p = process_find(arg, req->id, req->exec_id, &e);

	if (!p) {
		ttrpc_fail(call, &e);
		return;
	}
	if (req->stdin)
		process_close_input(p);
	reply_empty(call);
}

/* No process of it is in the guest, so nothing is used there, and no limit is ever reached. */
static bool is_idle(struct shim *s, const char *id)
{
	struct err none = ERR_INIT;
	const struct task *t = task_find(s, id, &none);

	return t && t->idle;
}

static int parse_update(const struct shim *s, const TASK(UpdateTaskRequest) * req, Microvm__Resources **res,
			struct err *e)
{
	const Google__Protobuf__Any *any = req->resources;
	uint64_t limit;
	int r;

	if (!any || !str_eq(any->type_url, RESOURCES_TYPE))
		return err_set(e, EINVAL, "container %s: its resources are a %.100s, not " RESOURCES_TYPE, req->id,
			       any ? any->type_url : "(nothing)");
	r = oci_resources_parse((const char *)any->value.data, any->value.len, res, e);
	if (r)
		return err_wrap(e, "container %s: resources", req->id);
	limit = bundle_mem_limit(*res);
	if (limit <= pod_mem_bytes(s->pod))
		return 0;
	oci_resources_free(take_ptr(*res));
	return err_set(e, ERANGE,
		       "container %s: memory.limit: its VM was made with %llu MiB and can't get more; say at creation "
		       "what it will need at most (annotation " BUNDLE_MEMORY ")",
		       req->id, (unsigned long long)(pod_mem_bytes(s->pod) >> 20));
}

static void then_updated(struct task *t)
{
	t->mem_limit = t->mem_limit_asked;
	t->cpu_limit = t->cpu_limit_asked;
	tasks_fit_vm(t->shim, true);
}

static void serve_update(struct ttrpc_call *call, const ProtobufCMessage *m, void *arg)
{
	const TASK(UpdateTaskRequest) *req = (const TASK(UpdateTaskRequest) *)m;
	struct err e = ERR_INIT;
	Microvm__Resources *res = NULL;
	Microvm__UpdateRequest u;
	struct agent *agent;
	struct task *t;

	if (is_idle(arg, req->id)) {
		reply_empty(call);
		return;
	}
	agent = agent_for(arg, call, req->id);
	if (!agent)
		return;
	if (parse_update(arg, req, &res, &e) || !res) {
		ttrpc_fail(call, &e);
		return;
	}
	t = task_find(arg, req->id, &e);
	t->mem_limit_asked = res->memory && res->memory->limit ? bundle_mem_limit(res) : t->mem_limit;
	t->cpu_limit_asked = res->cpu && res->cpu->quota ? bundle_cpu_limit(res) : t->cpu_limit;
	microvm__update_request__init(&u);
	u.id = req->id;
	u.resources = res;
	agent_update_container_async(agent, &u, on_relayed, relay_new(arg, call, req->id, then_updated));
	oci_resources_free(res);
}

static void reply_pids(struct pending *to, const uint32_t *pids, size_t n)
{
	TASK(PidsResponse) answer;
	Containerd__V1__Types__ProcessInfo *info;
	size_t i;

	containerd__task__v2__pids_response__init(&answer);
	info = xcalloc(n + 1, sizeof(*info));
	answer.processes = xcalloc(n + 1, sizeof(*answer.processes));
	answer.n_processes = n;
	for (i = 0; i < n; i++) {
		containerd__v1__types__process_info__init(&info[i]);
		info[i].pid = pids[i];
		answer.processes[i] = &info[i];
	}
	pending_reply(to, &answer.base);
	free(answer.processes);
	free(info);
}

static void on_pids(const ProtobufCMessage *reply, const struct err *e, void *arg)
{
	const Microvm__ProcessList *list = (const Microvm__ProcessList *)reply;
	struct relay *r = arg;

	if (list)
		reply_pids(&r->pending, list->pids, list->n_pids);
	else
		pending_fail(&r->pending, e);
	relay_free(r);
}

static void serve_pids(struct ttrpc_call *call, const ProtobufCMessage *m, void *arg)
{
	const TASK(PidsRequest) *req = (const TASK(PidsRequest) *)m;
	struct err none = ERR_INIT;
	const struct task *t = task_find(arg, req->id, &none);
	const uint32_t vm = t ? task_pid(t) : 0;
	struct pending now = { .call = call };

	/*
	 * A task without any is a leftover for containerd, which it cleans up when it is started again; from 1.7 on also one that has
	 * ended meanwhile, whose end nobody would hear of.
	 */
	if (t && (t->idle || t->first.state == PROCESS_STOPPED))
		reply_pids(&now, &vm, 1);
	else
		relay(arg, call, req->id, agent_list_processes_async, on_pids, NULL);
}

static void reply_stats(struct pending *to, const Microvm__Stats *stats)
{
	TASK(StatsResponse) answer;
	Google__Protobuf__Any any;

	containerd__task__v2__stats_response__init(&answer);
	metrics_pack(stats, &any);
	answer.stats = &any;
	pending_reply(to, &answer.base);
	free(any.value.data);
}

static void on_stats(const ProtobufCMessage *reply, const struct err *e, void *arg)
{
	struct relay *r = arg;

	if (reply)
		reply_stats(&r->pending, (const Microvm__Stats *)reply);
	else
		pending_fail(&r->pending, e);
	relay_free(r);
}

static void serve_stats(struct ttrpc_call *call, const ProtobufCMessage *m, void *arg)
{
	const TASK(StatsRequest) *req = (const TASK(StatsRequest) *)m;
	const Microvm__Stats nothing = MICROVM__STATS__INIT;
	struct pending now = { .call = call };

	if (is_idle(arg, req->id))
		reply_stats(&now, &nothing);
	else
		relay(arg, call, req->id, agent_stats_container_async, on_stats, NULL);
}

/* ---- the table ------------------------------------------------------------------------------------------------------ */

#define METHOD(Name, fn, req)                                                                             \
	{                                                                                                 \
		.name = Name, .request = &containerd__task__v2__##req##__descriptor, .serve = serve_##fn, \
		.response = &google__protobuf__empty__descriptor                                          \
	}
#define METHOD_RETURNS(Name, fn, req, resp)                                                               \
	{                                                                                                 \
		.name = Name, .request = &containerd__task__v2__##req##__descriptor, .serve = serve_##fn, \
		.response = &containerd__task__v2__##resp##__descriptor                                   \
	}

static const struct ttrpc_method methods[] = {
	METHOD_RETURNS("State", state, state_request, state_response),
	METHOD_RETURNS("Create", create, create_task_request, create_task_response),
	METHOD_RETURNS("Start", start, start_request, start_response),
	METHOD_RETURNS("Delete", delete, delete_request, delete_response),
	METHOD_RETURNS("Pids", pids, pids_request, pids_response),
	METHOD("Pause", pause, pause_request),
	METHOD("Resume", resume, resume_request),
	METHOD("Checkpoint", checkpoint, checkpoint_task_request),
	METHOD("Kill", kill, kill_request),
	METHOD("Exec", exec, exec_process_request),
	METHOD("ResizePty", resize, resize_pty_request),
	METHOD("CloseIO", close_io, close_iorequest),
	METHOD("Update", update, update_task_request),
	METHOD_RETURNS("Wait", wait, wait_request, wait_response),
	METHOD_RETURNS("Stats", stats, stats_request, stats_response),
	METHOD_RETURNS("Connect", connect, connect_request, connect_response),
	METHOD("Shutdown", shutdown, shutdown_request),
};

const struct ttrpc_service task_service = { .name = TASK_SERVICE,
					    .methods = methods,
					    .methods_n = ARRAY_SIZE(methods) };

const struct ttrpc_method *task_method(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(methods); i++)
		if (str_eq(methods[i].name, name))
			return &methods[i];
	return NULL;
}
