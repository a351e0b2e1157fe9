/* SPDX-License-Identifier: Apache-2.0 */
/* The host's end of connections: clients that say CONNECT, and sockets that are read and written without waiting. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "virtio/iov.h"
#include "virtio/vsock.h"

#define BUFFER_MIN 4096u
#define ACCEPT_PAUSE_NS 100000000ull /* after an accept failed for want of fds or memory */
#define EVENTS_MAX 32

/* ---- reading and writing: recvmsg and sendmsg are all that the jail knows for sockets -------------------------- */

static ssize_t receive(int fd, void *buf, size_t len, int flags)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	return recvmsg(fd, &msg, flags | MSG_DONTWAIT);
}

ssize_t vsock_send(struct vsock_flow *f, struct iovec *iov, unsigned int n, int flags)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n };
	ssize_t r = sendmsg(f->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL | flags);

	if (r < 0)
		r = errno == EAGAIN || errno == EINTR || errno == ENOBUFS || errno == ENOMEM ? 0 : -errno;
	return r;
}

/* With bytes waiting it is worth to be told that the socket takes more; without them every read of its reader would wake us. */
void vsock_watch_for_room(struct vsock_flow *f, bool wanted)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET | (wanted ? EPOLLOUT : 0), .data.ptr = f };

	if (epoll_ctl(f->v->epoll_fd, EPOLL_CTL_MOD, f->fd, &ev))
		log_error("vsock: epoll: %s", strerror(errno));
}

/* ---- clients ---------------------------------------------------------------------------------------------------- */

static void said_connect(struct vsock_flow *f, uint32_t guest_port)
{
	struct vsock *v = f->v;
	uint32_t host_port;

	loop_cancel(v->dev.loop, &f->timer);
	do {
		host_port = v->next_port++;
		if (v->next_port == UINT32_MAX)
			v->next_port = VSOCK_FIRST_HOST_PORT;
	} while (vsock_find(v, guest_port, host_port));
	vsock_hash(f, guest_port, host_port);
	f->state = VSOCK_WAITING;
	if (v->active)
		vsock_ask_guest(f);
}

/* Reads the line and not a byte more: what follows is the guest's. */
static void read_hello(struct vsock_flow *f)
{
	size_t room = sizeof(f->line) - 1 - f->line_len, take;
	char *at = f->line + f->line_len, *end;
	ssize_t n = receive(f->fd, at, room, MSG_PEEK);
	uint32_t port;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	end = n > 0 ? memchr(at, '\n', n) : NULL;
	/* A message of its own, to its end. */
	if (f->seq && (!end || end + 1 != at + n))
		end = NULL;
	take = end ? (size_t)(end - at + 1) : n > 0 ? (size_t)n : 0;
	if (!take || receive(f->fd, at, take, 0) != (ssize_t)take || (!end && (take == room || f->ending || f->seq))) {
		vsock_kill(f);
		return;
	}
	f->line_len += take;
	if (!end)
		return;
	*end = 0;
	f->readable = true; /* perhaps; the news that brought us here may have been of what is behind the line */
	if (!vsock_parse_connect(f->line, &port))
		said_connect(f, port);
	else
		vsock_kill(f);
}

void vsock_opened(struct vsock_flow *f)
{
	char line[32];
	int n = snprintf(line, sizeof(line), "OK %u\n", f->guest_port);
	struct iovec iov = { .iov_base = line, .iov_len = n };

	loop_cancel(f->v->dev.loop, &f->timer);
	f->state = VSOCK_OPEN;
	/* The socket's buffer is empty, so a short line goes in whole. */
	if (vsock_send(f, &iov, 1, 0) != n)
		vsock_say(f, VSOCK_SAY_RST);
	else if (f->in_module)
		vsock_module_open(f);
}

static void listen_at(struct vsock_listener *l)
{
	struct vsock *v = l->v;

	if (l->fd >= 0 && !v->ending && v->flows_n < VSOCK_FLOWS_MAX && !loop_op_busy(&l->accept) &&
	    !loop_op_busy(&l->pause))
		loop_accept(v->dev.loop, &l->accept, l->fd);
}

static void accepted(struct loop_op *op, int fd)
{
	struct vsock_listener *l = container_of(op, struct vsock_listener, accept);
	struct vsock *v = l->v;
	struct vsock_flow *f;

	if (v->ending) {
		if (fd >= 0)
			close(fd);
		return;
	}
	if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM || fd == -ENOBUFS) {
		loop_timer(v->dev.loop, &l->pause, ACCEPT_PAUSE_NS);
		return;
	}
	if (fd == -EAGAIN) { /* the socket was given to us non-blocking */
		loop_poll(v->dev.loop, &l->pause, l->fd, POLLIN);
		return;
	}
	if (fd == -EINVAL || fd == -EBADF || fd == -ENOTSOCK || fd == -EOPNOTSUPP) {
		log_error("vsock: accepting on the listening socket: %s", strerror(-fd));
		return;
	}
	f = fd >= 0 ? vsock_flow_new(v, fd, l->seq, VSOCK_HELLO) : NULL;
	if (f)
		vsock_set_timer(f);
	else if (fd >= 0)
		close(fd);
	listen_at(l);
}

static void accept_again(struct loop_op *op, int res)
{
	listen_at(container_of(op, struct vsock_listener, pause));
}

void vsock_listen(struct vsock *v)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(v->listeners); i++)
		listen_at(&v->listeners[i]);
}

/* ---- from the socket -------------------------------------------------------------------------------------------- */

bool vsock_reading(const struct vsock_flow *f)
{
	return f->state == VSOCK_OPEN && !f->in_module && !(f->closed & VIRTIO_VSOCK_SHUTDOWN_SEND) &&
	       !(f->peer_closed & VIRTIO_VSOCK_SHUTDOWN_RCV);
}

void vsock_host_eof(struct vsock_flow *f)
{
	f->closed |= VIRTIO_VSOCK_SHUTDOWN_SEND;
	if (f->hung_up)
		vsock_host_gone(f);
	else
		vsock_say(f, VSOCK_SAY_SHUTDOWN);
}

/* Neither reads nor writes any more. */
void vsock_host_gone(struct vsock_flow *f)
{
	vsock_unsay(f, VSOCK_SAY_DATA);
	f->credit.forwarded = f->credit.received;
	vsock_buffer_free(f);
	f->closed = VSOCK_SHUTDOWN_BOTH;
	vsock_say(f, VSOCK_SAY_SHUTDOWN);
}

/* ---- to the socket ---------------------------------------------------------------------------------------------- */

/* The guest's end is passed on when all before it has been. */
static void pass_end(struct vsock_flow *f)
{
	if (f->buf_len || f->write_shut || !(f->peer_closed & VIRTIO_VSOCK_SHUTDOWN_SEND))
		return;
	shutdown(f->fd, SHUT_WR);
	f->write_shut = true;
}

void vsock_peer_closed(struct vsock_flow *f)
{
	if (f->peer_closed & VIRTIO_VSOCK_SHUTDOWN_SEND)
		vsock_seq_drop_open(f);
	if (f->peer_closed & VIRTIO_VSOCK_SHUTDOWN_RCV) {
		vsock_unsay(f, VSOCK_SAY_DATA);
		shutdown(f->fd, SHUT_RD);
	}
	pass_end(f);
}

void vsock_forwarded(struct vsock_flow *f, uint32_t len)
{
	f->credit.forwarded += len;
	if (vsock_credit_tell(&f->credit))
		vsock_say(f, VSOCK_SAY_CREDIT);
}

void vsock_buffer_free(struct vsock_flow *f)
{
	f->v->buffered -= f->buf_size;
	free(f->buf);
	f->buf = NULL;
	f->buf_size = f->buf_at = f->buf_len = 0;
}

void vsock_drained(struct vsock_flow *f, bool gone)
{
	vsock_buffer_free(f);
	if (f->state == VSOCK_DRAINING) {
		vsock_kill(f);
		return;
	}
	vsock_watch_for_room(f, false);
	if (gone)
		vsock_host_gone(f);
	else
		pass_end(f);
}

static void drain(struct vsock_flow *f)
{
	struct iovec iov = { .iov_base = f->buf + f->buf_at, .iov_len = f->buf_len };
	ssize_t n = vsock_send(f, &iov, 1, 0);

	if (n > 0) {
		f->buf_at += n;
		f->buf_len -= n;
		vsock_forwarded(f, n);
	}
	if (n < 0 || !f->buf_len)
		vsock_drained(f, n < 0);
}

bool vsock_buffer_room(struct vsock_flow *f, uint32_t len)
{
	uint32_t size = max_t(uint32_t, f->buf_size, BUFFER_MIN);
	uint8_t *p;

	if (f->buf_at + f->buf_len + len <= f->buf_size)
		return true;
	while (size < f->buf_len + len)
		size *= 2;
	if (size > f->buf_size) {
		if (f->v->buffered + (size - f->buf_size) > VSOCK_BUFFERED_MAX) {
			log_guest("vsock: over %u MiB wait for slow readers on the host", VSOCK_BUFFERED_MAX >> 20);
			return false;
		}
		p = realloc(f->buf, size);
		if (!p)
			return false;
		f->v->buffered += size - f->buf_size;
		f->buf = p;
		f->buf_size = size;
	}
	memmove(f->buf, f->buf + f->buf_at, f->buf_len);
	f->buf_at = 0;
	return true;
}

bool vsock_to_host(struct vsock_flow *f, struct iovec *iov, unsigned int n, uint32_t len_bytes)
{
	ssize_t sent = 0;

	if (!len_bytes)
		return true;
	if (f->closed & VIRTIO_VSOCK_SHUTDOWN_RCV) { /* nobody is there: gone as if read */
		vsock_forwarded(f, len_bytes);
		return true;
	}
	if (!f->buf_len)
		sent = vsock_send(f, iov, n, 0);
	if (sent < 0) {
		vsock_host_gone(f);
		return true;
	}
	if ((uint32_t)sent < len_bytes) {
		bool first = !f->buf_len;

		if (!vsock_buffer_room(f, len_bytes - sent))
			return false;
		f->buf_len += iov_get(iov, n, sent, f->buf + f->buf_at + f->buf_len, len_bytes - sent);
		if (first)
			vsock_watch_for_room(f, true);
	}
	vsock_forwarded(f, sent);
	return true;
}

/* ---- news of the sockets ---------------------------------------------------------------------------------------- */

static void have_news(struct vsock_flow *f, uint32_t events)
{
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		f->ending = true;
	if (events & (EPOLLHUP | EPOLLERR))
		f->hung_up = true;
	f->readable = true;
	switch (f->state) {
	case VSOCK_HELLO: read_hello(f); break;
	case VSOCK_WAITING:
		if (f->hung_up) /* the client gave up */
			vsock_kill(f);
		break;
	case VSOCK_ASKED:
		if (f->hung_up)
			vsock_say(f, VSOCK_SAY_RST);
		break;
	case VSOCK_OPEN:
	case VSOCK_DRAINING:
		if (f->buf_len && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)))
			f->seq ? vsock_seq_drain(f) : drain(f);
		/* The end stands behind what is still to be read. */
		if (vsock_reading(f))
			vsock_say(f, VSOCK_SAY_DATA);
		else if (f->state == VSOCK_OPEN && f->hung_up && f->closed != VSOCK_SHUTDOWN_BOTH)
			vsock_host_gone(f);
		break;
	case VSOCK_DEAD: break;
	}
}

static void sockets_done(struct loop_op *op, int res)
{
	struct vsock *v = container_of(op, struct vsock, epoll_op);
	struct epoll_event events[EVENTS_MAX];
	int i, n;

	if (v->ending)
		return;
	n = epoll_wait(v->epoll_fd, events, EVENTS_MAX, 0);
	/* A flow that dies on the way stays in memory until the round is over. */
	for (i = 0; i < n; i++) {
		if (events[i].data.ptr == v)
			vsock_module_news(v);
		else
			have_news(events[i].data.ptr, events[i].events);
	}
	vsock_watch(v);
}

void vsock_watch(struct vsock *v)
{
	loop_poll(v->dev.loop, &v->epoll_op, v->epoll_fd, POLLIN);
}

void vsock_host_init(struct vsock *v)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(v->listeners); i++) {
		loop_op_init(&v->listeners[i].accept, accepted);
		loop_op_init(&v->listeners[i].pause, accept_again);
	}
	loop_op_init(&v->epoll_op, sockets_done);
}
