/* SPDX-License-Identifier: Apache-2.0 */
/* A signal's way to end an import in order: whoever loops over a stranger's bytes asks import_cancelled now and then. */
#ifndef IMAGE_IMPORT_CANCEL_H
#define IMAGE_IMPORT_CANCEL_H

#include <stdbool.h>

#include "base/err.h"

void import_cancel(void); /* async-signal-safe; for good */
/* 0, or -EINTR with a message once import_cancel was called. */
int import_cancelled(struct err *e);

#endif
