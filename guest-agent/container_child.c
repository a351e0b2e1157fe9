/* SPDX-License-Identifier: Apache-2.0 */
/* The helper's and the new process' side of container_setup.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "guest-agent/container.h"
#include "guest-agent/container_setup.h"
#include "guest-agent/devices.h"
#include "guest-agent/process.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

/* Numbers of what the child keeps. */
enum { FD_SYNC = 3, FD_CGROUP, FD_JOIN, FD_KEPT };

static void report(enum report_type type, int value, const char *msg, int fd)
{
	struct report rep = { .type = type, .value = value };
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = &rep, .iov_len = sizeof(rep) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	snprintf(rep.msg, sizeof(rep.msg), "%s", msg);
	if (fd < 0) {
		/* write(), which the strictest filter lets through. If the agent is gone there's no one to tell. */
		if (write(FD_SYNC, &rep, sizeof(rep)) < 0)
			_exit(125);
		return;
	}
	m.msg_control = control;
	m.msg_controllen = sizeof(control);
	c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	if (sendmsg(FD_SYNC, &m, MSG_NOSIGNAL) < 0)
		_exit(125);
}

__attribute__((noreturn)) static void give_up(const struct err *e, int status)
{
	report(REPORT_ERROR, e->code ? e->code : EIO, e->msg, -1);
	_exit(status);
}

/* -> the process' own pid, as the agent knows it. */
static pid_t wait_go(void)
{
	pid_t pid;
	ssize_t n;

	do
		n = read(FD_SYNC, &pid, sizeof(pid));
	while (n < 0 && errno == EINTR);
	if (n != sizeof(pid))
		_exit(125);
	return pid;
}

/*
 * 0 to 2 are the streams, then what else is needed, and nothing of the agent's stays open: a copy of another container's
 * pipe would keep it from ever ending.
 */
static int arrange_fds(struct launch *l, struct err *e)
{
	int from[FD_KEPT] = { l->stdio[0], l->stdio[1], l->stdio[2], l->sync, l->cgroup, l->join };
	int i;

	/* First out of each other's way. */
	for (i = 0; i < FD_KEPT; i++) {
		if (from[i] < 0)
			continue;
		from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, FD_KEPT);
		if (from[i] < 0)
			return err_errno(e, errno, "the process' streams");
	}
	for (i = 0; i < FD_KEPT; i++) {
		if (from[i] < 0)
			close(i);
		else if (dup3(from[i], i, i < FD_SYNC ? 0 : O_CLOEXEC) < 0)
			return err_errno(e, errno, "the process' streams");
	}
	if (syscall(SYS_close_range, FD_KEPT, ~0u, 0) < 0)
		return err_errno(e, errno, "close_range");
	l->sync = FD_SYNC;
	l->cgroup = FD_CGROUP;
	l->join = l->join < 0 ? -1 : FD_JOIN;
	return 0;
}

static pid_t clone_child(uint64_t flags, int cgroup)
{
	struct clone_args args = {
		.flags = flags | CLONE_PARENT | CLONE_INTO_CGROUP,
		.cgroup = (uint64_t)cgroup,
	};

	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

static int join_or_check(struct launch *l, uint64_t *new_flags, struct err *e)
{
	uint64_t joined;
	int r;

	if (!l->spec) {
		*new_flags = 0;
		if (setns(l->join, (int)(l->join_flags & ~(uint64_t)CLONE_NEWCGROUP)) < 0)
			return err_errno(e, errno, "the container's namespaces can't be joined");
		return 0;
	}
	r = namespaces_check(l->spec, new_flags, &joined, e);
	if (!r)
		r = namespaces_join(l->spec->linux, ~(uint64_t)CLONE_NEWCGROUP, e);
	if (!r && *new_flags & CLONE_NEWTIME)
		r = namespaces_time(l->spec->linux, e);
	return r;
}

void container_helper(struct launch *l)
{
	struct err e = ERR_INIT;
	uint64_t new_flags;
	pid_t pid;
	int r;

	process_reset_signals();
	/* The container's processes must not see into this one, which has the agent's memory. */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	r = arrange_fds(l, &e);
	if (r) {
		/* The socket has no number yet that report() knows. */
		dup2(l->sync, FD_SYNC);
		give_up(&e, 1);
	}
	if (join_or_check(l, &new_flags, &e))
		give_up(&e, 1);
	/*
	 * A new cgroup namespace has its root where its maker is, and who is in one can't make processes outside of it: both
	 * are for the child, once it is in its cgroup.
	 */
	pid = clone_child(new_flags & ~(uint64_t)(CLONE_NEWCGROUP | CLONE_NEWTIME), l->cgroup);
	if (pid < 0) {
		err_errno(&e, errno, "a process in new namespaces can't be made");
		give_up(&e, 1);
	}
	if (!pid)
		container_child(l);
	report(REPORT_PID, pid, "", -1);
	_exit(0);
}

static int set_names(const Microvm__Spec *spec, struct err *e)
{
	if (spec->hostname[0] && sethostname(spec->hostname, strlen(spec->hostname)) < 0)
		return err_errno(e, errno, "hostname %s", spec->hostname);
	if (spec->domainname[0] && setdomainname(spec->domainname, strlen(spec->domainname)) < 0)
		return err_errno(e, errno, "domainname %s", spec->domainname);
	return 0;
}

/* The agent's root is nobody in a user namespace before it says who it wants to be there. */
static int become_root(struct err *e)
{
	if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, 0, 0, 0) < 0 ||
	    syscall(SYS_setresuid, 0, 0, 0) < 0)
		return err_errno(e, errno, "root of the user namespace; do the mappings have 0?");
	return 0;
}

/* The child of a new container: namespaces' contents, mounts, root. */
static int make_container(struct launch *l, bool terminal, int *master, int *slave, struct err *e)
{
	const Microvm__Linux *lx = l->spec->linux;
	uint64_t new_flags, joined;
	unsigned long persona;
	int r = namespaces_check(l->spec, &new_flags, &joined, e);

	if (!r && (new_flags | joined) & CLONE_NEWUSER)
		r = become_root(e);
	if (!r && new_flags & CLONE_NEWCGROUP && unshare(CLONE_NEWCGROUP) < 0)
		return err_errno(e, errno, "cgroup namespace");
	if (!r && joined & CLONE_NEWCGROUP)
		r = namespaces_join(lx, CLONE_NEWCGROUP, e);
	if (!r)
		r = set_names(l->spec, e);
	if (!r && new_flags & CLONE_NEWNET)
		r = namespaces_loopback_up(e);
	if (!r)
		r = namespaces_sysctl(lx, new_flags, e);
	if (!r && lx->personality_domain[0]) {
		r = process_personality(lx->personality_domain, &persona, e);
		if (!r && personality(persona) < 0)
			r = err_errno(e, errno, "personality");
	}
	/* A mount namespace that was joined has its root and its mounts already. */
	if (!r && new_flags & CLONE_NEWNS)
		r = container_enter_root(l, (new_flags | joined) & CLONE_NEWUSER, terminal, master, slave, e);
	return r;
}

/* The child of an exec: what its helper has left to it. */
static int join_container(struct launch *l, struct err *e)
{
	int r = l->join_flags & CLONE_NEWUSER ? become_root(e) : 0;

	if (!r && l->join_flags & CLONE_NEWCGROUP && setns(l->join, CLONE_NEWCGROUP) < 0)
		r = err_errno(e, errno, "the container's cgroup namespace can't be joined");
	cleanup_closep(&l->join);
	return r;
}

static int take_terminal(const Microvm__Process *p, int slave, struct err *e)
{
	struct winsize size = { .ws_row = (unsigned short)p->console_rows, .ws_col = (unsigned short)p->console_cols };
	int fd;

	if (size.ws_row && size.ws_col && ioctl(slave, TIOCSWINSZ, &size) < 0)
		return err_errno(e, errno, "the terminal's size");
	if (ioctl(slave, TIOCSCTTY, 0) < 0)
		return err_errno(e, errno, "controlling terminal");
	for (fd = 0; fd < 3; fd++)
		if (dup2(slave, fd) < 0)
			return err_errno(e, errno, "terminal");
	return 0;
}

static int set_up(struct launch *l, struct user *u, char ***env, char **file, int *master, struct err *e)
{
	_cleanup_close_ int root = -1, slave = -1;
	bool terminal = l->process->terminal;
	int r = 0;

	if (l->spec)
		r = make_container(l, terminal, master, &slave, e);
	else
		r = join_container(l, e);
	if (r)
		return r;
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return err_errno(e, errno, "the container's root");
	if (setsid() < 0)
		return err_errno(e, errno, "session");
	if (terminal && slave < 0)
		r = devices_terminal(root, master, &slave, e);
	if (!r && terminal)
		r = take_terminal(l->process, slave, e);
	if (!r)
		r = process_prepare(root, l->process, u, env, e);
	/* Now, as who creates a container wants to know. */
	return r ? r : process_find(l->process, u, *env, file, e);
}

void container_child(struct launch *l)
{
	struct user u = { .groups = NULL };
	struct err e = ERR_INIT;
	char **env = NULL, *file = NULL;
	int master = -1;

	/* It would lead out of the container. */
	close(FD_CGROUP);
	l->pid = wait_go();
	/* Again, as namespaces and ids have changed what it means. */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (set_up(l, &u, &env, &file, &master, &e))
		give_up(&e, 125);
	report(REPORT_READY, 0, "", master);
	cleanup_closep(&master);
	wait_go();
	syscall(SYS_close_range, FD_SYNC, ~0u, CLOSE_RANGE_CLOEXEC);
	if (process_drop(l->process, &u, l->seccomp, &e))
		give_up(&e, 125);
	/* They are the image's programs, so they get what its own program gets, and no more. */
	if (l->spec && l->spec->hooks && container_hooks("startContainer", l->spec, l->id, "created", l->pid, &e))
		give_up(&e, 125);
	process_exec(l->process, file, env, &e);
	give_up(&e, e.code == ENOENT ? 127 : 126);
}
