/* SPDX-License-Identifier: Apache-2.0 */
#include "fsd/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

#define TASKS_MAX 256u
#define SPARE_FDS 64u /* queues, ring, socket, memory */

/* Owners and modes are the guest's to say, whoever they belong to; nothing else of root's rights is of use here. */
#define CAPS_KEPT                                                                                                     \
	(1u << CAP_CHOWN | 1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH | 1u << CAP_FOWNER | 1u << CAP_FSETID | \
	 1u << CAP_SETUID | 1u << CAP_SETGID | 1u << CAP_SETFCAP)

static int open_share(const char *shared_dir, int *root_fd, struct err *e)
{
	*root_fd = open(shared_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *root_fd < 0 ? err_errno(e, errno, "shared folder %s", shared_dir) : 0;
}

int fsd_jail_none(const char *shared_dir, int *root_fd, int *proc_fd, struct err *e)
{
	if (open_share(shared_dir, root_fd, e))
		return -e->code;
	*proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*proc_fd < 0 || fchdir(*proc_fd))
		return err_errno(e, errno, "/proc/self/fd");
	return 0;
}

/* The process that was started waits for the one that serves, and dies as it did. */
static void wait_for(pid_t child)
{
	sigset_t set;
	int status, sig;

	/* It has no business with the front end. */
	close_range(3, ~0u, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	while (waitpid(child, &status, WNOHANG) == 0)
		if (!sigwait(&set, &sig) && sig != SIGCHLD)
			kill(child, SIGKILL); /* process 1 of its namespace hears of no other */
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

static int own_namespaces(struct err *e)
{
	int flags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
	pid_t child;

	if (unshare(flags | (getpid() == 1 ? 0 : CLONE_NEWPID)))
		return err_errno(e, errno, "own namespaces (microvm-fsd is to be started as root)");
	if (getpid() == 1)
		return 0;
	child = fork();
	if (child < 0)
		return err_errno(e, errno, "fork");
	if (child)
		wait_for(child);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		return err_errno(e, errno, "PR_SET_PDEATHSIG");
	return 0;
}

/* /proc with nothing in it but this process's own list of open files: one can't climb out of a mount's root. */
static int open_proc(int *proc_fd, struct err *e)
{
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "subset=pid") ||
	    mount("/proc/self/fd", "/proc", NULL, MS_BIND, NULL))
		return err_errno(e, errno, "mounting /proc");
	*proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return *proc_fd < 0 ? err_errno(e, errno, "/proc/self/fd") : 0;
}

static int enter_share(const char *shared_dir, bool read_only, int *root_fd, int *proc_fd, struct err *e)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID };
	_cleanup_close_ int tree = -1;

	if (read_only)
		attr.attr_set |= MOUNT_ATTR_RDONLY;
	/* Slave: later mounts below the share are seen. */
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL))
		return err_errno(e, errno, "mounts of its own");
	tree = open_tree(AT_FDCWD, shared_dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (tree < 0)
		return err_errno(e, errno, "shared folder %s", shared_dir);
	if (mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)))
		return err_errno(e, errno, "shared folder %s: mount_setattr", shared_dir);
	if (open_proc(proc_fd, e))
		return -e->code;
	/* Any folder will do to mount it on: it becomes the only root. */
	if (move_mount(tree, "", AT_FDCWD, "/tmp", MOVE_MOUNT_F_EMPTY_PATH) || chdir("/tmp"))
		return err_errno(e, errno, "shared folder %s: mounting it", shared_dir);
	if (syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
		return err_errno(e, errno, "shared folder %s: pivot_root", shared_dir);
	if (open_share("/", root_fd, e))
		return -e->code;
	if (fchdir(*proc_fd))
		return err_errno(e, errno, "/proc/self/fd");
	return 0;
}

uint32_t fsd_jail_files(uint32_t fd_limit)
{
	struct rlimit lim = { .rlim_cur = fd_limit + SPARE_FDS, .rlim_max = fd_limit + SPARE_FDS };

	if (setrlimit(RLIMIT_NOFILE, &lim) == 0)
		return fd_limit;
	if (getrlimit(RLIMIT_NOFILE, &lim))
		return 64;
	lim.rlim_cur = min_t(rlim_t, lim.rlim_max, fd_limit + SPARE_FDS);
	setrlimit(RLIMIT_NOFILE, &lim);
	return lim.rlim_cur > 2 * SPARE_FDS ? (uint32_t)lim.rlim_cur - SPARE_FDS : (uint32_t)lim.rlim_cur / 2;
}

static int set_limits(struct err *e)
{
	static const struct {
		int resource;
		rlim_t value;
	} limits[] = { { RLIMIT_CORE, 0 }, { RLIMIT_NPROC, TASKS_MAX }, { RLIMIT_MSGQUEUE, 0 } };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(limits); i++) {
		const struct rlimit lim = { .rlim_cur = limits[i].value, .rlim_max = limits[i].value };

		if (setrlimit(limits[i].resource, &lim))
			return err_errno(e, errno, "limits");
	}
	return 0;
}

static int drop_rights(struct err *e)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2] = { { .effective = CAPS_KEPT, .permitted = CAPS_KEPT } };
	int cap;

	/* File system ids change with each caller; that must not change capabilities. */
	if (prctl(PR_SET_SECUREBITS,
		  SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_NOROOT | SECBIT_NOROOT_LOCKED))
		return err_errno(e, errno, "PR_SET_SECUREBITS");
	for (cap = 0; prctl(PR_CAPBSET_DROP, cap) == 0; cap++)
		;
	if (errno != EINVAL || cap == 0)
		return err_errno(e, errno, "dropping capability %d", cap);
	if (syscall(SYS_setgroups, 0, NULL))
		return err_errno(e, errno, "setgroups");
	if (syscall(SYS_capset, &head, caps))
		return err_errno(e, errno, "capset");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_errno(e, errno, "PR_SET_NO_NEW_PRIVS");
	/* Its own /proc/self/fd stays its own: files there belong to who may dump it, and root's rights hold. */
	return 0;
}

int fsd_jail_enter(const char *shared_dir, bool read_only, uint32_t fd_limit, int *root_fd, int *proc_fd, struct err *e)
{
	if (own_namespaces(e) || enter_share(shared_dir, read_only, root_fd, proc_fd, e) || set_limits(e) ||
	    drop_rights(e))
		return -e->code;
	return 0;
}
