/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/util.h"
#include "io/loop.h"

static struct loop *loop;

struct result {
	struct loop_op op;
	int calls, res;
};

static void record(struct loop_op *op, int res)
{
	struct result *r = container_of(op, struct result, op);

	r->calls++;
	r->res = res;
}

static void setup(void)
{
	ck_assert_int_eq(loop_new(&loop, 8, 0), 0);
}

static void teardown(void)
{
	loop_free(loop);
}

static void run_until(struct result *r, int calls)
{
	while (r->calls < calls)
		ck_assert_int_eq(loop_run_once(loop, true), 0);
}

#define RESULT                          \
	{                               \
		.op = {.done = record } \
	}

START_TEST(files_are_written_and_read_at_offsets)
{
	char template[] = "/tmp/loop-XXXXXX", buf[8] = "";
	struct result r = RESULT;
	int fd = mkstemp(template);
	struct iovec iov[2] = { { buf, 2 }, { buf + 2, 2 } };

	unlink(template);
	loop_write(loop, &r.op, fd, "abcdef", 6, 10);
	ck_assert_int_eq(r.calls, 0);
	run_until(&r, 1);
	ck_assert_int_eq(r.res, 6);
	loop_readv(loop, &r.op, fd, iov, 2, 12);
	run_until(&r, 2);
	ck_assert_int_eq(r.res, 4);
	ck_assert_str_eq(buf, "cdef");
	loop_fsync(loop, &r.op, fd, true);
	run_until(&r, 3);
	ck_assert_int_eq(r.res, 0);
	loop_read(loop, &r.op, fd, buf, sizeof(buf), 100);
	run_until(&r, 4);
	ck_assert_int_eq(r.res, 0);
	close(fd);
}
END_TEST

START_TEST(a_bad_fd_is_reported)
{
	struct result r = RESULT;
	char c;

	loop_read(loop, &r.op, 9999, &c, 1, -1);
	run_until(&r, 1);
	ck_assert_int_eq(r.res, -EBADF);
}
END_TEST

START_TEST(sockets_connect_accept_and_carry_bytes)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = "\0loop-test" };
	struct result acc = RESULT, con = RESULT, tx = RESULT, rx = RESULT;
	int l = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), c = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), s;
	char buf[4] = "";

	snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, "loop-test-%d", getpid());
	ck_assert_int_eq(bind(l, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(l, 1), 0);
	loop_accept(loop, &acc.op, l);
	loop_connect(loop, &con.op, c, (struct sockaddr *)&addr, sizeof(addr));
	run_until(&con, 1);
	run_until(&acc, 1);
	ck_assert_int_eq(con.res, 0);
	s = acc.res;
	ck_assert_int_ge(s, 0);
	ck_assert_int_ne(fcntl(s, F_GETFD) & FD_CLOEXEC, 0);
	loop_recv(loop, &rx.op, s, buf, sizeof(buf), 0);
	loop_send(loop, &tx.op, c, "hi", 3, 0);
	run_until(&rx, 1);
	ck_assert_int_eq(rx.res, 3);
	ck_assert_str_eq(buf, "hi");
	/* A write to a stream whose reader is gone is an error, not a signal. */
	close(s);
	loop_send(loop, &tx.op, c, "hi", 3, 0);
	run_until(&tx, 2);
	ck_assert_int_eq(tx.res, -EPIPE);
	close(c);
	close(l);
}
END_TEST

START_TEST(timers_run_out_in_order)
{
	struct result late = RESULT, early = RESULT;

	loop_timer(loop, &late.op, 20000000);
	loop_timer(loop, &early.op, 1000);
	run_until(&early, 1);
	ck_assert_int_eq(early.res, 0);
	run_until(&late, 1);
	ck_assert_int_eq(late.res, 0);
}
END_TEST

START_TEST(cancelled_requests_end_once)
{
	struct result timer = RESULT, poll = RESULT, recv = RESULT;
	int sv[2];
	char c;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	loop_timer(loop, &timer.op, 3600000000000ull);
	loop_poll(loop, &poll.op, sv[0], POLLIN);
	loop_recv(loop, &recv.op, sv[0], &c, 1, 0);
	loop_cancel(loop, &timer.op);
	loop_cancel(loop, &poll.op);
	loop_cancel(loop, &recv.op);
	run_until(&timer, 1);
	run_until(&poll, 1);
	run_until(&recv, 1);
	ck_assert_int_eq(timer.res, -ECANCELED);
	ck_assert_int_eq(poll.res, -ECANCELED);
	ck_assert_int_eq(recv.res, -ECANCELED);
	ck_assert(!loop_op_busy(&timer.op));
	/* An idle op has nothing to be cancelled. */
	loop_cancel(loop, &timer.op);
	loop_run_once(loop, false);
	ck_assert_int_eq(timer.calls, 1);
	close(sv[0]);
	close(sv[1]);
}
END_TEST

START_TEST(poll_tells_events)
{
	struct result r = RESULT;
	int sv[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	loop_poll(loop, &r.op, sv[0], POLLIN | POLLOUT);
	run_until(&r, 1);
	ck_assert_int_eq(r.res, POLLOUT);
	ck_assert_int_eq(write(sv[1], "x", 1), 1);
	loop_poll(loop, &r.op, sv[0], POLLIN);
	run_until(&r, 2);
	ck_assert_int_ne(r.res & POLLIN, 0);
	close(sv[0]);
	close(sv[1]);
}
END_TEST

static void defer_again(struct loop_op *op, int res)
{
	struct result *r = container_of(op, struct result, op);

	if (++r->calls < 3)
		loop_defer(loop, op);
}

START_TEST(deferred_work_waits_for_the_next_round)
{
	struct result r = { .op = { .done = defer_again } };

	loop_defer(loop, &r.op);
	ck_assert_int_eq(r.calls, 0);
	ck_assert_int_eq(loop_run_once(loop, true), 0);
	ck_assert_int_eq(r.calls, 1);
	ck_assert_int_eq(loop_run_once(loop, true), 0);
	ck_assert_int_eq(r.calls, 2);
	run_until(&r, 3);
}
END_TEST

START_TEST(deferred_work_does_not_starve_completions)
{
	struct result r = { .op = { .done = defer_again }, .calls = -1000 };
	struct result ready = RESULT;
	int sv[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	loop_defer(loop, &r.op);
	loop_poll(loop, &ready.op, sv[0], POLLIN);
	ck_assert_int_eq(loop_run_once(loop, true), 0);
	ck_assert_int_eq(write(sv[1], "x", 1), 1);
	while (!ready.calls && r.calls < 0)
		ck_assert_int_eq(loop_run_once(loop, true), 0);
	ck_assert_int_eq(ready.calls, 1);
	run_until(&r, 3);
	close(sv[0]);
	close(sv[1]);
}
END_TEST

/* Far more requests than the queue has room for. */
START_TEST(many_requests_at_once)
{
	static struct result r[500];
	uint64_t v[ARRAY_SIZE(r)];
	int fd = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(r); i++) {
		loop_op_init(&r[i].op, record);
		loop_read(loop, &r[i].op, fd, &v[i], sizeof(v[i]), -1);
	}
	ck_assert_int_eq(eventfd_write(fd, ARRAY_SIZE(r)), 0);
	for (i = 0; i < ARRAY_SIZE(r); i++) {
		run_until(&r[i], 1);
		ck_assert_int_eq(r[i].res, sizeof(v[i]));
	}
	close(fd);
}
END_TEST

static void *runner(void *arg)
{
	struct loop *l;

	ck_assert_int_eq(loop_new(&l, 8, 0), 0);
	__atomic_store_n((struct loop **)arg, l, __ATOMIC_RELEASE);
	/* Calls may come before the loop runs, while it runs, and after. */
	return (void *)(intptr_t)loop_run(l);
}

static int stop_42(void *arg)
{
	loop_stop(arg, 42);
	return 7;
}

static int own_thread(void *arg)
{
	*(pthread_t *)arg = pthread_self();
	return 5;
}

static void *wait_and_call(void *arg)
{
	pthread_t t;

	return (void *)(intptr_t)loop_call(arg, own_thread, &t);
}

START_TEST(calls_from_other_threads_run_in_the_loops)
{
	struct loop *l = NULL;
	pthread_t thread, callers[4], seen;
	struct timespec ms = { .tv_nsec = 1000000 };
	void *ret;
	size_t i;

	pthread_create(&thread, NULL, runner, &l);
	while (!__atomic_load_n(&l, __ATOMIC_ACQUIRE))
		nanosleep(&ms, NULL);
	do { /* until the loop has started, calls are run by who makes them */
		ck_assert_int_eq(loop_call(l, own_thread, &seen), 5);
	} while (!pthread_equal(seen, thread));
	for (i = 0; i < ARRAY_SIZE(callers); i++)
		pthread_create(&callers[i], NULL, wait_and_call, l);
	for (i = 0; i < ARRAY_SIZE(callers); i++) {
		pthread_join(callers[i], &ret);
		ck_assert_int_eq((intptr_t)ret, 5);
	}
	ck_assert_int_eq(loop_call(l, stop_42, l), 7);
	pthread_join(thread, &ret);
	ck_assert_int_eq((intptr_t)ret, 42);
	ck_assert_int_eq(loop_call(l, own_thread, &seen), -ESHUTDOWN);
	loop_free(l);
}
END_TEST

/* What a jailed process relies on: only listed operations, and only added fds where a request does not say otherwise. */
START_TEST(a_restricted_loop_refuses_the_rest)
{
	struct result r = RESULT;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct loop *old = loop;
	int sv[2];
	char c = 'x';

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	ck_assert_int_eq(loop_new(&loop, 8, LOOP_RESTRICTED), 0);
	ck_assert_int_eq(loop_add_fd(loop, sv[0]), 0);
	ck_assert_int_eq(loop_add_fd(loop, LOOP_FIXED_FDS), -EMFILE);
	ck_assert_int_eq(loop_enable(loop), 0);
	loop_send(loop, &r.op, sv[0], &c, 1, 0);
	run_until(&r, 1);
	ck_assert_int_eq(r.res, 1);
	loop_send(loop, &r.op, sv[1], &c, 1, 0);
	run_until(&r, 2);
	ck_assert_int_eq(r.res, -EBADF);
	loop_connect(loop, &r.op, sv[0], (struct sockaddr *)&addr, sizeof(addr));
	run_until(&r, 3);
	ck_assert_int_eq(r.res, -EACCES);
	loop_timer(loop, &r.op, 1000);
	run_until(&r, 4);
	ck_assert_int_eq(r.res, 0);
	/* A later fd can be added, and taken back. */
	ck_assert_int_eq(loop_add_fd(loop, sv[1]), 0);
	loop_send(loop, &r.op, sv[1], &c, 1, 0);
	run_until(&r, 5);
	ck_assert_int_eq(r.res, 1);
	loop_del_fd(loop, sv[1]);
	loop_send(loop, &r.op, sv[1], &c, 1, 0);
	run_until(&r, 6);
	ck_assert_int_eq(r.res, -EBADF);
	/* Where a request says that it was not added, it is taken. */
	loop_send(loop, &r.op, sv[1], &c, 1, 0);
	loop_not_added(loop);
	run_until(&r, 7);
	ck_assert_int_eq(r.res, 1);
	loop_free(loop);
	loop = old;
	close(sv[0]);
	close(sv[1]);
}
END_TEST

START_TEST(a_multishot_poll_tells_each_signal)
{
	struct result r = RESULT;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), i;

	loop_poll_multishot(loop, &r.op, fd, POLLIN);
	for (i = 1; i <= 3; i++) {
		ck_assert_int_eq(loop_run_once(loop, false), 0);
		ck_assert_int_eq(r.calls, i - 1);
		ck_assert_int_eq(eventfd_write(fd, 1), 0);
		run_until(&r, i);
		ck_assert(r.res & POLLIN);
		ck_assert(loop_op_busy(&r.op));
	}
	loop_cancel(loop, &r.op);
	run_until(&r, 4);
	ck_assert_int_eq(r.res, -ECANCELED);
	ck_assert(!loop_op_busy(&r.op));
	close(fd);
}
END_TEST

START_TEST(a_loop_for_any_fd_restricts_operations_only)
{
	struct result r = RESULT;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct loop *old = loop;
	uint64_t v = 0;
	int fd = eventfd(7, EFD_CLOEXEC), self;

	ck_assert_int_eq(loop_new(&loop, 8, LOOP_RESTRICTED | LOOP_ANY_FD), 0);
	self = loop_personality(loop);
	ck_assert_int_gt(self, 0);
	ck_assert_int_eq(loop_enable(loop), 0);
	loop_read(loop, &r.op, fd, &v, sizeof(v), -1);
	loop_as(loop, self);
	run_until(&r, 1);
	ck_assert_int_eq(r.res, sizeof(v));
	ck_assert_uint_eq(v, 7);
	loop_connect(loop, &r.op, fd, (struct sockaddr *)&addr, sizeof(addr));
	run_until(&r, 2);
	ck_assert_int_eq(r.res, -EACCES);
	loop_free(loop);
	loop = old;
	close(fd);
}
END_TEST

Suite *test_suite(void);

Suite *test_suite(void)
{
	Suite *s = suite_create("loop");
	TCase *t = tcase_create("loop");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, files_are_written_and_read_at_offsets);
	tcase_add_test(t, a_bad_fd_is_reported);
	tcase_add_test(t, sockets_connect_accept_and_carry_bytes);
	tcase_add_test(t, timers_run_out_in_order);
	tcase_add_test(t, cancelled_requests_end_once);
	tcase_add_test(t, poll_tells_events);
	tcase_add_test(t, deferred_work_waits_for_the_next_round);
	tcase_add_test(t, deferred_work_does_not_starve_completions);
	tcase_add_test(t, many_requests_at_once);
	tcase_add_test(t, calls_from_other_threads_run_in_the_loops);
	tcase_add_test(t, a_restricted_loop_refuses_the_rest);
	tcase_add_test(t, a_multishot_poll_tells_each_signal);
	tcase_add_test(t, a_loop_for_any_fd_restricts_operations_only);
	suite_add_tcase(s, t);
	return s;
}
