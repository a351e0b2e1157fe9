/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals as events. Before the container runs, one that asks for an end takes the whole start back; afterwards all of
 * them are the container's. Who asks three times gets the end at once, whatever the guest does.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "sandbox/sandbox_private.h"
#include "sandbox/terminal.h"

#define END_REQUESTS_MAX 3u

static const int forwarded[] = {
	SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGWINCH,
};

static bool asks_for_end(int number)
{
	return number == SIGHUP || number == SIGINT || number == SIGQUIT || number == SIGTERM;
}

/* Ends the VM, and with it whatever the loop waits for. */
void signals_cancel(struct sandbox *s, int number)
{
	if (!s->cancelled_by)
		s->cancelled_by = number;
	vmm_signal(&s->vmm, SIGKILL);
}

static void on_delivered(const ProtobufCMessage *reply, const struct err *e, void *arg)
{
	/* A failure means that it has ended in between; its exit status comes by itself. */
}

void signals_resize(struct sandbox *s)
{
	Microvm__ResizeRequest req;

	microvm__resize_request__init(&req);
	req.id = s->record.id;
	terminal_size(0, &req.rows, &req.cols);
	if (req.rows || req.cols)
		agent_resize_tty_async(s->agent, &req, on_delivered, s);
}

static void forward(struct sandbox *s, int number)
{
	Microvm__SignalRequest req;

	microvm__signal_request__init(&req);
	req.id = s->record.id;
	req.signal = number;
	agent_signal_process_async(s->agent, &req, on_delivered, s);
}

static void handle(struct sandbox *s, int number)
{
	if (!s->started) {
		if (asks_for_end(number))
			signals_cancel(s, number);
		return;
	}
	if (number == SIGWINCH && s->record.tty) {
		signals_resize(s);
		return;
	}
	if (asks_for_end(number) && (!s->options->sig_proxy || ++s->end_requests >= END_REQUESTS_MAX)) {
		signals_cancel(s, number);
		return;
	}
	if (!s->exited)
		forward(s, number);
}

static void on_signal(struct loop_op *op, int res)
{
	struct sandbox *s = container_of(op, struct sandbox, signal_op);

	if (res == -ECANCELED)
		return;
	if (res == (int)sizeof(*s->signal_info))
		handle(s, (int)s->signal_info->ssi_signo);
	loop_read(s->loop, &s->signal_op, s->signal_fd, s->signal_info, sizeof(*s->signal_info), -1);
}

/* The caller of `run -d` has gone before the container ran. */
static void on_caller_gone(struct loop_op *op, int res)
{
	struct sandbox *s = container_of(op, struct sandbox, ready_op);

	if (res > 0 && (res & (POLLERR | POLLHUP)) && !s->started)
		signals_cancel(s, SIGHUP);
}

static void on_timeout(struct loop_op *op, int res)
{
	struct sandbox *s = container_of(op, struct sandbox, timeout_op);

	if (res == -ECANCELED)
		return;
	s->timed_out = true;
	vmm_signal(&s->vmm, SIGKILL);
}

void signals_begin(void)
{
	/* A script's background commands ignore these two; whoever sends them one means it. */
	signal(SIGINT, SIG_DFL);
	signal(SIGQUIT, SIG_DFL);
}

int stage_signals(struct sandbox *s, struct err *e)
{
	struct sigaction old;
	sigset_t set;
	size_t i;

	sigemptyset(&set);
	for (i = 0; i < ARRAY_SIZE(forwarded); i++) {
		/* nohup's word counts. */
		sigaction(forwarded[i], NULL, &old);
		if (forwarded[i] == SIGHUP && old.sa_handler == SIG_IGN)
			continue;
		signal(forwarded[i], SIG_DFL);
		sigaddset(&set, forwarded[i]);
	}
	sigprocmask(SIG_BLOCK, &set, &s->signals_before);
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (s->signal_fd < 0)
		return err_errno(e, errno, "signalfd");
	s->signal_info = xcalloc(1, sizeof(*s->signal_info));
	loop_op_init(&s->signal_op, on_signal);
	loop_read(s->loop, &s->signal_op, s->signal_fd, s->signal_info, sizeof(*s->signal_info), -1);
	if (s->ready_fd >= 0) {
		loop_op_init(&s->ready_op, on_caller_gone);
		loop_poll(s->loop, &s->ready_op, s->ready_fd, 0);
	}
	if (s->options->timeout_ns) {
		loop_op_init(&s->timeout_op, on_timeout);
		loop_timer(s->loop, &s->timeout_op, s->options->timeout_ns);
	}
	return 0;
}

static void end_op(struct sandbox *s, struct loop_op *op)
{
	int i;

	if (loop_op_busy(op))
		loop_cancel(s->loop, op);
	for (i = 0; i < 64 && loop_op_busy(op); i++)
		if (loop_run_once(s->loop, true) < 0)
			break;
}

void undo_signals(struct sandbox *s)
{
	end_op(s, &s->signal_op);
	end_op(s, &s->ready_op);
	end_op(s, &s->timeout_op);
	cleanup_closep(&s->signal_fd);
	free(s->signal_info);
	s->signal_info = NULL;
	/* The rest is short and does not wait: a signal may well find everything undone. The mask stays until we exit. */
}
