// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/microvm: the module's way in.  Root opens it; what else may happen is asked call by call.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>

#include "compat.h"
#include "uapi/microvm.h"

static long microvm_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	switch (cmd) {
	case MICROVM_GET_VERSION: return arg ? -EINVAL : MICROVM_ABI_VERSION;
	default: return -ENOTTY;
	}
}

static const struct file_operations microvm_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = microvm_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice microvm_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "microvm",
	.fops = &microvm_fops,
	.mode = 0600,
};

module_misc_device(microvm_misc);

MODULE_DESCRIPTION("Accelerator for microVM sandboxes");
MODULE_AUTHOR("The microvm authors");
MODULE_LICENSE("GPL");
