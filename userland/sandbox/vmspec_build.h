/* SPDX-License-Identifier: Apache-2.0 */
/* Options and facts about the host to what a VMM is told. Pure: opens nothing, asks nobody. */
#ifndef SANDBOX_VMSPEC_BUILD_H
#define SANDBOX_VMSPEC_BUILD_H

#include <stdint.h>

#include "base/err.h"
#include "base/vmspec.h"
#include "sandbox/network.h"
#include "sandbox/options.h"
#include "sandbox/shares.h"
#include "sandbox/slots.h"

struct vm_facts {
	int kvm_fd, kernel_fd, initramfs_fd;
	int report_fd, log_fd, parent_fd;
	int rootfs_fd;	       /* the image's EROFS; -1: none */
	int listen_fd;	       /* for other processes that want to reach the agent */
	int seq_listen_fd;     /* the same for messages; -1: none */
	int balloon_fd;	       /* for those that ask or say how much memory there is; -1: the guest has no balloon */
	int module_fd;	       /* /dev/microvm; -1: the VMM moves the streams' payload */
	int balloon_module_fd; /* another; -1: the VMM gives the guest's pages back */
	int control_fd;	       /* our end's peer: what the agent connects to */
	uint32_t vhost_cid;    /* the guest's, of /dev/vhost-vsock, which module_fd is then; 0: streams go otherwise */
	uint32_t control_port; /* of the host: what the agent connects to then */
	const struct disk *disks;
	const int *disk_fds; /* as many */
	size_t disks_n;
	struct slots *slots;	       /* for disks that come later; it gets their places */
	const struct network *network; /* NULL: there is none */
	int fs_fd;		       /* connected to the file server; -1: none */
	uint32_t uid;
	uint64_t host_mem_bytes;
};

/* The CPUs that a guest gets for so many billionths: rounded up, at least one. */
uint32_t vmspec_build_vcpus(uint64_t nano_cpus);

/* -EINVAL, -ERANGE: an option is out of what the host or a VM has; the message names it. */
int vmspec_build(const struct run_options *o, const struct vm_facts *f, struct vmspec *spec, struct err *e);

#endif
