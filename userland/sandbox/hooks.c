/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "sandbox/oci_state.h"

#define OUTPUT_TAIL 512
/* Nobody waits for the container any more, but for its deletion: it comes, whatever a hook without a limit of its own does. */
#define POSTSTOP_LIMIT_S 30u

/* A NULL-terminated copy of the list, not of its strings. */
static char **vector(char *const *list, size_t n)
{
	char **v = xcalloc(n + 1, sizeof(*v));

	if (n)
		memcpy(v, list, n * sizeof(*v));
	return v;
}

static _Noreturn void child_main(const Microvm__Hook *h, const char *cwd, int netns_fd, int in, int out)
{
	char *only[] = { h->path, NULL };
	char **argv = h->n_args ? vector(h->args, h->n_args) : only;
	char **envp = h->n_env ? vector(h->env, h->n_env) : environ;
	sigset_t none;
	int i;

	setsid();
	for (i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (netns_fd >= 0 && setns(netns_fd, CLONE_NEWNET) < 0)
		dprintf(out, "its network namespace: %s\n", strerror(errno));
	else if (cwd && chdir(cwd) < 0)
		dprintf(out, "%s: %s\n", cwd, strerror(errno));
	else if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 || syscall(SYS_close_range, 3, ~0u, 0) < 0)
		dprintf(out, "its streams: %s\n", strerror(errno));
	else {
		execve(h->path, argv, envp);
		dprintf(2, "%s\n", strerror(errno));
	}
	_exit(127);
}

int hook_start(const Microvm__Hook *h, const char *state, const char *cwd, int netns_fd, struct hook_child *c,
	       struct err *e)
{
	_cleanup_close_ int in = memfd_create("state", MFD_CLOEXEC);
	int r;

	*c = (struct hook_child)HOOK_CHILD_INIT;
	c->output = memfd_create("output", MFD_CLOEXEC);
	if (in < 0 || c->output < 0)
		return err_errno(e, errno, "memfd_create");
	/* Appending, as both streams have it. */
	fcntl(c->output, F_SETFL, O_APPEND);
	r = write_full(in, state, strlen(state));
	if (r || lseek(in, 0, SEEK_SET) < 0)
		return err_errno(e, r ? r : errno, "the hook's input");
	c->pid = fork();
	if (!c->pid)
		child_main(h, cwd, netns_fd, in, c->output);
	if (c->pid < 0)
		return err_errno(e, errno, "cannot start hook %s", h->path);
	c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	return c->pidfd < 0 ? err_errno(e, errno, "pidfd_open") : 0;
}

static void last_line(int fd, char *line, size_t size)
{
	off_t end = lseek(fd, 0, SEEK_END), from = end > OUTPUT_TAIL ? end - OUTPUT_TAIL : 0;
	char text[OUTPUT_TAIL + 1];
	ssize_t n = pread(fd, text, OUTPUT_TAIL, from);
	char *start;

	while (n > 0 && strchr("\n\r ", text[n - 1]))
		n--;
	text[n > 0 ? n : 0] = '\0';
	start = strrchr(text, '\n');
	snprintf(line, size, "%s", start ? start + 1 : text);
}

int hook_end(const Microvm__Hook *h, struct hook_child *c, bool kill_it, struct err *e)
{
	siginfo_t info = { 0 };
	char line[OUTPUT_TAIL + 1] = "";
	int r = 0;

	if (c->pid > 0) {
		/* Its session's number may not be there yet: then it is alone. */
		if (kill_it && kill(-c->pid, SIGKILL) < 0)
			kill(c->pid, SIGKILL);
		while (waitid(P_PID, c->pid, &info, WEXITED) < 0 && errno == EINTR)
			;
		last_line(c->output, line, sizeof(line));
		if (info.si_code != CLD_EXITED)
			r = err_set(e, EIO, "hook %s was killed by signal %d", h->path, info.si_status);
		else if (info.si_status)
			r = err_set(e, EIO, "hook %s failed with status %d%s%s", h->path, info.si_status,
				    line[0] ? ": " : "", line);
	}
	c->pid = 0;
	cleanup_closep(&c->pidfd);
	cleanup_closep(&c->output);
	return r;
}

void hooks_run_poststop(const Microvm__Hooks *hooks, const struct sandbox_record *r)
{
	_cleanup_free_ char *state = NULL;
	size_t i;

	if (!hooks || !hooks->n_poststop)
		return;
	state = oci_state_text(r, OCI_STOPPED);
	for (i = 0; i < hooks->n_poststop; i++) {
		const Microvm__Hook *h = hooks->poststop[i];
		const uint64_t limit_s = h->timeout_s ? h->timeout_s->value : POSTSTOP_LIMIT_S;
		struct hook_child c;
		struct err e = ERR_INIT;
		int q = hook_start(h, state, r->bundle, -1, &c, &e);

		if (!q) {
			struct pollfd p = { .fd = c.pidfd, .events = POLLIN };

			while ((q = poll(&p, 1, (int)min_t(uint64_t, limit_s, 2000000) * 1000)) < 0 && errno == EINTR)
				;
		}
		if (!q && !e.code)
			err_set(&e, ETIMEDOUT, "hook %s did not end within %llu s", h->path,
				(unsigned long long)limit_s);
		if (hook_end(h, &c, q <= 0, e.code ? NULL : &e) || e.code)
			log_warn("poststop: %s", e.msg);
	}
}
