/* SPDX-License-Identifier: Apache-2.0 */
/* A further process in a container that another process supervises: straight to the guest, through the VMM's socket. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "oci/defaults.h"
#include "oci/spec.h"
#include "sandbox/background.h"
#include "sandbox/process_env.h"
#include "sandbox/sandbox_private.h"
#include "sandbox/stdio.h"
#include "sandbox/terminal.h"

#define CONNECT_TIMEOUT_MS 10000u
#define PROCESS_FILE_MAX (4u << 20)
#define EXEC_ENTRIES 64u
#define END_REQUESTS_MAX 3u

struct exec {
	struct loop *loop;
	struct agent *agent;
	const char *id;
	char exec_id[20];
	bool tty;
	int ready_fd; /* of one that is left behind for an engine; -1 otherwise */
	struct stdio stdio;
	int signal_fd;
	unsigned int end_requests;
	struct signalfd_siginfo info;
	struct loop_op signal_op;
	bool over;
	int status;
	struct err e;
};

int sandbox_exec_status(int code)
{
	if (code == -ENOENT || code == -ENOTDIR)
		return SANDBOX_EXIT_NOTFOUND;
	if (code == -EACCES || code == -ENOEXEC || code == -EISDIR || code == -EPERM)
		return SANDBOX_EXIT_NOEXEC;
	return SANDBOX_EXIT_ERROR;
}

static int load_base(const struct state_ref *ref, Microvm__Process **base, struct err *e)
{
	_cleanup_free_ char *data = NULL;
	size_t len;
	int r = read_file(ref->dirfd, SANDBOX_PROCESS_FILE, PROCESS_FILE_MAX, &data, &len);

	if (r)
		return err_errno(e, r, "%s: cannot read %s", ref->record.name, SANDBOX_PROCESS_FILE);
	*base = microvm__process__unpack(NULL, len, (const uint8_t *)data);
	return *base ? 0 : err_set(e, EBADMSG, "%s: %s is damaged", ref->record.name, SANDBOX_PROCESS_FILE);
}

/* An engine brings the whole process. */
static int process_from_file(const struct process_options *o, Microvm__Process **process, struct err *e)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r = read_file(AT_FDCWD, o->process_file, OCI_SPEC_MAX, &text, &len);

	if (r)
		return err_errno(e, r, "--process %s", o->process_file);
	r = oci_process_parse(text, len, process, e);
	return r ? err_wrap(e, "--process %s", o->process_file) : 0;
}

static int make_process(const struct state_ref *ref, const struct process_options *o, char *const *command,
			Microvm__Process **process, struct err *e)
{
	struct oci_exec_options oci = {
		.args = command,
		.cwd = o->workdir,
		.user = o->user,
		.terminal = o->tty,
		.privileged = o->privileged,
	};
	struct strv env = { 0 };
	Microvm__Process *base;
	int r;

	if (o->process_file)
		return process_from_file(o, process, e);
	r = load_base(ref, &base, e);
	if (r)
		return r;
	r = process_env(o, &env, e);
	oci.env = env.v;
	if (o->tty)
		terminal_size(0, &oci.console_rows, &oci.console_cols);
	if (!r)
		r = oci_process_exec(base, &oci, process, e);
	strv_clear(&env);
	microvm__process__free_unpacked(base, NULL);
	return r;
}

static void on_done_quietly(const ProtobufCMessage *reply, const struct err *e, void *arg) {}

static void resize(struct exec *x)
{
	Microvm__ResizeRequest req;

	microvm__resize_request__init(&req);
	req.id = (char *)(uintptr_t)x->id;
	req.exec_id = x->exec_id;
	terminal_size(0, &req.rows, &req.cols);
	if (req.rows || req.cols)
		agent_resize_tty_async(x->agent, &req, on_done_quietly, NULL);
}

/* Whoever asks for the third time wants to be out, whatever the guest does. Nothing of ours is left on this host. */
static _Noreturn void give_up(int number)
{
	terminal_restore();
	_exit(128 + number);
}

static void on_signal(struct loop_op *op, int res)
{
	struct exec *x = container_of(op, struct exec, signal_op);

	if (res == -ECANCELED)
		return;
	if (res == (int)sizeof(x->info) && x->info.ssi_signo == SIGWINCH) {
		resize(x);
	} else if (res == (int)sizeof(x->info)) {
		Microvm__SignalRequest req;

		microvm__signal_request__init(&req);
		req.id = (char *)(uintptr_t)x->id;
		req.exec_id = x->exec_id;
		req.signal = x->info.ssi_signo;
		if (req.signal != SIGUSR1 && req.signal != SIGUSR2 && ++x->end_requests >= END_REQUESTS_MAX)
			give_up((int)req.signal);
		agent_signal_process_async(x->agent, &req, on_done_quietly, NULL);
	}
	loop_read(x->loop, op, x->signal_fd, &x->info, sizeof(x->info), -1);
}

/* Signals are the process' as they are with `run`. (docker leaves such processes behind when its client dies.) */
static int watch_signals(struct exec *x, struct err *e)
{
	static const int forwarded[] = { SIGINT, SIGTERM, SIGQUIT, SIGUSR1, SIGUSR2, SIGHUP, SIGWINCH };
	sigset_t set;
	size_t i;

	sigemptyset(&set);
	for (i = 0; i < ARRAY_SIZE(forwarded); i++) {
		if (forwarded[i] == SIGWINCH && !x->tty)
			continue;
		signal(forwarded[i], SIG_DFL);
		sigaddset(&set, forwarded[i]);
	}
	sigprocmask(SIG_BLOCK, &set, NULL);
	x->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (x->signal_fd < 0)
		return err_errno(e, errno, "signalfd");
	loop_op_init(&x->signal_op, on_signal);
	loop_read(x->loop, &x->signal_op, x->signal_fd, &x->info, sizeof(x->info), -1);
	return 0;
}

static void on_exit_status(const ProtobufCMessage *reply, const struct err *e, void *arg)
{
	struct exec *x = arg;

	x->over = true;
	if (reply)
		x->status = (int)(((const Microvm__WaitReply *)reply)->exit_status & 255);
	else
		x->e = *e;
}

static int wait_for_end(struct exec *x, struct err *e)
{
	Microvm__ProcessRequest wait;
	struct drain d;

	microvm__process_request__init(&wait);
	wait.id = (char *)(uintptr_t)x->id;
	wait.exec_id = x->exec_id;
	agent_wait_process_async(x->agent, &wait, on_exit_status, x);
	while (!x->over)
		if (loop_run_once(x->loop, true) < 0)
			return err_set(e, EIO, "waiting for events");
	stdio_stop_input(&x->stdio);
	drain_start(&d, &x->stdio);
	while (!drain_over(&d))
		if (loop_run_once(x->loop, true) < 0)
			break;
	drain_end(&d);
	if (x->e.code) {
		*e = x->e;
		return err_wrap(e, "the sandbox ended");
	}
	return x->status;
}

static int start(struct exec *x, const struct process_options *o, Microvm__Process *process, const char *socket,
		 struct err *e)
{
	const bool quiet = o->detach && !o->inherit;
	const struct stdio_options streams = {
		.interactive = o->interactive && !quiet,
		.tty = x->tty,
		.inherit = o->inherit,
		.quiet = quiet,
	};
	Microvm__ExecRequest req;
	Microvm__Stdio stdio;
	int r = stdio_open(&x->stdio, x->loop, socket, &streams, e);

	if (!r)
		r = stdio_start(&x->stdio, &streams, e);
	if (r)
		return r;
	microvm__exec_request__init(&req);
	req.id = (char *)(uintptr_t)x->id;
	req.exec_id = x->exec_id;
	req.process = process;
	stdio_fill(&x->stdio, &stdio);
	req.stdio = &stdio;
	return agent_exec_process(x->agent, &req, NULL, e);
}

/* It runs: what is stderr from now on is its. */
static int tell_engine(struct exec *x, const struct process_options *o, struct err *e)
{
	int r = o->pid_file ? background_pid_file(o->pid_file, e) : 0;

	if (r)
		return r;
	if (x->tty)
		resize(x);
	/* Whoever has gone will not wait for it either; it ends as any other. */
	if (background_ready_say(&x->ready_fd, "") < 0)
		log_debug("who asked for this process has gone");
	log_to_fd(-1);
	return 0;
}

static int run(struct exec *x, struct state_ref *ref, const struct process_options *o, Microvm__Process *process,
	       struct err *e)
{
	_cleanup_free_ char *socket = xasprintf("%s/vsock", ref->path);
	_cleanup_close_ int fd = agent_connect_unix(socket, GUEST_RPC_PORT, CONNECT_TIMEOUT_MS, e);
	int r;

	if (fd < 0)
		return err_wrap(e, "%s", ref->record.name);
	r = loop_new(&x->loop, EXEC_ENTRIES, 0);
	if (r)
		return err_errno(e, r, "cannot make an io_uring");
	r = agent_new(&x->agent, x->loop, fd, NULL);
	if (r)
		return err_errno(e, r, "cannot speak to the agent");
	take_fd(&fd);
	r = watch_signals(x, e);
	if (r)
		return r;
	r = start(x, o, process, socket, e);
	if (r) {
		int status = sandbox_exec_status(r);

		return status == SANDBOX_EXIT_ERROR ? r : status;
	}
	if (x->ready_fd < 0)
		return o->detach ? 0 : wait_for_end(x, e);
	r = tell_engine(x, o, e);
	return r ? r : wait_for_end(x, e);
}

static void clean_up(struct exec *x)
{
	int i;

	stdio_close(&x->stdio);
	if (x->agent)
		agent_free(x->agent);
	if (loop_op_busy(&x->signal_op))
		loop_cancel(x->loop, &x->signal_op);
	for (i = 0; i < 64 && loop_op_busy(&x->signal_op); i++)
		if (loop_run_once(x->loop, true) < 0)
			break;
	cleanup_closep(&x->signal_fd);
	if (x->loop)
		loop_free(x->loop);
}

/* For an engine: from here on it is a process of its own, which ends as the process in the guest does. */
static int go_behind(struct exec *x, const struct process_options *o, struct err *e)
{
	int r = 0;

	if (o->console_socket && !x->tty)
		return err_set(e, EINVAL, "--console-socket: the process has no terminal");
	if (o->inherit && x->tty && !o->console_socket)
		return err_set(e, EINVAL, "a terminal of a detached process needs --console-socket");
	if (o->inherit)
		r = background_fork(&x->ready_fd, e);
	if (!r && o->console_socket)
		r = terminal_to_engine(o->console_socket, e);
	return r;
}

int sandbox_exec(struct state_ref *ref, const struct process_options *o, char *const *command, struct err *e)
{
	struct exec x = { .id = ref->record.id, .tty = o->tty, .ready_fd = -1, .signal_fd = -1, .e = ERR_INIT };
	Microvm__Process *process = NULL;
	uint64_t n = agent_stdio_token();
	int r = stdio_check(o->interactive, o->tty, o->detach, e);

	if (!r && (!ref->alive || ref->record.status != SANDBOX_RUNNING))
		r = err_set(e, ESRCH, "%s does not run", ref->record.name);
	if (!r)
		r = make_process(ref, o, command, &process, e);
	if (r)
		return r;
	snprintf(x.exec_id, sizeof(x.exec_id), "e%llx", (unsigned long long)n);
	x.tty = process && process->terminal;
	r = go_behind(&x, o, e);
	if (!r)
		r = run(&x, ref, o, process, e);
	clean_up(&x);
	if (x.ready_fd >= 0 && r) {
		int status = r < 0 ? SANDBOX_EXIT_ERROR : r;

		if (background_failed_say(&x.ready_fd, status, e->msg) < 0)
			log_debug("who asked for this process has gone");
		*e = (struct err)ERR_INIT;
		r = status;
	}
	oci_process_free(process);
	return r;
}
