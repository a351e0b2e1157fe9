/* SPDX-License-Identifier: Apache-2.0 */
/* The network that an engine made for a container, in a namespace of the host. */
#ifndef SANDBOX_NETWORK_H
#define SANDBOX_NETWORK_H

#include "base/err.h"

/* -ENOTSUP: our own network namespace has an interface that the guest can't use. */
int network_check_own(struct err *e);
/* The same of that one, which is a file; NULL: none, which is fine. */
int network_check(const char *path, struct err *e);

#endif
