/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a stream of a process goes, as containerd's clients say it: the path of a FIFO, "file:///PATH", or
 * "binary:///PROGRAM?KEY=VALUE&…" for a program that takes the output. Pure.
 */
#ifndef SHIM_URI_H
#define SHIM_URI_H

#include <stddef.h>

#include "base/err.h"

#define URI_MAX 4096u /* bytes of one */
#define URI_ARGS_MAX 64u

enum uri_kind { URI_NONE, URI_PATH, URI_FILE, URI_BINARY };

struct uri {
	enum uri_kind kind;
	char *path;
	char *args[URI_ARGS_MAX + 1]; /* of a program: key, value, key, …; NULL-terminated */
	size_t args_n;
};

/* "" is URI_NONE. -EINVAL, -E2BIG, -ENOTSUP (another scheme); out is empty then. */
int uri_parse(const char *text, struct uri *out, struct err *e);
void uri_free(struct uri *u);

#endif
