/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file system behind a share: FUSE requests (linux/fuse.h, 7.38) in, answers out. It knows nothing of queues and
 * sockets: whoever serves it hands over the buffers of one request and is told when that has been answered.
 *
 * One thread, one struct loop. Metadata is answered within fs_serve(); reads, writes, fsync and fallocate are requests to
 * the ring, between the guest's memory and the file. Locks that are waited for are asked for again and again.
 */
#ifndef FSD_FS_H
#define FSD_FS_H

#include <linux/fuse.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "fsd/idmap.h"
#include "fsd/xattrmap.h"
#include "io/loop.h"

enum fs_cache { FS_CACHE_NONE, FS_CACHE_AUTO, FS_CACHE_ALWAYS };
/* Auto: on the host, where the guest's kernel interrupts who waits. */
enum fs_locks { FS_LOCKS_LOCAL, FS_LOCKS_AUTO, FS_LOCKS_REMOTE };

struct fs_config {
	bool read_only, xattr, posix_acl, writeback, announce_submounts;
	enum fs_cache cache;
	enum fs_locks locks;
	uint32_t fd_limit;	  /* files open at a time, inodes included */
	uint32_t inode_limit;	  /* inodes known at a time, each of which takes memory; 0: FS_INODES_DEFAULT */
	uint64_t attr_timeout_ns; /* UINT64_MAX: as the cache mode has it */
	struct idmap uids, gids;
	struct xattrmap *xattrmap; /* NULL: names are the same */
};

#define FS_INODES_DEFAULT (1u << 20) /* about 100 MiB here; the guest keeps more for each itself */
#define FS_REQ_IOV 8u
#define FS_IOV_MAX 1024u /* segments of one request */

struct handle;

struct fs_req {
	/* For fs_serve: */
	struct iovec *out, *in; /* what the guest sent, and where the answer goes; the array may be changed */
	unsigned int out_n, in_n;
	bool late;
	bool alone; /* no other one waits or is under way, so this one may take the thread's time */
	/*
	 * written: bytes of the answer. The request is then the caller's again. From within fs_serve, or later. It may be
	 * shown together with a later one if `late` is set, as nobody waits for it.
	 */
	void (*done)(struct fs_req *req, uint32_t written);

	/* private */
	struct fs *fs;
	struct fs_req *next;
	struct loop_op op;
	struct fuse_in_header head;
	struct handle *handle;
	union {
		struct {
			struct iovec *iov, *iov_alloc; /* data that is left to move */
			struct iovec inline_iov[FS_REQ_IOV];
			uint64_t off;
			unsigned int iov_n;
			uint32_t moved;
			bool kill_priv;
		} io;
		struct {
			struct fuse_lk_in in;
			struct fs_req *next;
		} lock;
		struct {
			uint64_t off, len;
			int mode;
			bool data_only;
		} sync;
	};
	struct iovec answer[4]; /* where a later answer goes, but for data that was read */
	uint8_t answer_n;
	uint8_t async; /* enum fs_async */
};

struct fs;

/* root_fd: the share's folder, opened for reading. Both fds and config are the caller's and outlive fs. proc_fd: /proc/self/fd. */
int fs_new(struct fs **out, struct loop *loop, const struct fs_config *config, int root_fd, int proc_fd, struct err *e);
/* No request may be in flight. */
void fs_free(struct fs *fs);
/* Credentials and ring, once the process has the capabilities it keeps and before loop_enable(). */
int fs_prepare(struct fs *fs, struct err *e);
void fs_serve(struct fs *fs, struct fs_req *req);
/* Locks that are waited for end with EINTR, so that nothing stays in flight for longer than the disk needs. */
void fs_interrupt(struct fs *fs);
/* For tests: inodes and open files that are known. */
uint32_t fs_inodes(const struct fs *fs);
uint32_t fs_handles(const struct fs *fs);

#endif
