/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/background.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "sandbox/sandbox_private.h"

/* The caller's side: the supervisor says "+ID" when the container runs, or "-NNN" and why it doesn't. Never returns. */
static _Noreturn void wait_for_supervisor(int fd)
{
	char text[ERR_MSG_MAX + 6];
	size_t used = 0;
	ssize_t n;

	/* A line, or the supervisor's end. */
	while (used < sizeof(text) - 1 && !memchr(text, '\n', used)) {
		n = read(fd, text + used, sizeof(text) - 1 - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		used += n;
	}
	text[used] = '\0';
	text[strcspn(text, "\n")] = '\0';
	if (text[0] == '+') {
		if (text[1])
			printf("%s\n", text + 1);
		exit(fflush(stdout) ? SANDBOX_EXIT_ERROR : 0);
	}
	if (text[0] == '-' && used > 4)
		log_error("%s", text + 4);
	else if (!used)
		log_error("the supervisor ended without a word");
	if (text[0] == '-' && used >= 4)
		_exit(text[1] * 100 + text[2] * 10 + text[3] - '0' * 111);
	_exit(SANDBOX_EXIT_ERROR);
}

int background_fork(int *ready_fd, struct err *e)
{
	int p[2];
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_errno(e, errno, "pipe");
	fflush(stdout);
	pid = fork();
	if (pid < 0) {
		close(p[0]);
		close(p[1]);
		return err_errno(e, errno, "cannot start a supervisor");
	}
	if (pid) {
		close(p[1]);
		wait_for_supervisor(p[0]);
	}
	close(p[0]);
	*ready_fd = p[1];
	setsid();
	return 0;
}

static int say(int *fd, const char *text)
{
	int r = write(*fd, text, strlen(text)) < 0 ? -errno : 0;

	cleanup_closep(fd);
	return r;
}

int background_ready_say(int *ready_fd, const char *id)
{
	_cleanup_free_ char *text = xasprintf("+%s\n", id);

	return say(ready_fd, text);
}

int background_failed_say(int *ready_fd, int status, const char *msg)
{
	_cleanup_free_ char *text = xasprintf("-%03d%s\n", status & 255, msg);

	return say(ready_fd, text);
}

int background_pid_file(const char *path, struct err *e)
{
	_cleanup_free_ char *tmp = xasprintf("%s.%d", path, getpid());
	_cleanup_close_ int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", getpid()), r;

	if (fd < 0)
		return err_errno(e, errno, "--pid-file %s", path);
	r = write_full(fd, text, n);
	if (!r && rename(tmp, path) < 0)
		r = -errno;
	if (r)
		unlink(tmp);
	return r ? err_errno(e, r, "--pid-file %s", path) : 0;
}

/* ---- of a sandbox -------------------------------------------------------------------------------------------------- */

static int to_null(struct err *e)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int i;

	/* stderr stays until it runs: --timings and --debug write there. */
	for (i = 0; i < 2; i++)
		if (null < 0 || dup2(null, i) < 0)
			return err_errno(e, errno, "/dev/null");
	return 0;
}

int stage_background(struct sandbox *s, struct err *e)
{
	int r;

	if (!s->options->process.detach)
		return 0;
	r = background_fork(&s->ready_fd, e);
	return r || s->options->process.inherit ? r : to_null(e);
}

void background_ready(struct sandbox *s)
{
	const bool inherit = s->options->process.inherit;
	_cleanup_close_ int null = -1;

	if (s->ready_fd < 0)
		return;
	if (loop_op_busy(&s->ready_op))
		loop_cancel(s->loop, &s->ready_op);
	/* Whoever has gone in between does not want to know. */
	if (background_ready_say(&s->ready_fd, inherit ? "" : s->record.id) < 0)
		s->gave_up = true;
	/* What is stderr then is the container's. */
	if (inherit)
		log_to_fd(-1);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0 && !inherit)
		dup2(null, 2);
	if (chdir("/") < 0)
		s->gave_up = false; /* it only keeps a folder busy */
}

void background_failed(struct sandbox *s, int status, struct err *e)
{
	if (s->ready_fd < 0)
		return;
	if (background_failed_say(&s->ready_fd, status, e->msg) < 0)
		s->gave_up = true;
	*e = (struct err)ERR_INIT;
}
