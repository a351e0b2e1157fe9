/* SPDX-License-Identifier: Apache-2.0 */
/* Connections: their table, their beginning and end. */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/util.h"
#include "virtio/vsock.h"

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

void vsock_hash(struct vsock_flow *f, uint32_t guest_port, uint32_t host_port)
{
	struct vsock_flow **b = bucket(f->v, guest_port, host_port);

	f->guest_port = guest_port;
	f->host_port = host_port;
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

static void link_flow(struct vsock_flow *f, struct vsock_flow *head)
{
	f->prev = head;
	f->next = head->next;
	f->next->prev = f;
	head->next = f;
}

static void unlink_flow(struct vsock_flow *f)
{
	f->prev->next = f->next;
	f->next->prev = f->prev;
}

static void reap_soon(struct vsock *v)
{
	if (!loop_op_busy(&v->reap_op))
		loop_defer(v->dev.loop, &v->reap_op);
}

/* Frees the dead; those whose timer the loop still holds come back when it has let go. */
static void reap(struct loop_op *op, int res)
{
	struct vsock *v = container_of(op, struct vsock, reap_op);
	struct vsock_flow *f, *next;

	for (f = v->dead.next; f != &v->dead; f = next) {
		next = f->next;
		if (loop_op_busy(&f->timer))
			continue;
		unlink_flow(f);
		free(f);
		v->flows_n--;
	}
	vsock_listen(v); /* there is room again */
}

static void timer_done(struct loop_op *op, int res)
{
	struct vsock_flow *f = container_of(op, struct vsock_flow, timer);
	bool answer_due = f->state == VSOCK_ASKED || (f->state == VSOCK_OPEN && f->closed == VSOCK_SHUTDOWN_BOTH);

	if (f->state == VSOCK_DEAD)
		reap_soon(f->v);
	else if (res < 0 && answer_due) /* cancelled for what was waited for before */
		vsock_set_timer(f);
	else if (answer_due)
		vsock_say(f, VSOCK_SAY_RST);
	else if (res == 0 && f->state == VSOCK_HELLO)
		vsock_kill(f);
}

void vsock_set_timer(struct vsock_flow *f)
{
	/* One that runs already ends sooner, which is as good. */
	if (!loop_op_busy(&f->timer))
		loop_timer(f->v->dev.loop, &f->timer, VSOCK_TIMEOUT_NS);
}

struct vsock_flow *vsock_flow_new(struct vsock *v, int fd, bool seq, enum vsock_state state)
{
	struct vsock_flow *f = calloc(1, sizeof(*f));
	struct epoll_event ev = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = f };

	if (!f)
		return NULL;
	if (epoll_ctl(v->epoll_fd, EPOLL_CTL_ADD, fd, &ev)) {
		free(f);
		return NULL;
	}
	f->v = v;
	f->fd = fd;
	f->state = state;
	f->batch = 1;
	f->seq = seq;
	/* A message has to fit into a socket's buffer, and a guest sends none that is longer than this. */
	f->credit.buf_alloc = seq ? VSOCK_SEQ_BUF_ALLOC : VSOCK_BUF_ALLOC;
	loop_op_init(&f->timer, timer_done);
	link_flow(f, &v->all);
	v->flows_n++;
	return f;
}

static void leave_guest(struct vsock_flow *f)
{
	if (f->in_module)
		vsock_module_detach(f);
	vsock_unsay(f, f->say);
	unhash(f);
	loop_cancel(f->v->dev.loop, &f->timer);
}

void vsock_kill(struct vsock_flow *f)
{
	if (f->state == VSOCK_DEAD)
		return;
	leave_guest(f);
	f->state = VSOCK_DEAD;
	/* Taken out by name: whoever gave us the socket may hold it, too, and then close alone would leave it in the set. */
	epoll_ctl(f->v->epoll_fd, EPOLL_CTL_DEL, f->fd, NULL);
	close(f->fd);
	f->fd = -1;
	vsock_seq_free(f);
	vsock_buffer_free(f);
	unlink_flow(f);
	link_flow(f, &f->v->dead);
	reap_soon(f->v);
}

uint16_t vsock_type(const struct vsock_flow *f)
{
	return f->seq ? VIRTIO_VSOCK_TYPE_SEQPACKET : VIRTIO_VSOCK_TYPE_STREAM;
}

void vsock_detach(struct vsock_flow *f)
{
	vsock_seq_drop_open(f);
	if (!f->buf_len) {
		vsock_kill(f);
		return;
	}
	leave_guest(f);
	f->state = VSOCK_DRAINING;
}

struct vsock_flow *vsock_attach(struct vsock *v, uint32_t guest_port, uint32_t host_port, uint16_t type)
{
	struct vsock_flow *f;
	uint32_t i;

	for (i = 0; i < v->ports_n; i++)
		if (v->ports[i].port == host_port && v->ports[i].fd >= 0)
			break;
	if (i == v->ports_n || type != (v->port_seq[i] ? VIRTIO_VSOCK_TYPE_SEQPACKET : VIRTIO_VSOCK_TYPE_STREAM))
		return NULL;
	f = vsock_flow_new(v, v->ports[i].fd, v->port_seq[i], VSOCK_OPEN);
	if (!f)
		return NULL;
	v->ports[i].fd = -1;
	vsock_hash(f, guest_port, host_port);
	return f;
}

void vsock_ask_guest(struct vsock_flow *f)
{
	f->state = VSOCK_ASKED;
	if (!vsock_type_is_known(f->v, vsock_type(f)) || (f->v->module_fd >= 0 && vsock_module_attach(f)))
		vsock_kill(f);
	else
		vsock_say(f, VSOCK_SAY_REQUEST);
}

void vsock_driver_up(struct vsock *v)
{
	struct vsock_flow *f, *next;

	for (f = v->all.next; f != &v->all; f = next) {
		next = f->next;
		if (f->state == VSOCK_WAITING)
			vsock_ask_guest(f);
	}
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

void vsock_flows_init(struct vsock *v)
{
	v->next_port = VSOCK_FIRST_HOST_PORT;
	v->all.next = v->all.prev = &v->all;
	v->dead.next = v->dead.prev = &v->dead;
	loop_op_init(&v->reap_op, reap);
}

bool vsock_flows_quiesce(struct vsock *v, bool first)
{
	struct vsock_flow *f, *next;
	bool busy = false;
	size_t i;

	for (f = v->all.next; first && f != &v->all; f = next) {
		next = f->next;
		vsock_kill(f);
	}
	for (i = 0; i < ARRAY_SIZE(v->listeners); i++) {
		struct vsock_listener *l = &v->listeners[i];

		if (first) {
			loop_cancel(v->dev.loop, &l->accept);
			loop_cancel(v->dev.loop, &l->pause);
		}
		busy |= loop_op_busy(&l->accept) || loop_op_busy(&l->pause);
	}
	if (first)
		loop_cancel(v->dev.loop, &v->epoll_op);
	return !busy && !v->flows_n && !loop_op_busy(&v->epoll_op) && !loop_op_busy(&v->reap_op) &&
	       !loop_op_busy(&v->pump_op);
}
