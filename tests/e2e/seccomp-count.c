/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seccomp-count TID [-v]: how many system calls a thread's seccomp filters let through with any arguments at all, read
 * back from the kernel (PTRACE_SECCOMP_GET_FILTER, root's alone) and run here with the arguments unknown. -v names them.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <seccomp.h>

#include "base/util.h"

#define SYSCALLS_MAX 1024
#define FILTERS_MAX 16

struct program {
	struct sock_filter insns[BPF_MAXINSNS];
	int len;
};

/* A path through a program: the accumulator is a number, or anything. */
struct path {
	int pc;
	bool known;
	uint32_t a;
};

static bool jump_taken(uint16_t op, uint32_t a, uint32_t k)
{
	switch (op) {
	case BPF_JEQ: return a == k;
	case BPF_JGT: return a > k;
	case BPF_JGE: return a >= k;
	default: return a & k;
	}
}

static bool lets_through(const struct program *p, uint32_t nr, struct path at)
{
	for (;;) {
		const struct sock_filter *i = &p->insns[at.pc];
		const uint16_t op = BPF_OP(i->code);

		switch (BPF_CLASS(i->code)) {
		case BPF_LD:
			at.known = BPF_MODE(i->code) == BPF_ABS &&
				   i->k < offsetof(struct seccomp_data, instruction_pointer);
			at.a = i->k == offsetof(struct seccomp_data, nr) ? nr : AUDIT_ARCH_X86_64;
			break;
		case BPF_ALU:
			if (op == BPF_AND && at.known)
				at.a &= i->k;
			else
				at.known = false;
			break;
		case BPF_JMP:
			if (op == BPF_JA) {
				at.pc += (int)i->k;
			} else if (at.known) {
				at.pc += jump_taken(op, at.a, i->k) ? i->jt : i->jf;
			} else {
				struct path other = at;

				other.pc += 1 + i->jt;
				if (lets_through(p, nr, other))
					return true;
				at.pc += i->jf;
			}
			break;
		case BPF_RET:
			return (i->k & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ALLOW ||
			       (i->k & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_LOG;
		default: break;
		}
		at.pc++;
	}
}

static int read_filters(pid_t tid, struct program *programs)
{
	int n, len = 0;

	for (n = 0; n < FILTERS_MAX; n++) {
		len = (int)ptrace(PTRACE_SECCOMP_GET_FILTER, tid, (void *)(uintptr_t)n, programs[n].insns);
		if (len <= 0)
			break;
		programs[n].len = len;
	}
	return n || errno == ENOENT ? n : -errno;
}

int main(int argc, char **argv)
{
	struct program *programs = xcalloc(FILTERS_MAX, sizeof(*programs));
	pid_t tid = argc > 1 ? atoi(argv[1]) : 0;
	int filters, count = 0, f;
	uint32_t nr;

	if (tid <= 0 || ptrace(PTRACE_SEIZE, tid, NULL, NULL) || ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) ||
	    waitpid(tid, NULL, __WALL) < 0) {
		fprintf(stderr, "seccomp-count: thread %d: %s\n", tid, strerror(errno));
		return 1;
	}
	filters = read_filters(tid, programs);
	ptrace(PTRACE_DETACH, tid, NULL, NULL);
	if (filters < 0) {
		fprintf(stderr, "seccomp-count: filters of %d: %s\n", tid, strerror(-filters));
		return 1;
	}
	for (nr = 0; filters && nr < SYSCALLS_MAX; nr++) {
		for (f = 0; f < filters; f++)
			if (!lets_through(&programs[f], nr, (struct path){ .known = false }))
				break;
		if (f < filters)
			continue;
		count++;
		if (argc > 2)
			printf("%s\n", seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, (int)nr));
	}
	printf("%d\n", count);
	free(programs);
	return 0;
}
