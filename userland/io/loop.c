/* SPDX-License-Identifier: Apache-2.0 */
#include "io/loop.h"

#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"

enum op_state { OP_IDLE, OP_QUEUED, OP_DEFERRED };

struct loop_caller {
	struct loop_caller *next;
	int (*fn)(void *arg);
	void *arg;
	int res;
	bool finished;
};

struct loop {
	struct io_uring ring;
	bool fixed;    /* takes registered files only */
	bool disabled; /* until loop_enable() */
	bool stopped;
	struct io_uring_sqe *last; /* of the request queued last, for loop_as() and loop_not_added() */
	int code;
	struct loop_op *deferred; /* in order, tail below */
	struct loop_op **deferred_tail;

	/* Calls from other threads; lock guards callers, running, ended. */
	pthread_mutex_t lock;
	pthread_cond_t called;
	struct loop_caller *callers;
	bool running, ended;
	pthread_t thread;
	int call_fd;
	uint64_t call_count;
	struct loop_op call_op;
};

/* What a restricted ring may be asked: what the devices of the VMM use, nothing that opens or connects. */
static const uint8_t restricted_ops[] = {
	IORING_OP_READ,	     IORING_OP_WRITE,	IORING_OP_READV,	  IORING_OP_WRITEV,	  IORING_OP_FSYNC,
	IORING_OP_FALLOCATE, IORING_OP_RECV,	IORING_OP_SEND,		  IORING_OP_SENDMSG,	  IORING_OP_ACCEPT,
	IORING_OP_POLL_ADD,  IORING_OP_TIMEOUT, IORING_OP_TIMEOUT_REMOVE, IORING_OP_ASYNC_CANCEL,
};

static void calls_done(struct loop_op *op, int res);

static int ring_init(struct io_uring *ring, unsigned int entries, unsigned int flags)
{
	/* The quiet modes are of Linux 6.1; without them the ring only wakes up more often. */
	static const unsigned int tries[] = { IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, 0 };
	int r = -EINVAL;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(tries) && r == -EINVAL; i++)
		r = io_uring_queue_init(entries, ring,
					tries[i] | IORING_SETUP_CLAMP |
						((flags & LOOP_RESTRICTED) ? IORING_SETUP_R_DISABLED : 0));
	return r;
}

/* Debian's shared liburing 2.3 leaves io_uring_register_restrictions() and io_uring_enable_rings() out of its exports. */
static int ring_register(struct io_uring *ring, unsigned int opcode, const void *arg, unsigned int n)
{
	return syscall(SYS_io_uring_register, ring->ring_fd, opcode, arg, n) < 0 ? -errno : 0;
}

static int ring_restrict(struct io_uring *ring, bool fixed)
{
	struct io_uring_restriction res[ARRAY_SIZE(restricted_ops) + 3];
	int fds[LOOP_FIXED_FDS];
	struct rlimit limit;
	size_t fds_n;
	unsigned int n = 0;
	size_t i;
	int r;

	if (!fixed)
		goto operations;
	/* A table of more files than the process may have open is refused; limits set later don't matter. */
	if (getrlimit(RLIMIT_NOFILE, &limit))
		return -errno;
	fds_n = min_t(rlim_t, limit.rlim_cur, LOOP_FIXED_FDS);
	for (i = 0; i < fds_n; i++)
		fds[i] = -1;
	r = io_uring_register_files(ring, fds, fds_n);
	if (r < 0)
		return r;
operations:
	memset(res, 0, sizeof(res));
	for (i = 0; i < ARRAY_SIZE(restricted_ops); i++) {
		res[n].opcode = IORING_RESTRICTION_SQE_OP;
		res[n++].sqe_op = restricted_ops[i];
	}
	res[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	res[n++].sqe_flags = IOSQE_FIXED_FILE;
	res[n].opcode = IORING_RESTRICTION_REGISTER_OP;
	res[n++].register_op = IORING_REGISTER_FILES_UPDATE;
	res[n].opcode = IORING_RESTRICTION_REGISTER_OP;
	res[n++].register_op = IORING_REGISTER_ENABLE_RINGS;
	return ring_register(ring, IORING_REGISTER_RESTRICTIONS, res, n);
}

int loop_new(struct loop **out, unsigned int entries, unsigned int flags)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int r;

	if (!loop)
		return -ENOMEM;
	loop->disabled = flags & LOOP_RESTRICTED;
	loop->fixed = loop->disabled && !(flags & LOOP_ANY_FD);
	loop->deferred_tail = &loop->deferred;
	pthread_mutex_init(&loop->lock, NULL);
	pthread_cond_init(&loop->called, NULL);
	loop->call_fd = eventfd(0, EFD_CLOEXEC);
	if (loop->call_fd < 0) {
		r = -errno;
		goto out_free;
	}
	r = ring_init(&loop->ring, entries, flags);
	if (r < 0)
		goto out_close;
	if (loop->disabled) {
		r = ring_restrict(&loop->ring, loop->fixed);
		if (!r)
			r = loop_add_fd(loop, loop->call_fd);
		if (r < 0)
			goto out_ring;
	}
	loop_op_init(&loop->call_op, calls_done);
	*out = loop;
	return 0;

out_ring:
	io_uring_queue_exit(&loop->ring);
out_close:
	close(loop->call_fd);
out_free:
	free(loop);
	return r;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	io_uring_queue_exit(&loop->ring);
	close(loop->call_fd);
	pthread_cond_destroy(&loop->called);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

int loop_add_fd(struct loop *loop, int fd)
{
	int r;

	if (!loop->fixed)
		return 0;
	if (fd < 0 || fd >= LOOP_FIXED_FDS)
		return -EMFILE;
	/* The slot's number is the fd's, so that no table is needed to translate. */
	r = io_uring_register_files_update(&loop->ring, fd, &fd, 1);
	return r < 0 ? r : 0;
}

void loop_del_fd(struct loop *loop, int fd)
{
	int none = -1;

	if (loop->fixed && fd >= 0 && fd < LOOP_FIXED_FDS)
		io_uring_register_files_update(&loop->ring, fd, &none, 1);
}

int loop_enable(struct loop *loop)
{
	return loop->disabled ? ring_register(&loop->ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0) : 0;
}

int loop_personality(struct loop *loop)
{
	return io_uring_register_personality(&loop->ring);
}

static struct io_uring_sqe *get_sqe(struct loop *loop)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->ring);

	while (!sqe) {
		/* The queue is full of what was prepared: hand it over. The kernel keeps completions that find no room. */
		int r = io_uring_submit_and_get_events(&loop->ring);

		if (r < 0 && r != -EINTR && r != -EBUSY && r != -EAGAIN) {
			/* Only a mistake of ours leads here: a ring used by another thread, or filled before loop_enable(). */
			log_error("event loop: the ring refuses requests: %s", strerror(-r));
			abort();
		}
		sqe = io_uring_get_sqe(&loop->ring);
	}
	return sqe;
}

static struct io_uring_sqe *begin(struct loop *loop, struct loop_op *op)
{
	op->owner = loop;
	op->state = OP_QUEUED;
	return get_sqe(loop);
}

static void finish(struct loop *loop, struct loop_op *op, struct io_uring_sqe *sqe, bool has_fd)
{
	if (has_fd && loop->fixed)
		sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data(sqe, op);
	loop->last = sqe;
}

void loop_as(struct loop *loop, int personality)
{
	/* Nothing is handed to the kernel before the next request is queued or the loop goes on. */
	loop->last->personality = (uint16_t)personality;
}

void loop_not_added(struct loop *loop)
{
	loop->last->flags &= (uint8_t)~IOSQE_FIXED_FILE;
}

void loop_read(struct loop *loop, struct loop_op *op, int fd, void *buf, size_t len, int64_t off)
{
	struct io_uring_sqe *sqe = begin(loop, op);

	io_uring_prep_read(sqe, fd, buf, min_t(size_t, len, INT32_MAX), off);
	finish(loop, op, sqe, true);
}

void loop_write(struct loop *loop, struct loop_op *op, int fd, const void *buf, size_t len, int64_t off)
{
	struct io_uring_sqe *sqe = begin(loop, op);

	io_uring_prep_write(sqe, fd, buf, min_t(size_t, len, INT32_MAX), off);
	finish(loop, op, sqe, true);
}

void loop_readv(struct loop *loop, struct loop_op *op, int fd, const struct iovec *iov, unsigned int n, int64_t off)
{
	struct io_uring_sqe *sqe;

	/* The kernel would copy the vector in, for one segment, too. */
	if (n == 1) {
		loop_read(loop, op, fd, iov->iov_base, iov->iov_len, off);
		return;
	}
	sqe = begin(loop, op);
	io_uring_prep_readv(sqe, fd, iov, n, off);
	finish(loop, op, sqe, true);
}

void loop_writev(struct loop *loop, struct loop_op *op, int fd, const struct iovec *iov, unsigned int n, int64_t off)
{
	struct io_uring_sqe *sqe;

	if (n == 1) {
		loop_write(loop, op, fd, iov->iov_base, iov->iov_len, off);
		return;
	}
	sqe = begin(loop, op);
	io_uring_prep_writev(sqe, fd, iov, n, off);
	finish(loop, op, sqe, true);
}

void loop_fsync(struct loop *loop, struct loop_op *op, int fd, bool data_only)
{
	struct io_uring_sqe *sqe = begin(loop, op);

	io_uring_prep_fsync(sqe, fd, data_only ? IORING_FSYNC_DATASYNC : 0);
	finish(loop, op, sqe, true);
}

void loop_fallocate(struct loop *loop, struct loop_op *op, int fd, int mode, uint64_t off, uint64_t len)
{
	struct io_uring_sqe *sqe = begin(loop, op);

	io_uring_prep_fallocate(sqe, fd, mode, off, len);
	finish(loop, op, sqe, true);
}

void loop_recv(struct loop *loop, struct loop_op *op, int fd, void *buf, size_t len, int flags)
{
	struct io_uring_sqe *sqe = begin(loop, op);

	io_uring_prep_recv(sqe, fd, buf, min_t(size_t, len, INT32_MAX), flags);
	finish(loop, op, sqe, true);
}

void loop_send(struct loop *loop, struct loop_op *op, int fd, const void *buf, size_t len, int flags)
{
	struct io_uring_sqe *sqe = begin(loop, op);

	io_uring_prep_send(sqe, fd, buf, min_t(size_t, len, INT32_MAX), flags | MSG_NOSIGNAL);
	finish(loop, op, sqe, true);
}

void loop_sendmsg(struct loop *loop, struct loop_op *op, int fd, const struct msghdr *msg, int flags)
{
	struct io_uring_sqe *sqe = begin(loop, op);

	io_uring_prep_sendmsg(sqe, fd, msg, flags | MSG_NOSIGNAL);
	finish(loop, op, sqe, true);
}

void loop_recvmsg(struct loop *loop, struct loop_op *op, int fd, struct msghdr *msg, int flags)
{
	struct io_uring_sqe *sqe = begin(loop, op);

	io_uring_prep_recvmsg(sqe, fd, msg, flags);
	finish(loop, op, sqe, true);
}

void loop_accept(struct loop *loop, struct loop_op *op, int fd)
{
	struct io_uring_sqe *sqe = begin(loop, op);

	io_uring_prep_accept(sqe, fd, NULL, NULL, SOCK_CLOEXEC);
	finish(loop, op, sqe, true);
}

void loop_connect(struct loop *loop, struct loop_op *op, int fd, const struct sockaddr *addr, socklen_t len)
{
	struct io_uring_sqe *sqe = begin(loop, op);

	io_uring_prep_connect(sqe, fd, addr, len);
	finish(loop, op, sqe, true);
}

void loop_poll(struct loop *loop, struct loop_op *op, int fd, unsigned int events)
{
	struct io_uring_sqe *sqe = begin(loop, op);

	io_uring_prep_poll_add(sqe, fd, events);
	finish(loop, op, sqe, true);
}

void loop_poll_multishot(struct loop *loop, struct loop_op *op, int fd, unsigned int events)
{
	struct io_uring_sqe *sqe = begin(loop, op);

	io_uring_prep_poll_multishot(sqe, fd, events);
	finish(loop, op, sqe, true);
}

void loop_timer(struct loop *loop, struct loop_op *op, uint64_t after_ns)
{
	struct io_uring_sqe *sqe = begin(loop, op);
	struct __kernel_timespec *ts = (struct __kernel_timespec *)op->timeout;

	_Static_assert(sizeof(op->timeout) == sizeof(*ts), "a timer's time is kept in its op");
	ts->tv_sec = after_ns / 1000000000ull;
	ts->tv_nsec = after_ns % 1000000000ull;
	io_uring_prep_timeout(sqe, ts, 0, 0);
	finish(loop, op, sqe, false);
}

void loop_defer(struct loop *loop, struct loop_op *op)
{
	op->owner = loop;
	op->state = OP_DEFERRED;
	op->next = NULL;
	*loop->deferred_tail = op;
	loop->deferred_tail = &op->next;
}

void loop_cancel(struct loop *loop, struct loop_op *op)
{
	struct io_uring_sqe *sqe;

	if (op->state != OP_QUEUED)
		return;
	sqe = get_sqe(loop);
	io_uring_prep_cancel(sqe, op, 0);
	io_uring_sqe_set_data(sqe, NULL);
}

static void run_deferred(struct loop *loop)
{
	struct loop_op *op = loop->deferred, *next;

	loop->deferred = NULL;
	loop->deferred_tail = &loop->deferred;
	for (; op; op = next) {
		next = op->next;
		op->state = OP_IDLE;
		op->done(op, 0);
	}
}

static void run_calls(struct loop *loop)
{
	struct loop_caller *c;

	pthread_mutex_lock(&loop->lock);
	while ((c = loop->callers)) {
		loop->callers = c->next;
		pthread_mutex_unlock(&loop->lock);
		c->res = c->fn(c->arg);
		pthread_mutex_lock(&loop->lock);
		c->finished = true;
		pthread_cond_broadcast(&loop->called);
	}
	pthread_mutex_unlock(&loop->lock);
}

static void listen_for_calls(struct loop *loop)
{
	loop_read(loop, &loop->call_op, loop->call_fd, &loop->call_count, sizeof(loop->call_count), -1);
}

static void calls_done(struct loop_op *op, int res)
{
	struct loop *loop = container_of(op, struct loop, call_op);

	run_calls(loop);
	if (res != -ECANCELED)
		listen_for_calls(loop);
}

int loop_run_once(struct loop *loop, bool wait)
{
	struct io_uring_cqe *cqe;
	unsigned int head, n, batch = 0;
	struct loop_op *ops[64];
	bool more[64]; /* a multishot request goes on */
	int res[64], r;

	/* Without waiting the kernel must still be asked to finish its side, as completions are made when we enter it. */
	if (wait && !loop->deferred)
		r = io_uring_submit_and_wait(&loop->ring, 1);
	else
		r = io_uring_submit_and_get_events(&loop->ring);
	if (r < 0 && r != -EINTR && r != -EBUSY && r != -EAGAIN)
		return r;
	/* Taken off the queue before any done() runs, as done() may queue more and need the room. */
	do {
		batch = 0;
		n = 0;
		io_uring_for_each_cqe(&loop->ring, head, cqe)
		{
			struct loop_op *op = io_uring_cqe_get_data(cqe);

			n++;
			if (op) {
				ops[batch] = op;
				more[batch] = cqe->flags & IORING_CQE_F_MORE;
				res[batch++] = cqe->res;
			}
			if (batch == ARRAY_SIZE(ops))
				break;
		}
		io_uring_cq_advance(&loop->ring, n);
		for (n = 0; n < batch; n++) {
			struct loop_op *op = ops[n];

			if (!more[n])
				op->state = OP_IDLE;
			/* A timer that ran out is what its owner asked for. */
			op->done(op, res[n] == -ETIME ? 0 : res[n]);
		}
	} while (batch == ARRAY_SIZE(ops));
	run_deferred(loop);
	return 0;
}

int loop_run(struct loop *loop)
{
	int r = 0;

	pthread_mutex_lock(&loop->lock);
	loop->thread = pthread_self();
	loop->running = true;
	loop->ended = false;
	pthread_mutex_unlock(&loop->lock);
	if (!loop_op_busy(&loop->call_op))
		listen_for_calls(loop);
	loop->stopped = false;
	run_calls(loop);
	while (!loop->stopped && !r)
		r = loop_run_once(loop, true);
	pthread_mutex_lock(&loop->lock);
	loop->running = false;
	loop->ended = true;
	pthread_cond_broadcast(&loop->called);
	pthread_mutex_unlock(&loop->lock);
	return r ? r : loop->code;
}

void loop_stop(struct loop *loop, int code)
{
	loop->stopped = true;
	loop->code = code;
}

int loop_call(struct loop *loop, int (*fn)(void *arg), void *arg)
{
	struct loop_caller c = { .fn = fn, .arg = arg }, **tail;
	uint64_t one = 1;

	pthread_mutex_lock(&loop->lock);
	if (loop->ended) {
		pthread_mutex_unlock(&loop->lock);
		return -ESHUTDOWN;
	}
	if (!loop->running || pthread_equal(loop->thread, pthread_self())) {
		pthread_mutex_unlock(&loop->lock);
		return fn(arg);
	}
	for (tail = &loop->callers; *tail; tail = &(*tail)->next)
		;
	*tail = &c;
	if (write(loop->call_fd, &one, sizeof(one)) != sizeof(one))
		one = 0; /* an eventfd counter that is full has woken the loop already */
	while (!c.finished && !loop->ended)
		pthread_cond_wait(&loop->called, &loop->lock);
	if (!c.finished)
		for (tail = &loop->callers; *tail; tail = &(*tail)->next)
			if (*tail == &c) {
				*tail = c.next;
				break;
			}
	pthread_mutex_unlock(&loop->lock);
	return c.finished ? c.res : -ESHUTDOWN;
}
