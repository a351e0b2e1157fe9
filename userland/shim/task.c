/* SPDX-License-Identifier: Apache-2.0 */
/* Containers: made, deleted, and what is told of them. */
#include "shim/task.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "sandbox/state.h"
#include "shim/pause.h"
#include "shim/process.h"

/* ---- finding -------------------------------------------------------------------------------------------------------- */

struct task *task_find(struct shim *s, const char *id, struct err *e)
{
	struct task *t;

	for (t = s->tasks; t; t = t->next)
		if (str_eq(t->id, id))
			return t;
	err_set(e, ENOENT, "container %.128s: not found", id);
	return NULL;
}

struct process *process_find(struct shim *s, const char *id, const char *exec_id, struct err *e)
{
	struct task *t = task_find(s, id, e);
	struct process *p;

	if (!t || !*exec_id)
		return t ? &t->first : NULL;
	for (p = t->execs; p; p = p->next)
		if (str_eq(p->exec_id, exec_id))
			return p;
	err_set(e, ENOENT, "process %.128s of container %s: not found", exec_id, id);
	return NULL;
}

static struct agent *pod_agent_or_error(struct shim *s, struct err *e)
{
	struct agent *a = s->pod ? pod_agent(s->pod) : NULL;

	if (!a)
		err_set(e, ESRCH, "%s", s->pod_error.code ? s->pod_error.msg : "the VM does not run");
	return a;
}

struct agent *task_agent(struct task *t, struct err *e)
{
	if (t->idle) {
		err_set(e, ENOTSUP, "container %s: it stands for its pod, and no process of it is in the guest", t->id);
		return NULL;
	}
	if (!t->in_guest) {
		err_set(e, ESRCH, "container %s: it is not there (yet)", t->id);
		return NULL;
	}
	return pod_agent_or_error(t->shim, e);
}

uint32_t task_pid(const struct task *t)
{
	return t->shim->pod ? (uint32_t)pod_vmm_pid(t->shim->pod) : 0;
}

/* ---- create --------------------------------------------------------------------------------------------------------- */

static void task_free(struct task *t)
{
	struct shim *s = t->shim;
	struct task **at;

	for (at = &s->tasks; *at; at = &(*at)->next)
		if (*at == t) {
			*at = t->next;
			break;
		}
	while (t->execs)
		process_forget(t->execs);
	process_clear(&t->first);
	pod_files_remove(s->pod, &t->files);
	if (t->request)
		protobuf_c_message_free_unpacked(&t->request->base, NULL);
	bundle_free(&t->bundle);
	free(t->id);
	free(t->bundle_path);
	free(t);
}

static void on_create_undone(struct process *p)
{
	task_free(p->task);
}

static void create_failed(struct task *t, const struct err *e)
{
	pending_fail(&t->first.start, e);
	/* The streams may still be on their way to a guest that won't take them. */
	process_end_streams(&t->first, false, on_create_undone);
}

static void publish_created(struct task *t)
{
	const TASK(CreateTaskRequest) *r = t->request;
	EVENT(TaskCreate) event;
	EVENT(TaskIO) io;

	containerd__events__task_create__init(&event);
	containerd__events__task_io__init(&io);
	io.stdin = t->first.in;
	io.stdout = t->first.out;
	io.stderr = t->first.err;
	io.terminal = t->first.terminal;
	event.container_id = t->id;
	event.bundle = t->bundle_path;
	event.rootfs = r->rootfs;
	event.n_rootfs = r->n_rootfs;
	event.io = &io;
	event.pid = task_pid(t);
	events_publish(t->shim->events, EVENT_CREATE, &event.base);
}

static void created(struct task *t)
{
	TASK(CreateTaskResponse) answer;

	t->first.state = PROCESS_CREATED;
	publish_created(t);
	containerd__task__v2__create_task_response__init(&answer);
	answer.pid = task_pid(t);
	pending_reply(&t->first.start, &answer.base);
}

static void on_created(const ProtobufCMessage *reply, const struct err *e, void *arg)
{
	struct task *t = arg;

	if (!reply) {
		create_failed(t, e);
		return;
	}
	t->guest_pid = ((const Microvm__ProcessReply *)reply)->pid;
	t->in_guest = true;
	t->mem_limit = bundle_mem_limit(t->bundle.spec->linux->resources);
	t->cpu_limit = bundle_cpu_limit(t->bundle.spec->linux->resources);
	tasks_fit_vm(t->shim, false);
	created(t);
	protobuf_c_message_free_unpacked(&take_ptr(t->request)->base, NULL);
}

/* The pod's first container is the one whose namespaces the others share. */
static struct task *first_of_pod(const struct shim *s)
{
	struct task *t;

	for (t = s->tasks; t; t = t->next)
		if (str_eq(t->id, s->id))
			return t;
	return NULL;
}

static struct share_mount *mounts_of(const TASK(CreateTaskRequest) * req)
{
	struct share_mount *m = xcalloc(req->n_rootfs + 1, sizeof(*m));
	size_t i;

	for (i = 0; i < req->n_rootfs; i++)
		m[i] = (struct share_mount){ .type = req->rootfs[i]->type,
					     .source = req->rootfs[i]->source,
					     .options = req->rootfs[i]->options,
					     .options_n = req->rootfs[i]->n_options };
	return m;
}

static int add_files(struct task *t, struct err *e)
{
	_cleanup_free_ struct share_mount *mounts = mounts_of(t->request);

	return pod_files_add(t->shim->pod, &t->bundle, mounts, t->request->n_rootfs, &t->files, e);
}

int task_ask_creation(struct task *t, agent_done_fn done, struct err *e)
{
	Microvm__CreateContainerRequest req;
	Microvm__Stdio stdio;
	struct agent *agent = pod_agent_or_error(t->shim, e);
	int r = agent ? add_files(t, e) : -e->code;

	if (!r)
		r = process_connect(&t->first, &stdio, e);
	if (r)
		return r;
	microvm__create_container_request__init(&req);
	req.id = t->id;
	req.rootfs = &t->files.rootfs;
	req.spec = t->bundle.spec;
	req.stdio = &stdio;
	agent_create_container_async(agent, &req, done, t);
	return 0;
}

/* The namespaces that it shares: those of the pod's first container. -EAGAIN: that one has to be woken before, and e is empty. */
static int join_pod(struct task *t, struct err *e)
{
	struct task *first = first_of_pod(t->shim);

	if (!first || (!first->in_guest && !first->idle))
		return err_set(e, ESRCH, "container %s: the first container of its pod is gone", t->id);
	if (first->idle && bundle_joins_pid(&t->bundle)) {
		if (first->first.state != PROCESS_RUNNING)
			return err_set(
				e, ESRCH,
				"container %s: the first container of its pod does not run, so it has no pids to share",
				t->id);
		pause_wake(first);
		return -EAGAIN;
	}
	if (first->bundle.pause)
		bundle_leave_to_vm(&t->bundle);
	bundle_enter_pod(&t->bundle, first->guest_pid);
	return 0;
}

/* The guest has booted. */
static void send_create(struct task *t)
{
	struct err e = ERR_INIT;

	if (pause_fits(t)) {
		t->idle = true;
		created(t);
		return;
	}
	if (t->bundle.in_pod && !str_eq(t->id, t->shim->id) && join_pod(t, &e) == -EAGAIN && !e.code)
		return;
	t->asked = true;
	if (e.code || task_ask_creation(t, on_created, &e))
		create_failed(t, &e);
}

void tasks_create_waiting(struct shim *s)
{
	struct task *t, *next;

	for (t = s->tasks; t; t = next) {
		next = t->next;
		if (t->first.state == PROCESS_CREATING && !t->asked)
			send_create(t);
	}
}

void tasks_refuse_waiting(struct shim *s, const struct err *e)
{
	struct task *t;

	for (t = s->tasks; t; t = t->next)
		if (t->first.state == PROCESS_CREATING && !t->asked) {
			t->asked = true;
			create_failed(t, e);
		}
}

static int prepare(struct task *t, const TASK(CreateTaskRequest) * req, struct err *e)
{
	const struct bundle *b = &t->bundle;
	int r = bundle_load_in_pod(req->bundle, &t->bundle, e);

	if (r)
		return r;
	if (b->hooks)
		return err_set(e, ENOTSUP, "config.json: hooks: the shim runs no programs of the host; leave them out");
	if (b->spec->process->terminal != !!req->terminal)
		t->bundle.spec->process->terminal = req->terminal;
	return process_open(&t->first, req->stdin, req->stdout, req->stderr, req->terminal, e);
}

static int check_create(struct shim *s, const TASK(CreateTaskRequest) * req, struct err *e)
{
	struct err none = ERR_INIT;

	if (!state_name_valid(req->id))
		return err_set(e, EINVAL,
			       "container id '%.200s': letters, digits, '_', '.' and '-' make one, the first a letter "
			       "or digit",
			       req->id);
	if (*req->checkpoint)
		return err_set(e, ENOTSUP, "checkpoint: a VM can't be restored from one");
	if (task_find(s, req->id, &none))
		return err_set(e, EEXIST, "container %s: it is there already", req->id);
	if (!s->pod || s->pod_error.code)
		return err_set(e, s->pod_error.code, "%s", s->pod_error.msg);
	return 0;
}

/* The request goes with its answer, and is wanted after it. */
static TASK(CreateTaskRequest) * copy_request(const TASK(CreateTaskRequest) * req)
{
	const size_t len = protobuf_c_message_get_packed_size(&req->base);
	_cleanup_free_ uint8_t *packed = xcalloc(1, len + 1);

	protobuf_c_message_pack(&req->base, packed);
	return (TASK(CreateTaskRequest) *)protobuf_c_message_unpack(req->base.descriptor, NULL, len, packed);
}

void task_create(struct shim *s, struct ttrpc_call *call, const TASK(CreateTaskRequest) * req)
{
	struct err e = ERR_INIT;
	struct task *t;

	if (check_create(s, req, &e)) {
		ttrpc_fail(call, &e);
		return;
	}
	t = xcalloc(1, sizeof(*t));
	t->shim = s;
	t->id = xstrdup(req->id);
	t->bundle_path = xstrdup(req->bundle);
	process_init(&t->first, t, "");
	t->first.state = PROCESS_CREATING;
	t->next = s->tasks;
	s->tasks = t;
	t->request = copy_request(req);
	if (!t->request)
		err_set(&e, ENOMEM, "no memory for the request");
	if (!t->request || prepare(t, req, &e)) {
		task_free(t);
		ttrpc_fail(call, &e);
		return;
	}
	pending_set(&t->first.start, call);
	/* Until the guest has booted. */
	if (s->pod_ready)
		send_create(t);
}

/* ---- delete --------------------------------------------------------------------------------------------------------- */

static void publish_deleted(struct task *t)
{
	EVENT(TaskDelete) event;
	Google__Protobuf__Timestamp at;

	containerd__events__task_delete__init(&event);
	timestamp_fill(&at, t->first.exited_at_ns);
	event.container_id = t->id;
	event.pid = task_pid(t);
	event.exit_status = t->first.exit_status;
	event.exited_at = &at;
	events_publish(t->shim->events, EVENT_DELETE, &event.base);
}

static void finish_delete(struct task *t)
{
	struct shim *s = t->shim;
	const bool heard = t->first.deletion.call;

	publish_deleted(t);
	process_answer_delete(&t->first);
	task_free(t);
	/* Shutdown would come next, of a containerd that is gone; the next one may know us by this task, and clean up when we end. */
	if (!heard && !s->tasks)
		s->over(s);
}

static void on_removed(const ProtobufCMessage *reply, const struct err *e, void *arg)
{
	struct task *t = arg;

	/* Whatever the guest says: for containerd it is gone, and it goes at the latest with the VM. */
	if (!reply)
		log_warn("container %s: %s", t->id, e->msg);
	t->in_guest = false;
	/* Before it is answered: who hears that may take the files away. */
	pod_files_remove(t->shim->pod, &t->files);
	tasks_fit_vm(t->shim, true);
	finish_delete(t);
}

static void on_exec_ended(struct process *p)
{
	struct task *t = p->task;

	process_answer_delete(p);
	process_forget(p);
	task_delete_first(&t->first);
}

void task_delete_first(struct process *p)
{
	struct task *t = p->task;
	struct shim *s = t->shim;
	struct err e = ERR_INIT;
	Microvm__ContainerRequest req;
	struct agent *agent = pod_agent_or_error(s, &e);

	/* They ended with it; one after the other. */
	if (t->execs) {
		process_end_streams(t->execs, false, on_exec_ended);
		return;
	}
	/* With the last one the VM goes: nothing of it is left to be taken down in the guest, but what is to last. */
	if (agent && s->tasks == t && !t->next && !pod_files_on_disk(&t->files)) {
		err_set(&s->pod_error, ESRCH, "the VM has ended with its last container");
		pod_end(s->pod);
		agent = NULL;
	}
	if (!agent || !t->in_guest) {
		finish_delete(t);
		return;
	}
	microvm__container_request__init(&req);
	req.id = t->id;
	agent_remove_container_async(agent, &req, on_removed, t);
}

/* ---- news from the pod ------------------------------------------------------------------------------------------------ */

static void on_event(const ProtobufCMessage *reply, const struct err *e, void *arg);

static void next_event(struct shim *s)
{
	Microvm__Empty empty = MICROVM__EMPTY__INIT;
	struct agent *agent = pod_agent(s->pod);

	if (agent)
		agent_next_event_async(agent, &empty, on_event, s);
}

static void take_event(struct shim *s, const Microvm__Event *ev)
{
	struct err none = ERR_INIT;
	struct process *p = process_find(s, ev->id, ev->exec_id, &none);
	EVENT(TaskOOM) oom;

	if (!p)
		return; /* a process that somebody else started in it */
	if (ev->type == MICROVM__EVENT__TYPE__EXIT) {
		process_exited(p, ev->exit_status, ev->at_ns);
	} else if (ev->type == MICROVM__EVENT__TYPE__OOM) {
		containerd__events__task_oom__init(&oom);
		oom.container_id = p->task->id;
		events_publish(s->events, EVENT_OOM, &oom.base);
	}
}

/* Nothing is left of what ran in the guest. */
static void all_exited(struct shim *s)
{
	struct task *t;

	for (t = s->tasks; t; t = t->next) {
		struct process *p;

		for (p = t->execs; p; p = p->next)
			process_exited(p, PROCESS_KILLED_STATUS, realtime_ns());
		process_exited(&t->first, PROCESS_KILLED_STATUS, realtime_ns());
	}
}

static void on_event(const ProtobufCMessage *reply, const struct err *e, void *arg)
{
	struct shim *s = arg;

	if (reply) {
		take_event(s, (const Microvm__Event *)reply);
		next_event(s);
	} else if (e->code != ECANCELED) {
		all_exited(s);
	}
}

void tasks_pod_ready(struct shim *s, const struct err *e)
{
	if (e) {
		s->pod_error = *e;
		tasks_refuse_waiting(s, e);
		return;
	}
	s->pod_ready = true;
	next_event(s);
	tasks_create_waiting(s);
}

void tasks_pod_ended(struct shim *s, const struct err *e)
{
	log_error("%s: %s", s->id, e->msg);
	s->pod_error = *e;
	all_exited(s);
}

void tasks_free(struct shim *s)
{
	while (s->tasks)
		task_free(s->tasks);
}
