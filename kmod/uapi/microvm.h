/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * What userland and the kernel module say to each other over /dev/microvm.  The only header that both include.
 */
#ifndef MICROVM_UAPI_H
#define MICROVM_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define MICROVM_DEVICE "/dev/microvm"

/* Raised when a call is added; a call, once given, never changes its meaning. */
#define MICROVM_ABI_VERSION 1

#define MICROVM_IOC_MAGIC 0xBB

/* Returns MICROVM_ABI_VERSION of the loaded module; takes no argument. */
#define MICROVM_GET_VERSION _IO(MICROVM_IOC_MAGIC, 0x00)

#endif
