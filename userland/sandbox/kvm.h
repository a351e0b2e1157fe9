/* SPDX-License-Identifier: Apache-2.0 */
/* Is there a KVM, and can it boot a guest? */
#ifndef SANDBOX_KVM_H
#define SANDBOX_KVM_H

#include <stdbool.h>

#include "base/err.h"

#define KVM_PATH "/dev/kvm"

/* Opens /dev/kvm. The error says what is missing: the device, the rights, the driver, or a CPU that has what KVM needs. */
int kvm_device_open(int *fd, struct err *e);
/* svm or vmx in /proc/cpuinfo. A KVM without either is paravirtual: it runs small payloads, not a stock kernel. */
bool kvm_cpu_has_virtualization(void);

#endif
