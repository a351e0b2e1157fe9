/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"

static struct termios before;
static int raw_fd = -1;
static int guard_fd = -1; /* the guard's pipe: a byte says "restored", its end says "we are gone" */
static pid_t guard_pid;

static int set_attributes(int fd, const struct termios *t)
{
	sigset_t ttou, old;
	int r;

	/* From a background process group tcsetattr would stop us. */
	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	sigprocmask(SIG_BLOCK, &ttou, &old);
	do
		r = tcsetattr(fd, TCSADRAIN, t);
	while (r < 0 && errno == EINTR);
	sigprocmask(SIG_SETMASK, &old, NULL);
	return r;
}

static _Noreturn void guard_main(int tty, int pipe_fd)
{
	sigset_t all;
	char byte;
	ssize_t n;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	if (tty != 0)
		dup2(tty, 0);
	if (pipe_fd != 1)
		dup2(pipe_fd, 1);
	syscall(SYS_close_range, 2, ~0u, 0);
	while ((n = read(1, &byte, 1)) < 0 && errno == EINTR)
		;
	if (!n)
		set_attributes(0, &before);
	_exit(0);
}

static int start_guard(int fd, struct err *e)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_errno(e, errno, "pipe");
	guard_pid = fork();
	if (!guard_pid) {
		int in = fcntl(p[0], F_DUPFD, 3);

		close(p[1]);
		guard_main(fd, in);
	}
	close(p[0]);
	if (guard_pid < 0) {
		guard_pid = 0;
		close(p[1]);
		return err_errno(e, errno, "cannot start what guards the terminal");
	}
	guard_fd = p[1];
	return 0;
}

int terminal_raw(int fd, struct err *e)
{
	struct termios t;
	int r;

	if (tcgetattr(fd, &before) < 0)
		return err_errno(e, errno, "the input is no terminal");
	r = start_guard(fd, e);
	if (r)
		return r;
	t = before;
	cfmakeraw(&t);
	if (set_attributes(fd, &t) < 0) {
		r = err_errno(e, errno, "cannot make the terminal raw");
		raw_fd = fd;
		terminal_restore();
		return r;
	}
	raw_fd = fd;
	return 0;
}

void terminal_restore(void)
{
	int status;

	if (raw_fd < 0)
		return;
	set_attributes(raw_fd, &before);
	raw_fd = -1;
	if (guard_fd >= 0 && write(guard_fd, "", 1) < 0)
		status = 0; /* it is gone already */
	cleanup_closep(&guard_fd);
	if (guard_pid > 0)
		while (waitpid(guard_pid, &status, 0) < 0 && errno == EINTR)
			;
	guard_pid = 0;
}

void terminal_size(int fd, uint32_t *rows, uint32_t *cols)
{
	struct winsize w;

	*rows = *cols = 0;
	if (!ioctl(fd, TIOCGWINSZ, &w)) {
		*rows = w.ws_row;
		*cols = w.ws_col;
	}
}
