/* SPDX-License-Identifier: Apache-2.0 */
#include "image/import/cancel.h"

#include <errno.h>
#include <signal.h>

static volatile sig_atomic_t cancelled;

void import_cancel(void)
{
	cancelled = 1;
}

int import_cancelled(struct err *e)
{
	return cancelled ? err_set(e, EINTR, "interrupted") : 0;
}
