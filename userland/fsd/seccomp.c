/* SPDX-License-Identifier: Apache-2.0 */
/* What a file server asks of the kernel. Anything else ends it, and its last line names the call. */
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/seccomp.h"
#include "base/util.h"
#include "fsd/jail.h"

/* clang-format off */
static const uint16_t allowed[] = {
	/* the loop, the queues, the socket */
	SYS_io_uring_enter, SYS_write, SYS_recvmsg, SYS_sendto, SYS_close, SYS_mmap, SYS_munmap, SYS_madvise, SYS_brk,
	SYS_mremap, SYS_clock_gettime, SYS_exit_group, SYS_exit, SYS_restart_syscall, SYS_fstat, SYS_newfstatat,
	SYS_rt_sigreturn, SYS_futex,
	/* names and attributes */
	SYS_openat2, SYS_openat, SYS_open_tree, SYS_statx, SYS_readlinkat, SYS_mkdirat, SYS_mknodat, SYS_symlinkat, SYS_linkat,
	SYS_unlinkat, SYS_renameat, SYS_renameat2, SYS_fchmodat, SYS_fchownat, SYS_utimensat, SYS_ftruncate, SYS_fstatfs,
	SYS_name_to_handle_at, SYS_open_by_handle_at,
	/* open files */
	SYS_preadv2, SYS_pwritev2, SYS_getdents64, SYS_lseek, SYS_copy_file_range, SYS_syncfs, SYS_fcntl, SYS_flock,
	/* extended attributes */
	SYS_setxattr, SYS_getxattr, SYS_listxattr, SYS_removexattr,
	/* the caller */
	SYS_umask, SYS_setfsuid, SYS_setfsgid, SYS_capset,
};
/* clang-format on */

static void on_denied(int sig, siginfo_t *info, void *context)
{
	char text[128];
	size_t len = seccomp_denied_text(text, sizeof(text), "microvm-fsd", info->si_syscall);

	text[len++] = '\n';
	/* A line that can't be written changes nothing: the status says the same. */
	syscall(SYS_write, 2, text, len);
	/* Not _exit(): sanitizers make system calls of their own before a function that does not return. */
	syscall(SYS_exit_group, 7);
}

int fsd_jail_seccomp(struct err *e)
{
	struct sigaction denied = { .sa_sigaction = on_denied, .sa_flags = SA_SIGINFO };
	struct seccomp_rule rules[ARRAY_SIZE(allowed)];
	size_t i;
	int r;

	sigfillset(&denied.sa_mask);
	if (sigaction(SIGSYS, &denied, NULL))
		return err_errno(e, errno, "sigaction");
	for (i = 0; i < ARRAY_SIZE(allowed); i++)
		rules[i] = (struct seccomp_rule){ .nr = allowed[i], .arg = SECCOMP_ANY };
	r = seccomp_allow(rules, ARRAY_SIZE(rules));
	return r ? err_errno(e, -r, "seccomp") : 0;
}
