/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/x86/mptable.h"

#include <linux/types.h>
#include <string.h>

#include "base/vmspec.h"
#include "vmm/x86/ioapic.h"

#define LAPIC_GPA 0xfee00000u

/* MP 1.4, 4.1: the floating pointer, on a 16-byte boundary. */
struct mp_floating {
	char signature[4];
	__le32 table_gpa;
	uint8_t length_16, revision, checksum, features[5];
} __attribute__((packed));

/* 4.2 */
struct mp_header {
	char signature[4];
	__le16 length_bytes;
	uint8_t revision, checksum;
	char oem[8], product[12];
	__le32 oem_gpa;
	__le16 oem_bytes, entries_n;
	__le32 lapic_gpa;
	__le16 extended_bytes;
	uint8_t extended_checksum, reserved;
} __attribute__((packed));

/* 4.3.1 to 4.3.5 */
enum { MP_CPU, MP_BUS, MP_IOAPIC, MP_INTERRUPT, MP_LOCAL_INTERRUPT };
enum { MP_INT_VECTORED, MP_INT_NMI, MP_INT_SMI, MP_INT_EXTINT };
enum { MP_CPU_ENABLED = 1, MP_CPU_BOOT = 2, MP_IOAPIC_ENABLED = 1 };

struct mp_cpu {
	uint8_t type, apic_id, apic_version, flags;
	__le32 signature, features, reserved[2];
} __attribute__((packed));

struct mp_bus {
	uint8_t type, id;
	char name[6];
} __attribute__((packed));

struct mp_ioapic {
	uint8_t type, id, version, flags;
	__le32 gpa;
} __attribute__((packed));

struct mp_interrupt {
	uint8_t type, kind;
	__le16 flags; /* 0: polarity and trigger as the bus has them: ISA is edge, active high, and so is irqfd */
	uint8_t bus, bus_irq, apic, apic_pin;
} __attribute__((packed));

struct mp_table {
	struct mp_floating floating;
	struct mp_header header;
	struct mp_cpu cpus[VMSPEC_VCPUS_MAX];
	/* then struct mp_rest, right behind the CPUs that are there */
} __attribute__((packed));

struct mp_rest {
	struct mp_bus bus;
	struct mp_ioapic ioapic;
	struct mp_interrupt local[2];
	struct mp_interrupt pins[IOAPIC_PINS_MAX]; /* as many as there are devices */
} __attribute__((packed));

_Static_assert(sizeof(struct mp_table) + sizeof(struct mp_rest) <= MPTABLE_BYTES, "the table fits in its KiB");

static uint8_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	while (len--)
		sum += *p++;
	return (uint8_t)-sum;
}

static void fill_rest(struct mp_rest *rest, unsigned int vcpus, unsigned int first_pin, unsigned int end_pin)
{
	unsigned int i;

	rest->bus = (struct mp_bus){ .type = MP_BUS, .id = 0, .name = "ISA   " };
	rest->ioapic = (struct mp_ioapic){
		.type = MP_IOAPIC, .id = (uint8_t)vcpus, .version = 0x11, .flags = MP_IOAPIC_ENABLED, .gpa = IOAPIC_GPA
	};
	rest->local[0] =
		(struct mp_interrupt){ .type = MP_LOCAL_INTERRUPT, .kind = MP_INT_EXTINT, .apic = 0, .apic_pin = 0 };
	rest->local[1] =
		(struct mp_interrupt){ .type = MP_LOCAL_INTERRUPT, .kind = MP_INT_NMI, .apic = 0xff, .apic_pin = 1 };
	/* GSI n is pin n is IRQ n. */
	for (i = 0; i < end_pin - first_pin; i++)
		rest->pins[i] = (struct mp_interrupt){ .type = MP_INTERRUPT,
						       .kind = MP_INT_VECTORED,
						       .bus_irq = (uint8_t)(first_pin + i),
						       .apic = (uint8_t)vcpus,
						       .apic_pin = (uint8_t)(first_pin + i) };
}

void mptable_fill(uint8_t table[MPTABLE_BYTES], unsigned int vcpus, unsigned int first_pin, unsigned int end_pin)
{
	struct mp_table *t = (struct mp_table *)table;
	struct mp_rest rest;
	const size_t rest_bytes = offsetof(struct mp_rest, pins) + (end_pin - first_pin) * sizeof(rest.pins[0]);
	const size_t len = sizeof(t->header) + vcpus * sizeof(t->cpus[0]) + rest_bytes;
	unsigned int i;

	memset(table, 0, MPTABLE_BYTES);
	memset(&rest, 0, sizeof(rest));
	for (i = 0; i < vcpus; i++)
		t->cpus[i] = (struct mp_cpu){ .type = MP_CPU,
					      .apic_id = (uint8_t)i,
					      .apic_version = 0x14,
					      .flags = MP_CPU_ENABLED | (i == 0 ? MP_CPU_BOOT : 0),
					      .signature = 0x600,
					      .features = 0x201 /* APIC, FPU */ };
	fill_rest(&rest, vcpus, first_pin, end_pin);
	memcpy((char *)t->cpus + vcpus * sizeof(t->cpus[0]), &rest, rest_bytes);

	memcpy(t->header.signature, "PCMP", 4);
	t->header.length_bytes = (uint16_t)len;
	t->header.revision = 4;
	memcpy(t->header.oem, "MICROVM ", 8);
	memcpy(t->header.product, "MICROVM     ", 12);
	t->header.entries_n = (uint16_t)(vcpus + 2 + 2 + end_pin - first_pin);
	t->header.lapic_gpa = LAPIC_GPA;
	t->header.checksum = checksum(&t->header, len);

	memcpy(t->floating.signature, "_MP_", 4);
	t->floating.table_gpa = MPTABLE_GPA + sizeof(t->floating);
	t->floating.length_16 = 1;
	t->floating.revision = 4;
	t->floating.checksum = checksum(&t->floating, sizeof(t->floating));
}
