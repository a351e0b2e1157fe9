/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages (virtio 1.2, 5.10.6.6: SEQPACKET). On the host's socket a message is one, of the guest it comes in packets and goes
 * in packets, of which the last one says so (EOM). Who listens at the Unix socket gets them whole or not at all, so what has no
 * end yet is kept; a guest can send no message longer than its credit. Empty ones are dropped: on a Unix socket they would
 * look like the end.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/util.h"
#include "virtio/iov.h"
#include "virtio/vsock.h"

#define END_FLAGS (VIRTIO_VSOCK_SEQ_EOM | VIRTIO_VSOCK_SEQ_EOR)

/* Before each message in buf. */
struct record {
	uint32_t len_bytes, flags;
};

/* ---- from the guest ---------------------------------------------------------------------------------------------- */

void vsock_seq_drop_open(struct vsock_flow *f)
{
	if (!f->open_bytes)
		return;
	f->buf_len -= f->open_bytes;
	vsock_forwarded(f, f->open_bytes - sizeof(struct record));
	f->open_bytes = 0;
	if (!f->buf_len)
		vsock_buffer_free(f);
}

static int end_flags(uint32_t flags)
{
	return flags & VIRTIO_VSOCK_SEQ_EOR ? MSG_EOR : 0;
}

void vsock_seq_drain(struct vsock_flow *f)
{
	struct record r;

	while (f->buf_len > f->open_bytes) {
		struct iovec iov;
		ssize_t n;

		memcpy(&r, f->buf + f->buf_at, sizeof(r));
		iov = (struct iovec){ .iov_base = f->buf + f->buf_at + sizeof(r), .iov_len = r.len_bytes };
		n = vsock_send(f, &iov, 1, end_flags(r.flags));
		if (!n) {
			vsock_watch_for_room(f, true);
			return;
		}
		if (n < 0) {
			f->open_bytes = 0;
			vsock_drained(f, true);
			return;
		}
		f->buf_at += sizeof(r) + r.len_bytes;
		f->buf_len -= sizeof(r) + r.len_bytes;
		vsock_forwarded(f, r.len_bytes);
	}
	if (!f->buf_len)
		vsock_drained(f, false);
	else
		vsock_watch_for_room(f, false);
}

/* Behind what there is of the message that has no end yet, or as a new one. false: no memory. */
static bool keep(struct vsock_flow *f, const struct iovec *iov, unsigned int n, uint32_t len_bytes, uint32_t flags)
{
	struct record r = { 0 };
	uint8_t *at;

	if (!vsock_buffer_room(f, (f->open_bytes ? 0 : sizeof(r)) + len_bytes))
		return false;
	if (!f->open_bytes) {
		f->open_bytes = sizeof(r);
		f->buf_len += sizeof(r);
	} else {
		memcpy(&r, f->buf + f->buf_at + f->buf_len - f->open_bytes, sizeof(r));
	}
	iov_get(iov, n, 0, f->buf + f->buf_at + f->buf_len, len_bytes);
	f->buf_len += len_bytes;
	f->open_bytes += len_bytes;
	at = f->buf + f->buf_at + f->buf_len - f->open_bytes;
	r = (struct record){ .len_bytes = r.len_bytes + len_bytes, .flags = flags };
	memcpy(at, &r, sizeof(r));
	if (flags & VIRTIO_VSOCK_SEQ_EOM)
		f->open_bytes = 0;
	return true;
}

bool vsock_seq_to_host(struct vsock_flow *f, struct iovec *iov, unsigned int n, uint32_t len_bytes, uint32_t flags)
{
	const bool whole = !f->open_bytes && (flags & VIRTIO_VSOCK_SEQ_EOM);

	if (f->closed & VIRTIO_VSOCK_SHUTDOWN_RCV) { /* nobody is there: gone as if read */
		vsock_forwarded(f, len_bytes);
		return true;
	}
	/* Empty, or the empty part of one that has not begun. */
	if (!len_bytes && !f->open_bytes)
		return true;
	if (whole && !f->buf_len) {
		ssize_t sent = vsock_send(f, iov, n, end_flags(flags));

		if (sent < 0)
			vsock_host_gone(f);
		else if (sent)
			vsock_forwarded(f, len_bytes);
		if (sent)
			return true;
	}
	if (!keep(f, iov, n, len_bytes, flags & END_FLAGS))
		return false;
	if (flags & VIRTIO_VSOCK_SEQ_EOM)
		vsock_seq_drain(f);
	return true;
}

/* ---- to the guest ------------------------------------------------------------------------------------------------ */

void vsock_seq_free(struct vsock_flow *f)
{
	if (f->out)
		f->v->buffered -= f->out_len;
	free(f->out);
	f->out = NULL;
}

/* What becomes of a read that gave nothing. */
static void no_message(struct vsock_flow *f, ssize_t got)
{
	f->readable = false;
	vsock_unsay(f, VSOCK_SAY_DATA);
	if (got == 0)
		vsock_host_eof(f);
	else if (got != -EAGAIN)
		vsock_host_gone(f);
}

/* The next message, as long as it is. false: there is none, or the flow is over. */
static bool take_message(struct vsock_flow *f)
{
	struct iovec iov = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n = recvmsg(f->fd, &msg, MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC);

	if (n < 0 && errno == EINTR)
		return false;
	if (n <= 0) {
		no_message(f, n < 0 ? -errno : 0);
		return false;
	}
	if ((size_t)n > f->credit.peer_buf_alloc || (size_t)n > VSOCK_BUFFERED_MAX - f->v->buffered) {
		log_guest("vsock: port %u: a message of %zd bytes is more than the guest takes", f->guest_port, n);
		vsock_say(f, VSOCK_SAY_RST);
		return false;
	}
	f->out = malloc((size_t)n);
	if (!f->out) {
		vsock_say(f, VSOCK_SAY_RST);
		return false;
	}
	f->v->buffered += n;
	f->out_at = 0;
	f->out_len = n;
	iov = (struct iovec){ .iov_base = f->out, .iov_len = n };
	if (recvmsg(f->fd, &msg, MSG_DONTWAIT) != n) {
		vsock_say(f, VSOCK_SAY_RST);
		return false;
	}
	f->out_flags = VIRTIO_VSOCK_SEQ_EOM | (msg.msg_flags & MSG_EOR ? VIRTIO_VSOCK_SEQ_EOR : 0);
	return true;
}

int vsock_seq_say_data(struct vsock_flow *f)
{
	int sent = 0;

	if (!f->out && !take_message(f))
		return 0;
	while (f->out_at < f->out_len) {
		const uint32_t left = f->out_len - f->out_at;
		const uint32_t part = min_t(uint32_t, left, vsock_credit_free(&f->credit));
		uint32_t put;

		if (!part) {
			/* News of credit bring it back; asked for once, should the guest not give them by itself. */
			vsock_unsay(f, VSOCK_SAY_DATA);
			if (!f->asked_more)
				vsock_say(f, VSOCK_SAY_MORE);
			f->asked_more = true;
			return sent;
		}
		put = vsock_put_data(f, f->out + f->out_at, part, part == left ? f->out_flags : 0);
		if (!put)
			return -ENOBUFS;
		f->out_at += put;
		sent++;
	}
	vsock_seq_free(f);
	return sent;
}
