/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vsock_path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "kmod/uapi/microvm.h"

int vsock_module_device_open(int *out, struct err *e)
{
	/* Not to block: the VMM reads it in its loop. */
	_cleanup_close_ int fd = open(MICROVM_DEVICE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	uint32_t features = 0;
	int version;

	if (fd < 0 && errno == ENOENT)
		return err_set(
			e, ENOENT,
			MICROVM_DEVICE
			" is not there: the kernel module is not loaded; 'make kmod' builds it, insmod loads it");
	if (fd < 0)
		return err_errno(e, errno, "cannot open " MICROVM_DEVICE);
	version = ioctl(fd, MICROVM_GET_VERSION, 0);
	if (version < MICROVM_ABI_VERSION)
		return err_set(e, EPROTO,
			       MICROVM_DEVICE
			       " speaks version %d, and version %d is needed; load the module of this installation",
			       version, MICROVM_ABI_VERSION);
	if (ioctl(fd, MICROVM_GET_FEATURES, &features) || !(features & MICROVM_FEATURE_VSOCK))
		return err_set(e, EPROTO, MICROVM_DEVICE " has no vsock; load the module of this installation");
	*out = take_fd(&fd);
	return 0;
}

const char *vsock_path_choose(const char *wanted, int *fd, struct err *e)
{
	const char *env = getenv("MICROVM_VSOCK");

	*fd = -1;
	if (!wanted && env && *env)
		wanted = env;
	if (!wanted || str_eq(wanted, VSOCK_PATH_USER))
		return VSOCK_PATH_USER;
	if (!str_eq(wanted, VSOCK_PATH_KERNEL)) {
		err_set(e, EINVAL, "--vsock: '%s' is neither user nor kernel", wanted);
		return NULL;
	}
	if (!vsock_module_device_open(fd, e))
		return VSOCK_PATH_KERNEL;
	err_wrap(e, "--vsock kernel");
	return NULL;
}
