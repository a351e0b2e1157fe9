// SPDX-License-Identifier: GPL-2.0-only
/* The host streams of flows: their news, what goes to them, their end. */
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/net.h>
#include <linux/slab.h>
#include <net/sock.h>

#include "session.h"

#define ALWAYS (EPOLLHUP | EPOLLERR | EPOLLRDHUP)
#define INPUT (EPOLLIN | EPOLLRDNORM)
#define OUTPUT (EPOLLOUT | EPOLLWRNORM)

int flow_take_stream(struct flow *f, int fd)
{
	struct file *file = fget(fd), *own;

	if (!file)
		return -EBADF;
	f->sock = sock_from_file(file);
	/* Of messages, Unix ones alone are known to be taken whole or not at all. */
	f->seq = f->sock && f->sock->type == SOCK_SEQPACKET && f->sock->ops->family == PF_UNIX;
	if (f->sock && (f->seq || f->sock->type == SOCK_STREAM) && f->sock->state == SS_CONNECTED) {
		f->file = file;
		/* Room for all that the guest may send at once. */
		if (f->sock->ops->family == PF_UNIX && f->sock->sk->sk_sndbuf < f->credit.buf_alloc)
			WRITE_ONCE(f->sock->sk->sk_sndbuf, f->credit.buf_alloc);
		return 0;
	}
	if (!f->sock && S_ISFIFO(file_inode(file)->i_mode) && (file->f_mode & FMODE_WRITE)) {
		own = dentry_open(&file->f_path, O_WRONLY | O_NONBLOCK | O_LARGEFILE,
				  current_cred());
		fput(file);
		f->file = IS_ERR(own) ? NULL : own;
		return PTR_ERR_OR_ZERO(own);
	}
	f->sock = NULL;
	fput(file);
	return -ENOTSOCK;
}

/* ---- news of a stream ---------------------------------------------------------------------------------------------- */

void flow_mark_ready(struct flow *f)
{
	struct session *s = f->s;
	unsigned long flags;

	spin_lock_irqsave(&s->ready_lock, flags);
	if (list_empty(&f->ready))
		list_add_tail(&f->ready, &s->ready);
	spin_unlock_irqrestore(&s->ready_lock, flags);
	session_wake(s);
}

/* In any context, under the wait queue's lock. */
static int have_news(wait_queue_entry_t *wait, unsigned int mode, int sync, void *key)
{
	struct flow *f = container_of(wait, struct flow, wait);
	const __poll_t mask = key_to_poll(key);

	/* A stream's end comes without a mask. */
	if (!mask || (mask & ALWAYS))
		WRITE_ONCE(f->ending, true);
	if (!mask || (mask & READ_ONCE(f->interest)))
		flow_mark_ready(f);
	return 0;
}

struct flow_table {
	poll_table table;
	struct flow *f;
};

static void add_wait(struct file *file, wait_queue_head_t *head, poll_table *table)
{
	struct flow *f = container_of(table, struct flow_table, table)->f;

	/* Sockets have one queue, and so has a pipe's writing end. */
	if (f->wait_head)
		return;
	f->wait_head = head;
	add_wait_queue(head, &f->wait);
}

void flow_listen(struct flow *f)
{
	struct flow_table t = { .f = f };

	init_waitqueue_func_entry(&f->wait, have_news);
	init_poll_funcptr(&t.table, add_wait);
	if (vfs_poll(f->file, &t.table) & ALWAYS)
		WRITE_ONCE(f->ending, true);
}

bool flow_reading(const struct flow *f)
{
	return f->attached && !f->held && f->sock && !(f->closed & VIRTIO_VSOCK_SHUTDOWN_SEND) &&
	       !(f->peer_closed & VIRTIO_VSOCK_SHUTDOWN_RCV);
}

/* It waits, or the guest waits, for the stream to take more. */
static bool wants_room(const struct flow *f)
{
	return f->len > f->open || (credit_tell(&f->credit) && !(f->say & SAY_CREDIT));
}

void flow_set_interest(struct flow *f)
{
	WRITE_ONCE(f->interest,
		   ALWAYS | (flow_reading(f) ? INPUT : 0) | (wants_room(f) ? OUTPUT : 0));
	/* A callback sees the new mask, or what it stands for is seen by who asks the stream after this. */
	smp_mb();
}

/* Has the stream room, or else do its news wake the thread? */
static bool has_room(struct flow *f)
{
	if (vfs_poll(f->file, NULL) & OUTPUT)
		return true;
	flow_set_interest(f);
	return vfs_poll(f->file, NULL) & OUTPUT;
}

static bool host_hung_up(const struct flow *f)
{
	return vfs_poll(f->file, NULL) & (EPOLLHUP | EPOLLERR);
}

void flow_let_stream_go(struct flow *f)
{
	struct session *s = f->s;

	if (f->wait_head)
		remove_wait_queue(f->wait_head, &f->wait);
	f->wait_head = NULL;
	spin_lock_irq(&s->ready_lock);
	list_del_init(&f->ready);
	spin_unlock_irq(&s->ready_lock);
	if (f->file)
		fput(f->file);
	f->file = NULL;
	f->sock = NULL;
}

/* ---- to the stream ------------------------------------------------------------------------------------------------- */

/* flags: of a message's last packet. */
static int stream_write(struct flow *f, struct iov_iter *iter, u32 flags)
{
	struct msghdr msg = { .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL };
	loff_t at = 0;
	int ret;

	if (f->sock) {
		if (flags & VIRTIO_VSOCK_SEQ_EOR)
			msg.msg_flags |= MSG_EOR;
		msg.msg_iter = *iter;
		ret = sock_sendmsg(f->sock, &msg);
	} else {
		ret = vfs_iter_write(f->file, iter, &at, 0);
	}
	switch (ret) {
	case -EAGAIN:
	case -EINTR:
	case -ERESTARTSYS:
	case -ENOBUFS:
	case -ENOMEM:
		return 0;
	default:
		return ret;
	}
}

int flow_read(struct flow *f, struct iovec *iov, unsigned int n, size_t len)
{
	struct msghdr msg = {};
	int ret;

	iov_iter_init(&msg.msg_iter, ITER_DEST, iov, n, len);
	ret = sock_recvmsg(f->sock, &msg, MSG_DONTWAIT);
	return ret == -ERESTARTSYS || ret == -EINTR ? -EAGAIN : ret;
}

void flow_buffer_free(struct flow *f)
{
	f->s->pending -= f->len;
	f->s->buffers -= f->size;
	kvfree(f->buf);
	f->buf = NULL;
	f->size = 0;
	f->at = 0;
	f->len = 0;
	f->open = 0;
}

/* Room for len more bytes behind those that wait. false: no memory, or more than all flows may hold. */
static bool buffer_room(struct flow *f, u32 len)
{
	u32 size = max(f->size, BUFFER_MIN);
	u8 *buf = f->buf;

	if (f->at + f->len + len <= f->size)
		return true;
	while (size < f->len + len)
		size *= 2;
	if (size > f->size) {
		if (size - f->size > BUFFERS_MAX - f->s->buffers)
			return false;
		buf = kvmalloc(size, GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
		if (!buf)
			return false;
	}
	if (f->len)
		memmove(buf, f->buf + f->at, f->len);
	if (buf != f->buf) {
		kvfree(f->buf);
		f->s->buffers += size - f->size;
		f->buf = buf;
		f->size = size;
	}
	f->at = 0;
	return true;
}

void flow_forwarded(struct flow *f, u32 len)
{
	f->credit.forwarded += len;
	/* While the stream is full, more from the guest would have to be kept, and copied twice. */
	if (f->attached && credit_tell(&f->credit) && (f->held || has_room(f)))
		flow_say(f, SAY_CREDIT);
}

/* The guest's end is passed on when all before it has been. */
static void pass_end(struct flow *f)
{
	if (f->len || f->write_shut || f->held || !(f->peer_closed & VIRTIO_VSOCK_SHUTDOWN_SEND))
		return;
	f->write_shut = true;
	if (f->sock)
		kernel_sock_shutdown(f->sock, SHUT_WR);
	else
		flow_host_gone(f);
}

/* Gives the stream what it takes of what waits. */
static void drain(struct flow *f)
{
	while (f->len > f->open) {
		u32 flags = 0, len = f->len, skip = f->seq ? message_next(f, &len, &flags) : 0;
		struct kvec vec = { .iov_base = f->buf + f->at + skip, .iov_len = len };
		struct iov_iter iter;
		int n;

		iov_iter_kvec(&iter, ITER_SOURCE, &vec, 1, len);
		n = stream_write(f, &iter, flags);
		if (n < 0) {
			flow_buffer_free(f);
			flow_host_gone(f);
			return;
		}
		if (!n)
			return;
		f->at += skip + n;
		f->len -= skip + n;
		f->s->pending -= skip + n;
		flow_forwarded(f, n);
	}
	if (!f->len)
		flow_buffer_free(f);
	pass_end(f);
}

/* Behind what waits, if it must: as one more record, as more of the last one, or just so. */
static int keep(struct flow *f, struct iovec *iov, unsigned int n, u32 len, u32 flags)
{
	const bool idle = f->len == f->open;
	u32 head = f->seq ? message_head(f) : 0;

	if (!buffer_room(f, head + len))
		return MICROVM_END_MEMORY;
	if (iov_read(f->buf + f->at + f->len + head, iov, n, len))
		return MICROVM_END_RULES;
	f->len += head + len;
	f->s->pending += head + len;
	if (f->seq)
		message_kept(f, head + len, flags);
	if (idle && f->len > f->open) {
		/* There may be room since. */
		if (!f->held && has_room(f))
			flow_mark_ready(f);
	}
	return 0;
}

int flow_from_guest(struct flow *f, struct iovec *iov, unsigned int n, u32 len, u32 flags)
{
	/* A message that does not come at once is given to nobody before its end. */
	const bool now = !f->seq || (!f->open && (flags & VIRTIO_VSOCK_SEQ_EOM));
	struct iov_iter iter;
	int sent = 0, end = 0;

	if (!len && !f->open)
		return 0;
	f->from_guest_bytes += len;
	f->s->from_guest_bytes += len;
	if (!f->len && !f->held && now) {
		iov_iter_init(&iter, ITER_SOURCE, iov, n, len);
		sent = stream_write(f, &iter, f->seq ? flags : 0);
	}
	if (sent == -EFAULT)
		return MICROVM_END_RULES;
	if (sent < 0) {
		flow_host_gone(f);
		return 0;
	}
	if (sent < len || f->open) {
		n = iov_cut(&iov, n, sent, len - sent);
		end = keep(f, iov, n, len - sent, flags);
	}
	if (!end)
		flow_forwarded(f, sent);
	return end;
}

void flow_peer_closed(struct flow *f)
{
	if (f->peer_closed & VIRTIO_VSOCK_SHUTDOWN_SEND)
		message_drop_open(f);
	if (f->held)
		return;
	if ((f->peer_closed & VIRTIO_VSOCK_SHUTDOWN_RCV) && f->sock) {
		flow_unsay(f, SAY_DATA);
		kernel_sock_shutdown(f->sock, SHUT_RD);
	}
	pass_end(f);
	if (f->file)
		flow_set_interest(f);
	if (f->attached && f->peer_closed == VSOCK_SHUTDOWN_BOTH)
		flow_end(f, MICROVM_END_PEER_DONE);
}

/* ---- the stream's end ---------------------------------------------------------------------------------------------- */

void flow_host_eof(struct flow *f)
{
	f->closed |= VIRTIO_VSOCK_SHUTDOWN_SEND;
	if (host_hung_up(f)) {
		flow_host_gone(f);
		return;
	}
	flow_set_interest(f);
	flow_say(f, SAY_SHUTDOWN);
}

/* Neither reads nor writes any more. */
void flow_host_gone(struct flow *f)
{
	if (f->len) {
		f->credit.forwarded += f->len;
		flow_buffer_free(f);
	}
	if (!f->attached)
		return;
	f->credit.forwarded = f->credit.received;
	f->closed = VSOCK_SHUTDOWN_BOTH;
	flow_end(f, MICROVM_END_HOST_GONE);
}

static void serve(struct flow *f)
{
	if (f->held)
		return;
	if (f->len)
		drain(f);
	if (!f->attached) {
		if (!f->len)
			flow_let_stream_go(f);
		if (!f->len && f->reported)
			flow_free(f);
		return;
	}
	flow_forwarded(f, 0);
	flow_set_interest(f);
	if (flow_reading(f)) {
		f->readable = true;
		flow_say(f, SAY_DATA);
	} else if (f->ending && host_hung_up(f)) {
		flow_host_gone(f);
	}
}

void flow_serve_ready(struct session *s)
{
	unsigned int left = s->flows_n;
	struct flow *f;

	/* Each of them once at most: streams with ever more news do not keep the queues waiting. */
	while (left--) {
		spin_lock_irq(&s->ready_lock);
		f = list_first_entry_or_null(&s->ready, struct flow, ready);
		if (f)
			list_del_init(&f->ready);
		spin_unlock_irq(&s->ready_lock);
		if (!f)
			return;
		serve(f);
	}
}
