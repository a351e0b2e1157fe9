/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "shim/uri.h"

#define PROC_FD_LEN 32
#define LOGGER_FD 3 /* stdout, stderr, and one that it closes when it is ready */

/* ---- FIFOs and files ------------------------------------------------------------------------------------------------ */

/*
 * A FIFO is opened for reading, too: one that nobody reads (yet, or any more) takes what fits and then makes the writer wait, and
 * is no error. Who opens it later gets what is in it. It is opened once: closed in between, it would be at its end for whoever
 * reads it already.
 */
static int open_output(const char *path, struct err *e)
{
	_cleanup_close_ int place = open(path, O_PATH | O_CLOEXEC);
	char again[PROC_FD_LEN];
	struct stat st;
	int flags, fd;

	if (place < 0 || fstat(place, &st) < 0)
		return err_errno(e, errno, "%s", path);
	if (!S_ISFIFO(st.st_mode) && !S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "%s is neither a FIFO nor a file", path);
	flags = S_ISFIFO(st.st_mode) ? O_RDWR : O_WRONLY | O_APPEND;
	snprintf(again, sizeof(again), "/proc/self/fd/%d", place);
	fd = open(again, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd < 0 ? err_errno(e, errno, "%s", path) : fd;
}

int streams_open_input(struct streams *s, const char *path, struct err *e)
{
	struct stat st;

	if (path[0] != '/')
		return err_set(e, EINVAL, "stdin: '%.200s' is not the absolute path of a FIFO", path);
	s->fds[0] = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (s->fds[0] < 0 || fstat(s->fds[0], &st) < 0)
		return err_errno(e, errno, "%s", path);
	if (!S_ISFIFO(st.st_mode))
		return err_set(e, EINVAL, "%s is not a FIFO", path);
	s->in_keep = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return s->in_keep < 0 ? err_errno(e, errno, "%s", path) : 0;
}

static int open_log_file(const char *path, struct err *e)
{
	_cleanup_free_ char *folder = xstrdup(path);
	char *slash = strrchr(folder, '/');
	int fd, r;

	*slash = '\0';
	r = *folder ? mkdir_p(AT_FDCWD, folder, 0755) : 0;
	if (r)
		return err_errno(e, r, "%s", folder);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
	return fd < 0 ? err_errno(e, errno, "%s", path) : fd;
}

/* ---- a program that takes the output ---------------------------------------------------------------------------------- */

static _Noreturn void logger_main(const struct uri *u, char *const *argv, char *const *envp, int out, int err, int fail)
{
	int null = open("/dev/null", O_RDWR), fds[6], i, why;
	sigset_t none;

	for (i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	fail = fcntl(fail, F_DUPFD_CLOEXEC, 16);
	fds[0] = fds[1] = fds[2] = fds[LOGGER_FD + 2] = null;
	fds[LOGGER_FD] = out;
	fds[LOGGER_FD + 1] = err;
	for (i = 0; i < 6; i++)
		fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 16);
	for (i = 0; i < 6; i++)
		if (dup2(fds[i], i) < 0)
			break;
	syscall(SYS_close_range, 6, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */);
	if (i == 6)
		execve(u->path, argv, envp);
	why = errno;
	if (write(fail, &why, sizeof(why)) < 0)
		_exit(126);
	_exit(127);
}

static int start_logger(const struct uri *u, const struct streams_config *c, int out, int err, struct err *e)
{
	_cleanup_free_ char *id = xasprintf("CONTAINER_ID=%s", c->id);
	_cleanup_free_ char *ns = xasprintf("CONTAINER_NAMESPACE=%s", c->namespace);
	char *envp[] = { id, ns, NULL }, *argv[URI_ARGS_MAX + 2] = { u->path };
	int fail[2], why = 0;
	pid_t pid;
	ssize_t n;

	memcpy(argv + 1, u->args, u->args_n * sizeof(*argv));
	if (pipe2(fail, O_CLOEXEC) < 0)
		return err_errno(e, errno, "pipe");
	/* Its parent is gone at once, so that nobody of ours has to wait for its end. */
	pid = fork();
	if (!pid) {
		if (fork())
			_exit(0);
		logger_main(u, argv, envp, out, err, fail[1]);
	}
	close(fail[1]);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	/* Closed by a successful exec. */
	while ((n = read(fail[0], &why, sizeof(why))) < 0 && errno == EINTR)
		;
	close(fail[0]);
	if (pid < 0)
		return err_set(e, EAGAIN, "%s can't be started", u->path);
	return n > 0 ? err_errno(e, why, "%s can't be executed", u->path) : 0;
}

static int open_logger(struct streams *s, const struct uri *u, const struct streams_config *c, struct err *e)
{
	_cleanup_close_ int out = -1, err = -1;
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_errno(e, errno, "pipe");
	out = p[0];
	s->fds[1] = p[1];
	if (pipe2(p, O_CLOEXEC) < 0)
		return err_errno(e, errno, "pipe");
	err = p[0];
	s->fds[2] = p[1];
	/* A logger that does not read makes the container wait, not us. */
	fcntl(s->fds[1], F_SETFL, O_NONBLOCK);
	fcntl(s->fds[2], F_SETFL, O_NONBLOCK);
	return start_logger(u, c, out, err, e);
}

/* ---- all of them ------------------------------------------------------------------------------------------------------ */

static int open_target(struct streams *s, unsigned int n, const char *text, const struct streams_config *c,
		       struct err *e)
{
	struct uri u;
	int r = uri_parse(text, &u, e);

	if (r)
		return r;
	switch (u.kind) {
	case URI_NONE: break;
	case URI_PATH: s->fds[n] = open_output(u.path, e); break;
	case URI_FILE: s->fds[n] = open_log_file(u.path, e); break;
	/* Both streams are the program's that stdout names. */
	case URI_BINARY: r = n == 1 ? open_logger(s, &u, c, e) : 0; break;
	}
	if (!r && s->fds[n] < 0 && (u.kind == URI_PATH || u.kind == URI_FILE))
		r = -e->code;
	uri_free(&u);
	return r;
}

int streams_open(struct streams *s, const struct streams_config *c, struct err *e)
{
	int r;

	*s = (struct streams)STREAMS_INIT;
	r = open_target(s, 1, c->out, c, e);
	if (!r && s->fds[2] < 0)
		r = open_target(s, 2, c->err, c, e);
	if (c->terminal)
		cleanup_closep(&s->fds[2]);
	if (!r)
		return 0;
	streams_close(s);
	return err_wrap(e, "standard streams");
}

void streams_close_input(struct streams *s)
{
	cleanup_closep(&s->in_keep);
}

void streams_close(struct streams *s)
{
	int i;

	for (i = 0; i < 3; i++)
		cleanup_closep(&s->fds[i]);
	cleanup_closep(&s->in_keep);
}
