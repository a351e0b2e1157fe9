/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors of the control plane. A function that can fail for a reason a person
 * should read takes a `struct err *` last, returns a negative errno and leaves
 * a message. Callers wrap the message with what they were doing; only main or
 * an RPC reply prints it.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stddef.h>

#define ERR_MSG_MAX 1024

struct err {
	int code;	       /* positive errno, 0 when unset */
	char msg[ERR_MSG_MAX]; /* "thing: cause; next step", no newline */
};

/* clang-format off */
#define ERR_INIT { .code = 0, .msg = "" }
/* clang-format on */

/* Sets code and message, returns -code. errno_code may be given with either sign. e may be NULL. */
int err_set(struct err *e, int errno_code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As err_set, with ": strerror(errno_code)" appended. */
int err_errno(struct err *e, int errno_code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "what: " before the message that is there; keeps the code and returns -code. */
int err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
