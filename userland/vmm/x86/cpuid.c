/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/x86/cpuid.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/util.h"

#define KVM_LEAF 0x40000000u
#define TIMING_LEAF 0x40000010u
#define APIC_BUS_KHZ 1000000u /* KVM's APIC timer counts nanoseconds */

struct vcpu_place {
	unsigned int id, vcpus, id_bits;
	const struct kvm *kvm;
};

/* One leaf: what is changed in it, for all of its subleaves. */
struct leaf_rule {
	uint32_t leaf;
	void (*adapt)(struct kvm_cpuid_entry2 *e, const struct vcpu_place *p);
};

static void set_bit(uint32_t *reg, unsigned int bit, bool on)
{
	*reg = on ? *reg | 1u << bit : *reg & ~(1u << bit);
}

static void set_field(uint32_t *reg, unsigned int low, unsigned int bits, uint32_t value)
{
	const uint32_t mask = (bits == 32 ? UINT32_MAX : (1u << bits) - 1) << low;

	*reg = (*reg & ~mask) | (value << low & mask);
}

static void adapt_features(struct kvm_cpuid_entry2 *e, const struct vcpu_place *p)
{
	set_field(&e->ebx, 24, 8, p->id);
	set_field(&e->ebx, 16, 8, 1u << p->id_bits);
	set_bit(&e->edx, 28, p->vcpus > 1); /* the count above holds */
	/* KVM leaves both to us. Without the first a guest takes itself for bare hardware, without the second it wants a PIT. */
	set_bit(&e->ecx, 31, true);
	set_bit(&e->ecx, 24, p->kvm->tsc_deadline);
}

/* Intel's caches: the last level belongs to all, the others to one. */
static void adapt_caches(struct kvm_cpuid_entry2 *e, const struct vcpu_place *p)
{
	const unsigned int level = e->eax >> 5 & 7;

	if (!(e->eax & 0x1f))
		return;
	set_field(&e->eax, 14, 12, level >= 3 ? p->vcpus - 1 : 0);
	set_field(&e->eax, 26, 6, p->vcpus - 1);
}

/* Leaf 0xb: one thread a core, all cores in one package. */
static void adapt_topology(struct kvm_cpuid_entry2 *e, const struct vcpu_place *p)
{
	e->edx = p->id;
	switch (e->index) {
	case 0:
		e->eax = 0;
		e->ebx = 1;
		e->ecx = 1 << 8; /* threads */
		break;
	case 1:
		e->eax = p->id_bits;
		e->ebx = p->vcpus;
		e->ecx = 2 << 8 | 1; /* cores */
		break;
	default:
		e->eax = e->ebx = 0;
		e->ecx = e->index;
		break;
	}
}

static void clear_leaf(struct kvm_cpuid_entry2 *e, const struct vcpu_place *p)
{
	e->eax = e->ebx = e->ecx = e->edx = 0;
}

/* The TSC's frequency as a ratio to the crystal's, which here is the APIC timer's: hz = ecx * ebx / eax. */
static void adapt_tsc(struct kvm_cpuid_entry2 *e, const struct vcpu_place *p)
{
	clear_leaf(e, p);
	if (!p->kvm->tsc_khz)
		return;
	e->eax = APIC_BUS_KHZ;
	e->ebx = p->kvm->tsc_khz;
	e->ecx = APIC_BUS_KHZ * 1000u;
}

static void adapt_frequency(struct kvm_cpuid_entry2 *e, const struct vcpu_place *p)
{
	clear_leaf(e, p);
	e->eax = e->ebx = p->kvm->tsc_khz / 1000;
}

static void adapt_amd_cores(struct kvm_cpuid_entry2 *e, const struct vcpu_place *p)
{
	set_field(&e->ecx, 0, 8, p->vcpus - 1);
	set_field(&e->ecx, 12, 4, p->id_bits);
}

static void adapt_amd_caches(struct kvm_cpuid_entry2 *e, const struct vcpu_place *p)
{
	if (e->eax & 0x1f)
		set_field(&e->eax, 14, 12, (e->eax >> 5 & 7) >= 3 ? p->vcpus - 1 : 0);
}

static void adapt_amd_topology(struct kvm_cpuid_entry2 *e, const struct vcpu_place *p)
{
	e->eax = p->id;
	e->ebx = p->id; /* one thread a core */
	e->ecx = 0;	/* one node */
	e->edx = 0;
}

static void adapt_hypervisor(struct kvm_cpuid_entry2 *e, const struct vcpu_place *p)
{
	e->eax = TIMING_LEAF;
}

static void adapt_timing(struct kvm_cpuid_entry2 *e, const struct vcpu_place *p)
{
	clear_leaf(e, p);
	e->eax = p->kvm->tsc_khz;
	e->ebx = APIC_BUS_KHZ;
}

static const struct leaf_rule rules[] = {
	{ 0x1, adapt_features },
	{ 0x4, adapt_caches },
	{ 0xa, clear_leaf }, /* no performance counters */
	{ 0xb, adapt_topology },
	{ 0x15, adapt_tsc },
	{ 0x16, adapt_frequency },
	{ 0x1f, clear_leaf }, /* 0xb says it */
	{ KVM_LEAF, adapt_hypervisor },
	{ TIMING_LEAF, adapt_timing },
	{ 0x80000008, adapt_amd_cores },
	{ 0x8000001d, adapt_amd_caches },
	{ 0x8000001e, adapt_amd_topology },
	{ 0x80000022, clear_leaf }, /* AMD's performance counters */
	{ 0x80000026, clear_leaf }, /* AMD's newer topology; 0x8000001e says it */
};

static struct kvm_cpuid_entry2 *find_leaf(struct cpuid_table *table, uint32_t leaf)
{
	unsigned int i;

	for (i = 0; i < table->head.nent; i++)
		if (table->entries[i].function == leaf)
			return &table->entries[i];
	return NULL;
}

int cpuid_host(const struct kvm *kvm, struct cpuid_table *table, struct err *e)
{
	memset(&table->head, 0, sizeof(table->head));
	table->head.nent = CPUID_ENTRIES_MAX;
	if (ioctl(kvm->dev_fd, KVM_GET_SUPPORTED_CPUID, table))
		return err_errno(e, errno, "KVM_GET_SUPPORTED_CPUID");
	/* KVM gives its own leaves as far as it has them; the timing leaf is an agreement between hypervisors. */
	if (find_leaf(table, KVM_LEAF) && !find_leaf(table, TIMING_LEAF) && table->head.nent < CPUID_ENTRIES_MAX)
		table->entries[table->head.nent++] = (struct kvm_cpuid_entry2){ .function = TIMING_LEAF };
	return 0;
}

void cpuid_adapt(struct cpuid_table *table, const struct kvm *kvm, unsigned int id, unsigned int vcpus)
{
	struct vcpu_place place = { .id = id, .vcpus = vcpus, .kvm = kvm };
	unsigned int i;
	size_t r;

	while (1u << place.id_bits < vcpus)
		place.id_bits++;
	for (i = 0; i < table->head.nent; i++)
		for (r = 0; r < ARRAY_SIZE(rules); r++)
			if (rules[r].leaf == table->entries[i].function)
				rules[r].adapt(&table->entries[i], &place);
}
