/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

#define FIRST_FD 3 /* behind stdin, stdout and stderr: the spec; the others follow it */

struct child {
	const char *program;
	int fds[VMSPEC_FDS_MAX + FIRST_FD + 1]; /* what becomes fd 0, 1, 2 … */
	size_t fds_n;
	int fail_fd; /* where it says why it could not become the VMM */
};

void vmm_child_begin(void)
{
	sigset_t none;
	int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setsid();
	for (i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* In the child, between clone and exec: async-signal-safe calls only. Ends in _exit or the VMM. */
static _Noreturn void child_main(struct child *c)
{
	char spec_arg[] = "--spec-fd=3";
	char *argv[] = { (char *)"microvm-vmm", spec_arg, NULL };
	char *envp[] = { NULL };
	int base = (int)c->fds_n, i, why;

	vmm_child_begin();
	/* First out of the way of the numbers to come, then down to them. */
	c->fail_fd = fcntl(c->fail_fd, F_DUPFD_CLOEXEC, base);
	for (i = 0; i < base; i++)
		if ((c->fds[i] = fcntl(c->fds[i], F_DUPFD_CLOEXEC, base)) < 0)
			goto fail;
	for (i = 0; i < base; i++)
		if (dup2(c->fds[i], i) < 0)
			goto fail;
	if (syscall(SYS_close_range, base, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		goto fail;
	execve(c->program, argv, envp);
fail:
	why = errno;
	if (write(c->fail_fd, &why, sizeof(why)) < 0)
		_exit(126);
	_exit(127);
}

static int start(struct child *c, struct vmm *vmm, struct err *e)
{
	struct clone_args args = {
		.flags = CLONE_NEWPID | CLONE_PIDFD,
		.pidfd = (uint64_t)(uintptr_t)&vmm->pidfd,
		.exit_signal = SIGCHLD,
	};
	int fail[2], why = 0;
	pid_t pid;
	ssize_t n;

	if (pipe2(fail, O_CLOEXEC) < 0)
		return err_errno(e, errno, "pipe");
	c->fail_fd = fail[1];
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0) {
		why = errno;
		close(fail[0]);
		close(fail[1]);
		return err_errno(e, why, "cannot start %s in a pid namespace", c->program);
	}
	if (!pid)
		child_main(c);
	vmm->pid = pid;
	close(fail[1]);
	/* Closed by a successful exec. */
	while ((n = read(fail[0], &why, sizeof(why))) < 0 && errno == EINTR)
		;
	close(fail[0]);
	if (n > 0) {
		vmm_reap(vmm);
		return err_errno(e, why, "cannot execute %s", c->program);
	}
	return 0;
}

int vmm_spawn(const char *program, const struct vmspec *spec, int err_fd, struct vmm *vmm, struct err *e)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	_cleanup_close_ int spec_read = -1;
	_cleanup_close_ int spec_write = -1;
	_cleanup_free_ struct vmspec *renumbered = xcalloc(1, sizeof(*renumbered));
	struct child c = { .program = program };
	int32_t *list[VMSPEC_FDS_MAX];
	size_t n, i;
	int p[2], r;

	if (null < 0)
		return err_errno(e, errno, "/dev/null");
	*renumbered = *spec;
	n = vmspec_fds(renumbered, list);
	if (pipe2(p, O_CLOEXEC) < 0)
		return err_errno(e, errno, "cannot pass on the VM's description");
	spec_read = p[0];
	spec_write = p[1];
	c.fds[0] = c.fds[1] = null;
	c.fds[2] = err_fd;
	c.fds[FIRST_FD] = spec_read;
	c.fds_n = FIRST_FD + 1;
	for (i = 0; i < n; i++) {
		c.fds[c.fds_n] = *list[i];
		*list[i] = (int32_t)c.fds_n++;
	}
	/* It fits: a pipe takes 64 KiB before anyone reads. */
	_Static_assert(sizeof(struct vmspec) <= 65536, "a vmspec goes through a pipe at once");
	r = write_full(spec_write, renumbered, sizeof(*renumbered));
	if (r)
		return err_errno(e, r, "cannot pass on the VM's description");
	return start(&c, vmm, e);
}

void vmm_reap(struct vmm *vmm)
{
	siginfo_t info = { 0 };

	if (!vmm->pid)
		return;
	while (waitid(P_PID, vmm->pid, &info, WEXITED) < 0 && errno == EINTR)
		;
	vmm->status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
	vmm->pid = 0;
	cleanup_closep(&vmm->pidfd);
}

void vmm_signal(struct vmm *vmm, int number)
{
	/* Not reaped yet, so the number is still its own. */
	if (vmm->pid)
		kill(vmm->pid, number);
}

void vmm_kill(struct vmm *vmm)
{
	vmm_signal(vmm, SIGKILL);
	vmm_reap(vmm);
}
