/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/kvm.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/util.h"

/* The bits that the flags of /proc/cpuinfo are made from: leaf 1 ecx 5 is vmx, leaf 0x80000001 ecx 2 is svm. */
bool kvm_cpu_has_virtualization(void)
{
	unsigned int a, b, c, d;

	if (__get_cpuid(1, &a, &b, &c, &d) && (c & (1u << 5)))
		return true;
	return __get_cpuid(0x80000001u, &a, &b, &c, &d) && (c & (1u << 2));
}

static int open_error(int why, struct err *e)
{
	switch (why) {
	case ENOENT:
		return err_set(e, why,
			       KVM_PATH
			       " is not there: load kvm_intel or kvm_amd, turn virtualization on in the firmware, "
			       "or run it in the lab (tests/lab/lab)");
	case EACCES:
	case EPERM:
		return err_set(e, why,
			       KVM_PATH
			       " may not be opened: call microvm as root, and let the container or cgroup you are in "
			       "use the device");
	case ENXIO:
	case ENODEV: return err_set(e, why, KVM_PATH " has no driver behind it: load kvm_intel or kvm_amd");
	default: return err_errno(e, why, "cannot open " KVM_PATH);
	}
}

int kvm_device_open(int *out, struct err *e)
{
	_cleanup_close_ int fd = open(KVM_PATH, O_RDWR | O_CLOEXEC);
	int version;

	if (fd < 0)
		return open_error(errno, e);
	version = ioctl(fd, KVM_GET_API_VERSION, 0);
	if (version < 0)
		return err_set(e, ENODEV, KVM_PATH " is no KVM; remove what is there and load kvm_intel or kvm_amd");
	if (version != KVM_API_VERSION)
		return err_set(e, ENODEV, KVM_PATH " speaks version %d, not %d; use a kernel from 6.1 on", version,
			       KVM_API_VERSION);
	*out = take_fd(&fd);
	return 0;
}
