/* SPDX-License-Identifier: Apache-2.0 */
/* SIGCHLD to exit status to whoever waits. */
#include "guest-agent/reap.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"

#define REAP_ROUND 256 /* then others have their turn: orphans of a fork bomb end up here */

struct task_waiter {
	struct task_waiter *next;
	struct task_proc *proc;
	struct ttrpc_call *call;
};

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

static void answer(struct ttrpc_call *call, const struct task_proc *p)
{
	Microvm__WaitReply m = MICROVM__WAIT_REPLY__INIT;

	m.exit_status = p->exit_status;
	m.exited_at_ns = p->exited_at_ns;
	m.oom_killed = p->oom_killed;
	ttrpc_reply(call, &m.base);
}

static void cancelled(struct ttrpc_call *call, void *arg)
{
	struct task_waiter *w = arg, **at;

	for (at = &w->proc->waiters; *at; at = &(*at)->next)
		if (*at == w) {
			*at = w->next;
			break;
		}
	free(w);
}

void tasks_wait(struct tasks *ts, const char *id, const char *exec_id, struct ttrpc_call *call)
{
	struct err e = ERR_INIT;
	struct task_waiter *w;
	struct task_proc *p;

	if (tasks_find_proc(ts, id, exec_id, &p, &e) < 0) {
		ttrpc_fail(call, &e);
		return;
	}
	if (p->exited) {
		answer(call, p);
		return;
	}
	w = xcalloc(1, sizeof(*w));
	w->proc = p;
	w->call = call;
	w->next = p->waiters;
	p->waiters = w;
	ttrpc_call_on_cancel(call, cancelled, w);
}

void task_waiters_fail(struct task_proc *p)
{
	struct err e = ERR_INIT;
	struct task_waiter *w;

	err_set(&e, ESRCH, "container %s: it was removed", p->task->id);
	while ((w = p->waiters)) {
		p->waiters = w->next;
		ttrpc_fail(w->call, &e);
		free(w);
	}
}

static void push_event(struct task_proc *p, Microvm__Event__Type type)
{
	struct event ev = { .type = type,
			    .pid = p->pid,
			    .at_ns = type == MICROVM__EVENT__TYPE__EXIT ? p->exited_at_ns : now_ns() };

	snprintf(ev.id, sizeof(ev.id), "%s", p->task->id);
	snprintf(ev.exec_id, sizeof(ev.exec_id), "%s", p->exec_id);
	ev.exit_status = type == MICROVM__EVENT__TYPE__EXIT ? p->exit_status : 0;
	events_push(&p->task->owner->events, &ev);
}

static struct task_proc *first_proc(struct task *t)
{
	struct task_proc *p = t->procs;

	while (p && p->exec_id[0])
		p = p->next;
	return p;
}

void task_take_oom(struct task *t)
{
	struct task_proc *p = first_proc(t);

	if (container_oom_take(t->container) && p)
		push_event(p, MICROVM__EVENT__TYPE__OOM);
}

static void exited(struct task_proc *p, int status)
{
	struct task *t = p->task;
	struct tasks *ts = t->owner;
	struct task_waiter *w;

	p->exited = true;
	p->exited_at_ns = now_ns();
	p->exit_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	if (p->ended_by && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		p->exit_status = 128 + (uint32_t)p->ended_by;
	if (t->container) {
		container_exited(t->container, p->pid);
		task_take_oom(t);
		p->oom_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && !p->ended_by &&
				container_oom_killed(t->container);
	}
	stdio_exited(p->stdio);
	log_debug("container %s: process %d (%s) has ended with %u", t->id, p->pid, p->exec_id, p->exit_status);
	push_event(p, MICROVM__EVENT__TYPE__EXIT);
	while ((w = p->waiters)) {
		p->waiters = w->next;
		answer(w->call, p);
		free(w);
	}
	if (!p->exec_id[0] && t->abandoned)
		tasks_bury(ts);
	if (!p->exec_id[0] && ts->ended)
		ts->ended(ts, ts->ended_arg);
}

static struct task_proc *find_pid(struct tasks *ts, pid_t pid)
{
	struct task *t;

	for (t = ts->first; t; t = t->next) {
		struct task_proc *p;

		for (p = t->procs; p; p = p->next)
			if (p->pid == pid && !p->exited)
				return p;
	}
	return NULL;
}

void tasks_reap(struct tasks *ts)
{
	int i;

	for (i = 0; i < REAP_ROUND; i++) {
		struct task_proc *p;
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid <= 0)
			return;
		p = find_pid(ts, pid);
		if (p)
			exited(p, status);
	}
	if (!loop_op_busy(&ts->reap_more))
		loop_defer(ts->loop, &ts->reap_more);
}

static void reap_more_done(struct loop_op *op, int res)
{
	tasks_reap(container_of(op, struct tasks, reap_more));
}

static void listen_for_children(struct tasks *ts)
{
	loop_poll(ts->loop, &ts->signal_poll, ts->signal_fd, POLLIN);
}

static void signal_done(struct loop_op *op, int res)
{
	struct tasks *ts = container_of(op, struct tasks, signal_poll);
	struct signalfd_siginfo info;

	/* One record stands for any number of children. */
	if (read(ts->signal_fd, &info, sizeof(info)) < 0 && errno != EAGAIN)
		log_error("signalfd: %s", strerror(errno));
	tasks_reap(ts);
	listen_for_children(ts);
}

int tasks_init(struct tasks *ts, struct loop *loop)
{
	sigset_t mask;

	*ts = (struct tasks){ .loop = loop };
	stdio_init(&ts->stdio, loop);
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
		return -errno;
	ts->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (ts->signal_fd < 0)
		return -errno;
	loop_op_init(&ts->signal_poll, signal_done);
	loop_op_init(&ts->reap_more, reap_more_done);
	loop_op_init(&ts->bury, tasks_bury_done);
	listen_for_children(ts);
	return 0;
}
