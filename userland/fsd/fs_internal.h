/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the file system share. */
#ifndef FSD_FS_INTERNAL_H
#define FSD_FS_INTERNAL_H

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/stat.h>

#include "base/util.h"
#include "fsd/fs.h"
#include "io/spot.h"

/* Newer than the headers of Debian 12; numbers of the kernel's interface. */
#define FUSE_STATX_OP 52u
#define FS_F_CREATE_SUPP_GROUP (1ull << 34)
#define FS_F_DIRECT_IO_ALLOW_MMAP (1ull << 36)
#define FS_EXT_GROUPS 32u
/* Our guest kernel's own (images/patches/0006): it interrupts SETLKW, and flushes locked files despite FOPEN_NOFLUSH. */
#define FS_F_MICROVM_LOCKS (1ull << 63)

#define FS_MAX_WRITE (1u << 20)
#define FS_MAX_PAGES 256u
/* Of one answer that is not read data: a part of a folder, a list of attributes. */
#define FS_REPLY_MAX 65536u
/* Of one request that is not written data: an attribute's value (XATTR_SIZE_MAX), or a batch of nodes to forget. */
#define FS_ARG_MAX (65536u + 1024u)
#define FS_DIR_BUFFER 16384u
#define FS_DIR_BUFFERS 4u  /* folders that are listed at the same time without a loss */
#define FS_WAITERS_MAX 96u /* each holds a place in a queue, and who is to let go needs one, too */
#define FS_INODE_NONE UINT32_MAX

#define FS_LATER INT32_MIN	   /* a handler's: the answer comes later */
#define FS_NOTHING (INT32_MIN + 1) /* no answer is due */

enum fs_async { FS_SYNC, FS_READ, FS_WRITE, FS_FSYNC, FS_FALLOCATE, FS_LOCK };

/* A file or folder that the guest knows. 80 bytes, plus 4 to 8 of the hash table. */
struct inode {
	uint64_t ino, lookups;
	uint64_t version; /* of the content, as of the last open; 0: not known, or it may change without a new one */
	uint32_t dev_major, dev_minor;
	uint32_t mnt;  /* index into mounts[] */
	uint16_t mode; /* only the type */
	bool again;    /* of a folder: the last name looked up there was known already */
	uint32_t next; /* in its hash chain, or in the free list */
	uint32_t index, generation;
	int32_t fd;    /* O_PATH; -1: handle counts */
	uint32_t refs; /* open handles that belong to it */
	struct file_handle *handle;
	struct posix_lock *locks;
};

struct handle {
	uint32_t inode, generation;
	int32_t fd;    /* -1: free */
	uint32_t busy; /* requests in flight */
	uint32_t index, next_free;
	uint64_t pos; /* of a folder: where getdents64 goes on */
	bool is_dir, released, writable;
	bool waits;  /* reads never say that they would have to wait: a file system without RWF_NOWAIT */
	bool synced; /* writes wait for the disk */
};

/* What was read of a folder and not listed yet: to go back in a folder costs the host as much as to read it anew. */
struct dir_buffer {
	uint64_t fh, pos; /* whose, and where in the folder the next entry is */
	uint32_t at, end;
	uint8_t data[FS_DIR_BUFFER] __attribute__((aligned(8)));
};

struct mount {
	uint64_t id;
	int fd; /* for open_by_handle_at; -1: this file system has no handles */
	bool local; /* one of Linux' own, whose close(2) says nothing that write(2) has not, and whose times are our clock's */
};

struct fs {
	struct loop *loop;
	const struct fs_config *config;
	int root_fd, proc_fd;
	bool ready;	    /* INIT has been */
	bool root;	    /* owners can be changed */
	bool setxattr_ext;  /* the long form was agreed on */
	bool remote_locks;  /* locks are on the host */
	bool lock_flushes;  /* the guest tells of a close that ends locks, whatever it was told at open */
	uint32_t open_keep; /* FOPEN_ flags of each open */
	mode_t umask;
	uint32_t fsuid, fsgid;
	int personality;		       /* without CAP_FSETID; 0: there is none */
	struct __user_cap_data_struct caps[2]; /* what this process has, CAP_FSETID included */
	struct spot spot;
	uint64_t timeout_s;
	uint32_t timeout_ns;

	struct inode **chunks; /* of INODE_CHUNK each */
	uint32_t chunks_n, inodes_n, inodes_free, fds_n;
	uint32_t *hash, hash_size;
	struct handle **handles; /* allocated one by one, as requests in flight point at them */
	uint32_t handles_size, handles_n, handles_free, generation;
	struct mount *mounts;
	uint32_t mounts_n;

	struct fs_req *waiters; /* for locks */
	uint32_t waiters_n;
	struct loop_op lock_timer;
	uint64_t lock_retry_ns;
	uint64_t interrupts
		[FS_WAITERS_MAX]; /* uniques of those that overtook their request, or came too late; 0: none */
	uint32_t interrupts_next;

	struct dir_buffer dirs[FS_DIR_BUFFERS];
	uint32_t dirs_next; /* the one to go */
	uint8_t arg[FS_ARG_MAX + 8] __attribute__((aligned(8)));
	uint8_t reply[FS_REPLY_MAX] __attribute__((aligned(8)));
	uint8_t scratch[FS_REPLY_MAX] __attribute__((aligned(8)));
};

/* One request as a handler sees it: arguments copied and checked for length, names for their rules. */
struct fs_call {
	struct fs_req *req;
	struct inode *inode; /* of nodeid */
	const void *arg;     /* the fixed part */
	const char *name[2];
	const uint8_t *rest; /* behind the fixed part and the names */
	uint32_t rest_len;
	void *reply;	    /* room for reply_max bytes */
	uint32_t reply_max; /* what the guest left room for, at most FS_REPLY_MAX less the header */
	uint32_t group;	    /* supplementary group that counts for a new file, FS_NO_GROUP */
};
#define FS_NO_GROUP UINT32_MAX

/* Length of the answer behind the header, negative errno, FS_LATER or FS_NOTHING. */
typedef int fs_handler(struct fs *fs, struct fs_call *c);

fs_handler fs_op_init, fs_op_destroy, fs_op_statfs, fs_op_interrupt;
fs_handler fs_op_lookup, fs_op_forget, fs_op_batch_forget, fs_op_getattr, fs_op_setattr, fs_op_statx, fs_op_readlink;
fs_handler fs_op_symlink, fs_op_mknod, fs_op_mkdir, fs_op_unlink, fs_op_rmdir, fs_op_rename, fs_op_rename2, fs_op_link;
fs_handler fs_op_create, fs_op_tmpfile, fs_op_open, fs_op_opendir, fs_op_release, fs_op_flush;
fs_handler fs_op_readdir, fs_op_readdirplus, fs_op_syncfs, fs_op_lseek, fs_op_copy;
fs_handler fs_op_read, fs_op_write, fs_op_fsync, fs_op_fallocate;
fs_handler fs_op_setxattr, fs_op_getxattr, fs_op_listxattr, fs_op_removexattr;
fs_handler fs_op_getlk, fs_op_setlk;

/* -EINVAL, -ENAMETOOLONG: not one step down in a folder. */
int fs_check_name(const char *name);
/* The end of a request that was answered FS_LATER; len is the answer's behind the header, or negative errno. */
void fs_answer(struct fs_req *req, int64_t len);

/* ---- inode.c ---- */
void inodes_free(struct fs *fs);
struct inode *inode_get(struct fs *fs, uint64_t nodeid);
uint64_t inode_id(struct fs *fs, const struct inode *inode);
struct inode *inode_at(struct fs *fs, uint32_t index);
uint32_t inode_index(struct fs *fs, const struct inode *inode);
int inode_add_root(struct fs *fs);
/* Looks name up in parent, makes the inode known and counts one lookup more. *stx is its attributes. */
int inode_lookup(struct fs *fs, struct inode *parent, const char *name, struct inode **out, struct statx *stx);
/* The same for an open file that was just made. */
int inode_from_fd(struct fs *fs, int fd, struct inode **out, struct statx *stx);
void inode_forget(struct fs *fs, struct inode *inode, uint64_t lookups);
void inode_unref(struct fs *fs, struct inode *inode);
/* An O_PATH fd of the inode; *own tells that it is to be closed with inode_put_fd. */
int inode_fd(struct fs *fs, const struct inode *inode, bool *own);
void inode_put_fd(struct fs *fs, int fd, bool own);
/* Opens a regular file or folder anew with flags; anything else is -ENXIO. */
int inode_open(struct fs *fs, const struct inode *inode, int flags);
/* All file systems that the guest has seen: its own sync is one request, whatever is mounted below the share's root. */
int inodes_syncfs(struct fs *fs);
/* "N", its path in /proc/self/fd, where the process's current folder is. */
void fd_path(int fd, char path[12]);
int fs_statx(int fd, const char *name, struct statx *stx);

/* ---- handle.c ---- */
/* flags: those it was opened with. NULL: no memory; fd stays the caller's then. */
struct handle *handle_add(struct fs *fs, struct inode *inode, int fd, uint32_t flags);
struct handle *handle_get(struct fs *fs, uint64_t fh, const struct inode *inode);
uint64_t handle_id(const struct handle *h);
void handle_hold(struct handle *h);
void handle_drop(struct fs *fs, struct handle *h);
void handle_release(struct fs *fs, struct handle *h);
void handles_free(struct fs *fs);

/* ---- op_io.c ---- */
int fs_keep_answer(struct fs_req *req, size_t len);

/* ---- caller.c ---- */
/* New files belong to the guest's caller between these two. Negative errno: the caller has no counterpart on the host. */
int caller_enter(struct fs *fs, const struct fs_call *c, uint32_t umask);
void caller_leave(struct fs *fs);
/* Set-group-id only for members of the group, as the kernel has it for callers without CAP_FSETID. */
uint32_t caller_mode(struct fs *fs, const struct fs_call *c, uint32_t mode);
/* Without CAP_FSETID the kernel takes set-id bits away as for any user. */
void caller_drop_fsetid(struct fs *fs);
void caller_restore_fsetid(struct fs *fs);

/* ---- op_attr.c ---- */
void attr_fill(struct fs *fs, const struct inode *inode, const struct statx *stx, struct fuse_attr *attr);
int entry_fill(struct fs *fs, const struct inode *parent, const struct inode *inode, const struct statx *stx,
	       struct fuse_entry_out *out);

/* ---- op_name.c ---- */
/* Flags of an open in the guest, as the host is to see them. */
uint32_t fs_open_flags(const struct fs *fs, uint32_t flags);
/* What a guest is told of a file that it opened, FOPEN_ flags. */
uint32_t fs_open_answer(const struct fs *fs, const struct inode *inode, uint32_t flags);

/* ---- op_lock.c ---- */
/* FLUSH: the owner has closed one of its open files. */
void locks_flush(struct fs *fs, struct inode *inode, uint64_t owner);
/* RELEASE: nobody has the open file any more. */
void locks_release(struct fs *fs, struct inode *inode, struct handle *h);
void locks_drop_all(struct fs *fs, struct inode *inode);
/* Ends the wait of that request with EINTR, also if it is still to come. */
void locks_interrupt(struct fs *fs, uint64_t unique);
/* All of them; and there is no request left of which anything was remembered. */
void locks_interrupt_all(struct fs *fs);
void locks_init(struct fs *fs);

#endif
