/* SPDX-License-Identifier: Apache-2.0 */
#include "base/seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/util.h"

#define INSN(c, v) ((struct sock_filter){ .code = (c), .k = (uint32_t)(v) })
#define JUMP_EQ(v, yes, no) \
	((struct sock_filter){ .code = BPF_JMP | BPF_JEQ | BPF_K, .jt = (yes), .jf = (no), .k = (uint32_t)(v) })
#define LOAD(off) INSN(BPF_LD | BPF_W | BPF_ABS, off)
#define RETURN(action) INSN(BPF_RET | BPF_K, action)

#define INSNS_OF_RULE 5u /* its number, a load, one value, the refusal */
#define INSNS_AROUND 5u

static const char *const call_names[] = {
#include "base/syscall_names.h"
};

/* For each call: is it this number? Then, if an argument counts, one comparison a value. */
static size_t make_program(const struct seccomp_rule *rules, size_t rules_n, struct sock_filter *out)
{
	size_t n = 0, i, j, values;

	out[n++] = LOAD(offsetof(struct seccomp_data, arch));
	out[n++] = JUMP_EQ(AUDIT_ARCH_X86_64, 1, 0);
	out[n++] = RETURN(SECCOMP_RET_KILL_PROCESS);
	out[n++] = LOAD(offsetof(struct seccomp_data, nr));
	for (i = 0; i < rules_n; i += values) {
		for (values = 1; i + values < rules_n && rules[i + values].nr == rules[i].nr; values++)
			;
		if (rules[i].arg == SECCOMP_ANY) {
			out[n++] = JUMP_EQ(rules[i].nr, 0, 1);
			out[n++] = RETURN(SECCOMP_RET_ALLOW);
			continue;
		}
		/* Skips the load, two instructions a value and the refusal. */
		out[n++] = JUMP_EQ(rules[i].nr, 0, (uint8_t)(2 * values + 2));
		out[n++] = LOAD(offsetof(struct seccomp_data, args) + 8 * rules[i].arg);
		for (j = 0; j < values; j++) {
			uint32_t value = rules[i + j].value;

			out[n++] = JUMP_EQ(value == SECCOMP_OWN_PID ? (uint32_t)getpid() : value, 0, 1);
			out[n++] = RETURN(SECCOMP_RET_ALLOW);
		}
		out[n++] = RETURN(SECCOMP_RET_TRAP);
	}
	out[n++] = RETURN(SECCOMP_RET_TRAP);
	return n;
}

int seccomp_allow(const struct seccomp_rule *rules, size_t n)
{
	struct sock_filter insns[INSNS_OF_RULE * SECCOMP_RULES_MAX + INSNS_AROUND];
	struct sock_fprog program = { .filter = insns };

	if (n > SECCOMP_RULES_MAX)
		return -E2BIG;
	program.len = (unsigned short)make_program(rules, n, insns);
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) ? -errno : 0;
}

const char *seccomp_call_name(int nr)
{
	return nr >= 0 && (size_t)nr < ARRAY_SIZE(call_names) ? call_names[nr] : NULL;
}

static size_t append(char *to, size_t used, size_t size, const char *s)
{
	while (*s && used + 1 < size)
		to[used++] = *s++;
	to[used] = 0;
	return used;
}

size_t seccomp_denied_text(char *buf, size_t size, const char *program, int nr)
{
	const char *name = seccomp_call_name(nr);
	char digits[12] = "";
	size_t at = sizeof(digits) - 1, used;
	unsigned int v = (unsigned int)nr;

	do {
		digits[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	used = append(buf, 0, size, program);
	used = append(buf, used, size, " made the system call ");
	used = append(buf, used, size, name ? name : digits + at);
	return append(buf, used, size, ", which it may not");
}
