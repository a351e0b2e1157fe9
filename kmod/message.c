// SPDX-License-Identifier: GPL-2.0-only
/*
 * Flows of messages (SOCK_SEQPACKET; virtio 1.2, 5.10.6.6). Those from the guest that wait for their stream are records in the
 * flow's buffer, a head and the message; those for the guest are read whole before their first packet.
 */
#include <linux/mm.h>
#include <linux/net.h>
#include <linux/slab.h>

#include "session.h"

/* ---- from the guest ------------------------------------------------------------------------------------------------ */

/* Before each message in buf. */
struct record {
	u32 len, flags;
};

u32 message_head(const struct flow *f)
{
	return f->open ? 0 : sizeof(struct record);
}

u32 message_next(const struct flow *f, u32 *len, u32 *flags)
{
	struct record r;

	memcpy(&r, f->buf + f->at, sizeof(r));
	*len = r.len;
	*flags = r.flags;
	return sizeof(r);
}

void message_kept(struct flow *f, u32 len, u32 flags)
{
	struct record r;

	f->open += len;
	r.len = f->open - sizeof(r);
	r.flags = flags;
	memcpy(f->buf + f->at + f->len - f->open, &r, sizeof(r));
	if (flags & VIRTIO_VSOCK_SEQ_EOM)
		f->open = 0;
}

void message_drop_open(struct flow *f)
{
	u32 payload = f->open - sizeof(struct record);

	if (!f->open)
		return;
	f->len -= f->open;
	f->s->pending -= f->open;
	f->open = 0;
	flow_forwarded(f, payload);
	if (!f->len)
		flow_buffer_free(f);
}

/* ---- to the guest -------------------------------------------------------------------------------------------------- */

void message_sent(struct flow *f)
{
	if (f->out)
		f->s->buffers -= f->out_len;
	kvfree(f->out);
	f->out = NULL;
}

int message_read(struct flow *f)
{
	struct msghdr msg = {};
	struct kvec vec = {};
	int n;

	iov_iter_kvec(&msg.msg_iter, ITER_DEST, &vec, 1, 0);
	n = sock_recvmsg(f->sock, &msg, MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC);
	if (n <= 0)
		return n == -ERESTARTSYS || n == -EINTR ? -EAGAIN : n;
	if (n > f->credit.peer_buf_alloc || n > BUFFERS_MAX - f->s->buffers)
		return -EMSGSIZE;
	f->out = kvmalloc(n, GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!f->out)
		return -EMSGSIZE;
	f->s->buffers += n;
	f->out_at = 0;
	f->out_len = n;
	vec = (struct kvec){ .iov_base = f->out, .iov_len = n };
	msg = (struct msghdr){};
	iov_iter_kvec(&msg.msg_iter, ITER_DEST, &vec, 1, n);
	/* Nobody else is told of a message that another reader of this socket had first. */
	if (sock_recvmsg(f->sock, &msg, MSG_DONTWAIT) != n) {
		message_sent(f);
		return -EMSGSIZE;
	}
	f->out_flags = VIRTIO_VSOCK_SEQ_EOM;
	if (msg.msg_flags & MSG_EOR)
		f->out_flags |= VIRTIO_VSOCK_SEQ_EOR;
	return 1;
}
