/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/vhost_front.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

#include "base/util.h"

#define VERSION 1u
#define FLAG_REPLY (1u << 2)
#define FLAG_NEED_REPLY (1u << 3)

#define F_PROTOCOL_FEATURES (1ull << 30)
#define PROTOCOL_F_MQ (1ull << 0)
#define PROTOCOL_F_REPLY_ACK (1ull << 3)

#define REGIONS_MAX 2u /* as many as guest memory has */

enum request {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	GET_VRING_BASE = 11,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	GET_QUEUE_NUM = 17,
	SET_VRING_ENABLE = 18,
};

/* All fields are of the host's byte order. */
struct message {
	uint32_t request, flags, size_bytes;
	union {
		uint64_t u64;
		struct {
			uint32_t index, num;
		} state;
		struct {
			uint32_t index, flags;
			uint64_t desc, used, avail, log;
		} addr;
		struct {
			uint32_t regions_n, padding;
			struct {
				uint64_t gpa, len_bytes, hva, fd_offset;
			} regions[REGIONS_MAX];
		} memory;
	};
} __attribute__((packed));

#define HEADER_BYTES 12u

static int fail(struct vhost_front *v, int code)
{
	v->dead = true;
	/* A back end that only answers late must not go on with what it was not told to the end. */
	shutdown(v->fd, SHUT_RDWR);
	return code;
}

/* The socket has timeouts, so each call is bounded. */
static int receive(struct vhost_front *v, void *to, size_t len)
{
	struct iovec iov = { .iov_base = to, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	while (iov.iov_len) {
		/* recvmsg(2) is what the jail lets through; files that come along are not taken. */
		ssize_t n = recvmsg(v->fd, &msg, MSG_WAITALL | MSG_CMSG_CLOEXEC);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EPIPE;
		iov.iov_base = (char *)iov.iov_base + n;
		iov.iov_len -= (size_t)n;
	}
	return 0;
}

/* One answer to `request`, of exactly that many bytes. */
static int receive_answer(struct vhost_front *v, uint32_t request, struct message *m, uint32_t size_bytes)
{
	int r = receive(v, m, HEADER_BYTES);

	if (!r && (m->request != request || (m->flags & 3) != VERSION || !(m->flags & FLAG_REPLY) ||
		   m->size_bytes != size_bytes))
		r = -EPROTO;
	if (!r)
		r = receive(v, (char *)m + HEADER_BYTES, size_bytes);
	return r;
}

static int send_message(struct vhost_front *v, struct message *m, const int *fds, size_t fds_n)
{
	union {
		char buf[CMSG_SPACE(REGIONS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	struct iovec iov = { .iov_base = m, .iov_len = HEADER_BYTES + m->size_bytes };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;
	ssize_t n;

	if (fds_n) {
		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(fds_n * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fds_n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, fds_n * sizeof(int));
	}
	do
		n = sendmsg(v->fd, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	/* Messages are far smaller than the socket's buffer: not all of one means that nobody reads. */
	return n == (ssize_t)iov.iov_len ? 0 : n < 0 ? -errno : -ETIMEDOUT;
}

static int tell(struct vhost_front *v, struct message *m, const int *fds, size_t fds_n)
{
	const uint32_t request = m->request;
	int r;

	if (v->dead)
		return -EPIPE;
	m->flags = VERSION | (v->reply_ack ? FLAG_NEED_REPLY : 0);
	r = send_message(v, m, fds, fds_n);
	if (!r && v->reply_ack) {
		r = receive_answer(v, request, m, sizeof(m->u64));
		if (!r && m->u64)
			r = -EREMOTEIO;
	}
	return r ? fail(v, r) : 0;
}

static int tell_u64(struct vhost_front *v, uint32_t request, uint64_t value)
{
	struct message m = { .request = request, .size_bytes = sizeof(m.u64), .u64 = value };

	return tell(v, &m, NULL, 0);
}

static int tell_state(struct vhost_front *v, uint32_t request, uint32_t index, uint32_t num)
{
	struct message m = { .request = request, .size_bytes = sizeof(m.state), .state = { index, num } };

	return tell(v, &m, NULL, 0);
}

static int tell_fd(struct vhost_front *v, uint32_t request, uint32_t index, int fd)
{
	struct message m = { .request = request, .size_bytes = sizeof(m.u64), .u64 = index };

	return tell(v, &m, &fd, 1);
}

static int ask_u64(struct vhost_front *v, uint32_t request, uint64_t *value)
{
	struct message m = { .request = request, .flags = VERSION };
	int r = v->dead ? -EPIPE : send_message(v, &m, NULL, 0);

	if (!r)
		r = receive_answer(v, request, &m, sizeof(m.u64));
	*value = m.u64;
	return r ? fail(v, r) : 0;
}

static int set_memory(struct vhost_front *v, const struct guest_mem *mem)
{
	const struct guest_mem_region *regions;
	const size_t n = guest_mem_regions(mem, &regions);
	struct message m = { .request = SET_MEM_TABLE };
	int fds[REGIONS_MAX];
	size_t i;

	if (n > REGIONS_MAX)
		return -E2BIG;
	m.memory.regions_n = (uint32_t)n;
	for (i = 0; i < n; i++) {
		m.memory.regions[i].gpa = regions[i].gpa;
		m.memory.regions[i].len_bytes = regions[i].len_bytes;
		/* Rings are told by these addresses, which mean nothing but that in the other process. */
		m.memory.regions[i].hva = (uintptr_t)regions[i].hva;
		m.memory.regions[i].fd_offset = regions[i].fd_offset;
		fds[i] = guest_mem_fd(mem);
	}
	m.size_bytes = (uint32_t)(2 * sizeof(uint32_t) + n * sizeof(m.memory.regions[0]));
	return tell(v, &m, fds, n);
}

static int agree_on_protocol(struct vhost_front *v, unsigned int queues, struct err *e)
{
	uint64_t offered, taken, n = 0;
	int r = ask_u64(v, GET_PROTOCOL_FEATURES, &offered);

	taken = offered & (PROTOCOL_F_MQ | PROTOCOL_F_REPLY_ACK);
	if (!r)
		r = tell_u64(v, SET_PROTOCOL_FEATURES, taken);
	if (r)
		return err_errno(e, r, "vhost-user protocol features");
	v->reply_ack = taken & PROTOCOL_F_REPLY_ACK;
	if (!(taken & PROTOCOL_F_MQ))
		return 0;
	r = ask_u64(v, GET_QUEUE_NUM, &n);
	if (r)
		return err_errno(e, r, "vhost-user number of queues");
	if (n < queues)
		return err_set(e, EINVAL, "the vhost-user back end has %llu queues, %u are needed",
			       (unsigned long long)n, queues);
	return 0;
}

int vhost_front_connect(struct vhost_front *v, int fd, const struct guest_mem *mem, unsigned int queues, struct err *e)
{
	const struct timeval limit = { .tv_sec = VHOST_TIMEOUT_MS / 1000, .tv_usec = VHOST_TIMEOUT_MS % 1000 * 1000 };
	struct message owner = { .request = SET_OWNER };
	int r;

	*v = (struct vhost_front){ .fd = fd };
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)))
		return err_errno(e, errno, "vhost-user socket");
	r = tell(v, &owner, NULL, 0);
	if (!r)
		r = ask_u64(v, GET_FEATURES, &v->features);
	if (r)
		return err_errno(e, r, "vhost-user features");
	if (!(v->features & F_PROTOCOL_FEATURES))
		return err_set(e, ENOTSUP, "the vhost-user back end has no protocol features");
	if (agree_on_protocol(v, queues, e))
		return -e->code;
	r = set_memory(v, mem);
	return r ? err_errno(e, r, "handing guest memory to the vhost-user back end") : 0;
}

int vhost_front_set_features(struct vhost_front *v, uint64_t features)
{
	return tell_u64(v, SET_FEATURES, features | F_PROTOCOL_FEATURES);
}

int vhost_front_start(struct vhost_front *v, const struct vhost_ring *ring)
{
	struct message addr = {
		.request = SET_VRING_ADDR,
		.size_bytes = sizeof(addr.addr),
		.addr = {
			.index = ring->index,
			.desc = (uintptr_t)ring->desc,
			.used = (uintptr_t)ring->used,
			.avail = (uintptr_t)ring->avail,
		},
	};
	int r = tell_state(v, SET_VRING_NUM, ring->index, ring->size);

	if (!r)
		r = tell_state(v, SET_VRING_BASE, ring->index, 0);
	if (!r)
		r = tell(v, &addr, NULL, 0);
	if (!r)
		r = tell_fd(v, SET_VRING_CALL, ring->index, ring->call_fd);
	/* The kick's eventfd starts the ring, so it is behind all the rest. */
	if (!r)
		r = tell_fd(v, SET_VRING_KICK, ring->index, ring->kick_fd);
	if (!r)
		r = tell_state(v, SET_VRING_ENABLE, ring->index, 1);
	return r;
}

int vhost_front_stop(struct vhost_front *v, unsigned int index)
{
	struct message m = {
		.request = GET_VRING_BASE, .flags = VERSION, .size_bytes = sizeof(m.state), .state = { index, 0 }
	};
	int r = v->dead ? -EPIPE : send_message(v, &m, NULL, 0);

	if (!r)
		r = receive_answer(v, GET_VRING_BASE, &m, sizeof(m.state));
	return r ? fail(v, r) : 0;
}
