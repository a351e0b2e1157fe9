/* SPDX-License-Identifier: Apache-2.0 */
/* From a request's bytes to its handler, and back. */
#include "fsd/fs_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "virtio/iov.h"

enum op_flags {
	OP_WRITES = 1,	   /* refused on a read-only share */
	OP_BARE = 2,	   /* nodeid means nothing */
	OP_SILENT = 4,	   /* no answer, whatever happens */
	OP_DATA = 8,	   /* what follows the arguments stays where it is */
	OP_REST = 16,	   /* more may follow the arguments and names */
	OP_ANY_NAMES = 32, /* names are not steps in a folder */
	OP_XATTR = 64,	   /* only with extended attributes switched on */
	OP_LOCKS = 128,	   /* only with locks on the host */
	OP_LATE = 256,	   /* nobody waits for its end; of RELEASE Linux does, with virtio-fs */
};

static const struct op {
	const char *name;
	fs_handler *run;
	uint16_t arg_bytes; /* the fixed part; a shorter one is refused */
	uint8_t names_n;
	uint16_t flags;
} ops[] = {
	[FUSE_LOOKUP] = { "LOOKUP", fs_op_lookup, 0, 1, 0 },
	[FUSE_FORGET] = { "FORGET", fs_op_forget, sizeof(struct fuse_forget_in), 0, OP_SILENT | OP_LATE },
	[FUSE_GETATTR] = { "GETATTR", fs_op_getattr, sizeof(struct fuse_getattr_in), 0, 0 },
	[FUSE_SETATTR] = { "SETATTR", fs_op_setattr, sizeof(struct fuse_setattr_in), 0, OP_WRITES },
	[FUSE_READLINK] = { "READLINK", fs_op_readlink, 0, 0, 0 },
	[FUSE_SYMLINK] = { "SYMLINK", fs_op_symlink, 0, 2, OP_WRITES | OP_REST },
	[FUSE_MKNOD] = { "MKNOD", fs_op_mknod, sizeof(struct fuse_mknod_in), 1, OP_WRITES | OP_REST },
	[FUSE_MKDIR] = { "MKDIR", fs_op_mkdir, sizeof(struct fuse_mkdir_in), 1, OP_WRITES | OP_REST },
	[FUSE_UNLINK] = { "UNLINK", fs_op_unlink, 0, 1, OP_WRITES },
	[FUSE_RMDIR] = { "RMDIR", fs_op_rmdir, 0, 1, OP_WRITES },
	[FUSE_RENAME] = { "RENAME", fs_op_rename, sizeof(struct fuse_rename_in), 2, OP_WRITES },
	[FUSE_LINK] = { "LINK", fs_op_link, sizeof(struct fuse_link_in), 1, OP_WRITES },
	[FUSE_OPEN] = { "OPEN", fs_op_open, sizeof(struct fuse_open_in), 0, 0 },
	[FUSE_READ] = { "READ", fs_op_read, sizeof(struct fuse_read_in), 0, 0 },
	[FUSE_WRITE] = { "WRITE", fs_op_write, sizeof(struct fuse_write_in), 0, OP_WRITES | OP_DATA },
	[FUSE_STATFS] = { "STATFS", fs_op_statfs, 0, 0, 0 },
	[FUSE_RELEASE] = { "RELEASE", fs_op_release, sizeof(struct fuse_release_in), 0, 0 },
	[FUSE_FSYNC] = { "FSYNC", fs_op_fsync, sizeof(struct fuse_fsync_in), 0, 0 },
	[FUSE_SETXATTR] = { "SETXATTR", fs_op_setxattr, 0, 0, OP_WRITES | OP_REST | OP_XATTR },
	[FUSE_GETXATTR] = { "GETXATTR", fs_op_getxattr, sizeof(struct fuse_getxattr_in), 1, OP_ANY_NAMES | OP_XATTR },
	[FUSE_LISTXATTR] = { "LISTXATTR", fs_op_listxattr, sizeof(struct fuse_getxattr_in), 0, OP_XATTR },
	[FUSE_REMOVEXATTR] = { "REMOVEXATTR", fs_op_removexattr, 0, 1, OP_WRITES | OP_ANY_NAMES | OP_XATTR },
	[FUSE_FLUSH] = { "FLUSH", fs_op_flush, sizeof(struct fuse_flush_in), 0, 0 },
	[FUSE_INIT] = { "INIT", fs_op_init, 16, 0, OP_BARE | OP_REST },
	[FUSE_OPENDIR] = { "OPENDIR", fs_op_opendir, sizeof(struct fuse_open_in), 0, 0 },
	[FUSE_READDIR] = { "READDIR", fs_op_readdir, sizeof(struct fuse_read_in), 0, 0 },
	[FUSE_RELEASEDIR] = { "RELEASEDIR", fs_op_release, sizeof(struct fuse_release_in), 0, 0 },
	[FUSE_FSYNCDIR] = { "FSYNCDIR", fs_op_fsync, sizeof(struct fuse_fsync_in), 0, 0 },
	[FUSE_GETLK] = { "GETLK", fs_op_getlk, sizeof(struct fuse_lk_in), 0, OP_LOCKS },
	[FUSE_SETLK] = { "SETLK", fs_op_setlk, sizeof(struct fuse_lk_in), 0, OP_LOCKS },
	[FUSE_SETLKW] = { "SETLKW", fs_op_setlk, sizeof(struct fuse_lk_in), 0, OP_LOCKS },
	[FUSE_CREATE] = { "CREATE", fs_op_create, sizeof(struct fuse_create_in), 1, OP_WRITES | OP_REST },
	[FUSE_INTERRUPT] = { "INTERRUPT", fs_op_interrupt, sizeof(struct fuse_interrupt_in), 0,
			     OP_BARE | OP_SILENT | OP_LATE },
	[FUSE_DESTROY] = { "DESTROY", fs_op_destroy, 0, 0, OP_BARE },
	[FUSE_BATCH_FORGET] = { "BATCH_FORGET", fs_op_batch_forget, sizeof(struct fuse_batch_forget_in), 0,
				OP_BARE | OP_SILENT | OP_REST | OP_LATE },
	[FUSE_FALLOCATE] = { "FALLOCATE", fs_op_fallocate, sizeof(struct fuse_fallocate_in), 0, OP_WRITES },
	[FUSE_READDIRPLUS] = { "READDIRPLUS", fs_op_readdirplus, sizeof(struct fuse_read_in), 0, 0 },
	[FUSE_RENAME2] = { "RENAME2", fs_op_rename2, sizeof(struct fuse_rename2_in), 2, OP_WRITES },
	[FUSE_LSEEK] = { "LSEEK", fs_op_lseek, sizeof(struct fuse_lseek_in), 0, 0 },
	[FUSE_COPY_FILE_RANGE] = { "COPY_FILE_RANGE", fs_op_copy, sizeof(struct fuse_copy_file_range_in), 0,
				   OP_WRITES },
	[FUSE_SYNCFS] = { "SYNCFS", fs_op_syncfs, sizeof(struct fuse_syncfs_in), 0, 0 },
	[FUSE_TMPFILE] = { "TMPFILE", fs_op_tmpfile, sizeof(struct fuse_create_in), 1,
			   OP_WRITES | OP_REST | OP_ANY_NAMES },
	[FUSE_STATX_OP] = { "STATX", fs_op_statx, 24, 0, 0 },
};

int fs_check_name(const char *name)
{
	size_t len = strlen(name);

	if (!len || str_eq(name, ".") || str_eq(name, "..") || strchr(name, '/'))
		return -EINVAL;
	return len > NAME_MAX ? -ENAMETOOLONG : 0;
}

/* Cuts names, each with its NUL, off the front of what follows the fixed part. */
static int take_names(struct fs_call *c, unsigned int n, unsigned int flags)
{
	unsigned int i;
	int r = 0;

	for (i = 0; i < n; i++) {
		const uint8_t *end = memchr(c->rest, 0, c->rest_len);

		if (!end)
			return -EINVAL;
		c->name[i] = (const char *)c->rest;
		c->rest_len -= end + 1 - c->rest;
		c->rest = end + 1;
	}
	/* Of a symlink's two, the second is what it says and no name. */
	if (c->req->head.opcode == FUSE_SYMLINK)
		n = 1;
	for (i = 0; i < n && !(flags & OP_ANY_NAMES) && !r; i++)
		r = fs_check_name(c->name[i]);
	return r;
}

/* The one extension that counts for us: the caller's supplementary group that is the folder's. It stands at the end. */
static int take_extension(struct fs_call *c, const uint8_t *end)
{
	uint32_t left = c->req->head.total_extlen * 8u, head[2], words[2];
	const uint8_t *at = end - left;

	c->group = FS_NO_GROUP;
	if (left > c->rest_len)
		return -EINVAL;
	c->rest_len -= left;
	while (left) {
		if (left < sizeof(head))
			return -EINVAL;
		memcpy(head, at, sizeof(head));
		if (head[0] < sizeof(head) || head[0] > left)
			return -EINVAL;
		if (head[1] == FS_EXT_GROUPS && head[0] >= 16) {
			memcpy(words, at + 8, sizeof(words));
			if (words[0])
				c->group = words[1];
		}
		at += ALIGN_UP(head[0], 8u);
		left -= min_t(uint32_t, ALIGN_UP(head[0], 8u), left);
	}
	return 0;
}

/* Copies what is to be copied, once, and checks all that doesn't depend on the operation's meaning. */
static int prepare(struct fs *fs, struct fs_req *req, struct fs_call *c, const struct op *op, size_t out_bytes)
{
	size_t body = out_bytes - sizeof(req->head), copied = op->flags & OP_DATA ? op->arg_bytes : body;
	int r;

	if (!op->run)
		return -ENOSYS;
	if (req->head.len != out_bytes || body < op->arg_bytes || body > UINT32_MAX)
		return -EINVAL;
	if (copied > FS_ARG_MAX)
		return -E2BIG;
	if (!fs->ready && req->head.opcode != FUSE_INIT)
		return -EIO;
	iov_get(req->out, req->out_n, sizeof(req->head), fs->arg, copied);
	c->arg = fs->arg;
	c->rest = fs->arg + op->arg_bytes;
	c->rest_len = copied - op->arg_bytes;
	if (!(op->flags & OP_BARE)) {
		c->inode = inode_get(fs, req->head.nodeid);
		if (!c->inode)
			return -ESTALE;
	}
	if ((op->flags & OP_WRITES) && fs->config->read_only)
		return -EROFS;
	if ((op->flags & OP_XATTR) && !fs->config->xattr)
		return -EOPNOTSUPP;
	if ((op->flags & OP_LOCKS) && !fs->remote_locks)
		return -ENOSYS;
	r = take_extension(c, fs->arg + copied);
	if (!r)
		r = take_names(c, op->names_n, op->flags);
	if (!r && c->rest_len && !(op->flags & (OP_REST | OP_DATA)))
		r = -EINVAL;
	return r;
}

static uint32_t write_answer(const struct iovec *in, unsigned int in_n, uint64_t unique, int64_t len, const void *body)
{
	struct fuse_out_header head = { .unique = unique };
	uint32_t n = sizeof(head);

	if (len < 0) {
		head.error = (int32_t)len;
	} else {
		n += (uint32_t)len;
		if (body)
			iov_put(in, in_n, sizeof(head), body, len);
	}
	head.len = n;
	iov_put(in, in_n, 0, &head, sizeof(head));
	return n;
}

static size_t iov_bytes(const struct iovec *iov, unsigned int n)
{
	size_t sum = 0;

	while (n--)
		sum += iov[n].iov_len;
	return sum;
}

void fs_serve(struct fs *fs, struct fs_req *req)
{
	size_t out_bytes = iov_bytes(req->out, req->out_n), in_bytes = iov_bytes(req->in, req->in_n);
	struct fs_call c = { .req = req, .reply = fs->reply };
	static const struct op none;
	const struct op *op = &none;
	int r;

	req->fs = fs;
	req->async = FS_SYNC;
	req->handle = NULL;
	req->late = false;
	if (iov_get(req->out, req->out_n, 0, &req->head, sizeof(req->head)) != sizeof(req->head)) {
		log_guest("request without a header");
		req->done(req, 0);
		return;
	}
	if (req->head.opcode < ARRAY_SIZE(ops))
		op = &ops[req->head.opcode];
	req->late = op->flags & OP_LATE;
	if (in_bytes < sizeof(struct fuse_out_header) && !(op->flags & OP_SILENT)) {
		log_guest("request without room for an answer");
		req->done(req, 0);
		return;
	}
	c.reply_max =
		op->flags & OP_SILENT ? 0 : min_t(size_t, in_bytes - sizeof(struct fuse_out_header), FS_REPLY_MAX);
	r = prepare(fs, req, &c, op, out_bytes);
	if (!r)
		r = op->run(fs, &c);
	if (r == FS_LATER)
		return;
	req->done(req, (op->flags & OP_SILENT) || r == FS_NOTHING
			       ? 0
			       : write_answer(req->in, req->in_n, req->head.unique, r, fs->reply));
}

void fs_answer(struct fs_req *req, int64_t len)
{
	struct fuse_out_header head = { .unique = req->head.unique };

	if (req->handle)
		handle_drop(req->fs, req->handle);
	req->handle = NULL;
	req->async = FS_SYNC;
	head.error = len < 0 ? (int32_t)len : 0;
	head.len = sizeof(head) + (len < 0 ? 0 : (uint32_t)len);
	iov_put(req->answer, req->answer_n, 0, &head, sizeof(head));
	req->done(req, head.len);
}

int fs_new(struct fs **out, struct loop *loop, const struct fs_config *config, int root_fd, int proc_fd, struct err *e)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	int r;

	if (!fs)
		return err_set(e, ENOMEM, "no memory");
	fs->loop = loop;
	fs->config = config;
	fs->root_fd = root_fd;
	fs->proc_fd = proc_fd;
	fs->handles_free = FS_INODE_NONE;
	fs->umask = 0777; /* none that a guest has, so that the first is set */
	locks_init(fs);
	r = inode_add_root(fs);
	if (r < 0) {
		free(fs);
		return err_errno(e, r, "looking at the shared folder");
	}
	umask(0777);
	*out = fs;
	return 0;
}

void fs_free(struct fs *fs)
{
	if (!fs)
		return;
	handles_free(fs);
	inodes_free(fs);
	free(fs);
}

uint32_t fs_inodes(const struct fs *fs)
{
	return fs->inodes_n;
}

uint32_t fs_handles(const struct fs *fs)
{
	return fs->handles_n;
}

void fs_interrupt(struct fs *fs)
{
	locks_interrupt_all(fs);
}
