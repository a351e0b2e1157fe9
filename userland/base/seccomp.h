/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system calls that a jailed process of ours may make, as a list, made into a BPF program by hand: who faces a guest
 * links no library for it. Anything else raises SIGSYS.
 */
#ifndef BASE_SECCOMP_H
#define BASE_SECCOMP_H

#include <stddef.h>
#include <stdint.h>

#define SECCOMP_ANY 0xff	    /* no argument is looked at */
#define SECCOMP_OWN_PID 0xffffffffu /* stands for this process's number */
#define SECCOMP_RULES_MAX 96u

/* Rows with the same number belong together: any of the values will do. Low 32 bits are compared; each such argument is an int. */
struct seccomp_rule {
	uint16_t nr;
	uint8_t arg;
	uint32_t value;
};

/* The calling thread makes no others from here on. Needs no_new_privs. Negative errno; -E2BIG: more than SECCOMP_RULES_MAX. */
int seccomp_allow(const struct seccomp_rule *rules, size_t n);
/* "openat"; NULL for a number that has no name. */
const char *seccomp_call_name(int nr);
/* "PROGRAM made the system call NAME, which it may not", NUL-terminated. Fit for a signal handler. Returns its length. */
size_t seccomp_denied_text(char *buf, size_t size, const char *program, int nr);

#endif
