/* SPDX-License-Identifier: Apache-2.0 */
/* The state a vCPU starts in. */
#ifndef VMM_X86_CPU_H
#define VMM_X86_CPU_H

#include "base/err.h"
#include "vmm/x86/boot.h"

/* vCPU 0 as PVH wants it: 32-bit protected mode without paging, flat segments. The others wait for INIT and SIPI. */
int cpu_set_entry(int vcpu_fd, const struct boot_entry *entry, struct err *e);
/* Model specific registers as firmware leaves them, for any vCPU. */
int cpu_set_msrs(int vcpu_fd, struct err *e);

#endif
