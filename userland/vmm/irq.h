/* SPDX-License-Identifier: Apache-2.0 */
/* Signals between guest and devices that cost the VMM no exit: irqfd towards the guest, ioeventfd from it. */
#ifndef VMM_IRQ_H
#define VMM_IRQ_H

#include <stdbool.h>
#include <stdint.h>

/* What a device needs of the machine to signal, without knowing KVM. */
struct irq_ops {
	/* An eventfd whose write raises GSI gsi as an edge; close it at the end. Negative errno. */
	int (*irqfd)(void *arg, unsigned int gsi);
	/* An eventfd signalled by a 4-byte write of value at gpa; no exit to userspace happens for it. Negative errno. */
	int (*ioeventfd)(void *arg, uint64_t gpa, uint32_t value);
	/*
	 * The guest reads the 4 KiB at gpa from page, without an exit; its writes go to the bus as before. page is aligned
	 * and outlives the VM. Negative errno, then reads go to the bus, too; may be NULL.
	 */
	int (*readonly_page)(void *arg, uint64_t gpa, const void *page);
	/*
	 * The guest has the len_bytes at hva as memory at gpa; n: the number of this piece, 0, 1, … Where it is read-only,
	 * writes go to the bus. hva, gpa and len_bytes are aligned to pages. Negative errno.
	 */
	int (*add_memory)(void *arg, unsigned int n, uint64_t gpa, void *hva, uint64_t len_bytes, bool read_only);
	void *arg;
};

/* The machine's own, on an in-kernel interrupt controller. vm_fd: KVM's file of the VM; must outlive ops. */
void irq_kvm_ops(struct irq_ops *ops, const int *vm_fd);

#endif
