/* SPDX-License-Identifier: Apache-2.0 */
/* The machine without its virtio devices: memory with a kernel in it, bus, ports, vCPUs. */
#ifndef VMM_VM_H
#define VMM_VM_H

#include "base/err.h"
#include "base/vmspec.h"
#include "vmm/bus.h"
#include "vmm/ending.h"
#include "vmm/irq.h"
#include "vmm/kvm.h"
#include "vmm/memory.h"
#include "vmm/ports.h"
#include "vmm/vcpu.h"
#include "vmm/x86/ioapic.h"

struct vm {
	struct kvm kvm;
	struct guest_mem *mem;
	struct bus bus;
	struct irq_ops irq;
	struct ioapic ioapic;
	struct ports ports;
	struct ending ending;
	struct vcpu_set vcpus;
};

/* vm->ending is there already. On failure what was made stays for vm_free. */
int vm_create(struct vm *vm, const struct vmspec *spec, struct err *e);
void vm_free(struct vm *vm);

#endif
