/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/jail.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"

/* Threads and the ring's workers; the sandbox's uid has no other processes. */
#define TASKS_MAX 256u
#define PRIVATE_BYTES (64ull << 20)

/* Any folder that is there on every host will do: the root that is put on it becomes the only one. */
#define ROOT_MOUNT_POINT "/proc"

static int empty_root(struct err *e)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return err_errno(e, errno, "making mounts private");
	if (mount("none", ROOT_MOUNT_POINT, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
		  "size=4k,nr_inodes=1,mode=0555"))
		return err_errno(e, errno, "mounting an empty root");
	if (chdir(ROOT_MOUNT_POINT))
		return err_errno(e, errno, "entering the empty root");
	/* The old root is put on top of the new one, and both are here, so that no folder is needed for it (pivot_root(2)). */
	if (syscall(SYS_pivot_root, ".", "."))
		return err_errno(e, errno, "pivot_root");
	if (umount2(".", MNT_DETACH))
		return err_errno(e, errno, "letting go of the host's root");
	if (chdir("/"))
		return err_errno(e, errno, "chdir");
	return 0;
}

static int set_limits(const struct jail *jail, struct err *e)
{
	const struct {
		int resource;
		rlim_t value;
		const char *name;
	} limits[] = {
		{ RLIMIT_CORE, 0, "RLIMIT_CORE" },
		{ RLIMIT_NOFILE, JAIL_FDS, "RLIMIT_NOFILE" },
		{ RLIMIT_NPROC, TASKS_MAX, "RLIMIT_NPROC" },
		{ RLIMIT_FSIZE, jail->file_bytes, "RLIMIT_FSIZE" },
		{ RLIMIT_AS, jail->memory_bytes + PRIVATE_BYTES, "RLIMIT_AS" },
		{ RLIMIT_MSGQUEUE, 0, "RLIMIT_MSGQUEUE" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(limits); i++) {
		const struct rlimit lim = { .rlim_cur = limits[i].value, .rlim_max = limits[i].value };

		if (setrlimit(limits[i].resource, &lim))
			return err_errno(e, errno, "%s", limits[i].name);
	}
	return 0;
}

static int drop_rights(const struct jail *jail, struct err *e)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0 } };
	int cap;

	/* Ends at the first number that the kernel does not know. */
	for (cap = 0; prctl(PR_CAPBSET_DROP, cap) == 0; cap++)
		;
	if (errno != EINVAL || cap == 0)
		return err_errno(e, errno, "dropping capability %d", cap);
	if (setgroups(0, NULL) || setresgid(jail->gid, jail->gid, jail->gid) ||
	    setresuid(jail->uid, jail->uid, jail->uid))
		return err_errno(e, errno, "changing to uid %u, gid %u", jail->uid, jail->gid);
	/* The uid took the permitted and effective sets along; the inheritable one it did not. */
	if (syscall(SYS_capset, &head, none))
		return err_errno(e, errno, "capset");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_errno(e, errno, "PR_SET_NO_NEW_PRIVS");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		return err_errno(e, errno, "PR_SET_DUMPABLE");
	return 0;
}

int jail_bind_parent(int parent_fd, struct err *e)
{
	struct pollfd parent = { .fd = parent_fd, .events = POLLIN };

	if (parent_fd < 0)
		return 0;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
		return err_errno(e, errno, "PR_SET_PDEATHSIG");
	/* It may have died before; across pid namespaces only its pidfd tells. */
	if (poll(&parent, 1, 0) != 0)
		return err_set(e, ESRCH, "the process that started microvm-vmm has ended");
	return 0;
}

int jail_enter(const struct jail *jail, struct err *e)
{
	if (getpid() != 1)
		return err_set(e, EPERM,
			       "microvm-vmm is to be started as process 1 of a pid namespace; use microvm run, or "
			       "VMSPEC_NO_JAIL");
	if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS))
		return err_errno(e, errno, "own namespaces");
	if (empty_root(e) || set_limits(jail, e) || drop_rights(jail, e))
		return -e->code;
	/* Last, as a change of uid undoes it. */
	return jail_bind_parent(jail->parent_fd, e);
}
