/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/irq.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/memory.h"

/* KVM's memory slots; guest memory has the first ones. */
#define PAGE_SLOT_FIRST 16u
#define MEMORY_SLOT_FIRST 64u

static int bind_eventfd(int vm_fd, unsigned long request, const void *arg, int fd)
{
	int code;

	if (ioctl(vm_fd, request, arg) == 0)
		return fd;
	code = errno;
	close(fd);
	return -code;
}

static int kvm_irqfd(void *arg, unsigned int gsi)
{
	struct kvm_irqfd irqfd = { .gsi = gsi };
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return -errno;
	irqfd.fd = (uint32_t)fd;
	return bind_eventfd(*(const int *)arg, KVM_IRQFD, &irqfd, fd);
}

static int kvm_ioeventfd(void *arg, uint64_t gpa, uint32_t value)
{
	struct kvm_ioeventfd io = { .datamatch = value, .addr = gpa, .len = 4, .flags = KVM_IOEVENTFD_FLAG_DATAMATCH };
	/* Blocking: a ring's read of it waits; of a file that is set not to block it would fail. */
	int fd = eventfd(0, EFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	io.fd = fd;
	return bind_eventfd(*(const int *)arg, KVM_IOEVENTFD, &io, fd);
}

static int kvm_readonly_page(void *arg, uint64_t gpa, const void *page)
{
	const struct kvm_userspace_memory_region slot = {
		.slot = PAGE_SLOT_FIRST + (uint32_t)((gpa - GUEST_MMIO_BASE) / GUEST_MMIO_STRIDE),
		.flags = KVM_MEM_READONLY,
		.guest_phys_addr = gpa,
		.memory_size = GUEST_MMIO_STRIDE,
		.userspace_addr = (uintptr_t)page,
	};

	return ioctl(*(const int *)arg, KVM_SET_USER_MEMORY_REGION, &slot) ? -errno : 0;
}

static int kvm_add_memory(void *arg, unsigned int n, uint64_t gpa, void *hva, uint64_t len_bytes, bool read_only)
{
	const struct kvm_userspace_memory_region slot = {
		.slot = MEMORY_SLOT_FIRST + n,
		.flags = read_only ? KVM_MEM_READONLY : 0,
		.guest_phys_addr = gpa,
		.memory_size = len_bytes,
		.userspace_addr = (uintptr_t)hva,
	};

	return ioctl(*(const int *)arg, KVM_SET_USER_MEMORY_REGION, &slot) ? -errno : 0;
}

void irq_kvm_ops(struct irq_ops *ops, const int *vm_fd)
{
	*ops = (struct irq_ops){
		.irqfd = kvm_irqfd,
		.ioeventfd = kvm_ioeventfd,
		.readonly_page = kvm_readonly_page,
		.add_memory = kvm_add_memory,
		.arg = (void *)vm_fd,
	};
}
