/* SPDX-License-Identifier: Apache-2.0 */
/* Signals between guest and devices that cost the VMM no exit: irqfd towards the guest, ioeventfd from it. */
#ifndef VMM_IRQ_H
#define VMM_IRQ_H

#include <stdint.h>

/* What a device needs of the machine to signal, without knowing KVM. */
struct irq_ops {
	/* An eventfd whose write raises GSI gsi as an edge; close it at the end. Negative errno. */
	int (*irqfd)(void *arg, unsigned int gsi);
	/* An eventfd signalled by a 4-byte write of value at gpa; no exit to userspace happens for it. Negative errno. */
	int (*ioeventfd)(void *arg, uint64_t gpa, uint32_t value);
	void *arg;
};

/* The machine's own, on an in-kernel interrupt controller. vm_fd: KVM's file of the VM; must outlive ops. */
void irq_kvm_ops(struct irq_ops *ops, const int *vm_fd);

#endif
