/* SPDX-License-Identifier: Apache-2.0 */
#include "base/vmspec.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"

static const char *const end_names[] = {
	[VM_END_SHUTDOWN] = "shutdown",		 [VM_END_RESET] = "reset",     [VM_END_TRIPLE_FAULT] = "triple fault",
	[VM_END_PANIC] = "kernel panic",	 [VM_END_STOPPED] = "stopped", [VM_END_KILLED] = "killed",
	[VM_END_SECCOMP] = "denied system call", [VM_END_ERROR] = "error",
};

const char *vm_end_name(uint32_t end)
{
	return end < ARRAY_SIZE(end_names) && end_names[end] ? end_names[end] : "unknown end";
}

void vmspec_init(struct vmspec *spec)
{
	memset(spec, 0, sizeof(*spec));
	spec->magic = VMSPEC_MAGIC;
	spec->version = VMSPEC_VERSION;
	spec->size_bytes = sizeof(*spec);
	spec->vcpus = 1;
	spec->kvm_fd = spec->kernel_fd = spec->initramfs_fd = spec->report_fd = spec->log_fd = spec->parent_fd = -1;
	spec->stop_grace_ms = 10000;
}

struct vmspec_device *vmspec_add(struct vmspec *spec, enum vmspec_device_type type)
{
	struct vmspec_device *dev;
	unsigned int i;

	if (spec->devices_n >= VMSPEC_DEVICES_MAX)
		return NULL;
	dev = &spec->devices[spec->devices_n++];
	memset(dev, 0, sizeof(*dev));
	dev->type = type;
	switch (type) {
	case VMSPEC_BLK: dev->blk.fd = -1; break;
	case VMSPEC_VSOCK:
		dev->vsock.listen_fd = dev->vsock.seq_listen_fd = dev->vsock.module_fd = dev->vsock.vhost_fd = -1;
		break;
	case VMSPEC_BALLOON: dev->balloon.listen_fd = dev->balloon.module_fd = -1; break;
	case VMSPEC_CONSOLE: dev->console.out_fd = dev->console.in_fd = -1; break;
	case VMSPEC_RNG: dev->rng.fd = -1; break;
	case VMSPEC_PMEM: dev->pmem.fd = -1; break;
	case VMSPEC_FS: dev->fs.fd = -1; break;
	case VMSPEC_NET:
		for (i = 0; i < VMSPEC_NET_PAIRS_MAX; i++)
			dev->net.fds[i] = -1;
		break;
	default: break;
	}
	return dev;
}

size_t vmspec_fds(struct vmspec *spec, int32_t *fds[VMSPEC_FDS_MAX])
{
	int32_t *const own[] = { &spec->kvm_fd,	   &spec->kernel_fd, &spec->initramfs_fd,
				 &spec->report_fd, &spec->log_fd,    &spec->parent_fd };
	size_t n = 0, i, j;

	for (i = 0; i < ARRAY_SIZE(own); i++)
		if (*own[i] >= 0)
			fds[n++] = own[i];
	for (i = 0; i < min_t(size_t, spec->devices_n, VMSPEC_DEVICES_MAX); i++) {
		struct vmspec_device *dev = &spec->devices[i];
		int32_t *const first = dev->type == VMSPEC_BLK	     ? &dev->blk.fd
				       : dev->type == VMSPEC_RNG     ? &dev->rng.fd
				       : dev->type == VMSPEC_BALLOON ? &dev->balloon.listen_fd
				       : dev->type == VMSPEC_PMEM    ? &dev->pmem.fd
				       : dev->type == VMSPEC_FS	     ? &dev->fs.fd
				       : dev->type == VMSPEC_VSOCK   ? &dev->vsock.listen_fd
				       : dev->type == VMSPEC_CONSOLE ? &dev->console.out_fd
								     : NULL;

		if (first && *first >= 0)
			fds[n++] = first;
		if (dev->type == VMSPEC_CONSOLE && dev->console.in_fd >= 0)
			fds[n++] = &dev->console.in_fd;
		if (dev->type == VMSPEC_BALLOON && dev->balloon.module_fd >= 0)
			fds[n++] = &dev->balloon.module_fd;
		if (dev->type == VMSPEC_VSOCK && dev->vsock.module_fd >= 0)
			fds[n++] = &dev->vsock.module_fd;
		if (dev->type == VMSPEC_VSOCK && dev->vsock.seq_listen_fd >= 0)
			fds[n++] = &dev->vsock.seq_listen_fd;
		if (dev->type == VMSPEC_VSOCK && dev->vsock.vhost_fd >= 0)
			fds[n++] = &dev->vsock.vhost_fd;
		for (j = 0; dev->type == VMSPEC_VSOCK && j < min_t(size_t, dev->vsock.ports_n, VMSPEC_PORTS_MAX); j++)
			if (dev->vsock.ports[j].fd >= 0)
				fds[n++] = &dev->vsock.ports[j].fd;
		for (j = 0; dev->type == VMSPEC_NET && j < VMSPEC_NET_PAIRS_MAX; j++)
			if (dev->net.fds[j] >= 0)
				fds[n++] = &dev->net.fds[j];
	}
	return n;
}

static int check_vsock(const struct vmspec_device *dev, struct err *e)
{
	uint32_t i, j;

	if (dev->vsock.guest_cid < 3 || dev->vsock.guest_cid >= UINT32_MAX)
		return err_set(e, EINVAL, "vsock: guest CID %llu is outside 3..4294967294",
			       (unsigned long long)dev->vsock.guest_cid);
	if (dev->vsock.vhost_fd >= 0 && (dev->vsock.module_fd >= 0 || dev->vsock.listen_fd >= 0 || dev->vsock.ports_n))
		return err_set(e, EINVAL, "vsock: by vhost-vsock the host's sockets are not the VMM's");
	if (dev->vsock.ports_n > VMSPEC_PORTS_MAX)
		return err_set(e, EINVAL, "vsock: %u host ports, at most %u", dev->vsock.ports_n, VMSPEC_PORTS_MAX);
	for (i = 0; i < dev->vsock.ports_n; i++) {
		if (dev->vsock.ports[i].fd < 0)
			return err_set(e, EBADF, "vsock: host port %u has no file", dev->vsock.ports[i].port);
		for (j = 0; j < i; j++)
			if (dev->vsock.ports[i].port == dev->vsock.ports[j].port)
				return err_set(e, EINVAL, "vsock: host port %u is given twice",
					       dev->vsock.ports[i].port);
	}
	return 0;
}

static int check_fs(const struct vmspec *spec, const struct vmspec_device *dev, struct err *e)
{
	const uint32_t size = dev->fs.queue_size;

	if (dev->fs.fd < 0)
		return err_set(e, EBADF, "fs: no socket");
	if (!dev->fs.tag[0])
		return err_set(e, EINVAL, "fs: no tag");
	if (dev->fs.queues < 1 || dev->fs.queues > spec->vcpus)
		return err_set(e, EINVAL, "fs: %u request queues for %u vCPUs", dev->fs.queues, spec->vcpus);
	if (size & (size - 1) || size > VMSPEC_FS_QUEUE_SIZE_MAX)
		return err_set(e, EINVAL, "fs: a queue size of %u is no power of two up to %u", size,
			       VMSPEC_FS_QUEUE_SIZE_MAX);
	return 0;
}

static int check_net(const struct vmspec *spec, const struct vmspec_device *dev, struct err *e)
{
	uint32_t i;

	if (dev->net.pairs < 1 || dev->net.pairs > min_t(uint32_t, spec->vcpus, VMSPEC_NET_PAIRS_MAX))
		return err_set(e, EINVAL, "net: %u pairs of queues for %u vCPUs", dev->net.pairs, spec->vcpus);
	for (i = 0; i < VMSPEC_NET_PAIRS_MAX; i++)
		if ((dev->net.fds[i] >= 0) != (i < dev->net.pairs))
			return err_set(e, EBADF, "net: a file for each of %u pairs of queues", dev->net.pairs);
	if (dev->net.mac[0] & 1)
		return err_set(e, EINVAL, "net: a MAC that is a group's");
	if (dev->net.mtu < VMSPEC_NET_MTU_MIN || dev->net.mtu > VMSPEC_NET_MTU_MAX)
		return err_set(e, EINVAL, "net: an MTU of %u is outside %u..%u", dev->net.mtu, VMSPEC_NET_MTU_MIN,
			       VMSPEC_NET_MTU_MAX);
	return 0;
}

static int check_device(const struct vmspec *spec, const struct vmspec_device *dev, struct err *e)
{
	uint32_t known = 0;

	switch (dev->type) {
	case VMSPEC_BLK:
		known = dev->flags & VMSPEC_BLK_SLOT ? VMSPEC_BLK_SLOT : VMSPEC_BLK_READONLY | VMSPEC_BLK_DIRECT;
		if (dev->blk.fd < 0)
			return err_set(e, EBADF, "blk: no file");
		if (dev->blk.queues > spec->vcpus)
			return err_set(e, EINVAL, "blk: %u queues for %u vCPUs", dev->blk.queues, spec->vcpus);
		break;
	case VMSPEC_VSOCK:
		if (check_vsock(dev, e))
			return -e->code;
		break;
	case VMSPEC_RNG:
		if (dev->rng.fd < 0)
			return err_set(e, EBADF, "rng: no file");
		break;
	case VMSPEC_BALLOON:
		if (dev->balloon.min_bytes > spec->mem_bytes || (dev->balloon.min_bytes && dev->balloon.module_fd < 0))
			return err_set(e, EINVAL,
				       "balloon: a minimum of %llu MiB is more than there is, or nobody asks",
				       (unsigned long long)(dev->balloon.min_bytes >> 20));
		break;
	case VMSPEC_PMEM:
		known = VMSPEC_PMEM_READONLY;
		if (dev->pmem.fd < 0)
			return err_set(e, EBADF, "pmem: no file");
		break;
	case VMSPEC_FS:
		if (check_fs(spec, dev, e))
			return -e->code;
		break;
	case VMSPEC_NET:
		if (check_net(spec, dev, e))
			return -e->code;
		break;
	default: break;
	}
	if (dev->flags & ~known)
		return err_set(e, EINVAL, "device of type %u: unknown flags 0x%x", dev->type, dev->flags & ~known);
	return 0;
}

int vmspec_check(const struct vmspec *spec, struct err *e)
{
	uint32_t i;

	if (spec->magic != VMSPEC_MAGIC || spec->version != VMSPEC_VERSION || spec->size_bytes != sizeof(*spec))
		return err_set(e, EPROTO, "vmspec is of another version; start microvm-vmm from the same installation");
	if (spec->vcpus < 1 || spec->vcpus > VMSPEC_VCPUS_MAX)
		return err_set(e, EINVAL, "%u vCPUs is outside 1..%u", spec->vcpus, VMSPEC_VCPUS_MAX);
	if (spec->mem_bytes < VMSPEC_MEM_MIN || spec->mem_bytes > VMSPEC_MEM_MAX || spec->mem_bytes % (2u << 20))
		return err_set(e, EINVAL, "guest memory of %llu bytes is not a multiple of 2 MiB from %llu MiB up",
			       (unsigned long long)spec->mem_bytes, (unsigned long long)(VMSPEC_MEM_MIN >> 20));
	if (spec->kvm_fd < 0 || spec->kernel_fd < 0)
		return err_set(e, EBADF, "vmspec names no %s", spec->kvm_fd < 0 ? "KVM" : "kernel");
	if (!memchr(spec->cmdline, 0, sizeof(spec->cmdline)))
		return err_set(e, EINVAL, "kernel command line is over %u bytes", VMSPEC_CMDLINE_MAX - 1);
	if (spec->flags & ~(uint32_t)VMSPEC_NO_JAIL)
		return err_set(e, EINVAL, "vmspec has unknown flags 0x%x", spec->flags);
	if (!(spec->flags & VMSPEC_NO_JAIL) && (!spec->uid || !spec->gid))
		return err_set(e, EINVAL, "a jailed VMM needs a uid and gid of its own");
	if (spec->devices_n > VMSPEC_DEVICES_MAX)
		return err_set(e, EINVAL, "%u devices, at most %u", spec->devices_n, VMSPEC_DEVICES_MAX);
	for (i = 0; i < spec->devices_n; i++)
		if (check_device(spec, &spec->devices[i], e))
			return err_wrap(e, "device %u", i);
	return 0;
}
