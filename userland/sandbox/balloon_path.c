/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/balloon_path.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "kmod/uapi/microvm.h"
#include "sandbox/vsock_path.h"

int balloon_module_device_open(int *out, struct err *e)
{
	_cleanup_close_ int fd = -1;
	uint32_t features = 0;
	int r = vsock_module_device_open(&fd, e);

	if (r)
		return r;
	if (ioctl(fd, MICROVM_GET_FEATURES, &features) || !(features & MICROVM_FEATURE_BALLOON))
		return err_set(e, EPROTO, MICROVM_DEVICE " has no balloon; load the module of this installation");
	*out = take_fd(&fd);
	return 0;
}

const char *balloon_path_choose(const char *wanted, bool pressure, int *fd, struct err *e)
{
	const char *env = getenv("MICROVM_BALLOON");

	*fd = -1;
	if (!wanted && env && *env)
		wanted = env;
	if (!wanted)
		wanted = pressure ? "kernel" : "user";
	if (str_eq(wanted, "user") && pressure) {
		err_set(e, EINVAL,
			"--memory-min: only the kernel module knows when the host is short of memory; use "
			"--balloon kernel, or leave it out");
		return NULL;
	}
	if (str_eq(wanted, "user"))
		return "user";
	if (!str_eq(wanted, "kernel")) {
		err_set(e, EINVAL, "--balloon: '%s' is neither user nor kernel", wanted);
		return NULL;
	}
	if (!balloon_module_device_open(fd, e))
		return "kernel";
	err_wrap(e, pressure ? "--memory-min" : "--balloon kernel");
	return NULL;
}
