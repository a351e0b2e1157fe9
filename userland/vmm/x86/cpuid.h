/* SPDX-License-Identifier: Apache-2.0 */
/* What a vCPU answers to CPUID. */
#ifndef VMM_X86_CPUID_H
#define VMM_X86_CPUID_H

#include <linux/kvm.h>

#include "base/err.h"
#include "vmm/kvm.h"

#define CPUID_ENTRIES_MAX 256u

struct cpuid_table { /* laid out as struct kvm_cpuid2 with its entries */
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entries[CPUID_ENTRIES_MAX];
};

/* What this host's KVM can give. */
int cpuid_host(const struct kvm *kvm, struct cpuid_table *table, struct err *e);
/* Makes the host's table that of vCPU id of vcpus: its APIC id, the topology, the hypervisor's leaves. Pure; may be called again for another id. */
void cpuid_adapt(struct cpuid_table *table, const struct kvm *kvm, unsigned int id, unsigned int vcpus);

#endif
