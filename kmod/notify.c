// SPDX-License-Identifier: GPL-2.0-only
#include <linux/eventfd.h>
#include <linux/file.h>

#include "notify.h"

static int kicked(wait_queue_entry_t *wait, unsigned int mode, int sync, void *key)
{
	if (key_to_poll(key) & EPOLLIN)
		session_wake(container_of(wait, struct kick, wait)->s);
	return 0;
}

static void add_wait(struct file *file, wait_queue_head_t *head, poll_table *table)
{
	struct kick *k = container_of(table, struct kick, table);

	k->head = head;
	add_wait_queue(head, &k->wait);
}

/* The eventfd is never read: each of its signals wakes, whatever it counts. */
int kick_set(struct session *s, struct kick *k, int fd)
{
	struct file *file = eventfd_fget(fd);

	if (IS_ERR(file))
		return PTR_ERR(file);
	k->s = s;
	k->file = file;
	init_waitqueue_func_entry(&k->wait, kicked);
	init_poll_funcptr(&k->table, add_wait);
	vfs_poll(file, &k->table);
	return 0;
}

void kick_clear(struct kick *k)
{
	if (!k->file)
		return;
	if (k->head)
		remove_wait_queue(k->head, &k->wait);
	fput(k->file);
	k->file = NULL;
	k->head = NULL;
}

int call_set(struct eventfd_ctx **call, int fd)
{
	struct eventfd_ctx *ctx = eventfd_ctx_fdget(fd);

	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	*call = ctx;
	return 0;
}

void call_clear(struct eventfd_ctx **call)
{
	if (*call)
		eventfd_ctx_put(*call);
	*call = NULL;
}
