/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks on the host, for guests and hosts that lock against each other. A POSIX lock belongs to an owner, which no system
 * call of ours can name, so each owner gets an open file of its own and locks of the open file description. Nothing here
 * waits: a lock that is not to be had is asked for again after a while, and whenever one of the guest's own was let go.
 * Who waits long asks less often, so that it costs the host little.
 */
#include "fsd/fs_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define RETRY_MIN_NS 1000000ull
#define RETRY_MAX_NS (64 * RETRY_MIN_NS)

struct posix_lock {
	struct posix_lock *next;
	uint64_t owner;
	uint64_t fh; /* the guest's open file that it was first locked by */
	int fd;
};

static void retry(struct fs *fs);

static void retry_later(struct loop_op *op, int res)
{
	struct fs *fs = container_of(op, struct fs, lock_timer);

	fs->lock_retry_ns = min_t(uint64_t, 2 * fs->lock_retry_ns, RETRY_MAX_NS);
	retry(fs);
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

void locks_drop_all(struct fs *fs, struct inode *inode)
{
	while (inode->locks)
		drop(fs, &inode->locks);
}

static struct posix_lock *owner_find(const struct inode *inode, uint64_t owner)
{
	struct posix_lock *lock = inode->locks;

	while (lock && lock->owner != owner)
		lock = lock->next;
	return lock;
}

/* For writing, as a lock for writing needs it; the guest's handle says whether it may have that. Not all files can be. */
static int owner_open(struct fs *fs, const struct inode *inode)
{
	int fd = inode_open(fs, inode, fs->config->read_only ? O_RDONLY : O_RDWR);

	if (fd == -EROFS || fd == -EACCES || fd == -EPERM || fd == -ETXTBSY)
		fd = inode_open(fs, inode, O_RDONLY);
	return fd == -ENFILE || fd == -EMFILE ? -ENOLCK : fd;
}

/* The owner's open file. NULL and *error set, if there is none to be had. */
static struct posix_lock *owner_get(struct fs *fs, struct inode *inode, const struct fuse_lk_in *in, int *error)
{
	struct posix_lock *lock = owner_find(inode, in->owner);

	if (lock)
		return lock;
	lock = malloc(sizeof(*lock));
	*error = -ENOLCK;
	if (!lock)
		return NULL;
	*lock = (struct posix_lock){ .owner = in->owner, .fh = in->fh, .next = inode->locks };
	lock->fd = owner_open(fs, inode);
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
	if (fl.l_type == F_UNLCK && !owner_find(inode, in->owner))
		return 0;
	lock = owner_get(fs, inode, in, &r);
	if (!lock)
		return r;
	return fcntl(lock->fd, F_OFD_SETLK, &fl) ? -errno : 0;
}

static int try_flock(const struct handle *h, uint32_t type)
{
	int op = type == F_RDLCK ? LOCK_SH : type == F_WRLCK ? LOCK_EX : LOCK_UN;

	if (op == LOCK_UN && type != F_UNLCK)
		return -EINVAL;
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
		loop_timer(fs->loop, &fs->lock_timer, fs->lock_retry_ns);
}

static void unwait(struct fs *fs, struct fs_req **at, int result)
{
	struct fs_req *req = *at;

	*at = req->lock.next;
	fs->waiters_n--;
	fs_answer(req, result);
}

/* The one that waits longest is first. */
static void retry(struct fs *fs)
{
	struct fs_req **at = &fs->waiters;

	while (*at) {
		int r = try_lock(fs, (*at)->handle, &(*at)->lock.in);

		if (r == -EAGAIN) {
			at = &(*at)->lock.next;
		} else {
			unwait(fs, at, r);
			fs->lock_retry_ns = RETRY_MIN_NS;
		}
	}
	set_timer(fs);
}

/* The driver's queues are looked at in any order: the request may not have been seen yet. */
static void remember(struct fs *fs, uint64_t unique)
{
	fs->interrupts[fs->interrupts_next] = unique;
	fs->interrupts_next = (fs->interrupts_next + 1) % ARRAY_SIZE(fs->interrupts);
}

static bool remembered(struct fs *fs, uint64_t unique)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(fs->interrupts); i++)
		if (unique && fs->interrupts[i] == unique) {
			fs->interrupts[i] = 0;
			return true;
		}
	return false;
}

void locks_interrupt(struct fs *fs, uint64_t unique)
{
	struct fs_req **at = &fs->waiters;

	while (*at && (*at)->head.unique != unique)
		at = &(*at)->lock.next;
	if (*at)
		unwait(fs, at, -EINTR);
	else
		remember(fs, unique);
}

void locks_interrupt_all(struct fs *fs)
{
	while (fs->waiters)
		unwait(fs, &fs->waiters, -EINTR);
	memset(fs->interrupts, 0, sizeof(fs->interrupts));
}

void locks_flush(struct fs *fs, struct inode *inode, uint64_t owner)
{
	struct posix_lock **at = &inode->locks;

	while (*at && (*at)->owner != owner)
		at = &(*at)->next;
	if (!*at)
		return;
	drop(fs, at);
	retry(fs);
}

void locks_release(struct fs *fs, struct inode *inode, struct handle *h)
{
	struct posix_lock **at = &inode->locks;
	struct fs_req **waiter = &fs->waiters;
	uint64_t fh = handle_id(h);

	/* Of the locks of an open file (F_OFD_SETLK) this is the only end that is told; those of a process have ended. */
	while (*at)
		if ((*at)->fh == fh)
			drop(fs, at);
		else
			at = &(*at)->next;
	while (*waiter)
		if ((*waiter)->handle == h)
			unwait(fs, waiter, -EBADF);
		else
			waiter = &(*waiter)->lock.next;
	/* What is still read by it keeps it open for a while. */
	if (h->busy && fs->remote_locks)
		flock(h->fd, LOCK_UN);
	handle_release(fs, h);
	retry(fs);
}

static int wait_for(struct fs *fs, struct fs_call *c, struct handle *h, const struct fuse_lk_in *in)
{
	struct fs_req **at;
	int r = fs_keep_answer(c->req, sizeof(struct fuse_out_header));

	if (r)
		return r;
	if (remembered(fs, c->req->head.unique))
		return -EINTR;
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
	fs->lock_retry_ns = RETRY_MIN_NS;
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
		retry(fs);
	return r;
}

int fs_op_getlk(struct fs *fs, struct fs_call *c)
{
	const struct fuse_lk_in *in = c->arg;
	struct handle *h = handle_get(fs, in->fh, c->inode);
	struct fuse_lk_out *out = c->reply;
	struct posix_lock *lock = owner_find(c->inode, in->owner);
	struct flock fl;
	int r;

	if (!h || h->is_dir)
		return -EBADF;
	if (c->reply_max < sizeof(*out) || (in->lk_flags & FUSE_LK_FLOCK))
		return -EINVAL;
	r = to_flock(&in->lk, &fl);
	if (r)
		return r;
	/* Who has no lock asks by the handle, which never has any of these. */
	if (fcntl(lock ? lock->fd : h->fd, F_OFD_GETLK, &fl))
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
