/* SPDX-License-Identifier: Apache-2.0 */
/* Beginning and end, and what concerns the file system as a whole. */
#include "fsd/fs_internal.h"

#include <errno.h>
#include <sys/vfs.h>
#include <unistd.h>

#define MAX_READAHEAD (1u << 20)
#define MAX_BACKGROUND 128u

static uint64_t wanted_flags(const struct fs *fs)
{
	const struct fs_config *config = fs->config;
	uint64_t flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_DONT_MASK | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS |
			 FUSE_ATOMIC_O_TRUNC | FUSE_MAX_PAGES | FUSE_HANDLE_KILLPRIV_V2 | FUSE_INIT_EXT |
			 FS_F_CREATE_SUPP_GROUP | FUSE_SETXATTR_EXT;

	/* With a cache that is looked after by time, a changed mtime tells that data is old. */
	if (config->cache != FS_CACHE_ALWAYS)
		flags |= FUSE_AUTO_INVAL_DATA;
	else
		flags |= FUSE_CACHE_SYMLINKS;
	if (config->cache == FS_CACHE_NONE)
		flags |= FS_F_DIRECT_IO_ALLOW_MMAP;
	/* Attributes that are old at once are not worth the guest's inode for each entry. */
	if (fs->timeout_s || fs->timeout_ns)
		flags |= FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO;
	if (config->writeback)
		flags |= FUSE_WRITEBACK_CACHE;
	if (config->posix_acl)
		flags |= FUSE_POSIX_ACL;
	if (config->announce_submounts)
		flags |= FUSE_SUBMOUNTS;
	if (config->remote_locks)
		flags |= FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS;
	return flags;
}

static void set_timeouts(struct fs *fs)
{
	static const uint32_t seconds[] = { [FS_CACHE_NONE] = 0, [FS_CACHE_AUTO] = 1, [FS_CACHE_ALWAYS] = 86400 };
	const struct fs_config *config = fs->config;

	fs->timeout_s = seconds[config->cache];
	fs->timeout_ns = 0;
	if (config->attr_timeout_ns != UINT64_MAX) {
		fs->timeout_s = config->attr_timeout_ns / 1000000000;
		fs->timeout_ns = config->attr_timeout_ns % 1000000000;
	}
	fs->open_keep = config->cache == FS_CACHE_ALWAYS ? FOPEN_KEEP_CACHE
			: config->cache == FS_CACHE_NONE ? FOPEN_DIRECT_IO
							 : 0;
}

/* All that the guest knew is forgotten: a kernel that starts anew knows nothing. */
static int forget_all(struct fs *fs)
{
	locks_interrupt(fs, 0, true);
	handles_free(fs);
	inodes_free(fs);
	fs->ready = false;
	return inode_add_root(fs);
}

int fs_op_init(struct fs *fs, struct fs_call *c)
{
	const struct fuse_init_in *in = c->arg;
	struct fuse_init_out *out = c->reply;
	uint64_t flags = in->flags;
	int r;

	if (c->reply_max < sizeof(*out) || in->major < FUSE_KERNEL_VERSION)
		return -EPROTO;
	*out = (struct fuse_init_out){ .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION };
	if (in->major > FUSE_KERNEL_VERSION) /* it asks again, with ours */
		return sizeof(*out);
	/* 7.36 brought the second word of flags; what is older lacks too much of what is relied on. */
	if (in->minor < 31)
		return -EPROTO;
	if ((flags & FUSE_INIT_EXT) && c->rest_len >= 4)
		flags |= (uint64_t)in->flags2 << 32;
	if (fs->ready) {
		/* Requests in flight point at open files. */
		r = fs->handles_n ? -EBUSY : forget_all(fs);
		if (r)
			return r;
	}
	set_timeouts(fs);
	flags &= wanted_flags(fs);
	fs->setxattr_ext = flags & FUSE_SETXATTR_EXT;
	fs->ready = true;
	out->max_readahead = min_t(uint32_t, in->max_readahead, MAX_READAHEAD);
	out->flags = (uint32_t)flags;
	out->flags2 = (uint32_t)(flags >> 32);
	out->max_background = MAX_BACKGROUND;
	out->congestion_threshold = MAX_BACKGROUND * 3 / 4;
	out->max_write = FS_MAX_WRITE;
	out->time_gran = 1;
	out->max_pages = FS_MAX_PAGES;
	return sizeof(*out);
}

static bool any_busy(const struct fs *fs)
{
	uint32_t i;

	for (i = 0; i < fs->handles_size && fs->handles[i]; i++)
		if (fs->handles[i]->busy)
			return true;
	return false;
}

int fs_op_destroy(struct fs *fs, struct fs_call *c)
{
	locks_interrupt(fs, 0, true);
	return any_busy(fs) ? -EBUSY : forget_all(fs);
}

int fs_op_statfs(struct fs *fs, struct fs_call *c)
{
	struct fuse_statfs_out *out = c->reply;
	struct statfs st;
	bool own;
	int fd, r;

	if (c->reply_max < sizeof(*out))
		return -EINVAL;
	fd = inode_fd(fs, c->inode, &own);
	if (fd < 0)
		return fd;
	r = fstatfs(fd, &st) ? -errno : 0;
	inode_put_fd(fs, fd, own);
	if (r)
		return r;
	*out = (struct fuse_statfs_out){ .st = {
						 .blocks = st.f_blocks,
						 .bfree = st.f_bfree,
						 .bavail = st.f_bavail,
						 .files = st.f_files,
						 .ffree = st.f_ffree,
						 .bsize = (uint32_t)st.f_bsize,
						 .namelen = (uint32_t)st.f_namelen,
						 .frsize = (uint32_t)st.f_frsize,
					 } };
	return sizeof(*out);
}

int fs_op_syncfs(struct fs *fs, struct fs_call *c)
{
	return S_ISDIR(c->inode->mode) ? inodes_syncfs(fs) : -ENOTDIR;
}

int fs_op_interrupt(struct fs *fs, struct fs_call *c)
{
	const struct fuse_interrupt_in *in = c->arg;

	/* Only locks are waited for without end; what else runs is the disk's, and ends by itself. */
	locks_interrupt(fs, in->unique, false);
	return FS_NOTHING;
}
