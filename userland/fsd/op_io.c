/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data: between the file and the guest's memory, without a copy on the way. The requests of one kick go to the kernel
 * together, by the ring, and their answers are shown together. One that is alone is done on the spot: some file systems
 * (ext4 for writes, tmpfs) have the ring hand it to a worker thread, which costs more than the request itself.
 */
#include "fsd/fs_internal.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/iov.h"

static void io_done(struct loop_op *op, int res);

static void io_next(struct fs_req *req)
{
	struct loop *loop = req->fs->loop;
	int fd = req->handle->fd;

	switch (req->async) {
	case FS_READ: loop_readv(loop, &req->op, fd, req->io.iov, req->io.iov_n, (int64_t)req->io.off); break;
	case FS_WRITE:
		loop_writev(loop, &req->op, fd, req->io.iov, req->io.iov_n, (int64_t)req->io.off);
		if (req->io.kill_priv && req->fs->personality)
			loop_as(loop, req->fs->personality);
		break;
	case FS_FSYNC: loop_fsync(loop, &req->op, fd, req->sync.data_only); break;
	case FS_FALLOCATE: loop_fallocate(loop, &req->op, fd, req->sync.mode, req->sync.off, req->sync.len); break;
	default: break;
	}
}

static void begin(struct fs_req *req, struct handle *h, enum fs_async kind)
{
	loop_op_init(&req->op, io_done);
	handle_hold(h);
	req->handle = h;
	req->async = kind;
	io_next(req);
}

static void finish(struct fs_req *req, int64_t len)
{
	struct fuse_write_out written = { .size = req->io.moved };

	if (req->async == FS_READ || req->async == FS_WRITE)
		free(req->io.iov_alloc);
	if (req->async == FS_READ && len >= 0)
		len += req->io.moved;
	if (req->async == FS_WRITE && len >= 0) {
		iov_put(req->answer, req->answer_n, sizeof(struct fuse_out_header), &written, sizeof(written));
		len = sizeof(written);
	}
	fs_answer(req, len);
}

static void io_done(struct loop_op *op, int res)
{
	struct fs_req *req = container_of(op, struct fs_req, op);

	if (res == -EINTR || res == -EAGAIN) {
		io_next(req);
		return;
	}
	if (req->async == FS_WRITE && res > 0) {
		req->io.moved += (uint32_t)res;
		req->io.off += (uint32_t)res;
		req->io.iov = iov_advance(req->io.iov, &req->io.iov_n, (size_t)res);
		if (req->io.iov_n) {
			io_next(req);
			return;
		}
	}
	/* Of a write that ran into an end, what was written counts: the next one gets the error. */
	if (req->async == FS_WRITE && req->io.moved)
		res = 0;
	finish(req, res);
}

/* Keeps the segments for as long as the request takes. */
static int keep_iov(struct fs_req *req, const struct iovec *iov, unsigned int n)
{
	struct iovec *to = req->io.inline_iov;

	req->io.iov_alloc = NULL;
	if (n > FS_REQ_IOV) {
		to = req->io.iov_alloc = malloc(n * sizeof(*to));
		if (!to)
			return -ENOMEM;
	}
	memcpy(to, iov, n * sizeof(*to));
	req->io.iov = to;
	req->io.iov_n = n;
	return 0;
}

/*
 * Where a later answer goes: a header, and for a write what was written. Drivers may cut it as they like; one that needs
 * more pieces than these is told so.
 */
int fs_keep_answer(struct fs_req *req, size_t len)
{
	unsigned int i;

	for (i = 0; len && i < req->in_n && i < ARRAY_SIZE(req->answer); i++) {
		req->answer[i] = req->in[i];
		len -= min_t(size_t, len, req->in[i].iov_len);
	}
	req->answer_n = (uint8_t)i;
	return len ? -EINVAL : 0;
}

/*
 * Moves on the spot what is there; *iov, *n and io.moved say what is left, if anything. 0: up to the file's end, or all;
 * negative errno: the ring is to go on.
 */
static int read_now(struct fs *fs, struct handle *h, struct fs_req *req, struct iovec **iov, unsigned int *n)
{
	uint64_t start_ns = h->waits ? spot_tick_ns() : 0;
	ssize_t r = 1;

	if (!req->alone || (h->waits && !spot_ok(&fs->spot, start_ns)))
		return -EAGAIN;
	while (*n && r > 0) {
		r = preadv2(h->fd, *iov, (int)*n, (off_t)(req->io.off + req->io.moved), h->waits ? 0 : RWF_NOWAIT);
		if (r < 0 && errno == EOPNOTSUPP && !h->waits) {
			h->waits = true;
			return -EAGAIN; /* from the next one on */
		}
		if (r < 0)
			return -errno;
		*iov = iov_advance(*iov, n, (size_t)r);
		req->io.moved += (uint32_t)r;
	}
	if (h->waits)
		spot_note(&fs->spot, start_ns, spot_tick_ns());
	return 0;
}

static int write_now(struct fs *fs, struct handle *h, struct fs_req *req, struct iovec **iov, unsigned int *n)
{
	uint64_t start_ns = spot_tick_ns();
	ssize_t r;

	if (!req->alone || h->synced || !spot_ok(&fs->spot, start_ns))
		return -EAGAIN;
	if (req->io.kill_priv)
		caller_drop_fsetid(fs);
	r = pwritev2(h->fd, *iov, (int)*n, (off_t)req->io.off, 0);
	r = r < 0 ? -errno : r;
	if (req->io.kill_priv)
		caller_restore_fsetid(fs);
	spot_note(&fs->spot, start_ns, spot_tick_ns());
	if (r < 0)
		return (int)r;
	*iov = iov_advance(*iov, n, (size_t)r);
	req->io.moved += (uint32_t)r;
	req->io.off += (uint32_t)r;
	return *n ? -EAGAIN : 0;
}

int fs_op_read(struct fs *fs, struct fs_call *c)
{
	const struct fuse_read_in *in = c->arg;
	struct fs_req *req = c->req;
	struct handle *h = handle_get(fs, in->fh, c->inode);
	struct iovec *iov;
	unsigned int n = req->in_n;
	int r;

	if (!h || h->is_dir)
		return h ? -EISDIR : -EBADF;
	if (in->offset > INT64_MAX)
		return -EINVAL;
	r = fs_keep_answer(req, sizeof(struct fuse_out_header));
	if (r)
		return r;
	iov = iov_advance(req->in, &n, sizeof(struct fuse_out_header));
	n = iov_truncate(iov, n, min_t(uint32_t, in->size, FS_MAX_WRITE));
	if (!n)
		return 0;
	req->io.off = in->offset;
	req->io.moved = 0;
	req->io.kill_priv = false;
	if (read_now(fs, h, req, &iov, &n) == 0) {
		fs_answer(req, req->io.moved);
		return FS_LATER;
	}
	req->io.off += req->io.moved;
	r = keep_iov(req, iov, n);
	if (r)
		return r;
	begin(req, h, FS_READ);
	return FS_LATER;
}

int fs_op_write(struct fs *fs, struct fs_call *c)
{
	const struct fuse_write_in *in = c->arg;
	struct fuse_write_out *out = c->reply;
	struct fs_req *req = c->req;
	struct handle *h = handle_get(fs, in->fh, c->inode);
	struct iovec *iov;
	unsigned int n = req->out_n;
	int r;

	if (!h || !h->writable)
		return -EBADF;
	if (in->offset > INT64_MAX || in->size > FS_MAX_WRITE || c->reply_max < sizeof(*out) ||
	    req->head.len - sizeof(req->head) - sizeof(*in) != in->size)
		return -EINVAL;
	if (!in->size) {
		*out = (struct fuse_write_out){ .size = 0 };
		return sizeof(*out);
	}
	r = fs_keep_answer(req, sizeof(struct fuse_out_header) + sizeof(*out));
	if (r)
		return r;
	iov = iov_advance(req->out, &n, sizeof(req->head) + sizeof(*in));
	req->io.off = in->offset;
	req->io.moved = 0;
	req->io.kill_priv = in->write_flags & FUSE_WRITE_KILL_SUIDGID;
	r = write_now(fs, h, req, &iov, &n);
	if (r != -EAGAIN) {
		*out = (struct fuse_write_out){ .size = req->io.moved };
		return r ? r : (int)sizeof(*out);
	}
	r = keep_iov(req, iov, n);
	if (r)
		return r;
	begin(req, h, FS_WRITE);
	return FS_LATER;
}

int fs_op_fsync(struct fs *fs, struct fs_call *c)
{
	const struct fuse_fsync_in *in = c->arg;
	struct handle *h = handle_get(fs, in->fh, c->inode);
	int r;

	if (!h)
		return -EBADF;
	r = fs_keep_answer(c->req, sizeof(struct fuse_out_header));
	if (r)
		return r;
	c->req->sync.data_only = in->fsync_flags & FUSE_FSYNC_FDATASYNC;
	begin(c->req, h, FS_FSYNC);
	return FS_LATER;
}

int fs_op_fallocate(struct fs *fs, struct fs_call *c)
{
	const struct fuse_fallocate_in *in = c->arg;
	struct handle *h = handle_get(fs, in->fh, c->inode);
	int r;

	if (!h || !h->writable)
		return -EBADF;
	if (in->mode & ~(uint32_t)(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		return -EOPNOTSUPP;
	if (in->offset > INT64_MAX || in->length > INT64_MAX)
		return -EINVAL;
	r = fs_keep_answer(c->req, sizeof(struct fuse_out_header));
	if (r)
		return r;
	c->req->sync.off = in->offset;
	c->req->sync.len = in->length;
	c->req->sync.mode = (int)in->mode;
	begin(c->req, h, FS_FALLOCATE);
	return FS_LATER;
}
