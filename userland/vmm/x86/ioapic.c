/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/x86/ioapic.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "base/util.h"

/* 82093AA, 3.1 and 3.2: a register is chosen by index and seen through a window. */
#define REG_INDEX 0x00u
#define REG_WINDOW 0x10u
enum { INDEX_ID = 0x00, INDEX_VERSION = 0x01, INDEX_ARBITRATION = 0x02, INDEX_ENTRIES = 0x10 };
#define VERSION 0x11u

/* 3.2.4: a redirection entry */
#define ENTRY_VECTOR 0xffull
#define ENTRY_DELIVERY_MODE (7ull << 8)
#define ENTRY_DEST_LOGICAL (1ull << 11)
#define ENTRY_READ_ONLY (1ull << 12 | 1ull << 14) /* delivery status, remote IRR: never set, as all is edge */
#define ENTRY_MASKED (1ull << 16)
#define ENTRY_DEST_SHIFT 56

/* What a message to the local APICs looks like (Intel SDM 3A, 11.11). */
#define MSI_ADDRESS 0xfee00000u
#define MSI_DEST_SHIFT 12
#define MSI_DEST_LOGICAL (1u << 2)
#define MSI_ASSERT (1u << 14)

/* Tells KVM which message each pin sends. A masked pin sends none. */
static void set_routes(struct ioapic *a)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entries[IOAPIC_PINS_MAX];
	} table;
	unsigned int i;

	memset(&table, 0, sizeof(table));
	for (i = 0; i < a->pins_n; i++) {
		const uint64_t e = a->entries[i];

		if (e & ENTRY_MASKED)
			continue;
		table.entries[table.head.nr++] = (struct kvm_irq_routing_entry){
			.gsi = i,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi.address_lo = MSI_ADDRESS | (uint32_t)(e >> ENTRY_DEST_SHIFT) << MSI_DEST_SHIFT |
					    (e & ENTRY_DEST_LOGICAL ? MSI_DEST_LOGICAL : 0),
			.u.msi.data = (uint32_t)(e & (ENTRY_VECTOR | ENTRY_DELIVERY_MODE)) | MSI_ASSERT,
		};
	}
	if (ioctl(a->vm_fd, KVM_SET_GSI_ROUTING, &table))
		log_guest("interrupts can't be routed: %s", strerrordesc_np(errno));
}

static void write_entry(struct ioapic *a, unsigned int pin, bool high, uint32_t value)
{
	const uint64_t old = a->entries[pin];
	uint64_t e = high ? (old & UINT32_MAX) | (uint64_t)value << 32 : (old & ~(uint64_t)UINT32_MAX) | value;

	e &= ~ENTRY_READ_ONLY;
	a->entries[pin] = e;
	/* Guests write one half with the pin masked, then the other: only what changes a live message is told to KVM. */
	if (e != old && !(e & old & ENTRY_MASKED))
		set_routes(a);
}

static uint32_t read_register(const struct ioapic *a)
{
	const unsigned int pin = (a->index - INDEX_ENTRIES) / 2;

	if (a->index == INDEX_VERSION)
		return (a->pins_n - 1) << 16 | VERSION;
	if (a->index == INDEX_ID || a->index == INDEX_ARBITRATION)
		return 0;
	if (a->index < INDEX_ENTRIES || pin >= a->pins_n)
		return 0;
	return (uint32_t)(a->entries[pin] >> (a->index & 1 ? 32 : 0));
}

static void ioapic_read(void *arg, uint64_t offset, void *data, unsigned int len)
{
	struct ioapic *a = arg;
	uint32_t value = 0;

	memset(data, 0, len);
	pthread_mutex_lock(&a->lock);
	if (offset == REG_INDEX)
		value = a->index;
	else if (offset == REG_WINDOW)
		value = read_register(a);
	pthread_mutex_unlock(&a->lock);
	memcpy(data, &value, min_t(unsigned int, len, sizeof(value)));
}

static void ioapic_write(void *arg, uint64_t offset, const void *data, unsigned int len)
{
	struct ioapic *a = arg;
	uint32_t value = 0;
	unsigned int pin;

	memcpy(&value, data, min_t(unsigned int, len, sizeof(value)));
	pthread_mutex_lock(&a->lock);
	if (offset == REG_INDEX) {
		a->index = value & 0xff;
	} else if (offset == REG_WINDOW && a->index >= INDEX_ENTRIES) {
		pin = (a->index - INDEX_ENTRIES) / 2;
		if (pin < a->pins_n)
			write_entry(a, pin, a->index & 1, value);
	}
	pthread_mutex_unlock(&a->lock);
}

int ioapic_init(struct ioapic *a, int vm_fd, unsigned int pins_n, struct bus *bus, struct err *e)
{
	const struct bus_range range = {
		.base = IOAPIC_GPA, .len_bytes = IOAPIC_BYTES, .read = ioapic_read, .write = ioapic_write, .arg = a
	};
	unsigned int i;
	int r;

	memset(a, 0, sizeof(*a));
	a->vm_fd = vm_fd;
	a->pins_n = pins_n;
	pthread_mutex_init(&a->lock, NULL);
	for (i = 0; i < IOAPIC_PINS_MAX; i++)
		a->entries[i] = ENTRY_MASKED;
	r = bus_add(bus, &range);
	return r < 0 ? err_errno(e, r, "I/O APIC") : 0;
}
