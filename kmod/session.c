// SPDX-License-Identifier: GPL-2.0-only
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cgroup.h>
#include <linux/kthread.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "session.h"

#define JOIN_AFTER_WAKEUPS 256u

struct session *session_new(void)
{
	struct session *s = kzalloc(sizeof(*s), GFP_KERNEL_ACCOUNT);

	if (!s)
		return NULL;
	mutex_init(&s->lock);
	spin_lock_init(&s->ready_lock);
	init_waitqueue_head(&s->readers);
	INIT_LIST_HEAD(&s->events);
	INIT_LIST_HEAD(&s->free_events);
	INIT_LIST_HEAD(&s->flows);
	INIT_LIST_HEAD(&s->saying);
	INIT_LIST_HEAD(&s->ready);
	timer_setup(&s->tx_timer, vsock_tx_timeout, 0);
	return s;
}

void session_free(struct session *s)
{
	session_end(s);
	kfree(s);
}

/* ---- the thread ---------------------------------------------------------------------------------------------------- */

void session_wake(struct session *s)
{
	struct task_struct *worker;

	if (test_and_set_bit(0, &s->work))
		return;
	worker = READ_ONCE(s->worker);
	if (worker)
		wake_up_process(worker);
}

static void work(struct session *s)
{
	const struct cred *old;
	bool more, woken = true;

	/* A session does not keep the memory of an owner that is dying. */
	if (!mmget_not_zero(s->mm)) {
		clear_bit(0, &s->work);
		return;
	}
	kthread_use_mm(s->mm);
	/* What a stream's reader is told of the writer is the owner, not the kernel. */
	old = override_creds(s->cred);
	do {
		clear_bit(0, &s->work);
		/* Pairs with session_wake(): what was there before the bit was set is seen below. */
		smp_mb__after_atomic();
		mutex_lock(&s->lock);
		s->wakeups += woken;
		woken = false;
		more = vsock_serve(s);
		more |= balloon_serve(s);
		mutex_unlock(&s->lock);
		cond_resched();
	} while ((more || test_bit(0, &s->work)) && !kthread_should_stop());
	if (more)
		set_bit(0, &s->work);
	revert_creds(old);
	kthread_unuse_mm(s->mm);
	mmput(s->mm);
}

/*
 * The thread's time is to be counted in its owner's cgroups. To move there takes a grace period of RCU, which a guest that
 * starts should not wait for, and which the thread of one that says little need not.
 */
static void join_owner(struct session *s)
{
	if (!s->owner || s->wakeups < JOIN_AFTER_WAKEUPS)
		return;
	if (cgroup_attach_task_all(s->owner, current))
		pr_warn_ratelimited("a thread stays in the root cgroup\n");
	put_task_struct(s->owner);
	s->owner = NULL;
}

static int worker_main(void *arg)
{
	struct session *s = arg;

	while (!kthread_should_stop()) {
		set_current_state(TASK_IDLE);
		if (!test_bit(0, &s->work)) {
			if (!kthread_should_stop())
				schedule();
			continue;
		}
		__set_current_state(TASK_RUNNING);
		work(s);
		join_owner(s);
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}

/* ---- owner --------------------------------------------------------------------------------------------------------- */

int session_check_owner(const struct session *s)
{
	if (s->ended)
		return -ESHUTDOWN;
	if (!s->mm)
		return -ENXIO;
	return s->mm == current->mm ? 0 : -EPERM;
}

static int make_stock(struct session *s)
{
	unsigned int i;

	s->stock = kvcalloc(EVENTS_MAX, sizeof(*s->stock), GFP_KERNEL_ACCOUNT);
	s->packets = kvcalloc(PACKETS_MAX, sizeof(*s->packets), GFP_KERNEL_ACCOUNT);
	s->buckets = kvcalloc(FLOW_BUCKETS, sizeof(*s->buckets), GFP_KERNEL_ACCOUNT);
	s->batch = kvzalloc(sizeof(*s->batch), GFP_KERNEL_ACCOUNT);
	if (!s->stock || !s->packets || !s->buckets || !s->batch)
		return -ENOMEM;
	for (i = 0; i < EVENTS_MAX; i++)
		list_add_tail(&s->stock[i].node, &s->free_events);
	return 0;
}

static void free_stock(struct session *s)
{
	INIT_LIST_HEAD(&s->free_events);
	kvfree(s->stock);
	kvfree(s->packets);
	kvfree(s->buckets);
	kvfree(s->batch);
	s->stock = NULL;
	s->packets = NULL;
	s->buckets = NULL;
	s->batch = NULL;
}

static void drop_owner(struct session *s)
{
	if (s->owner)
		put_task_struct(s->owner);
	s->owner = NULL;
	put_cred(s->cred);
	mmdrop(s->mm);
	s->mm = NULL;
}

int session_set_memory(struct session *s, const struct microvm_memory *memory)
{
	struct task_struct *worker;
	int ret;

	if (s->ended)
		return -ESHUTDOWN;
	if (s->mm)
		return -EBUSY;
	ret = mem_map_init(&s->mem, memory);
	if (!ret)
		ret = make_stock(s);
	if (ret)
		goto free_stock;
	s->mm = current->mm;
	mmgrab(s->mm);
	s->cred = get_current_cred();
	s->files = current->files;
	s->owner = get_task_struct(current);
	worker = kthread_run(worker_main, s, "microvm-%d", task_tgid_nr(current));
	if (IS_ERR(worker)) {
		ret = PTR_ERR(worker);
		goto drop_owner;
	}
	WRITE_ONCE(s->worker, worker);
	return 0;

drop_owner:
	drop_owner(s);
free_stock:
	free_stock(s);
	return ret;
}

void session_end(struct session *s)
{
	struct task_struct *worker;

	mutex_lock(&s->lock);
	if (s->ended) { /* or by another that closes it just now */
		mutex_unlock(&s->lock);
		return;
	}
	s->ended = true;
	worker = s->worker;
	WRITE_ONCE(s->worker, NULL);
	mutex_unlock(&s->lock);
	/* Not under the lock, which the thread may be waiting for. Who wakes it still is a callback that vsock_stop() ends. */
	if (worker) {
		get_task_struct(worker);
		kthread_stop(worker);
	}
	mutex_lock(&s->lock);
	if (s->mm) {
		vsock_stop(s);
		balloon_stop(s);
		pressure_end(s);
		while (!list_empty(&s->flows))
			flow_free(list_first_entry(&s->flows, struct flow, all));
		free_stock(s);
		drop_owner(s);
	}
	mutex_unlock(&s->lock);
	if (worker)
		put_task_struct(worker);
	wake_up_interruptible_poll(&s->readers, EPOLLHUP);
}

/* ---- up ------------------------------------------------------------------------------------------------------------ */

struct event *session_spare_event(struct session *s)
{
	return list_first_entry_or_null(&s->free_events, struct event, node);
}

void session_tell(struct session *s, struct event *e)
{
	list_move_tail(&e->node, &s->events);
	s->events_n++;
	wake_up_interruptible_poll(&s->readers, EPOLLIN | EPOLLRDNORM);
}

void session_tell_broken(struct session *s, int ret)
{
	struct event *e = session_spare_event(s);

	/* Should all wait to be read, then the last of the packets makes place: there is nobody to answer it any more. */
	if (!e)
		e = list_last_entry(&s->events, struct event, node);
	e->ev = (struct microvm_event){ .type = MICROVM_EVENT_BROKEN, .reason = ret };
	session_tell(s, e);
}

static void event_done(struct session *s, struct event *e)
{
	struct flow *f = e->flow;

	if (f) {
		list_del_init(&e->node);
		flow_forget(f);
		return;
	}
	/* The guest's queue may have waited for it. */
	if (list_empty(&s->free_events))
		session_wake(s);
	list_move(&e->node, &s->free_events);
}

void session_drop_events(struct session *s)
{
	while (!list_empty(&s->events))
		event_done(s, list_first_entry(&s->events, struct event, node));
}

static ssize_t read_events(struct session *s, char __user *to, size_t len)
{
	ssize_t done = 0;

	while (len - done >= sizeof(struct microvm_event) && !list_empty(&s->events)) {
		struct event *e = list_first_entry(&s->events, struct event, node);

		if (copy_to_user(to + done, &e->ev, sizeof(e->ev)))
			return done ?: -EFAULT;
		done += sizeof(e->ev);
		event_done(s, e);
	}
	return done;
}

ssize_t session_read(struct file *file, char __user *to, size_t len, loff_t *at)
{
	struct session *s = file->private_data;
	ssize_t ret;

	if (len < sizeof(struct microvm_event))
		return -EINVAL;
	for (;;) {
		mutex_lock(&s->lock);
		ret = session_check_owner(s);
		if (!ret)
			ret = read_events(s, to, len);
		mutex_unlock(&s->lock);
		if (ret)
			return ret;
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		if (wait_event_interruptible(s->readers, !list_empty_careful(&s->events) ||
								 READ_ONCE(s->ended)))
			return -ERESTARTSYS;
	}
}
