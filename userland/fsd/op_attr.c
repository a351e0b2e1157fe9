/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes and their attributes. */
#include "fsd/fs_internal.h"

#include <errno.h>
#include <limits.h>
#include <sys/sysmacros.h>
#include <unistd.h>

struct statx_in { /* fuse_statx_in of newer headers */
	uint32_t getattr_flags, reserved;
	uint64_t fh;
	uint32_t sx_flags, sx_mask;
};

struct statx_out { /* fuse_statx_out; its struct fuse_statx is laid out as struct statx */
	uint64_t attr_valid;
	uint32_t attr_valid_nsec, flags;
	uint64_t spare[2];
	struct statx stat;
};

_Static_assert(sizeof(struct statx_in) == 24 && sizeof(struct statx_out) == 288, "as the kernel has them");

void attr_fill(struct fs *fs, const struct inode *inode, const struct statx *stx, struct fuse_attr *attr)
{
	*attr = (struct fuse_attr){
		.ino = stx->stx_ino,
		.size = stx->stx_size,
		.blocks = stx->stx_blocks,
		.atime = stx->stx_atime.tv_sec,
		.mtime = stx->stx_mtime.tv_sec,
		.ctime = stx->stx_ctime.tv_sec,
		.atimensec = stx->stx_atime.tv_nsec,
		.mtimensec = stx->stx_mtime.tv_nsec,
		.ctimensec = stx->stx_ctime.tv_nsec,
		.mode = stx->stx_mode,
		.nlink = stx->stx_nlink,
		.uid = idmap_to_guest(&fs->config->uids, stx->stx_uid),
		.gid = idmap_to_guest(&fs->config->gids, stx->stx_gid),
		/* 32 bits of the kernel's new_encode_dev, which are those of makedev for small numbers. */
		.rdev = (uint32_t)makedev(stx->stx_rdev_major, stx->stx_rdev_minor),
		.blksize = stx->stx_blksize,
	};
}

int entry_fill(struct fs *fs, const struct inode *parent, const struct inode *inode, const struct statx *stx,
	       struct fuse_entry_out *out)
{
	*out = (struct fuse_entry_out){
		.nodeid = inode_id(fs, inode),
		.entry_valid = fs->timeout_s,
		.attr_valid = fs->timeout_s,
		.entry_valid_nsec = fs->timeout_ns,
		.attr_valid_nsec = fs->timeout_ns,
	};
	attr_fill(fs, inode, stx, &out->attr);
	if (fs->config->announce_submounts && S_ISDIR(inode->mode) && inode->mnt != parent->mnt)
		out->attr.flags |= FUSE_ATTR_SUBMOUNT;
	return sizeof(*out);
}

static int answer_attr(struct fs *fs, struct fs_call *c, const struct statx *stx)
{
	struct fuse_attr_out *out = c->reply;

	*out = (struct fuse_attr_out){ .attr_valid = fs->timeout_s, .attr_valid_nsec = fs->timeout_ns };
	attr_fill(fs, c->inode, stx, &out->attr);
	return sizeof(*out);
}

static int stat_inode(struct fs *fs, const struct inode *inode, struct statx *stx)
{
	bool own;
	int fd = inode_fd(fs, inode, &own), r;

	if (fd < 0)
		return fd;
	r = fs_statx(fd, "", stx);
	inode_put_fd(fs, fd, own);
	return r;
}

int fs_op_getattr(struct fs *fs, struct fs_call *c)
{
	struct statx stx;
	int r;

	if (c->reply_max < sizeof(struct fuse_attr_out))
		return -EINVAL;
	r = stat_inode(fs, c->inode, &stx);
	return r ? r : answer_attr(fs, c, &stx);
}

int fs_op_statx(struct fs *fs, struct fs_call *c)
{
	struct statx_out *out = c->reply;
	int r;

	if (c->reply_max < sizeof(*out))
		return -EINVAL;
	*out = (struct statx_out){ .attr_valid = fs->timeout_s, .attr_valid_nsec = fs->timeout_ns };
	r = stat_inode(fs, c->inode, &out->stat);
	if (r)
		return r;
	/* The rest is the host's own business: mount numbers, alignments. */
	out->stat.stx_mask &= STATX_BASIC_STATS | STATX_BTIME;
	memset((char *)out + offsetof(struct statx_out, stat.stx_mnt_id), 0,
	       sizeof(*out) - offsetof(struct statx_out, stat.stx_mnt_id));
	out->stat.stx_uid = idmap_to_guest(&fs->config->uids, out->stat.stx_uid);
	out->stat.stx_gid = idmap_to_guest(&fs->config->gids, out->stat.stx_gid);
	return sizeof(*out);
}

static int set_owner(struct fs *fs, const struct fuse_setattr_in *in, int fd)
{
	uint32_t uid = UINT32_MAX, gid = UINT32_MAX;

	if ((in->valid & FATTR_UID) && idmap_to_host(&fs->config->uids, in->uid, &uid))
		return -EINVAL;
	if ((in->valid & FATTR_GID) && idmap_to_host(&fs->config->gids, in->gid, &gid))
		return -EINVAL;
	return fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

static int set_size(struct fs *fs, struct fs_call *c, const struct fuse_setattr_in *in)
{
	struct handle *h = in->valid & FATTR_FH ? handle_get(fs, in->fh, c->inode) : NULL;
	bool kill = in->valid & FATTR_KILL_SUIDGID;
	int fd, r;

	if (in->valid & FATTR_FH && (!h || !h->writable))
		return -EBADF;
	if (in->size > INT64_MAX)
		return -EFBIG;
	if (!S_ISREG(c->inode->mode))
		return S_ISDIR(c->inode->mode) ? -EISDIR : -EINVAL;
	fd = h ? h->fd : inode_open(fs, c->inode, O_WRONLY);
	if (fd < 0)
		return fd;
	if (kill)
		caller_drop_fsetid(fs);
	r = ftruncate(fd, (off_t)in->size) ? -errno : 0;
	if (kill)
		caller_restore_fsetid(fs);
	if (!h)
		close(fd);
	return r;
}

static int set_times(const struct fuse_setattr_in *in, int fd)
{
	struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };

	if (in->valid & FATTR_ATIME_NOW)
		ts[0].tv_nsec = UTIME_NOW;
	else if (in->valid & FATTR_ATIME)
		ts[0] = (struct timespec){ .tv_sec = (time_t)in->atime, .tv_nsec = in->atimensec };
	if (in->valid & FATTR_MTIME_NOW)
		ts[1].tv_nsec = UTIME_NOW;
	else if (in->valid & FATTR_MTIME)
		ts[1] = (struct timespec){ .tv_sec = (time_t)in->mtime, .tv_nsec = in->mtimensec };
	return utimensat(fd, "", ts, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

int fs_op_setattr(struct fs *fs, struct fs_call *c)
{
	const struct fuse_setattr_in *in = c->arg;
	struct statx stx;
	char path[12];
	bool own;
	int fd, r = 0;

	if (c->reply_max < sizeof(struct fuse_attr_out))
		return -EINVAL;
	fd = inode_fd(fs, c->inode, &own);
	if (fd < 0)
		return fd;
	fd_path(fd, path);
	if (in->valid & FATTR_MODE)
		r = S_ISLNK(c->inode->mode)			       ? -EOPNOTSUPP
		    : fchmodat(fs->proc_fd, path, in->mode & 07777, 0) ? -errno
								       : 0;
	if (!r && (in->valid & (FATTR_UID | FATTR_GID)))
		r = set_owner(fs, in, fd);
	if (!r && (in->valid & FATTR_SIZE))
		r = set_size(fs, c, in);
	if (!r && (in->valid & (FATTR_ATIME | FATTR_MTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW)))
		r = set_times(in, fd);
	if (!r)
		r = fs_statx(fd, "", &stx);
	inode_put_fd(fs, fd, own);
	return r ? r : answer_attr(fs, c, &stx);
}

int fs_op_readlink(struct fs *fs, struct fs_call *c)
{
	bool own;
	int fd;
	ssize_t n;

	if (!S_ISLNK(c->inode->mode))
		return -EINVAL;
	fd = inode_fd(fs, c->inode, &own);
	if (fd < 0)
		return fd;
	n = readlinkat(fd, "", c->reply, min_t(uint32_t, c->reply_max, PATH_MAX));
	n = n < 0 ? -errno : n;
	inode_put_fd(fs, fd, own);
	return (int)n;
}

int fs_op_forget(struct fs *fs, struct fs_call *c)
{
	const struct fuse_forget_in *in = c->arg;

	inode_forget(fs, c->inode, in->nlookup);
	return FS_NOTHING;
}

int fs_op_batch_forget(struct fs *fs, struct fs_call *c)
{
	const struct fuse_batch_forget_in *in = c->arg;
	const struct fuse_forget_one *one = (const void *)c->rest;
	uint32_t i, n = min_t(uint32_t, in->count, c->rest_len / sizeof(*one));

	for (i = 0; i < n; i++) {
		struct inode *inode = inode_get(fs, one[i].nodeid);

		if (inode)
			inode_forget(fs, inode, one[i].nlookup);
	}
	return FS_NOTHING;
}
