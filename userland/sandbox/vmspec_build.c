/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmspec_build.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/guest.h"
#include "base/util.h"
#include "images/cmdline.h"

#define MEM_ALIGN (2ull << 20)
#define GUEST_CID 3u /* each sandbox has a vsock of its own, so all guests have the first free number */
#define STOP_GRACE_MS 2000u
#define VMM_WORDS_LEN 1024u /* of the command line: where each device is, and what the VMM has to say of the clock */

uint32_t vmspec_build_vcpus(uint64_t nano_cpus)
{
	uint64_t n = (nano_cpus + 999999999) / 1000000000;

	return n < 1 ? 1 : n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

static int check_memory(uint64_t bytes, uint64_t min_bytes, uint64_t host_bytes, struct err *e)
{
	if (min_bytes && (min_bytes < SANDBOX_MEM_MIN || min_bytes > bytes))
		return err_set(e, EINVAL,
			       "--memory-min: %llu MiB is outside of what a guest needs and has, %llu..%llu MiB",
			       (unsigned long long)(min_bytes >> 20), (unsigned long long)(SANDBOX_MEM_MIN >> 20),
			       (unsigned long long)(bytes >> 20));
	if (bytes < SANDBOX_MEM_MIN)
		return err_set(e, EINVAL, "--memory: %llu MiB is too small for a guest; give at least %llum",
			       (unsigned long long)(bytes >> 20), (unsigned long long)(SANDBOX_MEM_MIN >> 20));
	if (bytes > host_bytes)
		return err_set(e, EINVAL, "--memory: %llu MiB is more than this host has (%llu MiB); give less",
			       (unsigned long long)(bytes >> 20), (unsigned long long)(host_bytes >> 20));
	return 0;
}

/* More than the host has is slow, not wrong: its scheduler shares. */
static int check_cpus(uint64_t nano_cpus, struct err *e)
{
	/* A quota below 1 ms in 100 ms is nothing the guest's kernel takes. */
	if (nano_cpus && (nano_cpus < 10000000 || nano_cpus > VMSPEC_VCPUS_MAX * 1000000000ull))
		return err_set(e, ERANGE, "--cpus: %llu.%02llu is outside 0.01..%u",
			       (unsigned long long)(nano_cpus / 1000000000),
			       (unsigned long long)(nano_cpus / 10000000 % 100), VMSPEC_VCPUS_MAX);
	return 0;
}

static int build_cmdline(const struct run_options *o, const struct vm_facts *f, struct vmspec *spec, struct err *e)
{
	char port[32] = "";
	int n;

	if (f->vhost_cid)
		snprintf(port, sizeof(port), " microvm.port=%u", f->control_port);
	/* The last word on a thing counts, so the caller's are behind ours. */
	n = snprintf(spec->cmdline, sizeof(spec->cmdline), GUEST_KERNEL_CMDLINE "%s%s%s%s", port,
		     o->debug_console ? " ignore_loglevel" : "", o->kernel_args ? " " : "",
		     o->kernel_args ? o->kernel_args : "");
	if (n < 0 || (size_t)n + VMM_WORDS_LEN > sizeof(spec->cmdline))
		return err_set(e, E2BIG, "the kernel's command line is too long; --kernel-args takes about 700 bytes");
	return 0;
}

/* Behind the image's disk, in the order in which they were given: the guest names them so. */
static void add_disks(const struct vm_facts *f, struct vmspec *spec)
{
	size_t i;

	for (i = 0; i < f->disks_n; i++) {
		struct vmspec_device *dev = vmspec_add(spec, VMSPEC_BLK);

		dev->flags = (f->disks[i].read_only ? VMSPEC_BLK_READONLY : 0) |
			     (f->disks[i].direct ? VMSPEC_BLK_DIRECT : 0);
		dev->blk.fd = f->disk_fds[i];
		dev->blk.queues = spec->vcpus;
		memcpy(dev->blk.serial, f->disks[i].serial, sizeof(dev->blk.serial));
	}
}

/* In the order in which the agent is told of them. */
static void add_interfaces(const struct network *n, struct vmspec *spec)
{
	size_t i;

	for (i = 0; n && n->network && i < n->network->n_interfaces; i++) {
		const Microvm__Interface *iface = n->network->interfaces[i];
		struct vmspec_device *dev = vmspec_add(spec, VMSPEC_NET);

		dev->net.pairs = n->pairs;
		dev->net.mtu = iface->mtu;
		memcpy(dev->net.fds, n->fds[i], sizeof(dev->net.fds));
		memcpy(dev->net.mac, iface->mac.data, sizeof(dev->net.mac));
	}
}

static void add_devices(const struct run_options *o, const struct vm_facts *f, struct vmspec *spec)
{
	struct vmspec_device *dev;

	if (f->rootfs_fd >= 0 && rootfs_is_pmem(o)) {
		dev = vmspec_add(spec, VMSPEC_PMEM);
		dev->flags = VMSPEC_PMEM_READONLY;
		dev->pmem.fd = f->rootfs_fd;
	} else if (f->rootfs_fd >= 0) {
		dev = vmspec_add(spec, VMSPEC_BLK);
		dev->flags = VMSPEC_BLK_READONLY;
		dev->blk.fd = f->rootfs_fd;
		dev->blk.queues = 1;
		snprintf(dev->blk.serial, sizeof(dev->blk.serial), "rootfs");
	}
	add_disks(f, spec);
	if (f->fs_fd >= 0) {
		dev = vmspec_add(spec, VMSPEC_FS);
		dev->fs.fd = f->fs_fd;
		dev->fs.queues = 1;
		memcpy(dev->fs.tag, GUEST_SHARE_TAG, sizeof(GUEST_SHARE_TAG));
	}
	if (f->balloon_fd >= 0) {
		dev = vmspec_add(spec, VMSPEC_BALLOON);
		dev->balloon.listen_fd = f->balloon_fd;
		dev->balloon.module_fd = f->balloon_module_fd;
		dev->balloon.min_bytes = ALIGN_UP(o->mem_min_bytes, 4096);
	}
	add_interfaces(f->network, spec);
	if (f->slots)
		slots_add_devices(f->slots, spec);
	dev = vmspec_add(spec, VMSPEC_VSOCK);
	if (f->vhost_cid) {
		dev->vsock.guest_cid = f->vhost_cid;
		dev->vsock.vhost_fd = f->module_fd;
		return;
	}
	dev->vsock.guest_cid = GUEST_CID;
	dev->vsock.listen_fd = f->listen_fd;
	dev->vsock.seq_listen_fd = f->seq_listen_fd;
	dev->vsock.module_fd = f->module_fd;
	if (f->control_fd >= 0) {
		dev->vsock.ports_n = 1;
		dev->vsock.ports[0].port = GUEST_CONTROL_PORT;
		dev->vsock.ports[0].fd = f->control_fd;
	}
}

int vmspec_build(const struct run_options *o, const struct vm_facts *f, struct vmspec *spec, struct err *e)
{
	int r;

	vmspec_init(spec);
	r = check_memory(o->mem_bytes, o->mem_min_bytes, f->host_mem_bytes, e);
	if (!r)
		r = check_cpus(o->nano_cpus, e);
	if (!r)
		r = build_cmdline(o, f, spec, e);
	if (r)
		return r;
	spec->mem_bytes = ALIGN_UP(o->mem_bytes, MEM_ALIGN);
	spec->vcpus = vmspec_build_vcpus(o->nano_cpus);
	spec->kvm_fd = f->kvm_fd;
	spec->kernel_fd = f->kernel_fd;
	spec->initramfs_fd = f->initramfs_fd;
	spec->report_fd = f->report_fd;
	spec->log_fd = f->log_fd;
	spec->parent_fd = f->parent_fd;
	spec->uid = spec->gid = f->uid;
	spec->stop_grace_ms = STOP_GRACE_MS;
	add_devices(o, f, spec);
	return vmspec_check(spec, e);
}
