/* SPDX-License-Identifier: Apache-2.0 */
#include "fsd/session.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "fsd/session_internal.h"

#define FEATURES                                                                                              \
	(1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX | \
	 1ull << VHOST_USER_F_PROTOCOL_FEATURES)
#define PROTOCOL_FEATURES                                                             \
	(1ull << VHOST_USER_PROTOCOL_F_MQ | 1ull << VHOST_USER_PROTOCOL_F_REPLY_ACK | \
	 1ull << VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS)

static void listen_on(struct session *s)
{
	if (!s->ending)
		loop_poll(s->loop, &s->sock_op, s->sock, POLLIN);
}

static void end(struct session *s, int code)
{
	s->ending = true;
	loop_stop(s->loop, code);
}

static void drop_fds(struct session *s)
{
	while (s->fds_n) {
		s->fds_n--;
		if (s->fds[s->fds_n] >= 0)
			close(s->fds[s->fds_n]);
	}
}

static int reply(struct session *s, const void *payload, uint32_t len)
{
	struct {
		struct vhost_user_header head;
		uint8_t payload[sizeof(struct vhost_user_vring_state)];
	} msg = { .head = { s->header.request, VHOST_USER_VERSION | VHOST_USER_REPLY, len } };
	ssize_t n;

	memcpy(msg.payload, payload, len);
	/* A few bytes always find room: the front end waits for each of them. */
	n = send(s->sock, &msg, sizeof(msg.head) + len, MSG_NOSIGNAL | MSG_DONTWAIT);
	return n == (ssize_t)(sizeof(msg.head) + len) ? 0 : -EPIPE;
}

static int reply_u64(struct session *s, uint64_t v)
{
	return reply(s, &v, sizeof(v));
}

/* ---- messages: 0 or negative errno; what was asked for with an acknowledgement gets that ------------------------- */

static struct queue *queue_of(struct session *s, uint64_t index)
{
	return index < s->queues_n ? &s->queues[index] : NULL;
}

static int start_queues(struct session *s)
{
	unsigned int i;
	int r = 0;

	for (i = 0; i < s->queues_n && !r; i++) {
		r = queue_start(&s->queues[i]);
		if (!r)
			queue_serve(&s->queues[i]);
	}
	return r;
}

/* The queues lie in memory that goes: they are stopped, and started again where they lie then. */
static void stop_queues(struct session *s)
{
	unsigned int i;

	for (i = 0; i < s->queues_n; i++)
		queue_stop(&s->queues[i]);
}

static int set_memory(struct session *s, const struct vhost_user_msg *m)
{
	unsigned int i;
	int r = 0;

	stop_queues(s);
	if (m->request == VHOST_USER_SET_MEM_TABLE)
		memory_clear(&s->mem);
	for (i = 0; i < m->memory.regions_n && !r; i++)
		r = m->request == VHOST_USER_REM_MEM_REG ? memory_remove(&s->mem, &m->memory.regions[i])
							 : memory_add(&s->mem, &m->memory.regions[i], s->fds[i]);
	return r ? r : start_queues(s);
}

static int set_features(struct session *s, uint64_t features)
{
	unsigned int i;

	if (features & ~FEATURES)
		return -EINVAL;
	s->features = features;
	/* Without protocol features there is no SET_VRING_ENABLE: queues are enabled from the start. */
	if (!(features & (1ull << VHOST_USER_F_PROTOCOL_FEATURES)))
		for (i = 0; i < s->queues_n; i++)
			s->queues[i].enabled = true;
	return 0;
}

static int set_vring(struct session *s, const struct vhost_user_msg *m, struct queue *q)
{
	switch (m->request) {
	case VHOST_USER_SET_VRING_NUM:
		if (q->running || !m->state.num || m->state.num > VIRTQ_SIZE_MAX || (m->state.num & (m->state.num - 1)))
			return -EINVAL;
		q->size = m->state.num;
		return 0;
	case VHOST_USER_SET_VRING_BASE:
		if (q->running || m->state.num > UINT16_MAX)
			return -EINVAL;
		q->base = (uint16_t)m->state.num;
		return 0;
	case VHOST_USER_SET_VRING_ENABLE:
		q->enabled = m->state.num;
		queue_serve(q);
		return 0;
	case VHOST_USER_SET_VRING_ADDR:
		if (q->running || m->addr.flags) /* the one flag asks for a log of writes, which is not offered */
			return -EINVAL;
		q->addr = m->addr;
		q->has_addr = true;
		return 0;
	default: return -EPROTO;
	}
}

static int set_vring_fd(struct session *s, const struct vhost_user_msg *m)
{
	struct queue *q = queue_of(s, m->u64 & 0xff);
	bool none = m->u64 & VHOST_USER_VRING_NOFD;
	int r;

	if (!q || none != !s->fds_n || (m->u64 & ~0x1ffull))
		return -EPROTO;
	if (m->request == VHOST_USER_SET_VRING_ERR) /* errors are in the log */
		return 0;
	if (m->request == VHOST_USER_SET_VRING_CALL) {
		if (q->call_fd >= 0)
			close(q->call_fd);
		q->call_fd = none ? -1 : take_fd(&s->fds[0]);
		return 0;
	}
	if (none) /* would mean to look at the queue all the time */
		return -EOPNOTSUPP;
	queue_set_kick(q, take_fd(&s->fds[0]));
	r = queue_start(q);
	if (!r)
		queue_serve(q);
	return r;
}

static int get_base(struct session *s, struct queue *q)
{
	struct vhost_user_vring_state state = { .index = (uint32_t)(q - s->queues) };

	queue_stop(q);
	queue_set_kick(q, -1);
	state.num = q->base;
	return reply(s, &state, sizeof(state));
}

static void reset_owner(struct session *s)
{
	unsigned int i;

	stop_queues(s);
	for (i = 0; i < s->queues_n; i++) {
		queue_set_kick(&s->queues[i], -1);
		s->queues[i].enabled = s->queues[i].has_addr = false;
		s->queues[i].base = 0;
	}
}

/* *answered: no acknowledgement is due any more. */
static int obey(struct session *s, const struct vhost_user_msg *m, bool *answered)
{
	*answered = true;
	switch (m->request) {
	case VHOST_USER_GET_FEATURES: return reply_u64(s, FEATURES);
	case VHOST_USER_GET_PROTOCOL_FEATURES: return reply_u64(s, PROTOCOL_FEATURES);
	case VHOST_USER_GET_QUEUE_NUM: return reply_u64(s, s->queues_n);
	case VHOST_USER_GET_MAX_MEM_SLOTS: return reply_u64(s, MEMORY_REGIONS_MAX);
	case VHOST_USER_GET_VRING_BASE:
		return queue_of(s, m->state.index) ? get_base(s, queue_of(s, m->state.index)) : -EPROTO;
	default: break;
	}
	*answered = false;
	switch (m->request) {
	case VHOST_USER_SET_OWNER: return 0;
	case VHOST_USER_RESET_OWNER: reset_owner(s); return 0;
	case VHOST_USER_SET_FEATURES: return set_features(s, m->u64);
	case VHOST_USER_SET_PROTOCOL_FEATURES:
		if (m->u64 & ~PROTOCOL_FEATURES)
			return -EINVAL;
		s->protocol_features = m->u64;
		return 0;
	case VHOST_USER_SET_MEM_TABLE:
	case VHOST_USER_ADD_MEM_REG:
	case VHOST_USER_REM_MEM_REG: return set_memory(s, m);
	case VHOST_USER_SET_VRING_KICK:
	case VHOST_USER_SET_VRING_CALL:
	case VHOST_USER_SET_VRING_ERR: return set_vring_fd(s, m);
	default: return queue_of(s, m->state.index) ? set_vring(s, m, queue_of(s, m->state.index)) : -EPROTO;
	}
}

/* Those that take away what requests in flight are using. */
static bool needs_quiet(uint32_t request)
{
	return request == VHOST_USER_GET_VRING_BASE || request == VHOST_USER_SET_MEM_TABLE ||
	       request == VHOST_USER_ADD_MEM_REG || request == VHOST_USER_REM_MEM_REG ||
	       request == VHOST_USER_RESET_OWNER;
}

static void complain(struct session *s, const char *why)
{
	log_error("vhost-user: %s: %s", vhost_user_name(s->header.request), why);
	end(s, 1);
}

/* A whole message is there. */
static void take_message(struct session *s)
{
	struct vhost_user_msg m;
	const char *why;
	bool answered;
	int r;

	if (vhost_user_decode(&s->header, s->payload, s->fds_n, &m, &why)) {
		complain(s, why);
		return;
	}
	r = obey(s, &m, &answered);
	if (r)
		log_error("vhost-user: %s: %s", vhost_user_name(m.request), strerror(-r));
	if (!answered && m.need_reply && (s->protocol_features & (1ull << VHOST_USER_PROTOCOL_F_REPLY_ACK)))
		r = reply_u64(s, r ? 1 : 0);
	if (r)
		end(s, 1);
	drop_fds(s);
	s->have = 0;
}

/* What was to wait for the end of all requests goes on. */
void session_drained(struct session *s)
{
	unsigned int i;

	if (!s->waiting)
		return;
	s->waiting = s->draining = false;
	take_message(s);
	for (i = 0; i < s->queues_n; i++)
		queue_serve(&s->queues[i]);
	listen_on(s);
}

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

static void take_fds(struct session *s, struct msghdr *msg)
{
	struct cmsghdr *c;

	for (c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		unsigned int n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int), i;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (s->fds_n < VHOST_USER_FDS_MAX)
				s->fds[s->fds_n++] = fd;
			else
				close(fd);
		}
	}
}

/* Up to the end of the message and no further. 1: it is whole; 0: more is to come; negative errno. */
static int receive(struct session *s)
{
	size_t head = sizeof(s->header), want = s->have < head ? head : head + s->header.size;
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(VHOST_USER_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = {
		.iov_base = s->have < head ? (uint8_t *)&s->header + s->have : s->payload + (s->have - head),
		.iov_len = want - s->have,
	};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	const char *why;
	ssize_t n;

	n = recvmsg(s->sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ENODATA;
	take_fds(s, &msg);
	s->have += (size_t)n;
	if (msg.msg_flags & MSG_CTRUNC)
		return -EPROTO;
	if (s->have < head)
		return 0;
	if (vhost_user_check_header(&s->header, &why)) {
		log_error("vhost-user: request %u: %s", s->header.request, why);
		return -EPROTO;
	}
	if (s->have == head && s->header.size)
		return receive(s); /* once: the payload mostly came along */
	return s->have == head + s->header.size;
}

static void socket_ready(struct loop_op *op, int res)
{
	struct session *s = container_of(op, struct session, sock_op);
	int r;

	if (s->ending)
		return;
	r = res < 0 ? res : receive(s);
	if (r < 0) {
		if (r != -ENODATA && r != -ECONNRESET)
			log_error("vhost-user: the front end's socket: %s", strerror(-r));
		end(s, r == -ENODATA || r == -ECONNRESET ? 0 : 1);
		return;
	}
	if (r == 1 && needs_quiet(s->header.request)) {
		s->waiting = s->draining = true;
		fs_interrupt(s->fs);
		session_round(s);
		return;
	}
	if (r == 1)
		take_message(s);
	listen_on(s);
}

int session_new(struct session **out, struct loop *loop, struct fs *fs, int sock, unsigned int queues, struct err *e)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return err_set(e, ENOMEM, "no memory");
	s->loop = loop;
	s->fs = fs;
	s->sock = sock;
	queues_init(s, min_t(unsigned int, queues + 1, SESSION_QUEUES_MAX));
	loop_op_init(&s->sock_op, socket_ready);
	*out = s;
	return 0;
}

void session_start(struct session *s)
{
	listen_on(s);
}

void session_free(struct session *s)
{
	if (!s)
		return;
	s->ending = s->draining = true;
	s->waiting = false;
	fs_interrupt(s->fs);
	/* The kernel still moves data to and from the guest's memory. */
	while (s->in_flight && loop_run_once(s->loop, true) == 0)
		;
	drop_fds(s);
	queues_free(s);
	memory_clear(&s->mem);
	close(s->sock);
	free(s);
}
