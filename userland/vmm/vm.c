/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vm.h"

#include <errno.h>

#include "base/util.h"
#include "vmm/x86/boot.h"

int vm_create(struct vm *vm, const struct vmspec *spec, struct err *e)
{
	const struct boot_files files = { .kernel_fd = spec->kernel_fd, .initramfs_fd = spec->initramfs_fd };
	/* One at least: Linux calls an MP table without interrupts broken, and makes up its own. */
	const unsigned int gsis = GUEST_GSI_FIRST + max_t(unsigned int, spec->devices_n, 1);
	struct boot_entry entry;

	if (gsis > GUEST_GSI_LAST + 1)
		return err_set(e, ENOSPC, "%u devices; there are interrupt lines for %u", spec->devices_n,
			       GUEST_GSI_LAST + 1 - GUEST_GSI_FIRST);
	vm->kvm.vm_fd = -1;
	ports_init(&vm->ports, &vm->ending, spec->log_fd >= 0 ? spec->log_fd : 2);
	if (kvm_open(&vm->kvm, spec->kvm_fd, gsis, e) || ioapic_init(&vm->ioapic, vm->kvm.vm_fd, gsis, &vm->bus, e))
		return -e->code;
	irq_kvm_ops(&vm->irq, &vm->kvm.vm_fd);
	if (guest_mem_new(&vm->mem, spec->mem_bytes, e))
		return -e->code;
	if (boot_load(vm->mem, &files, spec->vcpus, gsis - GUEST_GSI_FIRST, &entry, e))
		return -e->code;
	if (kvm_set_memory(&vm->kvm, vm->mem, e))
		return -e->code;
	vm->vcpus.bus = &vm->bus;
	vm->vcpus.ports = &vm->ports;
	vm->vcpus.ending = &vm->ending;
	return vcpus_create(&vm->vcpus, &vm->kvm, spec->vcpus, &entry, e);
}

void vm_free(struct vm *vm)
{
	vcpus_free(&vm->vcpus);
	kvm_close(&vm->kvm);
	guest_mem_free(vm->mem);
	vm->mem = NULL;
}
