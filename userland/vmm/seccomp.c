/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/falloc.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"
#include "kmod/uapi/microvm.h"

#define ANY 0xff	    /* no argument is looked at */
#define OWN_PID 0xffffffffu /* stands for this process's number */

/* Rows with the same number belong together: any of the values will do. Low 32 bits are compared; each such argument is an int. */
struct rule {
	uint16_t nr;
	uint8_t arg;
	uint32_t value;
};

/* clang-format off */
/* Guest code runs below these: a thread that a guest has taken over can do no more than run the guest. */
static const struct rule vcpu_rules[] = {
	{ SYS_ioctl, 1, KVM_RUN },
	{ SYS_ioctl, 1, KVM_SET_GSI_ROUTING },	/* the guest programs its I/O APIC */
	{ SYS_futex, ANY, 0 },			/* locks of devices, calls into the io thread */
	{ SYS_write, ANY, 0 },			/* waking the io thread; serial lines; the report of a denied call */
	{ SYS_rt_sigreturn, ANY, 0 },		/* from a kick */
	{ SYS_tgkill, 0, OWN_PID },		/* telling the main thread about the end */
	{ SYS_exit, ANY, 0 },
	{ SYS_exit_group, ANY, 0 },
};

static const struct rule io_rules[] = {
	{ SYS_io_uring_enter, ANY, 0 },		/* the ring has restrictions of its own */
	{ SYS_write, ANY, 0 },			/* interrupts (irqfd), the log */
	{ SYS_futex, ANY, 0 },
	{ SYS_io_uring_register, 1, IORING_REGISTER_ENABLE_RINGS },
	{ SYS_close, ANY, 0 },
	{ SYS_read, ANY, 0 },			/* /dev/urandom */
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

static const struct rule main_rules[] = {
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
	const struct rule *rules;
	size_t n;
} roles[SECCOMP_ROLES] = {
	[SECCOMP_VCPU] = { vcpu_rules, ARRAY_SIZE(vcpu_rules) },
	[SECCOMP_IO] = { io_rules, ARRAY_SIZE(io_rules) },
	[SECCOMP_MAIN] = { main_rules, ARRAY_SIZE(main_rules) },
};

static const char *const call_names[] = {
#include "vmm/syscall_names.h"
};

static struct ending *ending_of_process;

const char *seccomp_call_name(int nr)
{
	return nr >= 0 && (size_t)nr < ARRAY_SIZE(call_names) ? call_names[nr] : NULL;
}

size_t seccomp_calls(enum seccomp_role role)
{
	size_t n = 0, i;

	for (i = 0; i < roles[role].n; i++)
		if (i == 0 || roles[role].rules[i].nr != roles[role].rules[i - 1].nr)
			n++;
	return n;
}

static void append(char *to, size_t size, const char *s)
{
	size_t used = strnlen(to, size);

	while (*s && used + 1 < size)
		to[used++] = *s++;
	to[used] = 0;
}

static void append_number(char *to, size_t size, unsigned int v)
{
	char digits[12] = "";
	size_t at = sizeof(digits) - 1;

	do {
		digits[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	append(to, size, digits + at);
}

/* A signal handler: no locks, no allocation, no stdio. */
static void on_denied(int sig, siginfo_t *info, void *context)
{
	const char *name = seccomp_call_name(info->si_syscall);
	struct vm_report report = { .end = VM_END_SECCOMP };

	append(report.msg, sizeof(report.msg), "microvm-vmm made the system call ");
	if (name)
		append(report.msg, sizeof(report.msg), name);
	else
		append_number(report.msg, sizeof(report.msg), (unsigned int)info->si_syscall);
	append(report.msg, sizeof(report.msg), ", which it may not");
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

#define INSN(c, v) ((struct sock_filter){ .code = (c), .k = (uint32_t)(v) })
#define JUMP_EQ(v, yes, no) \
	((struct sock_filter){ .code = BPF_JMP | BPF_JEQ | BPF_K, .jt = (yes), .jf = (no), .k = (uint32_t)(v) })
#define LOAD(off) INSN(BPF_LD | BPF_W | BPF_ABS, off)
#define RETURN(action) INSN(BPF_RET | BPF_K, action)

#define PROGRAM_MAX 128u

/* For each call: is it this number? Then, if an argument counts, one comparison a value. */
static size_t make_program(enum seccomp_role role, struct sock_filter *out)
{
	const struct rule *rules = roles[role].rules;
	size_t n = 0, i, j, values;

	out[n++] = LOAD(offsetof(struct seccomp_data, arch));
	out[n++] = JUMP_EQ(AUDIT_ARCH_X86_64, 1, 0);
	out[n++] = RETURN(SECCOMP_RET_KILL_PROCESS);
	out[n++] = LOAD(offsetof(struct seccomp_data, nr));
	for (i = 0; i < roles[role].n; i += values) {
		for (values = 1; i + values < roles[role].n && rules[i + values].nr == rules[i].nr; values++)
			;
		if (rules[i].arg == ANY) {
			out[n++] = JUMP_EQ(rules[i].nr, 0, 1);
			out[n++] = RETURN(SECCOMP_RET_ALLOW);
			continue;
		}
		/* Skips the load, two instructions a value and the refusal. */
		out[n++] = JUMP_EQ(rules[i].nr, 0, (uint8_t)(2 * values + 2));
		out[n++] = LOAD(offsetof(struct seccomp_data, args) + 8 * rules[i].arg);
		for (j = 0; j < values; j++) {
			uint32_t value = rules[i + j].value;

			out[n++] = JUMP_EQ(value == OWN_PID ? (uint32_t)getpid() : value, 0, 1);
			out[n++] = RETURN(SECCOMP_RET_ALLOW);
		}
		out[n++] = RETURN(SECCOMP_RET_TRAP);
	}
	out[n++] = RETURN(SECCOMP_RET_TRAP);
	return n;
}

int seccomp_enter(enum seccomp_role role)
{
	struct sock_filter insns[PROGRAM_MAX];
	struct sock_fprog program = { .filter = insns };

	_Static_assert(4 * ARRAY_SIZE(io_rules) + 5 <= PROGRAM_MAX, "the longest table fits");
	program.len = (unsigned short)make_program(role, insns);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		return -errno;
	return 0;
}
