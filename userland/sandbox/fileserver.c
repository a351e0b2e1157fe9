/* SPDX-License-Identifier: Apache-2.0 */
/*
 * microvm-fsd as a child, one for all shares of a sandbox. Its root is a mount tree (share_tree.h), which the child makes of
 * the shares that are known, or enters when it grows with a pod's containers.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "sandbox/paths.h"
#include "sandbox/sandbox_private.h"
#include "sandbox/share_tree.h"

#define PROGRAM "microvm-fsd"
#define CHILD_FD 3 /* its end of the connection */
#define LOG_MAX (16u << 10)
#define END_MS 1000 /* for its end to be seen, after it was felt */

/* All sources are taken before the tree covers a folder of the host's. */
static int make_tree(struct sandbox *s, struct err *e)
{
	const struct shares *shares = &s->shares;
	int trees[SHARES_MAX];
	size_t i;
	int r = share_tree_own_mounts(e);

	for (i = 0; !r && i < shares->n; i++) {
		if (shares->v[i].kind == SHARE_TMPFS)
			continue;
		trees[i] = share_tree_take(shares->v[i].source, e);
		if (trees[i] < 0)
			return trees[i];
	}
	if (!r)
		r = share_tree_make(s->home.path, false, e);
	for (i = 0; !r && i < shares->n; i++)
		if (shares->v[i].kind != SHARE_TMPFS)
			r = share_tree_add(s->home.path, i, trees[i], shares->v[i].source, shares->v[i].read_only, e);
	return r ? r : share_tree_close(s->home.path, e);
}

/* Others may lock what this sandbox can change; for what it only reads the guest's own locks do, and cost the host nothing. */
static bool locks_matter(const struct sandbox *s)
{
	const struct shares *shares = &s->shares;
	size_t i;

	if (s->grows || s->options->bundle) /* nobody knows what comes */
		return true;
	for (i = 0; i < shares->n; i++)
		if (shares->v[i].kind != SHARE_TMPFS && !shares->v[i].read_only && !shares->v[i].overlay)
			return true;
	return false;
}

static int redirect(int fd, int log_fd, struct err *e)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	/* Both are far from the numbers that are given now: the standard files were open. */
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(log_fd, 2) < 0)
		return err_errno(e, errno, "/dev/null");
	return dup2(fd, CHILD_FD) < 0 ? err_errno(e, errno, "its socket") : 0;
}

/* Ends in the program, or with a message on fail_fd. One thread, so anything may be called here. */
static _Noreturn void child_main(struct sandbox *s, const char *program, int fd, int log_fd, int fail_fd)
{
	char number[16];
	char *argv[] = { (char *)PROGRAM,
			 (char *)"--fd",
			 number,
			 (char *)"--shared-dir",
			 s->home.path,
			 (char *)"--xattr",
			 (char *)"--posix-acl",
			 (char *)(locks_matter(s) ? "--locks=auto" : "--locks=local"),
			 NULL };
	char *envp[] = { NULL };
	struct err e = ERR_INIT;

	vmm_child_begin();
	snprintf(number, sizeof(number), "%d", CHILD_FD);
	fail_fd = fcntl(fail_fd, F_DUPFD_CLOEXEC, 64);
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 64);
	log_fd = fcntl(log_fd, F_DUPFD_CLOEXEC, 64);
	if (!(s->grows ? share_tree_enter(s->home.path, &e) : make_tree(s, &e)) && !redirect(fd, log_fd, &e)) {
		syscall(SYS_close_range, CHILD_FD + 1, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */);
		execve(program, argv, envp);
		err_errno(&e, errno, "%s", program);
	}
	if (write(fail_fd, e.msg, strlen(e.msg)) < 0)
		_exit(2);
	_exit(1);
}

/* What the child says before its exec, which closes the pipe. */
static int wait_for_exec(struct sandbox *s, int fd, struct err *e)
{
	char msg[ERR_MSG_MAX];
	ssize_t n;

	while ((n = read(fd, msg, sizeof(msg) - 1)) < 0 && errno == EINTR)
		;
	if (n <= 0)
		return 0;
	msg[n] = '\0';
	vmm_reap(&s->fsd);
	return err_set(e, EIO, "the file server of the shared folders can't be started: %s", msg);
}

/* A pipe of its own, so that its last words are known from the guest's. Returns the end to write to. */
static int open_log(struct sandbox *s, struct err *e)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_errno(e, errno, "pipe");
	s->fsd_log.fd = p[0];
	s->fsd_log.file = fcntl(s->console.file, F_DUPFD_CLOEXEC, 3);
	s->fsd_log.file_max = LOG_MAX;
	s->fsd_log.echo_fd = s->console.echo_fd;
	return p[1];
}

int fileserver_start(struct sandbox *s, struct err *e)
{
	_cleanup_free_ char *program = NULL;
	/* Process 1 of a pid namespace: it needs no other one to make that for it, and all that it is ends with it. */
	struct clone_args args = {
		.flags = CLONE_NEWPID | CLONE_PIDFD,
		.pidfd = (uint64_t)(uintptr_t)&s->fsd.pidfd,
		.exit_signal = SIGCHLD,
	};
	_cleanup_close_ int peer = -1, log_fd = -1;
	int pair[2], fail[2], r;
	size_t i, n = 0;

	for (i = 0; i < s->shares.n; i++)
		n += s->shares.v[i].kind != SHARE_TMPFS;
	if (!n && !s->grows)
		return 0;
	program = paths_program(PROGRAM, e);
	if (!program)
		return -e->code;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, errno, "socketpair");
	s->fsd_fd = pair[0];
	peer = pair[1];
	log_fd = open_log(s, e);
	if (log_fd < 0)
		return log_fd;
	if (pipe2(fail, O_CLOEXEC) < 0)
		return err_errno(e, errno, "pipe");
	s->fsd.pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (!s->fsd.pid)
		child_main(s, program, peer, log_fd, fail[1]);
	close(fail[1]);
	if (s->fsd.pid < 0) {
		r = errno;
		s->fsd.pid = 0;
		close(fail[0]);
		return err_errno(e, r, "starting %s", PROGRAM);
	}
	r = wait_for_exec(s, fail[0], e);
	close(fail[0]);
	return r;
}

/* Whoever waits for a file in the guest would wait forever. */
static void on_end(struct loop_op *op, int res)
{
	struct sandbox *s = container_of(op, struct sandbox, fsd_op);

	if (res == -ECANCELED)
		return;
	s->fsd_gone = true;
	vmm_signal(&s->vmm, SIGKILL);
}

void fileserver_watch(struct sandbox *s)
{
	if (!s->fsd.pid)
		return;
	console_start(&s->fsd_log, s->loop);
	loop_op_init(&s->fsd_op, on_end);
	loop_poll(s->loop, &s->fsd_op, s->fsd.pidfd, POLLIN);
}

int fileserver_error(struct sandbox *s, struct err *e)
{
	struct pollfd p = { .fd = s->fsd.pidfd, .events = POLLIN };
	char line[256];

	if (s->fsd.pid && poll(&p, 1, END_MS) > 0)
		vmm_reap(&s->fsd);
	/* Without a failure it ends with its front end: then the reason is there. */
	if (s->fsd.pid || !s->fsd.status)
		return 0;
	console_drain(&s->fsd_log);
	console_last_line(&s->fsd_log, line, sizeof(line));
	if (s->fsd.status > 128)
		return err_set(
			e, EIO,
			"the file server of the shared folders was killed by signal %d (%s), and the VM with it%s%s",
			s->fsd.status - 128, strsignal(s->fsd.status - 128), line[0] ? "; its last words: " : "", line);
	return err_set(e, EIO, "the file server of the shared folders ended with status %d, and the VM with it%s%s",
		       s->fsd.status, line[0] ? "; its last words: " : " and no word", line);
}

void fileserver_end(struct sandbox *s)
{
	int i;

	if (loop_op_busy(&s->fsd_op))
		loop_cancel(s->loop, &s->fsd_op);
	for (i = 0; i < 64 && loop_op_busy(&s->fsd_op); i++)
		if (loop_run_once(s->loop, true) < 0)
			break;
	vmm_kill(&s->fsd);
	console_drain(&s->fsd_log);
	console_close(&s->fsd_log);
}
