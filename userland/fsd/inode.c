/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inodes that the guest knows. A node's number holds its place in the table and how often that was used before, so
 * that a number the guest makes up, or keeps for too long, names nothing. An inode is held by an O_PATH fd, which keeps
 * the host from giving its number to another file; past the quota of fds by a file handle, which is compared when the
 * inode is met again.
 */
#include "fsd/fs_internal.h"

#include <errno.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#define INODE_CHUNK 256u
#define STATX_WANTED (STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID)
#define MOUNTS_MAX 256u

void fd_path(int fd, char path[12])
{
	char digits[12];
	unsigned int n = 0, i;

	do
		digits[n++] = (char)('0' + fd % 10);
	while ((fd /= 10));
	for (i = 0; i < n; i++)
		path[i] = digits[n - 1 - i];
	path[n] = 0;
}

int fs_statx(int fd, const char *name, struct statx *stx)
{
	int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_SYNC_AS_STAT | (*name ? 0 : AT_EMPTY_PATH);

	return statx(fd, name, flags, STATX_WANTED, stx) ? -errno : 0;
}

/* One step below dir, whatever is there. RESOLVE_BENEATH holds even should a name with a slash ever come this far. */
static int open_beneath(int dir, const char *name, uint64_t flags)
{
	struct open_how how = { .flags = flags | O_CLOEXEC | O_NOFOLLOW,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
	int fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

struct inode *inode_at(struct fs *fs, uint32_t index)
{
	return &fs->chunks[index / INODE_CHUNK][index % INODE_CHUNK];
}

uint32_t inode_index(struct fs *fs, const struct inode *inode)
{
	return inode->index;
}

/* The root is 1, as the protocol has it: index 0, generation 0. */
uint64_t inode_id(struct fs *fs, const struct inode *inode)
{
	return ((uint64_t)inode->generation << 32) | (inode_index(fs, inode) + 1);
}

struct inode *inode_get(struct fs *fs, uint64_t nodeid)
{
	uint32_t index = (uint32_t)nodeid - 1;
	struct inode *inode;

	if (index >= fs->chunks_n * INODE_CHUNK)
		return NULL;
	inode = inode_at(fs, index);
	return inode->lookups && inode->generation == nodeid >> 32 ? inode : NULL;
}

static uint32_t bucket(const struct fs *fs, uint64_t ino, uint32_t major, uint32_t minor)
{
	uint64_t h = (ino ^ ((uint64_t)major << 40) ^ ((uint64_t)minor << 20)) * 0x9e3779b97f4a7c15ull;

	return (uint32_t)(h >> 32) & (fs->hash_size - 1);
}

static int grow_hash(struct fs *fs)
{
	uint32_t old_n = fs->hash_size, *old = fs->hash, i, at, next, b;

	fs->hash_size = old_n ? old_n * 2 : 256;
	fs->hash = malloc(fs->hash_size * sizeof(uint32_t));
	if (!fs->hash) {
		fs->hash = old;
		fs->hash_size = old_n;
		return -ENOMEM;
	}
	memset(fs->hash, 0xff, fs->hash_size * sizeof(uint32_t));
	for (i = 0; i < old_n; i++)
		for (at = old[i]; at != FS_INODE_NONE; at = next) {
			struct inode *inode = inode_at(fs, at);

			next = inode->next;
			b = bucket(fs, inode->ino, inode->dev_major, inode->dev_minor);
			inode->next = fs->hash[b];
			fs->hash[b] = at;
		}
	free(old);
	return 0;
}

static int grow_chunks(struct fs *fs)
{
	struct inode **chunks = realloc(fs->chunks, (fs->chunks_n + 1) * sizeof(*chunks));
	uint32_t i;

	if (!chunks)
		return -ENOMEM;
	fs->chunks = chunks;
	chunks[fs->chunks_n] = calloc(INODE_CHUNK, sizeof(struct inode));
	if (!chunks[fs->chunks_n])
		return -ENOMEM;
	fs->chunks_n++;
	for (i = fs->chunks_n * INODE_CHUNK; i-- > (fs->chunks_n - 1) * INODE_CHUNK;) {
		inode_at(fs, i)->next = fs->inodes_free;
		fs->inodes_free = i;
	}
	return 0;
}

/* 0, -ENOMEM, or -ENFILE: a guest that forgets nothing is not given all of the host's memory. */
static int add(struct fs *fs, const struct statx *stx, uint32_t mnt, struct inode **out)
{
	struct inode *inode;
	uint32_t index, b;

	if (fs->inodes_n >= (fs->config->inode_limit ? fs->config->inode_limit : FS_INODES_DEFAULT))
		return -ENFILE;
	if (fs->inodes_free == FS_INODE_NONE && grow_chunks(fs))
		return -ENOMEM;
	if (fs->inodes_n >= fs->hash_size && grow_hash(fs))
		return -ENOMEM;
	index = fs->inodes_free;
	inode = inode_at(fs, index);
	fs->inodes_free = inode->next;
	b = bucket(fs, stx->stx_ino, stx->stx_dev_major, stx->stx_dev_minor);
	*inode = (struct inode){
		.ino = stx->stx_ino,
		.dev_major = stx->stx_dev_major,
		.dev_minor = stx->stx_dev_minor,
		.mnt = mnt,
		.mode = (uint16_t)(stx->stx_mode & S_IFMT),
		.next = fs->hash[b],
		.generation = inode->generation,
		.index = index,
		.fd = -1,
		.lookups = 1,
	};
	fs->hash[b] = index;
	fs->inodes_n++;
	*out = inode;
	return 0;
}

static void remove_inode(struct fs *fs, struct inode *inode)
{
	uint32_t index = inode_index(fs, inode), *at;

	at = &fs->hash[bucket(fs, inode->ino, inode->dev_major, inode->dev_minor)];
	while (*at != index)
		at = &inode_at(fs, *at)->next;
	*at = inode->next;
	locks_drop_all(fs, inode);
	if (inode->fd >= 0) {
		close(inode->fd);
		fs->fds_n--;
	}
	free(inode->handle);
	*inode = (struct inode){ .fd = -1, .generation = inode->generation + 1, .next = fs->inodes_free };
	fs->inodes_free = index;
	fs->inodes_n--;
}

void inode_unref(struct fs *fs, struct inode *inode)
{
	if (!--inode->refs && !inode->lookups)
		remove_inode(fs, inode);
}

void inode_forget(struct fs *fs, struct inode *inode, uint64_t lookups)
{
	if (inode == inode_at(fs, 0)) /* the root stays */
		return;
	inode->lookups -= min_t(uint64_t, lookups, inode->lookups);
	if (!inode->lookups && !inode->refs)
		remove_inode(fs, inode);
}

void inodes_free(struct fs *fs)
{
	uint32_t i;

	for (i = 0; i < fs->chunks_n * INODE_CHUNK; i++) {
		struct inode *inode = inode_at(fs, i);

		if (inode->lookups || inode->refs)
			remove_inode(fs, inode);
	}
	for (i = 0; i < fs->chunks_n; i++)
		free(fs->chunks[i]);
	for (i = 0; i < fs->mounts_n; i++)
		if (fs->mounts[i].fd >= 0 && fs->mounts[i].fd != fs->root_fd)
			close(fs->mounts[i].fd);
	free(fs->chunks);
	free(fs->hash);
	free(fs->mounts);
	fs->chunks = NULL;
	fs->hash = NULL;
	fs->mounts = NULL;
	fs->chunks_n = fs->inodes_n = fs->hash_size = fs->mounts_n = fs->fds_n = 0;
	fs->inodes_free = FS_INODE_NONE;
}

/* ---- mounts and file handles ------------------------------------------------------------------------------------- */

static bool is_local(int fd)
{
	/* Linux' own, which keep files on this machine and have no flush() of files. */
	static const uint32_t magics[] = { EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC,
					   TMPFS_MAGIC };
	struct statfs st;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(magics) && fd >= 0 && !fstatfs(fd, &st); i++)
		if ((uint32_t)st.f_type == magics[i])
			return true;
	return false;
}

/* dir, name: an object of that mount, through which its handles can be opened if it is a folder. */
static int mount_index(struct fs *fs, const struct statx *stx, int dir, const char *name, uint32_t *index)
{
	uint64_t id = stx->stx_mask & STATX_MNT_ID ? stx->stx_mnt_id
						   : ((uint64_t)stx->stx_dev_major << 32 | stx->stx_dev_minor);
	struct mount *mounts;
	uint32_t i;

	for (i = 0; i < fs->mounts_n; i++)
		if (fs->mounts[i].id == id) {
			*index = i;
			return 0;
		}
	if (fs->mounts_n == MOUNTS_MAX)
		return -ENFILE;
	mounts = realloc(fs->mounts, (fs->mounts_n + 1) * sizeof(*mounts));
	if (!mounts)
		return -ENOMEM;
	fs->mounts = mounts;
	mounts[fs->mounts_n].id = id;
	mounts[fs->mounts_n].fd = -1;
	if (!fs->mounts_n)
		mounts[0].fd = fs->root_fd;
	else if (S_ISDIR(stx->stx_mode))
		mounts[fs->mounts_n].fd = max_t(int, open_beneath(dir, *name ? name : ".", O_RDONLY | O_DIRECTORY), -1);
	mounts[fs->mounts_n].local = is_local(mounts[fs->mounts_n].fd);
	*index = fs->mounts_n++;
	return 0;
}

int inodes_syncfs(struct fs *fs)
{
	struct inode *inode;
	uint32_t i;
	int fd, r = 0;

	for (i = 0; i < fs->mounts_n; i++)
		if (fs->mounts[i].fd >= 0 && syncfs(fs->mounts[i].fd) && !r)
			r = -errno;
	/* A file that is a mount by itself is in no folder of that. */
	for (i = 0; i < fs->chunks_n * INODE_CHUNK; i++) {
		inode = inode_at(fs, i);
		if (!inode->lookups || !S_ISREG(inode->mode) || fs->mounts[inode->mnt].fd >= 0)
			continue;
		fd = inode_open(fs, inode, O_RDONLY);
		if ((fd < 0 || syncfs(fd)) && !r)
			r = fd < 0 ? fd : -errno;
		if (fd >= 0)
			close(fd);
	}
	return r;
}

static int make_handle(int fd, const char *name, struct file_handle **out)
{
	struct {
		struct file_handle head;
		uint8_t bytes[MAX_HANDLE_SZ];
	} h = { .head.handle_bytes = MAX_HANDLE_SZ };
	size_t len;
	int mount_id;

	if (name_to_handle_at(fd, name, &h.head, &mount_id, *name ? 0 : AT_EMPTY_PATH))
		return -errno;
	len = sizeof(struct file_handle) + h.head.handle_bytes;
	*out = malloc(len);
	if (!*out)
		return -ENOMEM;
	memcpy(*out, &h, len);
	return 0;
}

static bool same_handle(const struct file_handle *a, const struct file_handle *b)
{
	return a->handle_bytes == b->handle_bytes && a->handle_type == b->handle_type &&
	       !memcmp(a->f_handle, b->f_handle, a->handle_bytes);
}

int inode_fd(struct fs *fs, const struct inode *inode, bool *own)
{
	int fd;

	*own = false;
	if (inode->fd >= 0)
		return inode->fd;
	fd = open_by_handle_at(fs->mounts[inode->mnt].fd, inode->handle, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*own = true;
	return fd;
}

void inode_put_fd(struct fs *fs, int fd, bool own)
{
	if (own && fd >= 0)
		close(fd);
}

int inode_open(struct fs *fs, const struct inode *inode, int flags)
{
	char path[12];
	bool own;
	int fd, r;

	/* Nothing else is ever opened: a device would act, a FIFO would wait. */
	if (!S_ISREG(inode->mode) && !S_ISDIR(inode->mode))
		return S_ISLNK(inode->mode) ? -ELOOP : -ENXIO;
	if (fs->fds_n + fs->handles_n >= fs->config->fd_limit)
		return -ENFILE;
	fd = inode_fd(fs, inode, &own);
	if (fd < 0)
		return fd;
	fd_path(fd, path);
	r = openat(fs->proc_fd, path, (flags & ~O_NOFOLLOW) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	r = r < 0 ? -errno : r;
	inode_put_fd(fs, fd, own);
	return r;
}

/* ---- lookups ----------------------------------------------------------------------------------------------------- */

/*
 * A file that is in the share by two mounts, with the same rights and owners in both, is one node: what one of them writes
 * is seen in the other at once. A folder can't be in two places. Asked for what is open only: fd is the file itself.
 */
static bool is_shared_twice(const struct inode *inode, int fd, const char *name, const struct statx *stx)
{
	struct statfs a, b;
	struct statx known;

	return !*name && inode->fd >= 0 && S_ISREG(inode->mode) && !fstatfs(inode->fd, &a) && !fstatfs(fd, &b) &&
	       a.f_flags == b.f_flags && !fs_statx(inode->fd, "", &known) && known.stx_uid == stx->stx_uid &&
	       known.stx_gid == stx->stx_gid;
}

/* Known by number. fd, name: what it is to be compared with when no open file holds the number. */
static struct inode *find(struct fs *fs, const struct statx *stx, int fd, const char *name)
{
	struct file_handle *now = NULL;
	struct inode *inode, *found = NULL;
	uint32_t at, mnt;

	if (!fs->hash_size || mount_index(fs, stx, fd, name, &mnt))
		return NULL;
	at = fs->hash[bucket(fs, stx->stx_ino, stx->stx_dev_major, stx->stx_dev_minor)];
	for (; at != FS_INODE_NONE && !found; at = inode->next) {
		inode = inode_at(fs, at);
		if (inode->ino != stx->stx_ino || inode->dev_major != stx->stx_dev_major ||
		    inode->dev_minor != stx->stx_dev_minor)
			continue;
		if (inode->mnt != mnt && !is_shared_twice(inode, fd, name, stx))
			continue;
		if (inode->fd >= 0)
			found = inode;
		if (found)
			break;
		if (!now && make_handle(fd, name, &now))
			break;
		if (now && same_handle(inode->handle, now))
			found = inode;
	}
	free(now);
	return found;
}

static bool fds_left(const struct fs *fs)
{
	/* Open files may have the other half. */
	return fs->fds_n < fs->config->fd_limit / 2;
}

/* path_fd is taken over. *again: it was known already. */
static int make_known(struct fs *fs, int path_fd, const struct statx *stx, struct inode **out, bool *again)
{
	struct file_handle *handle = NULL;
	struct inode *inode;
	uint32_t mnt;
	int r;

	inode = find(fs, stx, path_fd, "");
	*again = inode != NULL;
	if (inode) {
		close(path_fd);
		inode->lookups++;
		*out = inode;
		return 0;
	}
	r = mount_index(fs, stx, path_fd, "", &mnt);
	if (!r && !fds_left(fs)) {
		r = fs->mounts[mnt].fd < 0 ? -ENFILE : make_handle(path_fd, "", &handle);
		/* A file system without handles (overlayfs) has what open files leave. */
		if (r)
			r = fs->fds_n + fs->handles_n < fs->config->fd_limit ? 0 : -ENFILE;
	}
	if (!r)
		r = add(fs, stx, mnt, &inode);
	if (r) {
		free(handle);
		close(path_fd);
		return r;
	}
	if (handle) {
		inode->handle = handle;
		close(path_fd);
	} else {
		inode->fd = path_fd;
		fs->fds_n++;
	}
	*out = inode;
	return 0;
}

int inode_lookup(struct fs *fs, struct inode *parent, const char *name, struct inode **out, struct statx *stx)
{
	bool own, again = parent->again;
	int dir = inode_fd(fs, parent, &own), fd, r = 0;

	if (dir < 0)
		return dir;
	*out = NULL;
	/* What is known needs no open, what is new needs one before its attributes count. A folder's names go in rows. */
	if (again) {
		r = fs_statx(dir, name, stx);
		if (!r)
			*out = find(fs, stx, dir, name);
		if (*out)
			(*out)->lookups++;
	}
	if (!r && !*out) {
		fd = open_beneath(dir, name, O_PATH);
		r = fd < 0 ? fd : fs_statx(fd, "", stx);
		if (!r)
			r = make_known(fs, fd, stx, out, &again);
		else if (fd >= 0)
			close(fd);
		if (!r)
			parent->again = again;
	}
	inode_put_fd(fs, dir, own);
	return r;
}

int inode_from_fd(struct fs *fs, int fd, struct inode **out, struct statx *stx)
{
	bool again;
	int path_fd, r = fs_statx(fd, "", stx);

	if (r)
		return r;
	/* Without OPEN_TREE_CLONE it is an open with O_PATH, and needs no way through /proc. */
	path_fd = open_tree(fd, "", AT_EMPTY_PATH | OPEN_TREE_CLOEXEC);
	if (path_fd < 0)
		return -errno;
	return make_known(fs, path_fd, stx, out, &again);
}

int inode_add_root(struct fs *fs)
{
	struct inode *root;
	struct statx stx;
	bool again;
	int fd, r;

	fs->inodes_free = FS_INODE_NONE;
	fd = openat(fs->root_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = fs_statx(fd, "", &stx);
	if (r) {
		close(fd);
		return r;
	}
	return make_known(fs, fd, &stx, &root, &again);
}
