/* SPDX-License-Identifier: Apache-2.0 */
/* Names in folders: looking up, making, moving, taking away. */
#include "fsd/fs_internal.h"

#include <errno.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int lookup(struct fs *fs, struct fs_call *c, const char *name)
{
	struct inode *inode = NULL;
	struct statx stx;
	int r;

	if (c->reply_max < sizeof(struct fuse_entry_out))
		return -EINVAL;
	if (!S_ISDIR(c->inode->mode))
		return -ENOTDIR;
	r = inode_lookup(fs, c->inode, name, &inode, &stx);
	return r ? r : entry_fill(fs, c->inode, inode, &stx, c->reply);
}

int fs_op_lookup(struct fs *fs, struct fs_call *c)
{
	return lookup(fs, c, c->name[0]);
}

/* ---- making ------------------------------------------------------------------------------------------------------ */

struct making {
	uint32_t mode;
	dev_t dev;
	const char *target;
};

static int make_dir(int dir, const char *name, const struct making *m)
{
	return mkdirat(dir, name, m->mode);
}

static int make_node(int dir, const char *name, const struct making *m)
{
	return mknodat(dir, name, m->mode, m->dev);
}

static int make_symlink(int dir, const char *name, const struct making *m)
{
	return symlinkat(m->target, dir, name);
}

/* Makes something as the caller and looks it up. */
static int make(struct fs *fs, struct fs_call *c, uint32_t mask, const struct making *m,
		int (*fn)(int dir, const char *name, const struct making *m))
{
	bool own;
	int dir, r;

	if (c->reply_max < sizeof(struct fuse_entry_out))
		return -EINVAL;
	if (!S_ISDIR(c->inode->mode))
		return -ENOTDIR;
	dir = inode_fd(fs, c->inode, &own);
	if (dir < 0)
		return dir;
	r = caller_enter(fs, c, mask);
	if (!r && fn(dir, c->name[0], m))
		r = -errno;
	caller_leave(fs);
	inode_put_fd(fs, dir, own);
	return r ? r : lookup(fs, c, c->name[0]);
}

int fs_op_mkdir(struct fs *fs, struct fs_call *c)
{
	const struct fuse_mkdir_in *in = c->arg;

	return make(fs, c, in->umask, &(struct making){ .mode = in->mode & 07777 }, make_dir);
}

int fs_op_mknod(struct fs *fs, struct fs_call *c)
{
	const struct fuse_mknod_in *in = c->arg;
	/* As the kernel's new_decode_dev. */
	struct making m = {
		.dev = makedev((in->rdev & 0xfff00) >> 8, (in->rdev & 0xff) | ((in->rdev >> 12) & 0xfff00)),
		.mode = caller_mode(fs, c, in->mode & (S_IFMT | 07777)),
	};

	if (S_ISDIR(in->mode) || S_ISLNK(in->mode))
		return -EINVAL;
	return make(fs, c, in->umask, &m, make_node);
}

int fs_op_symlink(struct fs *fs, struct fs_call *c)
{
	if (!*c->name[1])
		return -ENOENT;
	return make(fs, c, 0, &(struct making){ .target = c->name[1] }, make_symlink);
}

int fs_op_link(struct fs *fs, struct fs_call *c)
{
	const struct fuse_link_in *in = c->arg;
	struct inode *old = inode_get(fs, in->oldnodeid);
	bool own_dir, own_old;
	int dir, fd, r;
	char path[12];

	if (!old)
		return -ESTALE;
	if (!S_ISDIR(c->inode->mode))
		return -ENOTDIR;
	if (S_ISDIR(old->mode))
		return -EPERM;
	dir = inode_fd(fs, c->inode, &own_dir);
	if (dir < 0)
		return dir;
	fd = inode_fd(fs, old, &own_old);
	r = fd < 0 ? fd : 0;
	if (!r) {
		fd_path(fd, path);
		r = linkat(fs->proc_fd, path, dir, c->name[0], AT_SYMLINK_FOLLOW) ? -errno : 0;
		inode_put_fd(fs, fd, own_old);
	}
	inode_put_fd(fs, dir, own_dir);
	return r ? r : lookup(fs, c, c->name[0]);
}

/* ---- taking away, moving ----------------------------------------------------------------------------------------- */

static int unlink_name(struct fs *fs, struct fs_call *c, int flags)
{
	bool own;
	int dir = inode_fd(fs, c->inode, &own), r;

	if (dir < 0)
		return dir;
	r = unlinkat(dir, c->name[0], flags) ? -errno : 0;
	inode_put_fd(fs, dir, own);
	return r;
}

int fs_op_unlink(struct fs *fs, struct fs_call *c)
{
	return unlink_name(fs, c, 0);
}

int fs_op_rmdir(struct fs *fs, struct fs_call *c)
{
	return unlink_name(fs, c, AT_REMOVEDIR);
}

static int rename_names(struct fs *fs, struct fs_call *c, uint64_t newdir, uint32_t flags)
{
	struct inode *to = inode_get(fs, newdir);
	bool own_from, own_to;
	int from_fd, to_fd, r;

	if (!to)
		return -ESTALE;
	if (!S_ISDIR(c->inode->mode) || !S_ISDIR(to->mode))
		return -ENOTDIR;
	/* A whiteout is a character device of number 0, which needs no right to make devices. */
	if (flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT))
		return -EINVAL;
	from_fd = inode_fd(fs, c->inode, &own_from);
	if (from_fd < 0)
		return from_fd;
	to_fd = inode_fd(fs, to, &own_to);
	r = to_fd < 0 ? to_fd : 0;
	if (!r && renameat2(from_fd, c->name[0], to_fd, c->name[1], flags))
		r = -errno;
	inode_put_fd(fs, to_fd, own_to);
	inode_put_fd(fs, from_fd, own_from);
	return r;
}

int fs_op_rename(struct fs *fs, struct fs_call *c)
{
	const struct fuse_rename_in *in = c->arg;

	return rename_names(fs, c, in->newdir, 0);
}

int fs_op_rename2(struct fs *fs, struct fs_call *c)
{
	const struct fuse_rename2_in *in = c->arg;

	return rename_names(fs, c, in->newdir, in->flags);
}

/* ---- making and opening ------------------------------------------------------------------------------------------ */

/* fd is taken over. The answer is an entry and an open file. */
static int answer_open(struct fs *fs, struct fs_call *c, struct inode *inode, const struct statx *stx, int fd,
		       uint32_t flags)
{
	struct handle *h = handle_add(fs, inode, fd, flags);
	struct fuse_open_out open = { .open_flags = fs_open_answer(fs, inode, flags) };
	int n;

	if (!h) {
		close(fd);
		inode_forget(fs, inode, 1);
		return -ENOMEM;
	}
	open.fh = handle_id(h);
	n = entry_fill(fs, c->inode, inode, stx, c->reply);
	memcpy((char *)c->reply + n, &open, sizeof(open));
	return n + (int)sizeof(open);
}

/* O_CREAT without O_EXCL, and the name is there: opened as any file that is known, so never a device or a link. */
static int open_existing(struct fs *fs, struct fs_call *c, uint32_t flags)
{
	const struct fuse_create_in *in = c->arg;
	bool kill = (in->open_flags & FUSE_OPEN_KILL_SUIDGID) && (flags & O_TRUNC);
	struct inode *inode = NULL;
	struct statx stx;
	int fd, r = inode_lookup(fs, c->inode, c->name[0], &inode, &stx);

	if (r)
		return r;
	if (kill)
		caller_drop_fsetid(fs);
	fd = S_ISREG(inode->mode) ? inode_open(fs, inode, (int)(flags & ~(uint32_t)(O_CREAT | O_EXCL)))
				  : (S_ISDIR(inode->mode) ? -EISDIR : -ENXIO);
	if (kill)
		caller_restore_fsetid(fs);
	if (fd >= 0 && (flags & O_TRUNC))
		r = fs_statx(fd, "", &stx);
	if (fd < 0 || r) {
		if (fd >= 0)
			close(fd);
		inode_forget(fs, inode, 1);
		return fd < 0 ? fd : r;
	}
	return answer_open(fs, c, inode, &stx, fd, flags);
}

uint32_t fs_open_flags(const struct fs *fs, uint32_t flags)
{
	/* What else there is concerns the guest's side: O_DIRECT is about its cache, O_NOFOLLOW about its names. */
	flags &= O_ACCMODE | O_APPEND | O_TRUNC | O_SYNC | O_DSYNC | O_EXCL | O_NOATIME;
	if (fs->config->writeback) {
		/* Its cache reads what it writes only a part of, and knows where the end is. */
		if ((flags & O_ACCMODE) == O_WRONLY)
			flags = (flags & ~(uint32_t)O_ACCMODE) | O_RDWR;
		flags &= ~(uint32_t)O_APPEND;
	}
	return flags;
}

/* Makes a file as the caller: `name` below the folder's fd, or without a name. An fd or negative errno. */
static int create_file(struct fs *fs, struct fs_call *c, uint32_t flags, const char *name)
{
	const struct fuse_create_in *in = c->arg;
	struct open_how how = {
		.flags = flags | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | (name ? O_CREAT | O_EXCL : O_TMPFILE),
		.mode = caller_mode(fs, c, in->mode & 07777),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	bool own;
	int dir, fd, r;

	if (fs->fds_n + fs->handles_n >= fs->config->fd_limit)
		return -ENFILE;
	dir = inode_fd(fs, c->inode, &own);
	if (dir < 0)
		return dir;
	r = caller_enter(fs, c, in->umask);
	if (!r) {
		fd = (int)syscall(SYS_openat2, dir, name ? name : ".", &how, sizeof(how));
		r = fd < 0 ? -errno : fd;
	}
	caller_leave(fs);
	inode_put_fd(fs, dir, own);
	return r;
}

static int create(struct fs *fs, struct fs_call *c, const char *name)
{
	const struct fuse_create_in *in = c->arg;
	uint32_t flags = fs_open_flags(fs, in->flags);
	struct inode *inode;
	struct statx stx;
	int fd, r;

	if (c->reply_max < sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out))
		return -EINVAL;
	if (!S_ISDIR(c->inode->mode))
		return -ENOTDIR;
	fd = create_file(fs, c, name ? flags & ~(uint32_t)(O_TRUNC | O_EXCL) : flags & ~(uint32_t)O_TRUNC, name);
	if (fd == -EEXIST && name && !(in->flags & O_EXCL))
		return open_existing(fs, c, flags);
	if (fd < 0)
		return fd;
	r = inode_from_fd(fs, fd, &inode, &stx);
	if (r) {
		close(fd);
		return r;
	}
	return answer_open(fs, c, inode, &stx, fd, flags);
}

int fs_op_create(struct fs *fs, struct fs_call *c)
{
	return create(fs, c, c->name[0]);
}

int fs_op_tmpfile(struct fs *fs, struct fs_call *c)
{
	return create(fs, c, NULL);
}
