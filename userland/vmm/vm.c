/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vm.h"

#include "vmm/x86/boot.h"

int vm_create(struct vm *vm, const struct vmspec *spec, struct err *e)
{
	struct boot_entry entry;

	vm->kvm.vm_fd = -1;
	ports_init(&vm->ports, &vm->ending, spec->log_fd >= 0 ? spec->log_fd : 2);
	if (kvm_open(&vm->kvm, spec->kvm_fd, e))
		return -e->code;
	irq_kvm_ops(&vm->irq, &vm->kvm.vm_fd);
	if (guest_mem_new(&vm->mem, spec->mem_bytes, e))
		return -e->code;
	if (boot_load(vm->mem, spec->kernel_fd, spec->initramfs_fd, spec->vcpus, &entry, e))
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
