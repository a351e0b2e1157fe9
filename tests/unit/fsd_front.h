/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A front end for tests and fuzz targets: a memfd for the guest's memory, vhost-user messages over a socketpair, one queue
 * written as a driver would, and FUSE requests in it. The file server runs in the same process and thread.
 */
#ifndef TESTS_UNIT_FSD_FRONT_H
#define TESTS_UNIT_FSD_FRONT_H

#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "fsd/fs.h"
#include "fsd/jail.h"
#include "fsd/session.h"
#include "fsd/vhost_user.h"

#define FRONT_MEM (4u << 20)
#define FRONT_USER 0x7f0000000000ull /* where the front end says that it has it */
#define FRONT_SIZE 64u		     /* of the queue */
#define FRONT_QUEUE 1u
#define FRONT_DESC 0u
#define FRONT_AVAIL 0x1000u
#define FRONT_USED 0x2000u
#define FRONT_OUT 0x10000u /* requests */
#define FRONT_IN 0x100000u /* answers */
#define FRONT_ROUNDS 100000u
#define FRONT_QUICK_ROUNDS 1000u /* past these each is a millisecond */

struct front {
	char dir[64]; /* share is dir/share */
	struct fs_config config;
	struct loop *loop;
	struct fs *fs;
	struct session *session;
	int root_fd, proc_fd, sock, mem_fd, kick_fd, call_fd;
	uint8_t *mem;
	uint16_t avail_idx, used_seen;
	uint64_t unique;
	uint32_t uid, gid;
};

static inline void front_send(struct front *f, uint32_t request, uint32_t flags, const void *payload, uint32_t len,
			      const int *fds, unsigned int fds_n)
{
	struct {
		struct vhost_user_header head;
		uint8_t payload[512];
	} msg = { .head = { request, VHOST_USER_VERSION | flags, len } };
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(16 * sizeof(int))];
	} control = { .buf = { 0 } };
	struct iovec iov = { .iov_base = &msg, .iov_len = sizeof(msg.head) + min_t(uint32_t, len, 512) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (len)
		memcpy(msg.payload, payload, min_t(uint32_t, len, 512));
	if (fds_n) {
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(fds_n * sizeof(int));
		memcpy(CMSG_DATA(&control.align), fds, fds_n * sizeof(int));
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(fds_n * sizeof(int));
	}
	if (sendmsg(f->sock, &m, MSG_NOSIGNAL) < 0)
		perror("sendmsg");
}

/* What has come for the server is done. */
static inline void front_settle(struct front *f)
{
	int i;

	for (i = 0; i < 4; i++)
		loop_run_once(f->loop, false);
}

/* Payload bytes of the reply; -1: there is none. */
static inline int front_reply(struct front *f, void *payload, size_t size)
{
	struct {
		struct vhost_user_header head;
		uint8_t payload[64];
	} msg;
	unsigned int i;
	ssize_t n = -1;

	for (i = 0; i < FRONT_ROUNDS && n < 0; i++) {
		loop_run_once(f->loop, false);
		n = recv(f->sock, &msg, sizeof(msg), MSG_DONTWAIT);
	}
	if (n < (ssize_t)sizeof(msg.head) || !(msg.head.flags & VHOST_USER_REPLY))
		return -1;
	memcpy(payload, msg.payload, min_t(size_t, size, msg.head.size));
	return (int)msg.head.size;
}

static inline void front_u64(struct front *f, uint32_t request, uint64_t v, int fd)
{
	front_send(f, request, 0, &v, sizeof(v), &fd, fd >= 0);
	front_settle(f);
}

static inline void front_state(struct front *f, uint32_t request, uint32_t index, uint32_t num)
{
	struct vhost_user_vring_state st = { index, num };

	front_send(f, request, 0, &st, sizeof(st), NULL, 0);
	front_settle(f);
}

static inline void front_queue(struct front *f, uint16_t base)
{
	struct vhost_user_vring_addr addr = {
		.index = FRONT_QUEUE,
		.desc = FRONT_USER + FRONT_DESC,
		.avail = FRONT_USER + FRONT_AVAIL,
		.used = FRONT_USER + FRONT_USED,
	};

	front_state(f, VHOST_USER_SET_VRING_NUM, FRONT_QUEUE, FRONT_SIZE);
	front_state(f, VHOST_USER_SET_VRING_BASE, FRONT_QUEUE, base);
	front_send(f, VHOST_USER_SET_VRING_ADDR, 0, &addr, sizeof(addr), NULL, 0);
	front_settle(f);
	front_u64(f, VHOST_USER_SET_VRING_CALL, FRONT_QUEUE, f->call_fd);
	front_u64(f, VHOST_USER_SET_VRING_KICK, FRONT_QUEUE, f->kick_fd);
	front_state(f, VHOST_USER_SET_VRING_ENABLE, FRONT_QUEUE, 1);
}

static inline void front_memory(struct front *f)
{
	struct {
		uint32_t n, padding;
		struct vhost_user_region r;
	} table = { 1, 0, { 0, FRONT_MEM, FRONT_USER, 0 } };

	front_send(f, VHOST_USER_SET_MEM_TABLE, 0, &table, sizeof(table), &f->mem_fd, 1);
	front_settle(f);
}

/* A server without a share's name, its share an empty folder. Nothing is said on the socket yet. */
static inline void front_new(struct front *f, const struct fs_config *config)
{
	struct err e = ERR_INIT;
	char share[80];
	int sock[2];

	umask(022);
	*f = (struct front){ .config = *config };
	if (!f->config.fd_limit)
		f->config.fd_limit = 512;
	strcpy(f->dir, "/tmp/fsd-test.XXXXXX");
	if (!mkdtemp(f->dir))
		abort();
	snprintf(share, sizeof(share), "%s/share", f->dir);
	if (mkdir(share, 0755) || fsd_jail_none(share, &f->root_fd, &f->proc_fd, &e) || loop_new(&f->loop, 64, 0) ||
	    fs_new(&f->fs, f->loop, &f->config, f->root_fd, f->proc_fd, &e) || fs_prepare(f->fs, &e) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock) ||
	    session_new(&f->session, f->loop, f->fs, sock[0], 4, &e)) {
		fprintf(stderr, "%s\n", e.msg);
		abort();
	}
	f->sock = sock[1];
	f->mem_fd = memfd_create("guest", MFD_CLOEXEC);
	if (ftruncate(f->mem_fd, FRONT_MEM))
		abort();
	f->mem = mmap(NULL, FRONT_MEM, PROT_READ | PROT_WRITE, MAP_SHARED, f->mem_fd, 0);
	f->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	session_start(f->session);
}

static inline void front_connect(struct front *f)
{
	front_u64(f, VHOST_USER_SET_FEATURES,
		  1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_INDIRECT_DESC |
			  1ull << VHOST_USER_F_PROTOCOL_FEATURES,
		  -1);
	front_memory(f);
	front_queue(f, 0);
}

static inline void front_free(struct front *f)
{
	session_free(f->session);
	fs_free(f->fs);
	loop_free(f->loop);
	close(f->root_fd);
	close(f->proc_fd);
	close(f->sock);
	close(f->mem_fd);
	close(f->kick_fd);
	close(f->call_fd);
	munmap(f->mem, FRONT_MEM);
	remove_tree(AT_FDCWD, f->dir);
}

/* One chain: out_len bytes at FRONT_OUT + slot's place, room for in_len; not kicked. Slots 0 to 7, 64 KiB out and 128 KiB in each. */
static inline void front_put(struct front *f, unsigned int slot, const void *out, uint32_t out_len, uint32_t in_len)
{
	struct vring_desc *desc = (void *)(f->mem + FRONT_DESC);
	struct vring_avail *avail = (void *)(f->mem + FRONT_AVAIL);
	uint16_t head = (uint16_t)(slot * 4);

	if (out_len)
		memcpy(f->mem + FRONT_OUT + slot * 0x10000, out, out_len);
	desc[head] = (struct vring_desc){ FRONT_OUT + slot * 0x10000, out_len, in_len ? VRING_DESC_F_NEXT : 0,
					  (uint16_t)(head + 1) };
	if (in_len)
		desc[head + 1] = (struct vring_desc){ FRONT_IN + slot * 0x20000, in_len, VRING_DESC_F_WRITE, 0 };
	avail->ring[f->avail_idx & (FRONT_SIZE - 1)] = head;
	__atomic_store_n(&avail->idx, ++f->avail_idx, __ATOMIC_RELEASE);
}

static inline uint8_t *front_answer(struct front *f, unsigned int slot)
{
	return f->mem + FRONT_IN + slot * 0x20000;
}

/* Until n more chains have come back, or more; how many did. What a busy disk is asked for may take its time. */
static inline unsigned int front_wait(struct front *f, unsigned int n)
{
	struct vring_used *used = (void *)(f->mem + FRONT_USED);
	uint16_t now;
	unsigned int i;

	eventfd_write(f->kick_fd, 1);
	for (i = 0; i < FRONT_ROUNDS && (uint16_t)(__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) - f->used_seen) < n;
	     i++) {
		loop_run_once(f->loop, false);
		if (i >= FRONT_QUICK_ROUNDS)
			usleep(1000);
	}
	now = (uint16_t)(__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) - f->used_seen);
	f->used_seen = (uint16_t)(f->used_seen + now);
	return now;
}

/* A request and its answer: bytes behind the header, or negative errno. -1000: no answer, -1001: a wrong one. */
static inline int front_call_raw(struct front *f, uint32_t opcode, uint64_t node, const void *arg, size_t len,
				 void *answer, uint32_t room)
{
	struct fuse_in_header head = { .len = (uint32_t)(sizeof(head) + len),
				       .opcode = opcode,
				       .unique = ++f->unique,
				       .nodeid = node,
				       .uid = f->uid,
				       .gid = f->gid };
	struct fuse_out_header out;
	uint8_t request[0x10000];

	if (sizeof(head) + len > sizeof(request))
		abort();
	memcpy(request, &head, sizeof(head));
	if (len)
		memcpy(request + sizeof(head), arg, len);
	front_put(f, 0, request, head.len, room + sizeof(out));
	if (front_wait(f, 1) != 1)
		return -1000;
	memcpy(&out, front_answer(f, 0), sizeof(out));
	if (out.unique != f->unique || out.len < sizeof(out) || out.len > room + sizeof(out) || out.error > 0 ||
	    (out.error && out.len != sizeof(out)))
		return -1001;
	if (answer)
		memcpy(answer, front_answer(f, 0) + sizeof(out), out.len - sizeof(out));
	return out.error ? out.error : (int)(out.len - sizeof(out));
}

/* Arguments: a fixed part and up to two names (NULL: none). */
static inline int front_call(struct front *f, uint32_t opcode, uint64_t node, const void *arg, size_t len,
			     const char *name, const char *name2, void *answer, uint32_t room)
{
	uint8_t buf[8192];
	size_t n = len;

	if (len)
		memcpy(buf, arg, len);
	if (name) {
		memcpy(buf + n, name, strlen(name) + 1);
		n += strlen(name) + 1;
	}
	if (name2) {
		memcpy(buf + n, name2, strlen(name2) + 1);
		n += strlen(name2) + 1;
	}
	return front_call_raw(f, opcode, node, buf, n, answer, room);
}

static inline int front_init(struct front *f, uint64_t flags, struct fuse_init_out *out)
{
	struct fuse_init_in in = { .major = 7,
				   .minor = 38,
				   .max_readahead = 65536,
				   .flags = (uint32_t)flags,
				   .flags2 = (uint32_t)(flags >> 32) };
	struct fuse_init_out dummy;

	return front_call(f, FUSE_INIT, 0, &in, sizeof(in), NULL, NULL, out ? out : &dummy, sizeof(dummy));
}

#endif
