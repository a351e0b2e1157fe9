/* SPDX-License-Identifier: Apache-2.0 */
#include "guest-agent/tasks.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "guest-agent/init_signal.h"
#include "guest-agent/reap.h"

static int check_id(const char *what, const char *id, struct err *e)
{
	static const char ok[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
	size_t len = strlen(id);

	if (!len || len > EVENT_ID_MAX || id[0] == '.' || strspn(id, ok) != len)
		return err_set(e, EINVAL, "%s: an id has 1 to %u of A-Z a-z 0-9 _ . - and doesn't begin with a dot",
			       what, EVENT_ID_MAX);
	return 0;
}

int tasks_find(struct tasks *ts, const char *id, struct task **out, struct err *e)
{
	struct task *t;

	for (t = ts->first; t; t = t->next)
		if (str_eq(t->id, id)) {
			*out = t;
			return 0;
		}
	err_set(e, ENOENT, "container %.128s: there is none with this id in the guest", id);
	return -ENOENT;
}

static struct task_proc *find_proc(struct task *t, const char *exec_id)
{
	struct task_proc *p;

	for (p = t->procs; p; p = p->next)
		if (str_eq(p->exec_id, exec_id))
			return p;
	return NULL;
}

int tasks_find_proc(struct tasks *ts, const char *id, const char *exec_id, struct task_proc **out, struct err *e)
{
	struct task *t;
	int r = tasks_find(ts, id, &t, e);

	if (r < 0)
		return r;
	*out = find_proc(t, exec_id);
	if (!*out)
		return err_set(e, ENOENT, "container %s: there is no process with the exec id %.128s", id, exec_id);
	return 0;
}

static struct task_proc *add_proc(struct task *t, const char *exec_id, pid_t pid, struct stdio_set *stdio)
{
	struct task_proc *p = xcalloc(1, sizeof(*p));

	p->task = t;
	snprintf(p->exec_id, sizeof(p->exec_id), "%s", exec_id);
	p->pid = pid;
	p->stdio = stdio;
	p->next = t->procs;
	t->procs = p;
	t->procs_n++;
	return p;
}

static void forget_proc(struct task_proc *p)
{
	struct task_proc **at;

	for (at = &p->task->procs; *at; at = &(*at)->next)
		if (*at == p) {
			*at = p->next;
			p->task->procs_n--;
			break;
		}
	task_waiters_fail(p);
	stdio_release(p->stdio);
	free(p);
}

/* ---- memory events ------------------------------------------------------------------------------ */

static void oom_listen(struct task *t)
{
	int fd = container_oom_fd(t->container);

	if (fd >= 0)
		loop_poll(t->owner->loop, &t->oom_poll, fd, POLLIN);
}

static void oom_done(struct loop_op *op, int res)
{
	struct task *t = container_of(op, struct task, oom_poll);

	if (t->gone) {
		free(t);
		return;
	}
	task_take_oom(t);
	/* After the first process' end nothing is left in the cgroup that could be killed for memory. */
	if (res > 0 && !(res & (POLLERR | POLLNVAL)) && !find_proc(t, "")->exited)
		oom_listen(t);
}

/* ---- what the RPCs ask for ---------------------------------------------------------------------- */

static int check_create(struct tasks *ts, const Microvm__CreateContainerRequest *req, struct err *e)
{
	struct task *t;
	int r = check_id("container", req->id, e);

	if (r < 0)
		return r;
	if (!req->spec || !req->spec->process || !req->rootfs)
		return err_set(e, EINVAL, "container %s: the request has no %s", req->id,
			       !req->rootfs ? "rootfs"
			       : !req->spec ? "spec"
					    : "process");
	if (tasks_find(ts, req->id, &t, NULL) == 0)
		return err_set(e, EEXIST, "container %s: the id is in use; remove that container first", req->id);
	if (ts->n >= TASKS_MAX)
		return err_set(e, ENOSPC, "container %s: there are %u containers already, which is the limit", req->id,
			       TASKS_MAX);
	return 0;
}

int tasks_create(struct tasks *ts, const Microvm__CreateContainerRequest *req, const void *keeper, pid_t *pid,
		 struct err *e)
{
	struct container_io io;
	struct stdio_set *set;
	struct container *c;
	struct task *t;
	int r = check_create(ts, req, e);

	if (r < 0)
		return r;
	r = stdio_prepare(&ts->stdio, req->stdio, req->spec->process->terminal, &set, &io, e);
	if (r < 0)
		return r;
	r = container_create(&c, req, &io, pid, e);
	if (r < 0) {
		stdio_abandon(set, &io);
		return r;
	}
	t = xcalloc(1, sizeof(*t));
	t->owner = ts;
	snprintf(t->id, sizeof(t->id), "%s", req->id);
	t->container = c;
	t->keeper = keeper;
	loop_op_init(&t->oom_poll, oom_done);
	t->next = ts->first;
	ts->first = t;
	ts->n++;
	add_proc(t, "", *pid, set);
	stdio_begin(set, &io);
	oom_listen(t);
	log_debug("container %s: created, pid %d", t->id, *pid);
	return 0;
}

int tasks_start(struct tasks *ts, const char *id, struct err *e)
{
	struct task *t;
	int r = tasks_find(ts, id, &t, e);

	if (r < 0)
		return r;
	if (t->started)
		return err_set(e, EBUSY, "container %s: it was started already", id);
	if (find_proc(t, "")->exited)
		return err_set(e, EBUSY, "container %s: it has ended before it was started; remove it", id);
	t->started = true;
	return container_start(t->container, e);
}

/* Room for one more process: what has ended longest ago is forgotten. */
static int make_room(struct task *t, struct err *e)
{
	struct task_proc *p, *oldest = NULL;

	if (t->procs_n < TASK_PROCS_MAX)
		return 0;
	for (p = t->procs; p; p = p->next)
		if (p->exited && p->exec_id[0] && (!oldest || p->exited_at_ns < oldest->exited_at_ns))
			oldest = p;
	if (!oldest)
		return err_set(e, ENOSPC, "container %s: %u processes were started in it, which is the limit", t->id,
			       TASK_PROCS_MAX);
	forget_proc(oldest);
	return 0;
}

int tasks_exec(struct tasks *ts, const Microvm__ExecRequest *req, pid_t *pid, struct err *e)
{
	struct task_proc *same;
	struct container_io io;
	struct stdio_set *set;
	struct task *t;
	int r = tasks_find(ts, req->id, &t, e);

	if (r < 0)
		return r;
	r = check_id("exec", req->exec_id, e);
	if (r < 0)
		return r;
	if (!req->process)
		return err_set(e, EINVAL, "exec %s: the request has no process", req->exec_id);
	if (!t->started || find_proc(t, "")->exited)
		return err_set(e, EBUSY, "container %s: it is not running", t->id);
	same = find_proc(t, req->exec_id);
	if (same && !same->exited)
		return err_set(e, EEXIST, "exec %s: the id is in use in container %s", req->exec_id, t->id);
	r = make_room(t, e);
	if (r < 0)
		return r;
	r = stdio_prepare(&ts->stdio, req->stdio, req->process->terminal, &set, &io, e);
	if (r < 0)
		return r;
	r = container_exec(t->container, req->process, req->exec_id, &io, pid, e);
	if (r < 0) {
		stdio_abandon(set, &io);
		return r;
	}
	same = find_proc(t, req->exec_id);
	if (same)
		forget_proc(same);
	add_proc(t, req->exec_id, *pid, set);
	stdio_begin(set, &io);
	return 0;
}

static int signal_proc(struct task_proc *p, int signal, struct err *e)
{
	if (!init_signal_spared(p->pid, signal))
		return container_signal(p->task->container, p->pid, signal, false, e);
	/* What the kernel spares it is its end all the same, with the status that the signal would have given. */
	p->ended_by = signal;
	return container_signal(p->task->container, p->pid, SIGKILL, false, e);
}

int tasks_signal(struct tasks *ts, const Microvm__SignalRequest *req, struct err *e)
{
	struct task_proc *p;
	int r = tasks_find_proc(ts, req->id, req->exec_id, &p, e);

	if (r < 0)
		return r;
	if (req->signal < 1 || req->signal > 64)
		return err_set(e, EINVAL, "container %s: there is no signal %u", req->id, req->signal);
	if (req->all && req->exec_id[0])
		return err_set(e, EINVAL, "container %s: a signal goes to one process or to all", req->id);
	if (p->exited && !req->all)
		return err_set(e, ESRCH, "container %s: the process has ended", req->id);
	if (!req->all)
		return signal_proc(p, (int)req->signal, e);
	return container_signal(p->task->container, p->exited ? 0 : p->pid, (int)req->signal, true, e);
}

static int remove_task(struct task *t, struct err *e)
{
	struct tasks *ts = t->owner;
	struct container *c = take_ptr(t->container);
	struct task **at;
	int r = container_remove(c, e);

	/* What it killed is told to those who wait, before nobody knows it any more. */
	tasks_reap(ts);
	while (t->procs)
		forget_proc(t->procs);
	for (at = &ts->first; *at; at = &(*at)->next)
		if (*at == t) {
			*at = t->next;
			ts->n--;
			break;
		}
	t->gone = true;
	if (loop_op_busy(&t->oom_poll))
		loop_cancel(ts->loop, &t->oom_poll);
	else
		free(t);
	return r;
}

int tasks_remove(struct tasks *ts, const char *id, struct err *e)
{
	struct task *t;
	int r = tasks_find(ts, id, &t, e);

	if (r < 0)
		return r;
	/* A container that was created and never started may be removed as it is. */
	if (t->started && !find_proc(t, "")->exited)
		return err_set(e, EBUSY, "container %s: it is running; stop it first", id);
	return remove_task(t, e);
}

/* ---- those whose keeper has gone --------------------------------------------------------------- */

void tasks_abandon(struct tasks *ts, const void *keeper)
{
	struct task *t;

	for (t = ts->first; t; t = t->next) {
		struct task_proc *p = find_proc(t, "");
		struct err e = ERR_INIT;

		if (t->keeper != keeper)
			continue;
		t->keeper = NULL;
		t->abandoned = true;
		if (!p->exited && container_signal(t->container, p->pid, SIGKILL, true, &e))
			log_warn("container %s: %s", t->id, e.msg);
		tasks_bury(ts);
	}
}

void tasks_bury(struct tasks *ts)
{
	if (!loop_op_busy(&ts->bury))
		loop_defer(ts->loop, &ts->bury);
}

void tasks_bury_done(struct loop_op *op, int res)
{
	struct tasks *ts = container_of(op, struct tasks, bury);
	struct task *t = ts->first;

	while (t) {
		struct task *next = t->next;
		struct err e = ERR_INIT;

		if (t->abandoned && find_proc(t, "")->exited && remove_task(t, &e))
			log_warn("%s", e.msg);
		t = next;
	}
}

unsigned int tasks_running(const struct tasks *ts)
{
	const struct task *t;
	unsigned int n = 0;

	for (t = ts->first; t; t = t->next) {
		const struct task_proc *p;

		for (p = t->procs; p; p = p->next)
			n += !p->exec_id[0] && !p->exited;
	}
	return n;
}

void tasks_signal_all(struct tasks *ts, int signal, bool all)
{
	struct task *t;

	for (t = ts->first; t; t = t->next) {
		struct task_proc *p = find_proc(t, "");
		struct err e = ERR_INIT;
		int r = 0;

		if (p && !p->exited)
			r = all ? container_signal(t->container, p->pid, signal, true, &e) : signal_proc(p, signal, &e);
		if (r < 0)
			log_warn("container %s: signal %d: %s", t->id, signal, e.msg);
	}
}

void tasks_remove_all(struct tasks *ts)
{
	while (ts->first) {
		struct err e = ERR_INIT;

		if (remove_task(ts->first, &e) < 0)
			log_warn("%s", e.msg);
	}
}
