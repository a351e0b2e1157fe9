/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every difference between the kernels that the module builds for (6.1 and 6.12) is settled here.
 */
#ifndef MICROVM_COMPAT_H
#define MICROVM_COMPAT_H

#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "microvm needs Linux 6.1 or newer"
#endif

#endif
