/* SPDX-License-Identifier: Apache-2.0 */
/* Connections: their table, and their sockets on the host. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "virtio/iov.h"
#include "virtio/vsock.h"

#define BUFFER_MIN 4096u
#define ACCEPT_PAUSE_NS 100000000ull	/* after an accept failed for want of fds or memory */

static void in_done(struct loop_op *op, int res);
static void out_done(struct loop_op *op, int res);
static void timer_done(struct loop_op *op, int res);

/* ---- the table -------------------------------------------------------------------------------------------------- */

static struct vsock_flow **bucket(struct vsock *v, uint32_t guest_port, uint32_t host_port)
{
	return &v->buckets[(guest_port ^ host_port ^ guest_port >> 6) % VSOCK_BUCKETS];
}

struct vsock_flow *vsock_find(struct vsock *v, uint32_t guest_port, uint32_t host_port)
{
	struct vsock_flow *f = *bucket(v, guest_port, host_port);

	while (f && (f->guest_port != guest_port || f->host_port != host_port))
		f = f->hash_next;
	return f;
}

static void hash(struct vsock_flow *f)
{
	struct vsock_flow **b = bucket(f->v, f->guest_port, f->host_port);

	f->hash_next = *b;
	*b = f;
}

static void unhash(struct vsock_flow *f)
{
	struct vsock_flow **p = bucket(f->v, f->guest_port, f->host_port);

	while (*p && *p != f)
		p = &(*p)->hash_next;
	if (*p)
		*p = f->hash_next;
	f->hash_next = NULL;
}

static struct vsock_flow *flow_new(struct vsock *v, int fd, enum vsock_state state)
{
	struct vsock_flow *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->v = v;
	f->fd = fd;
	f->state = state;
	f->batch = 1;
	f->credit.buf_alloc = VSOCK_BUF_ALLOC;
	loop_op_init(&f->in, in_done);
	loop_op_init(&f->out, out_done);
	loop_op_init(&f->timer, timer_done);
	f->prev = &v->all;
	f->next = v->all.next;
	f->next->prev = f;
	v->all.next = f;
	v->flows_n++;
	return f;
}

static void buffer_free(struct vsock_flow *f)
{
	f->v->buffered -= f->buf_size;
	free(f->buf);
	f->buf = NULL;
	f->buf_size = f->buf_at = f->buf_len = 0;
}

/* Frees a dead flow once the loop holds none of its operations. */
static void reap(struct vsock_flow *f)
{
	struct vsock *v = f->v;

	if (loop_op_busy(&f->in) || loop_op_busy(&f->out) || loop_op_busy(&f->timer))
		return;
	loop_del_fd(v->dev.loop, f->fd);
	close(f->fd);
	buffer_free(f);
	f->prev->next = f->next;
	f->next->prev = f->prev;
	free(f);
	v->flows_n--;
	vsock_listen(v);	/* there is room again */
}

static void leave_guest(struct vsock_flow *f)
{
	vsock_unsay(f, f->say);
	unhash(f);
}

static void kill_flow(struct vsock_flow *f)
{
	if (f->state == VSOCK_DEAD)
		return;
	leave_guest(f);
	f->state = VSOCK_DEAD;
	loop_cancel(f->v->dev.loop, &f->in);
	loop_cancel(f->v->dev.loop, &f->out);
	loop_cancel(f->v->dev.loop, &f->timer);
	reap(f);
}

void vsock_detach(struct vsock_flow *f)
{
	if (!f->buf_len) {
		kill_flow(f);
		return;
	}
	leave_guest(f);
	f->state = VSOCK_DRAINING;
	loop_cancel(f->v->dev.loop, &f->timer);
	loop_cancel(f->v->dev.loop, &f->in);
}

void vsock_set_timer(struct vsock_flow *f)
{
	/* One that runs already ends sooner, which is as good. */
	if (!loop_op_busy(&f->timer))
		loop_timer(f->v->dev.loop, &f->timer, VSOCK_TIMEOUT_NS);
}

static void timer_done(struct loop_op *op, int res)
{
	struct vsock_flow *f = container_of(op, struct vsock_flow, timer);

	bool answer_due = f->state == VSOCK_ASKED || (f->state == VSOCK_OPEN && f->closed == VSOCK_SHUTDOWN_BOTH);

	if (f->state == VSOCK_DEAD)
		reap(f);
	else if (res < 0 && answer_due)	/* cancelled for what was waited for before */
		vsock_set_timer(f);
	else if (answer_due)
		vsock_say(f, VSOCK_SAY_RST);
	else if (res == 0 && f->state == VSOCK_HELLO)
		kill_flow(f);
}

/* ---- connections from the host ---------------------------------------------------------------------------------- */

static void ask_guest(struct vsock_flow *f)
{
	f->state = VSOCK_ASKED;
	vsock_say(f, VSOCK_SAY_REQUEST);
}

static void said_connect(struct vsock_flow *f, uint32_t port)
{
	struct vsock *v = f->v;

	loop_cancel(v->dev.loop, &f->timer);
	f->guest_port = port;
	do {
		f->host_port = v->next_port++;
		if (v->next_port == UINT32_MAX)
			v->next_port = VSOCK_FIRST_HOST_PORT;
	} while (vsock_find(v, f->guest_port, f->host_port));
	hash(f);
	f->state = VSOCK_WAITING;
	if (v->active)
		ask_guest(f);
	/* A client that gives up is noticed meanwhile. */
	loop_poll(v->dev.loop, &f->in, f->fd, 0);
}

static ssize_t receive(int fd, void *buf, size_t len, int flags)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	/* recvmsg and sendmsg are all that the jail knows for sockets. */
	return recvmsg(fd, &msg, flags | MSG_DONTWAIT);
}

/* Reads the line and not a byte more: what follows is the guest's. */
static void read_hello(struct vsock_flow *f)
{
	size_t room = sizeof(f->line) - 1 - f->line_len, take;
	char *at = f->line + f->line_len, *end;
	ssize_t n = receive(f->fd, at, room, MSG_PEEK);
	uint32_t port;

	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		vsock_wait_host(f);
		return;
	}
	end = n > 0 ? memchr(at, '\n', n) : NULL;
	take = end ? (size_t)(end - at + 1) : n > 0 ? (size_t)n : 0;
	if (!take || receive(f->fd, at, take, 0) != (ssize_t)take) {
		kill_flow(f);
		return;
	}
	f->line_len += take;
	if (end) {
		*end = 0;
		if (!vsock_parse_connect(f->line, &port))
			said_connect(f, port);
		else
			kill_flow(f);
	} else if (take == room) {
		kill_flow(f);
	} else {
		vsock_wait_host(f);
	}
}

/* Bytes that the socket took; negative when it never will again. */
static ssize_t send_some(struct vsock_flow *f, struct iovec *iov, unsigned int n)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n };
	ssize_t r = sendmsg(f->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (r < 0)
		r = errno == EAGAIN || errno == EINTR || errno == ENOBUFS || errno == ENOMEM ? 0 : -errno;
	return r;
}

void vsock_opened(struct vsock_flow *f)
{
	char line[32];
	int n = snprintf(line, sizeof(line), "OK %u\n", f->guest_port);
	struct iovec iov = { .iov_base = line, .iov_len = n };

	loop_cancel(f->v->dev.loop, &f->timer);
	loop_cancel(f->v->dev.loop, &f->in);	/* its poll was for the hang-up only */
	f->state = VSOCK_OPEN;
	/* The socket's buffer is empty, so a short line goes in whole. */
	if (send_some(f, &iov, 1) != n) {
		vsock_say(f, VSOCK_SAY_RST);
		return;
	}
	vsock_say(f, VSOCK_SAY_DATA);
}

static void accepted(struct loop_op *op, int fd)
{
	struct vsock *v = container_of(op, struct vsock, accept_op);
	struct vsock_flow *f = NULL;

	if (v->ending) {
		if (fd >= 0)
			close(fd);
		return;
	}
	if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM || fd == -ENOBUFS) {
		loop_timer(v->dev.loop, &v->accept_timer, ACCEPT_PAUSE_NS);
		return;
	}
	if (fd == -EAGAIN) {	/* the socket was given to us non-blocking */
		loop_poll(v->dev.loop, &v->accept_timer, v->listen_fd, POLLIN);
		return;
	}
	if (fd == -EINVAL || fd == -EBADF || fd == -ENOTSOCK || fd == -EOPNOTSUPP) {
		log_error("vsock: the listening socket doesn't: %s", strerror(-fd));
		return;
	}
	if (fd >= 0 && loop_add_fd(v->dev.loop, fd) == 0)
		f = flow_new(v, fd, VSOCK_HELLO);
	if (f) {
		vsock_set_timer(f);
		read_hello(f);
	} else if (fd >= 0) {
		loop_del_fd(v->dev.loop, fd);
		close(fd);
	}
	vsock_listen(v);
}

static void accept_again(struct loop_op *op, int res)
{
	vsock_listen(container_of(op, struct vsock, accept_timer));
}

void vsock_listen(struct vsock *v)
{
	if (v->listen_fd < 0 || v->ending || v->flows_n >= VSOCK_FLOWS_MAX || loop_op_busy(&v->accept_op) ||
	    loop_op_busy(&v->accept_timer))
		return;
	loop_op_init(&v->accept_op, accepted);
	loop_op_init(&v->accept_timer, accept_again);
	loop_accept(v->dev.loop, &v->accept_op, v->listen_fd);
}

/* ---- connections from the guest --------------------------------------------------------------------------------- */

struct vsock_flow *vsock_attach(struct vsock *v, uint32_t guest_port, uint32_t host_port)
{
	struct vsock_flow *f;
	uint32_t i;

	for (i = 0; i < v->ports_n; i++)
		if (v->ports[i].port == host_port && v->ports[i].fd >= 0)
			break;
	if (i == v->ports_n)
		return NULL;
	f = flow_new(v, v->ports[i].fd, VSOCK_OPEN);
	if (!f)
		return NULL;
	v->ports[i].fd = -1;
	f->guest_port = guest_port;
	f->host_port = host_port;
	hash(f);
	return f;
}

/* ---- from the host's socket ------------------------------------------------------------------------------------- */

/* Does anybody want what the socket has? */
static bool reading(const struct vsock_flow *f)
{
	return !(f->closed & VIRTIO_VSOCK_SHUTDOWN_SEND) && !(f->peer_closed & VIRTIO_VSOCK_SHUTDOWN_RCV);
}

void vsock_wait_host(struct vsock_flow *f)
{
	/* Without POLLIN it is the hang-up that is waited for. */
	if (!loop_op_busy(&f->in))
		loop_poll(f->v->dev.loop, &f->in, f->fd, reading(f) ? POLLIN : 0);
}

static void in_done(struct loop_op *op, int res)
{
	struct vsock_flow *f = container_of(op, struct vsock_flow, in);
	bool hangup = res < 0 ? res != -ECANCELED : res & (POLLHUP | POLLERR | POLLNVAL);

	switch (f->state) {
	case VSOCK_DEAD: reap(f); break;
	case VSOCK_HELLO: read_hello(f); break;
	case VSOCK_WAITING: kill_flow(f); break;	/* the client gave up */
	case VSOCK_ASKED: vsock_say(f, VSOCK_SAY_RST); break;
	case VSOCK_DRAINING: break;
	case VSOCK_OPEN:
		/* Whether it hung up recv tells, behind the last bytes. */
		if (reading(f))
			vsock_say(f, VSOCK_SAY_DATA);
		else if (hangup)
			vsock_host_gone(f);
		else
			vsock_wait_host(f);
		break;
	}
}

void vsock_flow_credit(struct vsock_flow *f)
{
	/* Out of credit it neither waits nor is in line: it may go on now. */
	if (f->state == VSOCK_OPEN && reading(f) && !loop_op_busy(&f->in) && vsock_credit_free(&f->credit))
		vsock_say(f, VSOCK_SAY_DATA);
}

void vsock_host_eof(struct vsock_flow *f)
{
	f->closed |= VIRTIO_VSOCK_SHUTDOWN_SEND;
	vsock_say(f, VSOCK_SAY_SHUTDOWN);
	vsock_wait_host(f);
}

/* Neither reads nor writes any more. */
void vsock_host_gone(struct vsock_flow *f)
{
	vsock_unsay(f, VSOCK_SAY_DATA);
	f->credit.forwarded = f->credit.received;
	buffer_free(f);
	if (f->closed != VSOCK_SHUTDOWN_BOTH)
		vsock_say(f, VSOCK_SAY_SHUTDOWN);
	f->closed = VSOCK_SHUTDOWN_BOTH;
}

/* ---- to the host's socket --------------------------------------------------------------------------------------- */

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
	if (f->peer_closed & VIRTIO_VSOCK_SHUTDOWN_RCV) {
		vsock_unsay(f, VSOCK_SAY_DATA);
		shutdown(f->fd, SHUT_RD);
	}
	pass_end(f);
}

static void forwarded(struct vsock_flow *f, uint32_t len)
{
	f->credit.forwarded += len;
	if (vsock_credit_tell(&f->credit))
		vsock_say(f, VSOCK_SAY_CREDIT);
}

static void wait_writable(struct vsock_flow *f)
{
	if (!loop_op_busy(&f->out))
		loop_poll(f->v->dev.loop, &f->out, f->fd, POLLOUT);
}

static void out_done(struct loop_op *op, int res)
{
	struct vsock_flow *f = container_of(op, struct vsock_flow, out);
	struct iovec iov;
	ssize_t n;

	if (f->state == VSOCK_DEAD) {
		reap(f);
		return;
	}
	if (!f->buf_len)
		return;
	iov = (struct iovec){ .iov_base = f->buf + f->buf_at, .iov_len = f->buf_len };
	n = send_some(f, &iov, 1);
	if (n >= 0) {
		f->buf_at += n;
		f->buf_len -= n;
		forwarded(f, n);
	}
	if (n >= 0 && f->buf_len) {
		wait_writable(f);
		return;
	}
	buffer_free(f);
	if (f->state == VSOCK_DRAINING)
		kill_flow(f);
	else if (n < 0)
		vsock_host_gone(f);
	else
		pass_end(f);
}

/* Room for len more bytes behind those that wait. false: no memory, or more than all flows may hold. */
static bool buffer_room(struct vsock_flow *f, uint32_t len)
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
	if (f->closed & VIRTIO_VSOCK_SHUTDOWN_RCV) {	/* nobody is there: gone as if read */
		forwarded(f, len_bytes);
		return true;
	}
	if (!f->buf_len)
		sent = send_some(f, iov, n);
	if (sent < 0) {
		vsock_host_gone(f);
		return true;
	}
	if ((uint32_t)sent < len_bytes) {
		if (!buffer_room(f, len_bytes - sent))
			return false;
		f->buf_len += iov_get(iov, n, sent, f->buf + f->buf_at + f->buf_len, len_bytes - sent);
		wait_writable(f);
	}
	forwarded(f, sent);
	return true;
}

/* ---- with the driver -------------------------------------------------------------------------------------------- */

void vsock_driver_up(struct vsock *v)
{
	struct vsock_flow *f;

	for (f = v->all.next; f != &v->all; f = f->next)
		if (f->state == VSOCK_WAITING)
			ask_guest(f);
}

void vsock_driver_down(struct vsock *v)
{
	struct vsock_flow *f, *next;

	for (f = v->all.next; f != &v->all; f = next) {
		next = f->next;
		if (f->state == VSOCK_ASKED || f->state == VSOCK_OPEN)
			vsock_detach(f);
	}
	v->resets_n = 0;
}

bool vsock_flows_quiesce(struct vsock *v, bool first)
{
	struct vsock_flow *f, *next;

	for (f = v->all.next; first && f != &v->all; f = next) {
		next = f->next;
		kill_flow(f);
	}
	if (first) {
		loop_cancel(v->dev.loop, &v->accept_op);
		loop_cancel(v->dev.loop, &v->accept_timer);
	}
	return !v->flows_n && !loop_op_busy(&v->accept_op) && !loop_op_busy(&v->accept_timer) &&
		!loop_op_busy(&v->pump_op);
}
