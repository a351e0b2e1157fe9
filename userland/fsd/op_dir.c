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

static int list(struct fs *fs, struct fs_call *c, bool plus)
{
	const struct fuse_read_in *in = c->arg;
	struct handle *h = handle_get(fs, in->fh, c->inode);
	struct listing l = { .fs = fs, .c = c, .plus = plus, .room = min_t(uint32_t, in->size, c->reply_max) };
	uint32_t ask;
	long n, at = 0;
	int r = 1;

	if (!h || !h->is_dir)
		return -EBADF;
	if (h->pos != in->offset) {
		if (lseek(h->fd, (off_t)in->offset, SEEK_SET) < 0)
			return -errno;
		h->pos = in->offset;
	}
	/* About as much as will go in, as what is left over is read again. */
	ask = min_t(uint32_t, plus ? l.room / 5 : l.room, sizeof(fs->scratch));
	n = getdents64(h->fd, fs->scratch, max_t(uint32_t, ask, 1024));
	if (n < 0)
		return -errno;
	while (at < n && r > 0) {
		const struct host_dirent *d = (const void *)(fs->scratch + at);

		r = list_one(&l, d);
		if (r > 0) {
			at += d->len;
			h->pos = (uint64_t)d->off;
		}
	}
	if (at < n) {
		/* The host's position is behind what was read; the next round puts it right. */
		if (lseek(h->fd, (off_t)h->pos, SEEK_SET) < 0)
			h->pos = UINT64_MAX;
		if (!l.used)
			return -EINVAL;
	}
	return (int)l.used;
}

int fs_op_readdir(struct fs *fs, struct fs_call *c)
{
	return list(fs, c, false);
}

int fs_op_readdirplus(struct fs *fs, struct fs_call *c)
{
	return list(fs, c, true);
}
