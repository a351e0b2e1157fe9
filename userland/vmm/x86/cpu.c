/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/x86/cpu.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/util.h"

#define CR0_PE (1u << 0)
#define CR0_ET (1u << 4)
#define EFLAGS_FIXED (1u << 1)

#define MSR_MISC_ENABLE 0x1a0u
#define MISC_ENABLE_FAST_STRING 1u
#define MSR_MTRR_DEF_TYPE 0x2ffu
#define MTRR_ENABLED_WRITE_BACK (1u << 11 | 6u)

int cpu_set_entry(int vcpu_fd, const struct boot_entry *entry, struct err *e)
{
	static const struct kvm_segment code = {
		.limit = 0xffffffff, .selector = 0x8, .type = 0xb, .present = 1, .db = 1, .s = 1, .g = 1
	};
	static const struct kvm_segment data = {
		.limit = 0xffffffff, .selector = 0x10, .type = 0x3, .present = 1, .db = 1, .s = 1, .g = 1
	};
	static const struct kvm_segment task = { .limit = 0x67, .selector = 0x18, .type = 0xb, .present = 1 };
	struct kvm_regs regs = { .rip = entry->rip, .rbx = entry->rbx, .rflags = EFLAGS_FIXED };
	struct kvm_sregs sregs;

	if (ioctl(vcpu_fd, KVM_GET_SREGS, &sregs))
		return err_errno(e, errno, "KVM_GET_SREGS");
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.tr = task;
	sregs.cr0 = CR0_PE | CR0_ET;
	sregs.cr3 = sregs.cr4 = sregs.efer = 0;
	if (ioctl(vcpu_fd, KVM_SET_SREGS, &sregs))
		return err_errno(e, errno, "KVM_SET_SREGS");
	if (ioctl(vcpu_fd, KVM_SET_REGS, &regs))
		return err_errno(e, errno, "KVM_SET_REGS");
	return 0;
}

int cpu_set_msrs(int vcpu_fd, struct err *e)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[2];
	} msrs = {
		.head.nmsrs = 2,
		.entries = {
			/* Linux on Intel takes a cleared bit for "string instructions are slow". */
			{ .index = MSR_MISC_ENABLE, .data = MISC_ENABLE_FAST_STRING },
			{ .index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLED_WRITE_BACK },
		},
	};
	int r = ioctl(vcpu_fd, KVM_SET_MSRS, &msrs);

	if (r < 0)
		return err_errno(e, errno, "KVM_SET_MSRS");
	/* The rest runs without either. */
	return 0;
}
