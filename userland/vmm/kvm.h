/* SPDX-License-Identifier: Apache-2.0 */
/* The VM as KVM has it: capabilities, in-kernel interrupt controllers, memory slots, vCPU files. */
#ifndef VMM_KVM_H
#define VMM_KVM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "vmm/memory.h"

struct kvm {
	int dev_fd; /* /dev/kvm; the caller's */
	int vm_fd;
	uint32_t run_bytes; /* size of a vCPU's struct kvm_run */
	bool tsc_deadline;  /* the in-kernel APIC has a deadline timer */
	uint32_t tsc_khz;   /* 0: not known */
};

/*
 * Checks KVM's version and capabilities, creates a VM with local APICs in the kernel, and no other interrupt controller or timer there.
 * gsis: interrupt lines that irqfds may raise.
 */
int kvm_open(struct kvm *kvm, int dev_fd, unsigned int gsis, struct err *e);
void kvm_close(struct kvm *kvm);
/* Gives the VM its memory: a slot for each region. */
int kvm_set_memory(struct kvm *kvm, const struct guest_mem *mem, struct err *e);
/* A new vCPU's file, with its kvm_run mapped. id: 0, 1, … */
int kvm_create_vcpu(struct kvm *kvm, unsigned int id, int *fd, struct kvm_run **run, struct err *e);

#endif
