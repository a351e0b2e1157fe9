/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "oci/spec.h"
#include "sandbox/state.h"
#include "shim/pause.h"

#define EXIT_ROUND_NS 1000000ull
#define SPEC_TYPE "types.containerd.io/opencontainers/runtime-spec/1/Process"

static void on_step(struct loop_op *op, int res);
static void on_still(struct loop_op *op, int res);
static void on_exit_round(struct loop_op *op, int res);
static void try_exit(struct process *p);

void process_init(struct process *p, struct task *t, const char *exec_id)
{
	*p = (struct process){ .task = t, .exec_id = xstrdup(exec_id), .streams = STREAMS_INIT };
	loop_op_init(&p->step_op, on_step);
	loop_op_init(&p->still_op, on_still);
	loop_op_init(&p->exit_op, on_exit_round);
}

/* ---- streams -------------------------------------------------------------------------------------------------------- */

int process_open(struct process *p, const char *in, const char *out, const char *err, bool terminal, struct err *e)
{
	const struct streams_config c = {
		.out = out, .err = err, .terminal = terminal, .id = p->task->id, .namespace = p->task->shim->namespace
	};

	p->in = xstrdup(in);
	p->out = xstrdup(out);
	p->err = xstrdup(err);
	p->terminal = terminal;
	return streams_open(&p->streams, &c, e);
}

/* ---- the end of the streams: one step at a time, from the loop, until nothing is in flight ------------------------------ */

static void soon(struct process *p)
{
	if (!loop_op_busy(&p->step_op))
		loop_defer(p->task->shim->loop, &p->step_op);
}

static uint64_t bytes_of(const struct process *p)
{
	return p->stdio.in.bytes + p->stdio.out.bytes + p->stdio.err.bytes;
}

static void on_still(struct loop_op *op, int res)
{
	struct process *p = container_of(op, struct process, still_op);
	const uint64_t bytes = bytes_of(p);

	if (res != -ECANCELED && bytes != p->still_bytes) {
		p->still_bytes = bytes;
		loop_timer(p->task->shim->loop, op, PROCESS_STILL_NS);
		return;
	}
	p->still |= res != -ECANCELED;
	soon(p);
}

/* Who reads to the end sees it now; some clients wait for that before they delete. */
static void close_ended(struct process *p)
{
	if (p->state != PROCESS_STOPPED)
		return;
	if (!p->stdio.out_open)
		cleanup_closep(&p->streams.fds[1]);
	if (!p->stdio.err_open)
		cleanup_closep(&p->streams.fds[2]);
}

static void on_step(struct loop_op *op, int res)
{
	struct process *p = container_of(op, struct process, step_op);
	void (*done)(struct process * p);

	if (!p->streams_done || (p->connected && p->draining && !p->still && !stdio_drained(&p->stdio)))
		return;
	if (loop_op_busy(&p->still_op)) {
		loop_cancel(p->task->shim->loop, &p->still_op);
		return;
	}
	if (p->connected && !stdio_idle(&p->stdio)) {
		stdio_end(&p->stdio);
		return;
	}
	if (p->connected)
		stdio_close(&p->stdio);
	p->connected = false;
	streams_close(&p->streams);
	done = take_ptr(p->streams_done);
	done(p);
}

static void on_changed(struct stdio *io)
{
	struct process *p = container_of(io, struct process, stdio);

	if (p->streams_done || p->exiting || p->state == PROCESS_STOPPED)
		soon(p);
}

void process_end_streams(struct process *p, bool drain, void (*done)(struct process *p))
{
	p->streams_done = done;
	p->draining = drain;
	p->still_bytes = bytes_of(p);
	if (drain && p->connected)
		loop_timer(p->task->shim->loop, &p->still_op, PROCESS_STILL_NS);
	soon(p);
}

int process_connect(struct process *p, Microvm__Stdio *msg, struct err *e)
{
	const struct stdio_options o = {
		.interactive = *p->in, .tty = p->terminal, .fds = p->streams.fds, .hold_input = true
	};
	struct shim *s = p->task->shim;
	int r = stdio_connect(&p->stdio, s->loop, pod_socket(s->pod), &o, e);

	if (r)
		return r;
	p->connected = true;
	p->stdio.changed = on_changed;
	stdio_fill(&p->stdio, msg);
	return 0;
}

/*
 * Not before it is started: a client says CloseIO only after its Create (or Exec) has been answered, and one whose input is
 * short would be through with it before. What it writes waits for us.
 */
static int begin_input(struct process *p, struct err *e)
{
	int r = 0;

	if (!*p->in || p->streams.fds[0] >= 0)
		return 0;
	if (!p->input_closed)
		r = streams_open_input(&p->streams, p->in, e);
	if (!r)
		stdio_input(&p->stdio, p->streams.fds[0]);
	return r;
}

void process_close_input(struct process *p)
{
	p->input_closed = true;
	streams_close_input(&p->streams);
}

/* ---- resize --------------------------------------------------------------------------------------------------------- */

static void on_resized(const ProtobufCMessage *reply, const struct err *e, void *arg) {}

void process_resize(struct process *p, uint32_t rows, uint32_t cols)
{
	Microvm__ResizeRequest req;
	struct err none = ERR_INIT;
	struct agent *agent = task_agent(p->task, &none);

	p->rows = rows;
	p->cols = cols;
	if (!agent || !p->terminal || p->state < PROCESS_CREATED || p->state == PROCESS_STOPPED || p->spec)
		return;
	microvm__resize_request__init(&req);
	req.id = p->task->id;
	req.exec_id = p->exec_id;
	req.rows = rows;
	req.cols = cols;
	agent_resize_tty_async(agent, &req, on_resized, NULL);
}

/* ---- start ---------------------------------------------------------------------------------------------------------- */

static void publish_started(const struct process *p)
{
	EVENT(TaskStart) first;
	EVENT(TaskExecStarted) exec;

	if (!*p->exec_id) {
		containerd__events__task_start__init(&first);
		first.container_id = p->task->id;
		first.pid = task_pid(p->task);
		events_publish(p->task->shim->events, EVENT_START, &first.base);
		return;
	}
	containerd__events__task_exec_started__init(&exec);
	exec.container_id = p->task->id;
	exec.exec_id = p->exec_id;
	exec.pid = task_pid(p->task);
	events_publish(p->task->shim->events, EVENT_EXEC_STARTED, &exec.base);
}

static void on_start_undone(struct process *p)
{
	p->state = PROCESS_STOPPED;
	p->exited_at_ns = realtime_ns();
}

void process_started(struct process *p)
{
	TASK(StartResponse) answer;

	if (p->state == PROCESS_STARTING)
		p->state = PROCESS_RUNNING;
	publish_started(p);
	containerd__task__v2__start_response__init(&answer);
	answer.pid = task_pid(p->task);
	pending_reply(&p->start, &answer.base);
}

static void on_started(const ProtobufCMessage *reply, const struct err *e, void *arg)
{
	struct process *p = arg;

	if (!reply) {
		/* The container is there all the same; an exec never was. */
		if (p->state == PROCESS_STARTING)
			p->state = PROCESS_CREATED;
		pending_fail(&p->start, e);
		if (*p->exec_id)
			process_end_streams(p, false, on_start_undone);
		return;
	}
	if (p->spec)
		oci_process_free(take_ptr(p->spec));
	process_started(p);
	/* One that was said while nobody could be told. */
	if (p->rows || p->cols)
		process_resize(p, p->rows, p->cols);
}

static int start_first(struct process *p, struct agent *agent, struct err *e)
{
	Microvm__ContainerRequest req;
	int r = begin_input(p, e);

	if (r)
		return r;

	microvm__container_request__init(&req);
	req.id = p->task->id;
	agent_start_container_async(agent, &req, on_started, p);
	return 0;
}

static int start_exec(struct process *p, struct agent *agent, struct err *e)
{
	_cleanup_free_ char *in = take_ptr(p->in), *out = take_ptr(p->out), *err = take_ptr(p->err);
	Microvm__ExecRequest req;
	Microvm__Stdio stdio;
	int r = process_open(p, in, out, err, p->terminal, e);

	if (!r)
		r = process_connect(p, &stdio, e);
	if (!r)
		r = begin_input(p, e);
	if (r)
		return r;
	microvm__exec_request__init(&req);
	req.id = p->task->id;
	req.exec_id = p->exec_id;
	req.process = p->spec;
	req.stdio = &stdio;
	p->spec->terminal = p->terminal;
	p->spec->console_rows = p->rows;
	p->spec->console_cols = p->cols;
	agent_exec_process_async(agent, &req, on_started, p);
	return 0;
}

void task_start(struct shim *s, struct ttrpc_call *call, const char *id, const char *exec_id)
{
	struct err e = ERR_INIT;
	struct process *p = process_find(s, id, exec_id, &e);
	struct agent *agent;

	if (p && p->task->idle && !*exec_id) {
		pause_start(p, call);
		return;
	}
	agent = p ? task_agent(p->task, &e) : NULL;
	if (agent && p->state != PROCESS_CREATED)
		err_set(&e, EBUSY, "container %s: %s was started before, or is not created yet", id,
			*exec_id ? exec_id : "it");
	if (!p || !agent || e.code || (*exec_id ? start_exec(p, agent, &e) : start_first(p, agent, &e))) {
		ttrpc_fail(call, &e);
		return;
	}
	p->state = PROCESS_STARTING;
	pending_set(&p->start, call);
}

/* ---- exec ----------------------------------------------------------------------------------------------------------- */

static int parse_exec(struct process *p, const TASK(ExecProcessRequest) * req, struct err *e)
{
	if (!req->spec || !str_eq(req->spec->type_url, SPEC_TYPE))
		return err_set(e, EINVAL, "exec %s: its spec is a %.100s, not a " SPEC_TYPE, req->exec_id,
			       req->spec ? req->spec->type_url : "(nothing)");
	p->in = xstrdup(req->stdin);
	p->out = xstrdup(req->stdout);
	p->err = xstrdup(req->stderr);
	p->terminal = req->terminal;
	return oci_process_parse((const char *)req->spec->value.data, req->spec->value.len, &p->spec, e);
}

void task_exec(struct shim *s, struct ttrpc_call *call, const TASK(ExecProcessRequest) * req)
{
	Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
	EVENT(TaskExecAdded) event;
	struct err e = ERR_INIT, none = ERR_INIT;
	struct task *t = task_find(s, req->id, &e);
	struct process *p;

	if (t && !state_name_valid(req->exec_id))
		err_set(&e, EINVAL, "exec id '%.200s': letters, digits, '_', '.' and '-' make one", req->exec_id);
	else if (t && process_find(s, req->id, req->exec_id, &none))
		err_set(&e, EEXIST, "process %s of container %s: it is there already", req->exec_id, req->id);
	else if (t && t->first.state == PROCESS_STOPPED)
		err_set(&e, EBUSY, "container %s: it has stopped", req->id);
	if (!t || e.code) {
		ttrpc_fail(call, &e);
		return;
	}
	p = xcalloc(1, sizeof(*p));
	process_init(p, t, req->exec_id);
	p->state = PROCESS_CREATED;
	p->next = t->execs;
	t->execs = p;
	if (parse_exec(p, req, &e)) {
		process_forget(p);
		ttrpc_fail(call, &e);
		return;
	}
	containerd__events__task_exec_added__init(&event);
	event.container_id = t->id;
	event.exec_id = p->exec_id;
	events_publish(s->events, EVENT_EXEC_ADDED, &event.base);
	ttrpc_reply(call, &empty.base);
}

/* ---- the end -------------------------------------------------------------------------------------------------------- */

static void fill_wait(const struct process *p, TASK(WaitResponse) * m, Google__Protobuf__Timestamp *at)
{
	containerd__task__v2__wait_response__init(m);
	timestamp_fill(at, p->exited_at_ns);
	m->exit_status = p->exit_status;
	m->exited_at = at;
}

static void publish_exited(const struct process *p)
{
	EVENT(TaskExit) event;
	Google__Protobuf__Timestamp at;

	containerd__events__task_exit__init(&event);
	timestamp_fill(&at, p->exited_at_ns);
	event.container_id = p->task->id;
	event.id = *p->exec_id ? p->exec_id : p->task->id;
	event.pid = task_pid(p->task);
	event.exit_status = p->exit_status;
	event.exited_at = &at;
	events_publish(p->task->shim->events, EVENT_EXIT, &event.base);
}

static void tell_exit(struct process *p)
{
	TASK(WaitResponse) answer;
	Google__Protobuf__Timestamp at;

	p->exiting = false;
	p->state = PROCESS_STOPPED;
	publish_exited(p);
	fill_wait(p, &answer, &at);
	pending_reply_all(&p->waiting, &answer.base);
	close_ended(p);
}

static bool has_unread(const struct process *p)
{
	struct stat st;
	int i, n;

	for (i = 1; i < 3; i++)
		if (p->streams.fds[i] >= 0 && !fstat(p->streams.fds[i], &st) && S_ISFIFO(st.st_mode) &&
		    !ioctl(p->streams.fds[i], FIONREAD, &n) && n > 0)
			return true;
	return false;
}

/* Tells it, or looks again in a millisecond. */
static void try_exit(struct process *p)
{
	const bool drained = !p->connected || stdio_drained(&p->stdio);

	if (loop_op_busy(&p->exit_op) && (!drained || has_unread(p)))
		return;
	if (p->exit_rounds >= PROCESS_EXIT_ROUNDS ||
	    (drained && (p->unread_rounds >= PROCESS_UNREAD_ROUNDS || !has_unread(p)))) {
		tell_exit(p);
		return;
	}
	p->exit_rounds++;
	p->unread_rounds += drained;
	loop_timer(p->task->shim->loop, &p->exit_op, EXIT_ROUND_NS);
}

static void on_exit_round(struct loop_op *op, int res)
{
	struct process *p = container_of(op, struct process, exit_op);

	if (p->exiting && res == -ECANCELED)
		tell_exit(p);
	else if (p->exiting)
		try_exit(p);
	if (p->streams_done)
		soon(p);
}

void process_exited(struct process *p, uint32_t status, int64_t at_ns)
{
	/* Of an exec that was not started, or a container that is not made, nothing has ended. */
	if (p->state == PROCESS_STOPPED || p->exiting || p->state == PROCESS_CREATING ||
	    (*p->exec_id && p->state == PROCESS_CREATED))
		return;
	p->exit_status = status;
	p->exited_at_ns = at_ns;
	if (p->connected)
		stdio_stop_input(&p->stdio);
	p->exiting = true;
	/* What was created and is deleted has nobody who listens. */
	if (p->state == PROCESS_CREATED)
		tell_exit(p);
	else
		try_exit(p);
}

void task_wait(struct shim *s, struct ttrpc_call *call, const char *id, const char *exec_id)
{
	struct err e = ERR_INIT;
	struct process *p = process_find(s, id, exec_id, &e);
	TASK(WaitResponse) answer;
	Google__Protobuf__Timestamp at;

	if (!p) {
		ttrpc_fail(call, &e);
	} else if (p->state != PROCESS_STOPPED) {
		pending_add(&p->waiting, call);
	} else {
		fill_wait(p, &answer, &at);
		ttrpc_reply(call, &answer.base);
	}
}

/* ---- delete --------------------------------------------------------------------------------------------------------- */

void process_answer_delete(struct process *p)
{
	TASK(DeleteResponse) answer;
	Google__Protobuf__Timestamp at;

	containerd__task__v2__delete_response__init(&answer);
	timestamp_fill(&at, p->exited_at_ns);
	answer.pid = task_pid(p->task);
	answer.exit_status = p->exit_status;
	answer.exited_at = &at;
	pending_reply(&p->deletion, &answer.base);
}

static void delete_exec(struct process *p)
{
	process_answer_delete(p);
	process_forget(p);
}

void task_delete(struct shim *s, struct ttrpc_call *call, const char *id, const char *exec_id)
{
	struct err e = ERR_INIT;
	struct process *p = process_find(s, id, exec_id, &e);
	const struct process *x;
	bool ran;

	for (x = p && !*exec_id ? p->task->execs : NULL; x; x = x->next)
		if (x->state == PROCESS_STARTING)
			err_set(&e, EBUSY, "container %s: %s is being started in it", id, x->exec_id);
	if (p && (p->deleting || p->task->waking || (p->state != PROCESS_STOPPED && p->state != PROCESS_CREATED)))
		err_set(&e, EBUSY, "container %s: %s; kill it first", id,
			p->deleting ? "it is being deleted" : "it is running");
	if (!p || e.code) {
		ttrpc_fail(call, &e);
		return;
	}
	ran = p->state == PROCESS_STOPPED;
	/* A container that was never started ends here. */
	if (!ran && !*exec_id)
		process_exited(p, PROCESS_KILLED_STATUS, realtime_ns());
	p->deleting = true;
	pending_set(&p->deletion, call);
	process_end_streams(p, ran, *exec_id ? delete_exec : task_delete_first);
}

void process_clear(struct process *p)
{
	struct err e = ERR_INIT;
	TASK(WaitResponse) answer;
	Google__Protobuf__Timestamp at;

	err_set(&e, ESRCH, "container %s: it was deleted", p->task->id);
	fill_wait(p, &answer, &at);
	pending_reply_all(&p->waiting, &answer.base);
	pending_fail(&p->start, &e);
	pending_fail(&p->deletion, &e);
	if (p->connected)
		stdio_close(&p->stdio);
	streams_close(&p->streams);
	oci_process_free(take_ptr(p->spec));
	free(take_ptr(p->exec_id));
	free(take_ptr(p->in));
	free(take_ptr(p->out));
	free(take_ptr(p->err));
}

void process_forget(struct process *p)
{
	struct process **at;

	for (at = &p->task->execs; *at; at = &(*at)->next)
		if (*at == p) {
			*at = p->next;
			break;
		}
	process_clear(p);
	free(p);
}
