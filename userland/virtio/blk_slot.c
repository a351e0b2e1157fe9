/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that come and go while the guest runs, by the socket of their slot (base/blk_slot.h). */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/blk_slot.h"
#include "virtio/blk.h"

#define BLOCK_BYTES_MAX 4096u

static void on_request(struct loop_op *op, int res);

void blk_slot_start(struct virtio_device *dev)
{
	struct blk *b = to_blk(dev);

	if (b->slot_fd < 0)
		return;
	loop_op_init(&b->slot_op, on_request);
	loop_poll(dev->loop, &b->slot_op, b->slot_fd, POLLIN);
}

bool blk_slot_end(struct blk *b)
{
	if (b->slot_fd < 0 || !loop_op_busy(&b->slot_op))
		return true;
	if (!b->slot_ended)
		loop_cancel(b->dev.loop, &b->slot_op);
	b->slot_ended = true;
	return false;
}

/* The size of what comes, and its file (-1: none). False: nothing came, or nobody is there any more. */
static bool receive(int slot_fd, struct blk_slot_request *req, int *fd, bool *gone)
{
	union {
		struct cmsghdr hdr;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { req, sizeof(*req) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	const ssize_t n = recvmsg(slot_fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	const struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);

	*fd = -1;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(c), sizeof(int));
	*gone = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
	if (n > 0 && n != (ssize_t)sizeof(*req))
		memset(req, 0, sizeof(*req));
	return n > 0;
}

static int plug(struct blk *b, const struct blk_slot_request *req, int fd)
{
	const uint32_t block = req->block_bytes;
	int r;

	if (fd < 0)
		return -EBADF;
	if (block < BLK_SECTOR || block > BLOCK_BYTES_MAX || (block & (block - 1)) || !req->bytes ||
	    req->bytes % block || (req->flags & ~(uint32_t)VMSPEC_BLK_READONLY))
		return -EINVAL;
	if (b->fd >= 0 || b->in_flight)
		return -EBUSY;
	b->read_only = req->flags & VMSPEC_BLK_READONLY;
	b->writes = req->is_regular ? BLK_WRITES_NEW : BLK_WRITES_RING;
	b->sectors = req->bytes / BLK_SECTOR;
	r = virtio_refit(&b->dev, blk_fill_config(b, block, req->best_bytes));
	if (r < 0) {
		b->sectors = 0;
		return r;
	}
	b->fd = fd;
	return 0;
}

/* A guest that goes on using it gets errors, and what is in flight has the file until it ends. */
static int unplug(struct blk *b)
{
	if (b->fd < 0)
		return -ENODEV;
	b->sectors = 0;
	close(b->fd);
	b->fd = -1;
	virtio_refit(&b->dev, blk_fill_config(b, BLK_SECTOR, 0));
	return 0;
}

static void on_request(struct loop_op *op, int res)
{
	struct blk *b = container_of(op, struct blk, slot_op);
	struct blk_slot_request req;
	struct blk_slot_answer answer = { -EINVAL };
	bool gone;
	int fd;

	if (res == -ECANCELED)
		return;
	if (receive(b->slot_fd, &req, &fd, &gone)) {
		if (req.op == BLK_SLOT_PLUG)
			answer.error = plug(b, &req, fd);
		else if (req.op == BLK_SLOT_UNPLUG)
			answer.error = unplug(b);
		if (fd >= 0 && fd != b->fd)
			close(fd);
		/* Who doesn't wait for it has more to worry about. */
		gone = write(b->slot_fd, &answer, sizeof(answer)) < 0;
	}
	if (!gone)
		loop_poll(b->dev.loop, op, b->slot_fd, POLLIN);
}
