// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/microvm: the module's way in.  Root opens it; what else may happen is asked call by call.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#include "session.h"

static int microvm_open(struct inode *inode, struct file *file)
{
	struct session *s = session_new();

	if (!s)
		return -ENOMEM;
	file->private_data = s;
	return stream_open(inode, file);
}

/* Each close of a descriptor; of the owner's, whoever else has the file. */
static int microvm_flush(struct file *file, fl_owner_t id)
{
	struct session *s = file->private_data;
	bool owner;

	mutex_lock(&s->lock);
	owner = s->mm && s->files == id;
	mutex_unlock(&s->lock);
	if (owner)
		session_end(s);
	return 0;
}

static int microvm_release(struct inode *inode, struct file *file)
{
	session_free(file->private_data);
	return 0;
}

static ssize_t microvm_write(struct file *file, const char __user *from, size_t len, loff_t *at)
{
	struct session *s = file->private_data;
	struct virtio_vsock_hdr h;
	ssize_t done = 0;
	int ret = 0;

	if (!len || len % sizeof(h))
		return -EINVAL;
	while (!ret && done < len) {
		if (copy_from_user(&h, from + done, sizeof(h)))
			return done ?: -EFAULT;
		mutex_lock(&s->lock);
		ret = session_check_owner(s);
		if (!ret)
			ret = vsock_write_packet(s, &h);
		mutex_unlock(&s->lock);
		if (!ret)
			done += sizeof(h);
	}
	return done ?: ret;
}

static __poll_t microvm_poll(struct file *file, poll_table *table)
{
	struct session *s = file->private_data;
	__poll_t mask = 0;

	poll_wait(file, &s->readers, table);
	mutex_lock(&s->lock);
	if (!list_empty(&s->events))
		mask |= EPOLLIN | EPOLLRDNORM;
	if (s->running && s->packets_n < PACKETS_MAX)
		mask |= EPOLLOUT | EPOLLWRNORM;
	if (s->ended)
		mask |= EPOLLHUP;
	mutex_unlock(&s->lock);
	return mask;
}

static int get_flow(struct session *s, struct microvm_flow *flow)
{
	struct flow *f = NULL;

	if (s->ended)
		return -ESHUTDOWN;
	if (s->buckets)
		f = flow_find(s, flow->guest_port, flow->host_port);
	if (!f)
		return -ENOENT;
	flow_describe(f, flow);
	return 0;
}

static int get_stats(struct session *s, struct microvm_stats *stats)
{
	*stats = (struct microvm_stats){
		.wakeups = s->wakeups,
		.interrupts = s->interrupts,
		.to_guest_bytes = s->to_guest_bytes,
		.from_guest_bytes = s->from_guest_bytes,
		.to_guest_packets = s->to_guest_packets,
		.from_guest_packets = s->from_guest_packets,
		.events = s->events_n,
		.written = s->written,
		.flows = s->flows_n,
		.pending_bytes = s->pending,
	};
	return 0;
}

union call {
	u32 features;
	struct microvm_memory memory;
	struct microvm_vsock vsock;
	struct microvm_flow flow;
	struct microvm_flow_id id;
	struct microvm_stats stats;
	struct microvm_balloon balloon;
	struct microvm_balloon_state balloon_state;
	struct microvm_pressure pressure;
};

/* Calls that the owner alone may make. */
static int owner_call(struct session *s, unsigned int cmd, union call *c)
{
	int ret = session_check_owner(s);

	if (ret)
		return ret;
	switch (cmd) {
	case MICROVM_SET_VSOCK:
		return vsock_set(s, &c->vsock);
	case MICROVM_STOP_VSOCK:
		vsock_stop(s);
		return 0;
	case MICROVM_ATTACH_FLOW:
		return flow_attach(s, &c->flow);
	case MICROVM_START_FLOW:
		return flow_start(s, &c->id);
	case MICROVM_DETACH_FLOW:
		return flow_detach(s, &c->flow);
	case MICROVM_SET_BALLOON:
		return balloon_set(s, &c->balloon);
	case MICROVM_STOP_BALLOON:
		balloon_stop(s);
		return 0;
	case MICROVM_GET_BALLOON:
		return balloon_get(s, &c->balloon_state);
	case MICROVM_PRESSURE:
		return pressure_exchange(s, &c->pressure);
	default:
		return -ENOTTY;
	}
}

static int call(struct session *s, unsigned int cmd, union call *c)
{
	switch (cmd) {
	case MICROVM_GET_FEATURES:
		c->features =
			MICROVM_FEATURE_VSOCK | MICROVM_FEATURE_BALLOON | MICROVM_FEATURE_SEQPACKET;
		return 0;
	case MICROVM_SET_MEMORY:
		return session_set_memory(s, &c->memory);
	case MICROVM_GET_FLOW:
		return get_flow(s, &c->flow);
	case MICROVM_GET_STATS:
		return get_stats(s, &c->stats);
	default:
		return owner_call(s, cmd, c);
	}
}

static long microvm_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct session *s = file->private_data;
	const size_t size = _IOC_SIZE(cmd);
	union call c = {};
	int ret;

	if (cmd == MICROVM_GET_VERSION)
		return arg ? -EINVAL : MICROVM_ABI_VERSION;
	if (_IOC_TYPE(cmd) != MICROVM_IOC_MAGIC || size > sizeof(c))
		return -ENOTTY;
	if (_IOC_DIR(cmd) == _IOC_NONE && arg)
		return -EINVAL;
	if ((_IOC_DIR(cmd) & _IOC_WRITE) && copy_from_user(&c, (void __user *)arg, size))
		return -EFAULT;
	mutex_lock(&s->lock);
	ret = call(s, cmd, &c);
	mutex_unlock(&s->lock);
	if (!ret && (_IOC_DIR(cmd) & _IOC_READ) && copy_to_user((void __user *)arg, &c, size))
		return -EFAULT;
	return ret;
}

static const struct file_operations microvm_fops = {
	.owner = THIS_MODULE,
	.open = microvm_open,
	.flush = microvm_flush,
	.release = microvm_release,
	.read = session_read,
	.write = microvm_write,
	.poll = microvm_poll,
	.unlocked_ioctl = microvm_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice microvm_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "microvm",
	.fops = &microvm_fops,
	.mode = 0600,
};

static int __init microvm_init(void)
{
	int ret = pressure_init();

	if (ret)
		return ret;
	ret = misc_register(&microvm_misc);
	if (ret)
		pressure_exit();
	return ret;
}

static void __exit microvm_exit(void)
{
	misc_deregister(&microvm_misc);
	pressure_exit();
}

module_init(microvm_init);
module_exit(microvm_exit);

MODULE_DESCRIPTION("Accelerator for microVM sandboxes");
MODULE_AUTHOR("The microvm authors");
MODULE_LICENSE("GPL");
