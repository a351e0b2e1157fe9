/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's side of container_setup.h. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "guest-agent/container.h"
#include "guest-agent/container_launch.h"
#include "guest-agent/mounts.h"
#include "guest-agent/process.h"

#define END_MS 5000 /* for a killed child to be gone */
#define TURN_MS 100u

/*
 * What is left of a time limit: in turns, so that a guest whose host gives it no CPU loses none. Then a wait of a turn's length takes
 * far longer, and counts as one all the same.
 */
struct limit {
	unsigned int turns;
};
#define LIMIT_OF(seconds)                              \
	{                                              \
		.turns = (seconds) * (1000u / TURN_MS) \
	}

static int wait_readable(int fd, struct limit *l)
{
	while (l->turns) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int ready = poll(&p, 1, TURN_MS);

		if (ready > 0)
			return 0;
		if (ready < 0 && errno != EINTR)
			return -errno;
		l->turns--;
	}
	return -ETIMEDOUT;
}

/* The next report; a fd that came with it into *fd (may be NULL). 0: the other side has ended without one. */
static int receive(int sync, struct limit *limit, struct report *rep, int *fd)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { .iov_base = rep, .iov_len = sizeof(*rep) };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	struct cmsghdr *c;
	ssize_t n;
	int r = wait_readable(sync, limit);

	if (r)
		return r;
	n = recvmsg(sync, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0)
		return errno == ECONNRESET ? 0 : -errno;
	for (c = CMSG_FIRSTHDR(&m); n > 0 && c; c = CMSG_NXTHDR(&m, c)) {
		int got;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		memcpy(&got, CMSG_DATA(c), sizeof(got));
		if (fd && *fd < 0)
			*fd = got;
		else
			close(got);
	}
	if (n == 0)
		return 0;
	if (n != sizeof(*rep))
		return -EPROTO;
	rep->msg[sizeof(rep->msg) - 1] = '\0';
	return 1;
}

static int expect(int sync, struct limit *limit, enum report_type type, int *value, int *fd, struct err *e)
{
	struct report rep;
	int r = receive(sync, limit, &rep, fd);

	if (r == -ETIMEDOUT)
		return err_set(e, ETIMEDOUT, "setting the process up took longer than %u s", CONTAINER_SETUP_S);
	if (r < 0)
		return err_errno(e, -r, "the process that is being set up");
	if (!r)
		return err_set(e, ECHILD,
			       "the process was killed while it was being set up; is its memory limit too low?");
	if (rep.type == REPORT_ERROR)
		return err_set(e, rep.value, "%s", rep.msg);
	if (rep.type != type)
		return err_set(e, EPROTO, "the process that is being set up is out of step");
	*value = rep.value;
	return 0;
}

static int send_go(int sync, pid_t pid, struct err *e)
{
	if (send(sync, &pid, sizeof(pid), MSG_NOSIGNAL) != sizeof(pid))
		return err_set(e, ECHILD, "the process has ended before it was started");
	return 0;
}

static void end_child(pid_t pid)
{
	if (pid > 0) {
		kill(pid, SIGKILL);
		process_wait(pid, END_MS, NULL);
	}
}

/* Forks the helper and returns when it has made the child and is gone. */
static int make_child(struct launch *l, int sync, struct limit *limit, pid_t *pid, struct err *e)
{
	pid_t helper = fork();
	int r;

	if (helper < 0)
		return err_errno(e, errno, "fork");
	if (!helper)
		container_helper(l);
	cleanup_closep(&l->sync);
	r = expect(sync, limit, REPORT_PID, pid, NULL, e);
	end_child(helper);
	return r;
}

/* What has to be done by the guest's root while the child waits. */
static int adjust_child(const struct launch *l, pid_t pid, struct err *e)
{
	uint64_t new_flags, joined;
	int r = process_adjust(pid, l->process, e);

	if (!r && l->spec)
		r = namespaces_check(l->spec, &new_flags, &joined, e);
	if (!r && l->spec && new_flags & CLONE_NEWUSER) {
		const Microvm__Linux *lx = l->spec->linux;

		r = idmap_write(pid, lx->uid_mappings, lx->n_uid_mappings, lx->gid_mappings, lx->n_gid_mappings, e);
	}
	return r;
}

/* How long it may take: of a new container, with its hooks and what its volumes are filled with. */
static unsigned int setup_limit_s(const struct launch *l)
{
	unsigned int s = CONTAINER_SETUP_S;
	size_t i;

	if (!l->spec)
		return s;
	s += container_hooks_limit_s("createContainer", l->spec);
	for (i = 0; i < l->spec->n_mounts; i++)
		if (mount_is_fill(l->spec->mounts[i]))
			return s + CONTAINER_FILL_S;
	return s;
}

int launch_prepare(struct launch *l, int *sync, int *console, pid_t *out, struct err *e)
{
	struct limit limit = LIMIT_OF(setup_limit_s(l));
	_cleanup_close_ int ours = -1;
	int pair[2], r, none;
	pid_t pid = -1;

	*console = -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, errno, "socketpair");
	ours = pair[0];
	l->sync = pair[1];
	r = make_child(l, ours, &limit, &pid, e);
	cleanup_closep(&l->sync);
	if (!r)
		r = adjust_child(l, pid, e);
	if (!r)
		r = send_go(ours, pid, e);
	if (!r)
		r = expect(ours, &limit, REPORT_READY, &none, console, e);
	if (!r && l->process->terminal && *console < 0)
		r = err_set(e, EPROTO, "the process came without its terminal");
	if (r) {
		cleanup_closep(console);
		end_child(pid);
		return r;
	}
	*out = pid;
	*sync = take_fd(&ours);
	return 0;
}

int launch_go(int sync, pid_t pid, unsigned int limit_s, struct err *e)
{
	struct limit limit = LIMIT_OF(CONTAINER_SETUP_S + limit_s);
	struct report rep;
	int r = send_go(sync, pid, e);

	if (r)
		return r;
	r = receive(sync, &limit, &rep, NULL);
	if (!r)
		return 0;
	if (r > 0)
		return err_set(e, rep.value, "%s", rep.msg);
	kill(pid, SIGKILL);
	return r == -ETIMEDOUT ? err_set(e, ETIMEDOUT, "starting the program took longer than %u s",
					 CONTAINER_SETUP_S + limit_s)
			       : err_errno(e, -r, "starting the program");
}
