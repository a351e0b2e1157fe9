/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks on the host, for guests and hosts that lock against each other. A POSIX lock belongs to an owner, which no system
 * call of ours can name, so each owner gets an open file of its own and locks of the open file description. Nothing here
 * waits: a lock that is not to be had is asked for again after a while, and whenever one of the guest's own was let go.
 */
#include "fsd/fs_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define RETRY_NS 20000000ull

struct posix_lock {
	struct posix_lock *next;
	uint64_t owner;
	int fd;
};

static void retry_later(struct loop_op *op, int res)
{
	locks_retry(container_of(op, struct fs, lock_timer));
}

void locks_init(struct fs *fs)
{
	loop_op_init(&fs->lock_timer, retry_later);
}

/* ---- owners ------------------------------------------------------------------------------------------------------ */

static void drop(struct fs *fs, struct posix_lock **at)
{
	struct posix_lock *lock = *at;

	*at = lock->next;
	close(lock->fd);
	fs->fds_n--;
	free(lock);
}

void locks_drop_owner(struct fs *fs, struct inode *inode, uint64_t owner)
{
	struct posix_lock **at;

	for (at = &inode->locks; *at; at = &(*at)->next)
		if ((*at)->owner == owner) {
			drop(fs, at);
			return;
		}
}

void locks_drop_all(struct fs *fs, struct inode *inode)
{
	while (inode->locks)
		drop(fs, &inode->locks);
}

/* The owner's open file. NULL and *error set, if there is none to be had. */
static struct posix_lock *owner_get(struct fs *fs, struct inode *inode, uint64_t owner, int *error)
{
	struct posix_lock *lock;

	for (lock = inode->locks; lock; lock = lock->next)
		if (lock->owner == owner)
			return lock;
	lock = malloc(sizeof(*lock));
	*error = -ENOLCK;
	if (!lock)
		return NULL;
	*lock = (struct posix_lock){ .owner = owner, .next = inode->locks };
	/* For writing, as a lock for writing needs it; the handle says whether the guest may. */
	lock->fd = inode_open(fs, inode, fs->config->read_only ? O_RDONLY : O_RDWR);
	if (lock->fd < 0) {
		*error = lock->fd;
		free(lock);
		return NULL;
	}
	fs->fds_n++;
	inode->locks = lock;
	return lock;
}

/* ---- one try ----------------------------------------------------------------------------------------------------- */

static int to_flock(const struct fuse_file_lock *lk, struct flock *fl)
{
	if (lk->type != F_RDLCK && lk->type != F_WRLCK && lk->type != F_UNLCK)
		return -EINVAL;
	if (lk->start > INT64_MAX || lk->end < lk->start)
		return -EINVAL;
	*fl = (struct flock){
		.l_type = (short)lk->type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)lk->start,
		/* Up to the last byte there can be is, for the host, up to the end. */
		.l_len = lk->end >= INT64_MAX ? 0 : (off_t)(lk->end - lk->start + 1),
	};
	return 0;
}

static int try_posix(struct fs *fs, struct inode *inode, const struct fuse_lk_in *in)
{
	struct posix_lock *lock;
	struct flock fl;
	int r = to_flock(&in->lk, &fl);

	if (r)
		return r;
	lock = owner_get(fs, inode, in->owner, &r);
	if (!lock)
		return r;
	return fcntl(lock->fd, F_OFD_SETLK, &fl) ? -errno : 0;
}

static int try_flock(const struct handle *h, uint32_t type)
{
	int op = type == F_RDLCK ? LOCK_SH : type == F_WRLCK ? LOCK_EX : LOCK_UN;

	return flock(h->fd, op | LOCK_NB) ? -errno : 0;
}

static int try_lock(struct fs *fs, const struct handle *h, const struct fuse_lk_in *in)
{
	int r = in->lk_flags & FUSE_LK_FLOCK ? try_flock(h, in->lk.type) : try_posix(fs, inode_at(fs, h->inode), in);

	return r == -EACCES ? -EAGAIN : r;
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static void set_timer(struct fs *fs)
{
	if (fs->waiters && !loop_op_busy(&fs->lock_timer))
		loop_timer(fs->loop, &fs->lock_timer, RETRY_NS);
}

static void unwait(struct fs *fs, struct fs_req **at, int result)
{
	struct fs_req *req = *at;

	*at = req->lock.next;
	fs->waiters_n--;
	fs_answer(req, result);
}

void locks_retry(struct fs *fs)
{
	struct fs_req **at = &fs->waiters;

	while (*at) {
		int r = try_lock(fs, (*at)->handle, &(*at)->lock.in);

		if (r == -EAGAIN)
			at = &(*at)->lock.next;
		else
			unwait(fs, at, r);
	}
	set_timer(fs);
}

bool locks_interrupt(struct fs *fs, uint64_t unique, bool all)
{
	struct fs_req **at = &fs->waiters;
	bool found = false;

	while (*at) {
		if (all || (*at)->head.unique == unique) {
			unwait(fs, at, -EINTR);
			found = true;
		} else {
			at = &(*at)->lock.next;
		}
	}
	return found;
}

static int wait_for(struct fs *fs, struct fs_call *c, struct handle *h, const struct fuse_lk_in *in)
{
	struct fs_req **at;
	int r = fs_keep_answer(c->req, sizeof(struct fuse_out_header));

	if (r)
		return r;
	if (fs->waiters_n == FS_WAITERS_MAX)
		return -ENOLCK;
	for (at = &fs->waiters; *at; at = &(*at)->lock.next)
		;
	handle_hold(h);
	c->req->handle = h;
	c->req->async = FS_LOCK;
	c->req->lock.in = *in;
	c->req->lock.next = NULL;
	*at = c->req;
	fs->waiters_n++;
	set_timer(fs);
	return FS_LATER;
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

int fs_op_setlk(struct fs *fs, struct fs_call *c)
{
	const struct fuse_lk_in *in = c->arg;
	struct handle *h = handle_get(fs, in->fh, c->inode);
	int r;

	if (!h || h->is_dir)
		return -EBADF;
	if (!(in->lk_flags & FUSE_LK_FLOCK) && in->lk.type == F_WRLCK && !h->writable)
		return -EBADF;
	r = try_lock(fs, h, in);
	if (r == -EAGAIN && c->req->head.opcode == FUSE_SETLKW)
		return wait_for(fs, c, h, in);
	if (!r && (in->lk.type == F_UNLCK || in->lk.type == F_RDLCK))
		locks_retry(fs);
	return r;
}

int fs_op_getlk(struct fs *fs, struct fs_call *c)
{
	const struct fuse_lk_in *in = c->arg;
	struct handle *h = handle_get(fs, in->fh, c->inode);
	struct fuse_lk_out *out = c->reply;
	struct posix_lock *lock;
	struct flock fl;
	int r;

	if (!h || h->is_dir)
		return -EBADF;
	if (c->reply_max < sizeof(*out) || (in->lk_flags & FUSE_LK_FLOCK))
		return -EINVAL;
	r = to_flock(&in->lk, &fl);
	if (r)
		return r;
	lock = owner_get(fs, c->inode, in->owner, &r);
	if (!lock)
		return r;
	if (fcntl(lock->fd, F_OFD_GETLK, &fl))
		return -errno;
	*out = (struct fuse_lk_out){ .lk = {
					     .start = (uint64_t)fl.l_start,
					     .end = fl.l_len ? (uint64_t)(fl.l_start + fl.l_len - 1) : INT64_MAX,
					     .type = (uint32_t)fl.l_type,
					     /* Whoever it is, is no process of the guest's. */
					     .pid = 0,
				     } };
	return sizeof(*out);
}
