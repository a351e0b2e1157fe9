/* SPDX-License-Identifier: Apache-2.0 */
/* What a file server asks of the kernel. Anything else ends it, and its last line names the call's number. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

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
	char text[] = "microvm-fsd made system call 0000, which it may not\n";
	unsigned int nr = (unsigned int)info->si_syscall;
	char *at = strchr(text, '0') + 3;
	int i;

	for (i = 0; i < 4; i++, nr /= 10)
		*at-- = (char)('0' + nr % 10);
	/* A line that can't be written changes nothing: the status says the same. */
	syscall(SYS_write, 2, text, sizeof(text) - 1);
	/* Not _exit(): sanitizers make system calls of their own before a function that does not return. */
	syscall(SYS_exit_group, 7);
}

#define INSN(c, v) ((struct sock_filter){ .code = (c), .k = (uint32_t)(v) })
#define JUMP_EQ(v, yes, no) \
	((struct sock_filter){ .code = BPF_JMP | BPF_JEQ | BPF_K, .jt = (yes), .jf = (no), .k = (uint32_t)(v) })

int fsd_jail_seccomp(struct err *e)
{
	struct sigaction denied = { .sa_sigaction = on_denied, .sa_flags = SA_SIGINFO };
	struct sock_filter insns[2 * ARRAY_SIZE(allowed) + 6];
	struct sock_fprog program = { .filter = insns };
	unsigned short n = 0;
	size_t i;

	sigfillset(&denied.sa_mask);
	if (sigaction(SIGSYS, &denied, NULL))
		return err_errno(e, errno, "sigaction");
	insns[n++] = INSN(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	insns[n++] = JUMP_EQ(AUDIT_ARCH_X86_64, 1, 0);
	insns[n++] = INSN(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	insns[n++] = INSN(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (i = 0; i < ARRAY_SIZE(allowed); i++) {
		insns[n++] = JUMP_EQ(allowed[i], 0, 1);
		insns[n++] = INSN(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	insns[n++] = INSN(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
	program.len = n;
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		return err_errno(e, errno, "seccomp");
	return 0;
}
