/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The I/O APIC (Intel 82093AA), as small as it may be: it turns GSIs into messages to the local APICs, which KVM has in
 * the kernel. Interrupts themselves never come here: a device's irqfd raises its GSI in the kernel, and KVM sends the
 * message that the guest has programmed. This is only where the guest programs it.
 *
 * Ours, and not KVM's own, as guests touch every pin of KVM's 24 several times when they boot, and its companion, the
 * PIC, too: that was 900 of 1,500 exits. This one has as many pins as there are devices. It is also less code of the
 * host's kernel for a guest to reach.
 */
#ifndef VMM_X86_IOAPIC_H
#define VMM_X86_IOAPIC_H

#include <pthread.h>
#include <stdint.h>

#include "base/err.h"
#include "vmm/bus.h"

#define IOAPIC_GPA 0xfec00000ull
#define IOAPIC_BYTES 0x1000ull
#define IOAPIC_PINS_MAX 24u

struct ioapic {
	int vm_fd;
	unsigned int pins_n;
	pthread_mutex_t lock; /* guards the rest */
	uint32_t index;	      /* which register the data window shows */
	uint64_t entries[IOAPIC_PINS_MAX];
};

/* Puts it on the bus; pin n is GSI n. pins_n: at most IOAPIC_PINS_MAX. */
int ioapic_init(struct ioapic *ioapic, int vm_fd, unsigned int pins_n, struct bus *bus, struct err *e);

#endif
