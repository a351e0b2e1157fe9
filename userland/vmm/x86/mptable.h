/* SPDX-License-Identifier: Apache-2.0 */
/* The MP table (MultiProcessor Specification 1.4): which CPUs and interrupt lines there are, for a guest without ACPI. */
#ifndef VMM_X86_MPTABLE_H
#define VMM_X86_MPTABLE_H

#include <stddef.h>
#include <stdint.h>

/* Where guests look for it: the last KiB of conventional memory (MP 1.4, 4). */
#define MPTABLE_GPA 0x9fc00u
#define MPTABLE_BYTES 1024u

/*
 * Writes the table as it is to stand at MPTABLE_GPA: vcpus CPUs (at most VMSPEC_VCPUS_MAX), and one I/O APIC whose pins
 * first_pin to end_pin - 1 (at most IOAPIC_PINS_MAX) have devices.
 */
void mptable_fill(uint8_t table[MPTABLE_BYTES], unsigned int vcpus, unsigned int first_pin, unsigned int end_pin);

#endif
