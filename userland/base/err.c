/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int positive(int errno_code)
{
	errno_code = abs(errno_code);
	return errno_code ? errno_code : EIO;
}

int err_set(struct err *e, int errno_code, const char *fmt, ...)
{
	va_list ap;

	errno_code = positive(errno_code);
	if (e) {
		e->code = errno_code;
		va_start(ap, fmt);
		vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
		va_end(ap);
	}
	return -errno_code;
}

int err_errno(struct err *e, int errno_code, const char *fmt, ...)
{
	char reason[128];
	size_t used;
	va_list ap;

	errno_code = positive(errno_code);
	if (e) {
		e->code = errno_code;
		va_start(ap, fmt);
		vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
		va_end(ap);
		used = strlen(e->msg);
		snprintf(e->msg + used, sizeof(e->msg) - used, ": %s", strerror_r(errno_code, reason, sizeof(reason)));
	}
	return -errno_code;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	char before[ERR_MSG_MAX], old[ERR_MSG_MAX];
	va_list ap;

	if (!e)
		return -EIO;
	va_start(ap, fmt);
	vsnprintf(before, sizeof(before), fmt, ap);
	va_end(ap);
	memcpy(old, e->msg, sizeof(old));
	/* Cut the context before the cause: the cause is what the reader needs. */
	snprintf(e->msg, sizeof(e->msg), "%.*s: %s", (int)(ERR_MSG_MAX - 3 - strnlen(old, ERR_MSG_MAX / 2)), before,
		 old);
	if (!e->code)
		e->code = EIO;
	return -e->code;
}
