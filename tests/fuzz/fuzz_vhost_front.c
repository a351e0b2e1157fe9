/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A back end that answers anything: all that it will ever say is in its socket before it's asked. First byte: how many
 * queues are asked for, and whether files come with the answers; the rest is what it says.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "virtio/vhost_front.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SAID_MAX 4096u /* fits into any socket's buffer */
#define MEM_BYTES (2u << 20)

static void say(int fd, const uint8_t *data, size_t size, bool with_file)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = min_t(size_t, size, SAID_MAX) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (with_file) {
		msg.msg_control = control.buf;
		msg.msg_controllen = sizeof(control.buf);
		CMSG_FIRSTHDR(&msg)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&msg)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&msg)->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), &fd, sizeof(int));
	}
	if ((iov.iov_len && sendmsg(fd, &msg, MSG_NOSIGNAL) < 0) || shutdown(fd, SHUT_WR))
		abort();
}

/* What a device does, whatever it's told on the way. After a failure nothing is said any more, and no call works. */
static void use(struct vhost_front *v, const struct guest_mem *mem, unsigned int queues)
{
	const uint8_t *ram = guest_mem_slice(mem, 0, 3 * 4096);
	struct vhost_ring ring = {
		.size = 16, .desc = ram, .avail = ram + 4096, .used = ram + 8192, .kick_fd = v->fd, .call_fd = v->fd
	};
	struct err e = ERR_INIT;
	bool dead;
	int r = vhost_front_connect(v, v->fd, mem, queues, &e);

	if (r) {
		if (r > 0 || !e.msg[0])
			abort();
		return;
	}
	vhost_front_set_features(v, v->features);
	for (ring.index = 0; ring.index < queues; ring.index++)
		vhost_front_start(v, &ring);
	dead = v->dead;
	for (ring.index = 0; ring.index < queues; ring.index++)
		if (!vhost_front_stop(v, ring.index) && dead)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const unsigned int first = size ? data[0] : 0;
	struct vhost_front v = { .fd = -1 };
	struct err e = ERR_INIT;
	struct guest_mem *mem;
	int pair[2];

	if (guest_mem_new(&mem, MEM_BYTES, &e) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		abort();
	say(pair[1], data + !!size, size - !!size, first & 0x80);
	v.fd = pair[0];
	use(&v, mem, 1 + (first & 7));
	close(pair[0]);
	close(pair[1]);
	guest_mem_free(mem);
	return 0;
}
