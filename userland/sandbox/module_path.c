/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/module_path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "kmod/uapi/microvm.h"
#include "sandbox/vhost.h"

static const struct {
	const char *option, *env, *what;
	uint32_t feature;
} parts[] = {
	[MODULE_VSOCK] = { "--vsock", "MICROVM_VSOCK", "vsock", MICROVM_FEATURE_VSOCK },
	[MODULE_BALLOON] = { "--balloon", "MICROVM_BALLOON", "balloon", MICROVM_FEATURE_BALLOON },
};

int module_open(enum module_part part, int *out, struct err *e)
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
	if (ioctl(fd, MICROVM_GET_FEATURES, &features) || !(features & parts[part].feature))
		return err_set(e, EPROTO, MICROVM_DEVICE " has no %s; load the module of this installation",
			       parts[part].what);
	*out = take_fd(&fd);
	return 0;
}

const char *module_path_choose(enum module_part part, const char *wanted, const char *otherwise, int *fd, struct err *e)
{
	const char *env = getenv(parts[part].env);

	*fd = -1;
	if (!wanted)
		wanted = env && *env ? env : otherwise;
	/* Why not is for `check` to say. */
	if (!wanted)
		return module_open(part, fd, &(struct err)ERR_INIT) ? MODULE_PATH_USER : MODULE_PATH_KERNEL;
	if (str_eq(wanted, MODULE_PATH_USER))
		return MODULE_PATH_USER;
	if (part == MODULE_VSOCK && str_eq(wanted, MODULE_PATH_VHOST)) {
		if (!vhost_open(fd, e))
			return MODULE_PATH_VHOST;
		err_wrap(e, "%s vhost", parts[part].option);
		return NULL;
	}
	if (!str_eq(wanted, MODULE_PATH_KERNEL)) {
		err_set(e, EINVAL, "%s: '%s' is %s", parts[part].option, wanted,
			part == MODULE_VSOCK ? "none of user, kernel and vhost" : "neither user nor kernel");
		return NULL;
	}
	if (!module_open(part, fd, e))
		return MODULE_PATH_KERNEL;
	err_wrap(e, "%s kernel", parts[part].option);
	return NULL;
}
