/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "guest-agent/container.h"
#include "guest-agent/process.h"

#define HOOK_LIMIT_MAX_S 60u

int process_wait(pid_t pid, unsigned int limit_ms, int *status)
{
	_cleanup_close_ int fd = pidfd_open(pid, 0);
	uint64_t deadline = monotonic_ns() + limit_ms * 1000000ull;
	int r = 0, s = 0;

	while (fd >= 0) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint64_t now = monotonic_ns();

		if (now >= deadline) {
			r = -ETIMEDOUT;
			kill(pid, SIGKILL);
			break;
		}
		if (poll(&p, 1, (int)((deadline - now) / 1000000) + 1) > 0)
			break;
	}
	while (waitpid(pid, &s, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (status)
		*status = s;
	return r;
}

static unsigned int limit_s(const Microvm__Hook *h)
{
	if (!h->timeout_s || !h->timeout_s->value)
		return CONTAINER_SETUP_S;
	return (unsigned int)min_t(uint64_t, h->timeout_s->value, HOOK_LIMIT_MAX_S);
}

unsigned int hooks_limit_s(Microvm__Hook *const *hooks, size_t n)
{
	unsigned int sum = 0;
	size_t i;

	for (i = 0; i < n; i++)
		sum += limit_s(hooks[i]);
	return sum;
}

__attribute__((noreturn)) static void hook_child(const Microvm__Hook *h, int in)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	char **args = xcalloc(h->n_args + 2, sizeof(*args));
	char **env = xcalloc(h->n_env + 1, sizeof(*env));

	process_reset_signals();
	if (h->n_args)
		memcpy(args, h->args, h->n_args * sizeof(*args));
	else
		args[0] = h->path;
	if (h->n_env)
		memcpy(env, h->env, h->n_env * sizeof(*env));
	if (dup2(in, 0) < 0 || (null >= 0 && (dup2(null, 1) < 0 || dup2(null, 2) < 0)))
		_exit(126);
	syscall(SYS_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC);
	execve(h->path, args, env);
	_exit(errno == ENOENT ? 127 : 126);
}

static int run_hook(const Microvm__Hook *h, const char *state, struct err *e)
{
	_cleanup_close_ int in = -1, out = -1;
	int fds[2], status, r;
	pid_t pid;

	if (h->path[0] != '/')
		return err_set(e, EINVAL, "its path is not absolute");
	/* A pipe holds the state: a hook that reads nothing holds up nobody. */
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_errno(e, errno, "pipe");
	in = fds[0];
	out = fds[1];
	if (fcntl(in, F_SETFL, 0) < 0 || write(out, state, strlen(state)) != (ssize_t)strlen(state))
		return err_set(e, E2BIG, "the container's state is too long for its stdin");
	cleanup_closep(&out);
	pid = fork();
	if (pid < 0)
		return err_errno(e, errno, "fork");
	if (!pid)
		hook_child(h, in);
	r = process_wait(pid, limit_s(h) * 1000, &status);
	if (r == -ETIMEDOUT)
		return err_set(e, ETIMEDOUT, "ran longer than %u s", limit_s(h));
	if (r)
		return err_errno(e, -r, "wait");
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return err_set(e, ENOENT, "no such program in the guest");
	return err_set(e, ECANCELED, WIFEXITED(status) ? "ended with %d" : "was killed by signal %d",
		       WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

int hooks_run(const char *kind, Microvm__Hook *const *hooks, size_t n, const char *state, struct err *e)
{
	size_t i;

	for (i = 0; i < n; i++) {
		int r = run_hook(hooks[i], state, e);

		if (r)
			return err_wrap(e, "hooks.%s[%zu] %s", kind, i, hooks[i]->path);
	}
	return 0;
}
