/* SPDX-License-Identifier: Apache-2.0 */
/* Open files, but for moving their data. */
#include "fsd/fs_internal.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#define COPY_MAX (16u << 20)  /* at a time, so that others get their turn */
#define SETTLED_NS 100000000u /* some ticks of the slowest clock, 100 Hz */

uint32_t fs_open_answer(const struct fs *fs, const struct inode *inode, uint32_t flags)
{
	bool writable = (flags & O_ACCMODE) != O_RDONLY;

	if (S_ISDIR(inode->mode))
		return fs->config->cache == FS_CACHE_ALWAYS ? FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE : 0;
	/* FLUSH ends locks, and asks for what only close(2) says. */
	if ((fs->remote_locks && !fs->lock_flushes) || (writable && !fs->mounts[inode->mnt].local))
		return fs->open_keep;
	return fs->open_keep | FOPEN_NOFLUSH;
}

static uint64_t ns(struct statx_timestamp t)
{
	return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/*
 * What the guest has of a file's content is good for as long as the file has not changed since it was opened before; else
 * the guest drops it. A time that is not past may be that of the next change too, as clocks of file systems tick.
 */
static uint32_t keep_cache(struct fs *fs, struct inode *inode, int fd)
{
	uint64_t version, changed_ns, now_ns;
	struct statx stx;
	struct timespec now;
	bool same;

	if (fs->config->cache != FS_CACHE_AUTO || !fs->mounts[inode->mnt].local || fs_statx(fd, "", &stx))
		return 0;
	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	now_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	changed_ns = max_t(uint64_t, ns(stx.stx_mtime), ns(stx.stx_ctime));
	version =
		(ns(stx.stx_ctime) * 0x9e3779b97f4a7c15ull + ns(stx.stx_mtime)) * 0x9e3779b97f4a7c15ull + stx.stx_size;
	same = inode->version && inode->version == version;
	inode->version = changed_ns + SETTLED_NS < now_ns ? version : 0;
	return same ? FOPEN_KEEP_CACHE : 0;
}

static int open_node(struct fs *fs, struct fs_call *c, uint32_t flags, bool is_dir)
{
	struct fuse_open_out *out = c->reply;
	bool writable = !is_dir && (flags & O_ACCMODE) != O_RDONLY;
	struct handle *h;
	int fd;

	if (c->reply_max < sizeof(*out))
		return -EINVAL;
	if (is_dir != S_ISDIR(c->inode->mode))
		return is_dir ? -ENOTDIR : -EISDIR;
	if ((writable || (flags & O_TRUNC)) && fs->config->read_only)
		return -EROFS;
	fd = inode_open(fs, c->inode, (int)flags);
	if (fd < 0)
		return fd;
	h = handle_add(fs, c->inode, fd, flags);
	if (!h) {
		close(fd);
		return -ENOMEM;
	}
	*out = (struct fuse_open_out){
		.fh = handle_id(h),
		.open_flags = fs_open_answer(fs, c->inode, flags) | (is_dir ? 0 : keep_cache(fs, c->inode, fd)),
	};
	return sizeof(*out);
}

int fs_op_open(struct fs *fs, struct fs_call *c)
{
	const struct fuse_open_in *in = c->arg;
	uint32_t flags = fs_open_flags(fs, in->flags) & ~(uint32_t)O_EXCL;
	bool kill = (in->open_flags & FUSE_OPEN_KILL_SUIDGID) && (flags & O_TRUNC);
	int r;

	if (kill)
		caller_drop_fsetid(fs);
	r = open_node(fs, c, flags, false);
	if (kill)
		caller_restore_fsetid(fs);
	return r;
}

int fs_op_opendir(struct fs *fs, struct fs_call *c)
{
	return open_node(fs, c, O_RDONLY | O_DIRECTORY, true);
}

int fs_op_release(struct fs *fs, struct fs_call *c)
{
	const struct fuse_release_in *in = c->arg;
	struct handle *h = handle_get(fs, in->fh, c->inode);

	if (!h)
		return -EBADF;
	locks_release(fs, c->inode, h);
	return 0;
}

/* close(2) in the guest: the host's file system says what it says at a close. */
int fs_op_flush(struct fs *fs, struct fs_call *c)
{
	const struct fuse_flush_in *in = c->arg;
	struct handle *h = handle_get(fs, in->fh, c->inode);
	int fd;

	if (!h)
		return -EBADF;
	locks_flush(fs, c->inode, in->lock_owner);
	if (!h->writable)
		return 0;
	fd = fcntl(h->fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 || close(fd) ? -errno : 0;
}

int fs_op_lseek(struct fs *fs, struct fs_call *c)
{
	const struct fuse_lseek_in *in = c->arg;
	struct fuse_lseek_out *out = c->reply;
	struct handle *h = handle_get(fs, in->fh, c->inode);
	off_t at;

	if (!h || h->is_dir)
		return -EBADF;
	if (c->reply_max < sizeof(*out) || (in->whence != SEEK_DATA && in->whence != SEEK_HOLE))
		return -EINVAL;
	at = lseek(h->fd, (off_t)in->offset, (int)in->whence);
	if (at < 0)
		return -errno;
	out->offset = (uint64_t)at;
	return sizeof(*out);
}

int fs_op_copy(struct fs *fs, struct fs_call *c)
{
	const struct fuse_copy_file_range_in *in = c->arg;
	struct inode *to = inode_get(fs, in->nodeid_out);
	struct handle *from_h = handle_get(fs, in->fh_in, c->inode);
	struct handle *to_h = to ? handle_get(fs, in->fh_out, to) : NULL;
	struct fuse_write_out *out = c->reply;
	loff_t off_in = (loff_t)in->off_in, off_out = (loff_t)in->off_out;
	ssize_t n;

	if (!from_h || !to_h || !to_h->writable)
		return -EBADF;
	if (c->reply_max < sizeof(*out) || in->flags)
		return -EINVAL;
	n = copy_file_range(from_h->fd, &off_in, to_h->fd, &off_out, min_t(uint64_t, in->len, COPY_MAX), 0);
	if (n < 0)
		return -errno;
	*out = (struct fuse_write_out){ .size = (uint32_t)n };
	return sizeof(*out);
}
