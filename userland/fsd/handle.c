/* SPDX-License-Identifier: Apache-2.0 */
/* Files that the guest has open. Numbers are made as those of inodes: place and generation. */
#include "fsd/fs_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int grow(struct fs *fs)
{
	uint32_t size = fs->handles_size ? fs->handles_size * 2 : 64;
	struct handle **handles = realloc(fs->handles, size * sizeof(struct handle *));

	if (!handles)
		return -ENOMEM;
	memset(handles + fs->handles_size, 0, (size - fs->handles_size) * sizeof(struct handle *));
	fs->handles = handles;
	fs->handles_size = size;
	return 0;
}

/* Takes a free place. */
static struct handle *take(struct fs *fs)
{
	uint32_t i = fs->handles_free;
	struct handle *h;

	if (i != FS_INODE_NONE) {
		h = fs->handles[i];
		fs->handles_free = h->next_free;
		return h;
	}
	/* Places are used from the front, and none is given back but to the free list. */
	i = fs->handles_n;
	if (i == fs->handles_size && grow(fs))
		return NULL;
	h = calloc(1, sizeof(*h));
	if (!h)
		return NULL;
	h->index = i;
	fs->handles[i] = h;
	return h;
}

struct handle *handle_add(struct fs *fs, struct inode *inode, int fd, uint32_t flags)
{
	struct handle *h = take(fs);

	if (!h)
		return NULL;
	*h = (struct handle){
		.inode = inode_index(fs, inode),
		.generation = h->generation + 1,
		.fd = fd,
		.index = h->index,
		.is_dir = S_ISDIR(inode->mode),
		.writable = (flags & O_ACCMODE) != O_RDONLY,
		.synced = flags & O_DSYNC, /* O_SYNC holds it */
	};
	inode->refs++;
	fs->handles_n++;
	return h;
}

uint64_t handle_id(const struct handle *h)
{
	return (uint64_t)h->generation << 32 | h->index;
}

struct handle *handle_get(struct fs *fs, uint64_t fh, const struct inode *inode)
{
	uint32_t i = (uint32_t)fh;
	struct handle *h = i < fs->handles_size ? fs->handles[i] : NULL;

	if (!h || h->fd < 0 || h->released || h->generation != fh >> 32 || inode_at(fs, h->inode) != inode)
		return NULL;
	return h;
}

void handle_hold(struct handle *h)
{
	h->busy++;
}

static void end(struct fs *fs, struct handle *h)
{
	close(h->fd);
	h->fd = -1;
	inode_unref(fs, inode_at(fs, h->inode));
	h->next_free = fs->handles_free;
	fs->handles_free = h->index;
	fs->handles_n--;
}

void handle_drop(struct fs *fs, struct handle *h)
{
	if (!--h->busy && h->released)
		end(fs, h);
}

/* A guest that closes what it still reads from is left with its reads. */
void handle_release(struct fs *fs, struct handle *h)
{
	h->released = true;
	if (!h->busy)
		end(fs, h);
}

void handles_free(struct fs *fs)
{
	uint32_t i;

	for (i = 0; i < fs->handles_size && fs->handles[i]; i++) {
		if (fs->handles[i]->fd >= 0)
			end(fs, fs->handles[i]);
		free(fs->handles[i]);
	}
	free(fs->handles);
	fs->handles = NULL;
	fs->handles_size = fs->handles_n = 0;
	fs->handles_free = FS_INODE_NONE;
}
