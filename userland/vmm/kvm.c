/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"

/*
 * Where KVM may put what an Intel CPU without unrestricted guests needs to run real mode: a page table of 4 KiB and a
 * TSS of 12 KiB, in the hole, away from devices and APICs.
 */
#define IDENTITY_MAP_GPA 0xfffbc000ull
#define TSS_GPA 0xfffbd000ull

#ifndef KVM_PMU_CAP_DISABLE
#define KVM_PMU_CAP_DISABLE (1 << 0)
#endif

static const struct {
	int cap;
	const char *name;
} needed[] = {
	{ KVM_CAP_SPLIT_IRQCHIP, "local APICs without the other interrupt controllers" },
	{ KVM_CAP_IRQ_ROUTING, "interrupt routing" },
	{ KVM_CAP_USER_MEMORY, "user memory" },
	{ KVM_CAP_EXT_CPUID, "CPUID tables" },
	{ KVM_CAP_MP_STATE, "multiprocessor state" },
	{ KVM_CAP_IRQFD, "irqfd" },
	{ KVM_CAP_IOEVENTFD, "ioeventfd" },
	{ KVM_CAP_IMMEDIATE_EXIT, "immediate exit" },
};

static int check_caps(int dev_fd, struct err *e)
{
	int version = ioctl(dev_fd, KVM_GET_API_VERSION, 0);
	size_t i;

	if (version < 0)
		return err_errno(e, errno, "the file given as /dev/kvm does not answer as KVM");
	if (version != KVM_API_VERSION)
		return err_set(e, EPROTO, "KVM has API version %d, not %d; use a newer host kernel", version,
			       KVM_API_VERSION);
	for (i = 0; i < ARRAY_SIZE(needed); i++)
		if (ioctl(dev_fd, KVM_CHECK_EXTENSION, needed[i].cap) <= 0)
			return err_set(e, ENOTSUP, "KVM of this host has no %s; use a newer host kernel",
				       needed[i].name);
	return 0;
}

/* What is worth asking for, but not needed. */
static void enable_extras(const struct kvm *kvm)
{
	/* No performance counters: guests need none, and their registers are one more way into KVM. */
	struct kvm_enable_cap pmu = { .cap = KVM_CAP_PMU_CAPABILITY, .args = { KVM_PMU_CAP_DISABLE } };
	/* A halted vCPU sleeps; it does not poll for a while first. */
	struct kvm_enable_cap poll = { .cap = KVM_CAP_HALT_POLL, .args = { 0 } };

	(void)ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &pmu);
	(void)ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &poll);
}

int kvm_open(struct kvm *kvm, int dev_fd, unsigned int gsis, struct err *e)
{
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { gsis } };
	uint64_t identity = IDENTITY_MAP_GPA;
	int run_bytes;

	*kvm = (struct kvm){ .dev_fd = dev_fd, .vm_fd = -1 };
	if (check_caps(dev_fd, e))
		return -e->code;
	run_bytes = ioctl(dev_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (run_bytes < (int)sizeof(struct kvm_run))
		return err_set(e, EPROTO, "KVM's vCPU area has %d bytes", run_bytes);
	kvm->run_bytes = (uint32_t)run_bytes;
	kvm->tsc_deadline = ioctl(dev_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	do {
		kvm->vm_fd = ioctl(dev_fd, KVM_CREATE_VM, 0);
	} while (kvm->vm_fd < 0 && errno == EINTR);
	if (kvm->vm_fd < 0)
		return err_errno(e, errno, "KVM_CREATE_VM");
	enable_extras(kvm);
	if (ioctl(kvm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) || ioctl(kvm->vm_fd, KVM_SET_TSS_ADDR, TSS_GPA)) {
		err_errno(e, errno, "KVM_SET_TSS_ADDR");
		goto out_close;
	}
	if (ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &split)) {
		err_errno(e, errno, "KVM_CAP_SPLIT_IRQCHIP");
		goto out_close;
	}
	return 0;

out_close:
	kvm_close(kvm);
	return -e->code;
}

void kvm_close(struct kvm *kvm)
{
	if (kvm->vm_fd >= 0)
		close(kvm->vm_fd);
	kvm->vm_fd = -1;
}

int kvm_set_memory(struct kvm *kvm, const struct guest_mem *mem, struct err *e)
{
	const struct guest_mem_region *regions;
	size_t n = guest_mem_regions(mem, &regions), i;

	for (i = 0; i < n; i++) {
		struct kvm_userspace_memory_region slot = {
			.slot = (uint32_t)i,
			.guest_phys_addr = regions[i].gpa,
			.memory_size = regions[i].len_bytes,
			.userspace_addr = (uintptr_t)regions[i].hva,
		};

		if (ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot))
			return err_errno(e, errno, "KVM_SET_USER_MEMORY_REGION of %llu MiB at 0x%llx",
					 (unsigned long long)(regions[i].len_bytes >> 20),
					 (unsigned long long)regions[i].gpa);
	}
	return 0;
}

int kvm_create_vcpu(struct kvm *kvm, unsigned int id, int *fd, struct kvm_run **run, struct err *e)
{
	void *map;
	int khz;

	*fd = ioctl(kvm->vm_fd, KVM_CREATE_VCPU, (unsigned long)id);
	if (*fd < 0)
		return err_errno(e, errno, "KVM_CREATE_VCPU %u", id);
	map = mmap(NULL, kvm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	if (map == MAP_FAILED) {
		err_errno(e, errno, "mapping the state of vCPU %u", id);
		close(*fd);
		*fd = -1;
		return -e->code;
	}
	*run = map;
	if (!kvm->tsc_khz) {
		khz = ioctl(*fd, KVM_GET_TSC_KHZ, 0);
		kvm->tsc_khz = khz > 0 ? (uint32_t)khz : 0;
	}
	return 0;
}
