/* SPDX-License-Identifier: Apache-2.0 */
/* What a folder holds. */
#include "fsd/fs_internal.h"

#include <dirent.h>
#include <errno.h>
#include <unistd.h>

struct host_dirent { /* getdents64(2) */
	uint64_t ino;
	int64_t off;
	uint16_t len;
	uint8_t type;
	char name[];
};

struct listing {
	struct fs *fs;
	struct fs_call *c;
	bool plus;
	uint32_t room, used;
};

static bool is_dot(const char *name)
{
	return str_eq(name, ".") || str_eq(name, "..");
}

/* 1: it went in; 0: no room; negative errno. */
static int list_one(struct listing *l, const struct host_dirent *d)
{
	size_t name_len = strlen(d->name), head = l->plus ? sizeof(struct fuse_entry_out) : 0;
	size_t len = FUSE_DIRENT_ALIGN(head + FUSE_NAME_OFFSET + name_len);
	uint8_t *at = (uint8_t *)l->c->reply + l->used;
	struct fuse_dirent out = {
		.ino = d->ino,
		.off = (uint64_t)d->off,
		.namelen = (uint32_t)name_len,
		.type = d->type,
	};
	struct inode *inode = NULL;
	struct statx stx;
	int r;

	if (len > l->room - l->used)
		return 0;
	memset(at, 0, len);
	if (l->plus && !is_dot(d->name)) {
		r = inode_lookup(l->fs, l->c->inode, d->name, &inode, &stx);
		/* An entry that can't be looked at is listed all the same, without a node. */
		if (r == -ENOENT)
			return 1;
		if (!r) {
			struct fuse_entry_out entry;

			entry_fill(l->fs, l->c->inode, inode, &stx, &entry);
			memcpy(at, &entry, sizeof(entry));
		}
	}
	memcpy(at + head, &out, FUSE_NAME_OFFSET);
	memcpy(at + head + FUSE_NAME_OFFSET, d->name, name_len);
	l->used += (uint32_t)len;
	return 1;
}

/* The buffer that goes on at that place of the folder. One is there for each folder that is being listed, if not too many are. */
static struct dir_buffer *buffer_at(struct fs *fs, const struct handle *h, uint64_t pos)
{
	struct dir_buffer *b;

	for (b = fs->dirs; b < fs->dirs + FS_DIR_BUFFERS; b++)
		if (b->fh == handle_id(h))
			break;
	if (b == fs->dirs + FS_DIR_BUFFERS)
		b = &fs->dirs[fs->dirs_next++ % FS_DIR_BUFFERS];
	/* From the start on, the folder is as it is now. */
	if (b->fh != handle_id(h) || b->pos != pos || !pos) {
		b->fh = handle_id(h);
		b->pos = pos;
		b->at = b->end = 0;
	}
	return b;
}

/* 1: there is an entry; 0: the folder has no more; negative errno. */
static int fill(struct handle *h, struct dir_buffer *b)
{
	long n;

	if (b->at < b->end)
		return 1;
	if (h->pos != b->pos && lseek(h->fd, (off_t)b->pos, SEEK_SET) < 0)
		return -errno;
	h->pos = b->pos;
	n = getdents64(h->fd, b->data, sizeof(b->data));
	if (n <= 0)
		return n ? -errno : 0;
	b->at = 0;
	b->end = (uint32_t)n;
	h->pos = UINT64_MAX; /* behind the last entry, whose place is known when its turn comes */
	return 1;
}

static int list(struct fs *fs, struct fs_call *c, bool plus)
{
	const struct fuse_read_in *in = c->arg;
	struct handle *h = handle_get(fs, in->fh, c->inode);
	struct listing l = { .fs = fs, .c = c, .plus = plus, .room = min_t(uint32_t, in->size, c->reply_max) };
	struct dir_buffer *b;
	int r;

	if (!h || !h->is_dir)
		return -EBADF;
	b = buffer_at(fs, h, in->offset);
	for (r = fill(h, b); r > 0; r = fill(h, b)) {
		const struct host_dirent *d = (const void *)(b->data + b->at);

		r = list_one(&l, d);
		if (r <= 0)
			break;
		b->at += d->len;
		b->pos = (uint64_t)d->off;
		if (b->at == b->end)
			h->pos = b->pos;
	}
	if (l.used)
		return (int)l.used;
	/* Not even one had room, or there is none. */
	return r == 0 && b->at < b->end ? -EINVAL : r;
}

int fs_op_readdir(struct fs *fs, struct fs_call *c)
{
	return list(fs, c, false);
}

int fs_op_readdirplus(struct fs *fs, struct fs_call *c)
{
	return list(fs, c, true);
}
