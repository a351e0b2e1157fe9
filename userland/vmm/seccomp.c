/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/seccomp.h"

#include <errno.h>
#include <linux/falloc.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <linux/kvm.h>
#include <linux/vhost.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/seccomp.h"
#include "base/util.h"
#include "kmod/uapi/microvm.h"

#define ANY SECCOMP_ANY
#define OWN_PID SECCOMP_OWN_PID

/* clang-format off */
/* Guest code runs below these: a thread that a guest has taken over can do no more than run the guest. */
static const struct seccomp_rule vcpu_rules[] = {
	{ SYS_ioctl, 1, KVM_RUN },
	{ SYS_ioctl, 1, KVM_SET_GSI_ROUTING },	/* the guest programs its I/O APIC */
	{ SYS_futex, ANY, 0 },			/* locks of devices, calls into the io thread */
	{ SYS_write, ANY, 0 },			/* waking the io thread; serial lines; the report of a denied call */
	{ SYS_rt_sigreturn, ANY, 0 },		/* from a kick */
	{ SYS_tgkill, 0, OWN_PID },		/* telling the main thread about the end */
	{ SYS_exit, ANY, 0 },
	{ SYS_exit_group, ANY, 0 },
};

static const struct seccomp_rule io_rules[] = {
	{ SYS_io_uring_enter, ANY, 0 },		/* the ring has restrictions of its own */
	{ SYS_write, ANY, 0 },			/* interrupts (irqfd), the log */
	{ SYS_futex, ANY, 0 },
	{ SYS_io_uring_register, 1, IORING_REGISTER_ENABLE_RINGS },
	{ SYS_close, ANY, 0 },
	{ SYS_read, ANY, 0 },			/* /dev/urandom */
	{ SYS_pwritev2, ANY, 0 },		/* disks' writes, where the ring would need a worker thread */
	{ SYS_readv, ANY, 0 },			/* frames, from and to a tap */
	{ SYS_writev, ANY, 0 },
	{ SYS_recvmsg, ANY, 0 },		/* vsock streams, straight from and to guest memory */
	{ SYS_sendmsg, ANY, 0 },
	{ SYS_epoll_ctl, ANY, 0 },		/* and news of them */
	{ SYS_epoll_wait, ANY, 0 },
	{ SYS_shutdown, ANY, 0 },		/* half-closed ones */
	{ SYS_ioctl, 1, MICROVM_SET_MEMORY },	/* streams that the kernel's module moves */
	{ SYS_ioctl, 1, MICROVM_SET_VSOCK },
	{ SYS_ioctl, 1, MICROVM_STOP_VSOCK },
	{ SYS_ioctl, 1, MICROVM_ATTACH_FLOW },
	{ SYS_ioctl, 1, MICROVM_START_FLOW },
	{ SYS_ioctl, 1, MICROVM_DETACH_FLOW },
	{ SYS_ioctl, 1, VHOST_SET_OWNER },	/* streams that the kernel's vhost-vsock moves */
	{ SYS_ioctl, 1, VHOST_SET_FEATURES },
	{ SYS_ioctl, 1, VHOST_SET_MEM_TABLE },
	{ SYS_ioctl, 1, VHOST_SET_VRING_NUM },
	{ SYS_ioctl, 1, VHOST_SET_VRING_BASE },
	{ SYS_ioctl, 1, VHOST_SET_VRING_ADDR },
	{ SYS_ioctl, 1, VHOST_SET_VRING_KICK },
	{ SYS_ioctl, 1, VHOST_SET_VRING_CALL },
	{ SYS_ioctl, 1, VHOST_VSOCK_SET_RUNNING },
	{ SYS_ioctl, 1, MICROVM_SET_BALLOON },	/* the balloon's queues, and what the host wants */
	{ SYS_ioctl, 1, MICROVM_STOP_BALLOON },
	{ SYS_ioctl, 1, MICROVM_GET_BALLOON },
	{ SYS_ioctl, 1, MICROVM_PRESSURE },
	{ SYS_ioctl, 1, TUNSETOFFLOAD },	/* frames that the guest can take as they are */
	{ SYS_ioctl, 1, TUNSETQUEUE },
	{ SYS_fallocate, 1, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE }, /* guest memory that goes back */
	{ SYS_fstat, ANY, 0 },			/* and how much of it there is */
	{ SYS_brk, ANY, 0 },			/* the C library's allocator */
	{ SYS_mmap, 2, PROT_NONE },
	{ SYS_mmap, 2, PROT_READ | PROT_WRITE },
	{ SYS_mremap, ANY, 0 },
	{ SYS_munmap, ANY, 0 },
	{ SYS_madvise, ANY, 0 },
	{ SYS_clock_gettime, ANY, 0 },		/* where the vDSO has no clock */
	{ SYS_tgkill, 0, OWN_PID },
	{ SYS_exit, ANY, 0 },
	{ SYS_exit_group, ANY, 0 },
	{ SYS_restart_syscall, ANY, 0 },	/* after SIGSTOP and SIGCONT, or a debugger */
};

static const struct seccomp_rule main_rules[] = {
	{ SYS_rt_sigtimedwait, ANY, 0 },	/* all that it does while the guest runs */
	{ SYS_futex, ANY, 0 },
	{ SYS_write, ANY, 0 },			/* calls into the io thread, the report, the log */
	{ SYS_tgkill, 0, OWN_PID },		/* kicks */
	{ SYS_setitimer, ANY, 0 },		/* the last moment for an end that was asked for */
	{ SYS_rt_sigreturn, ANY, 0 },
	{ SYS_clock_gettime, ANY, 0 },
	{ SYS_exit_group, ANY, 0 },
	{ SYS_restart_syscall, ANY, 0 },
};
/* clang-format on */

static const struct {
	const struct seccomp_rule *rules;
	size_t n;
} roles[SECCOMP_ROLES] = {
	[SECCOMP_VCPU] = { vcpu_rules, ARRAY_SIZE(vcpu_rules) },
	[SECCOMP_IO] = { io_rules, ARRAY_SIZE(io_rules) },
	[SECCOMP_MAIN] = { main_rules, ARRAY_SIZE(main_rules) },
};

static struct ending *ending_of_process;

size_t seccomp_calls(enum seccomp_role role)
{
	size_t n = 0, i;

	for (i = 0; i < roles[role].n; i++)
		if (i == 0 || roles[role].rules[i].nr != roles[role].rules[i - 1].nr)
			n++;
	return n;
}

/* A signal handler: no locks, no allocation, no stdio. */
static void on_denied(int sig, siginfo_t *info, void *context)
{
	struct vm_report report = { .end = VM_END_SECCOMP };

	seccomp_denied_text(report.msg, sizeof(report.msg), "microvm-vmm", info->si_syscall);
	ending_send(ending_of_process, &report);
	_exit(ending_exit_status(VM_END_SECCOMP));
}

int seccomp_prepare(struct ending *ending)
{
	struct sigaction denied = { .sa_sigaction = on_denied, .sa_flags = SA_SIGINFO };

	ending_of_process = ending;
	sigfillset(&denied.sa_mask);
	return sigaction(SIGSYS, &denied, NULL) ? -errno : 0;
}

int seccomp_enter(enum seccomp_role role)
{
	_Static_assert(ARRAY_SIZE(io_rules) <= SECCOMP_RULES_MAX, "the longest table fits");
	return seccomp_allow(roles[role].rules, roles[role].n);
}
