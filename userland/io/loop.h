/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop: sole owner of an io_uring, run by one thread. Everything that waits is an operation on the ring:
 * an eventfd is read, a socket received from, a timer a timeout. One io_uring_enter submits all that was queued and
 * waits for the next completions, so a batch of work costs one system call.
 *
 * An operation is a struct loop_op inside the caller's own structure. It carries one request at a time; the buffer
 * and the op must live until done() was called, which happens exactly once per request, always from loop_run(), never
 * from inside the call that queued it. In done() the op is free to be used again.
 *
 * A restricted loop (for a jailed process) starts disabled: register fds, enter the jail, then loop_enable() in the
 * thread that will run it. From then on the ring takes only the listed operations, because seccomp does not see requests in a ring.
 * Requests are for fds that were added, unless they say otherwise (loop_not_added).
 */
#ifndef IO_LOOP_H
#define IO_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

struct loop;

struct loop_op {
	/* res: as the system call's result, negative errno on failure, -ECANCELED after loop_cancel. */
	void (*done)(struct loop_op *op, int res);
	/* private */
	struct loop_op *next;
	struct loop *owner;
	uint8_t state;
	int64_t timeout[2]; /* struct __kernel_timespec of a timer */
};

enum loop_flags {
	LOOP_RESTRICTED = 1, /* starts disabled, listed operations only, added fds only */
	LOOP_ANY_FD = 2,     /* with LOOP_RESTRICTED: any of the process's fds; only the operations are restricted */
};

#define LOOP_FIXED_FDS 1024 /* a restricted loop takes fds below this, or below RLIMIT_NOFILE when it was made */

/* entries: size of the submission queue (power of two); more than that in flight is fine. Negative errno. */
int loop_new(struct loop **out, unsigned int entries, unsigned int flags);
/* No operation may be in flight that owns memory which is freed; the ring's end cancels them without a call of done(). */
void loop_free(struct loop *loop);

/*
 * Restricted loops. loop_add_fd makes fd usable in operations (before or after enabling), loop_del_fd undoes it;
 * close the fd only after that. On an unrestricted loop both do nothing. Negative errno; -EMFILE past LOOP_FIXED_FDS.
 */
int loop_add_fd(struct loop *loop, int fd);
void loop_del_fd(struct loop *loop, int fd);
int loop_enable(struct loop *loop);
/* Keeps the calling thread's credentials for loop_as(), before loop_enable(): a number above 0, or negative errno. */
int loop_personality(struct loop *loop);

/* Runs until loop_stop(); returns its code, or negative errno when the ring itself fails. */
int loop_run(struct loop *loop);
/* Runs what has completed; waits for at least one completion first if wait. Negative errno. */
int loop_run_once(struct loop *loop, bool wait);
void loop_stop(struct loop *loop, int code);

static inline void loop_op_init(struct loop_op *op, void (*done)(struct loop_op *op, int res))
{
	*op = (struct loop_op){ .done = done };
}
static inline bool loop_op_busy(const struct loop_op *op)
{
	return op->state != 0;
}

/* Requests. off -1: the file's own position (streams, eventfds). fds stay the caller's. */
void loop_read(struct loop *loop, struct loop_op *op, int fd, void *buf, size_t len, int64_t off);
void loop_write(struct loop *loop, struct loop_op *op, int fd, const void *buf, size_t len, int64_t off);
void loop_readv(struct loop *loop, struct loop_op *op, int fd, const struct iovec *iov, unsigned int n, int64_t off);
void loop_writev(struct loop *loop, struct loop_op *op, int fd, const struct iovec *iov, unsigned int n, int64_t off);
/* Runs the request that was queued last with the credentials that loop_personality() gave a number to. */
void loop_as(struct loop *loop, int personality);
/*
 * The request that was queued last has an fd that was never added, for one that is closed while the loop goes on: its file goes with
 * it. A file that was added the ring of a kernel before 6.13 keeps until all requests have ended that were in flight at its
 * loop_del_fd(), whatever they are about, and polls never end.
 */
void loop_not_added(struct loop *loop);
void loop_fsync(struct loop *loop, struct loop_op *op, int fd, bool data_only);
void loop_fallocate(struct loop *loop, struct loop_op *op, int fd, int mode, uint64_t off, uint64_t len);
void loop_recv(struct loop *loop, struct loop_op *op, int fd, void *buf, size_t len, int flags);
void loop_send(struct loop *loop, struct loop_op *op, int fd, const void *buf, size_t len, int flags);
void loop_sendmsg(struct loop *loop, struct loop_op *op, int fd, const struct msghdr *msg, int flags);
void loop_recvmsg(struct loop *loop, struct loop_op *op, int fd, struct msghdr *msg, int flags);
/* res: the new fd (close-on-exec). A restricted loop needs loop_add_fd for it. */
void loop_accept(struct loop *loop, struct loop_op *op, int fd);
void loop_connect(struct loop *loop, struct loop_op *op, int fd, const struct sockaddr *addr, socklen_t len);
/* One shot; res: the events that are there, as poll(2) has them. */
void loop_poll(struct loop *loop, struct loop_op *op, int fd, unsigned int events);
/*
 * Again and again: done() comes for each time the file says that it has news, until it comes with the op no longer busy.
 * An eventfd needs no reading, as each of its signals is news.
 */
void loop_poll_multishot(struct loop *loop, struct loop_op *op, int fd, unsigned int events);
/* res: 0 after that time, -ECANCELED if cancelled before. */
void loop_timer(struct loop *loop, struct loop_op *op, uint64_t after_ns);
/* done(op, 0) in the next round. */
void loop_defer(struct loop *loop, struct loop_op *op);

/* Asks for the end of a request; done() still comes (with -ECANCELED, or with the result if that was first). */
void loop_cancel(struct loop *loop, struct loop_op *op);

/*
 * From any other thread: fn(arg) is run in the loop's thread; returns when it has run, with what it returned.
 * From the loop's own thread, or before anyone runs the loop, fn is called at once. -ESHUTDOWN when the loop has ended.
 */
int loop_call(struct loop *loop, int (*fn)(void *arg), void *arg);

#endif
