/* SPDX-License-Identifier: Apache-2.0 */
/* The standard streams of processes in the guest, as their host sees them. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "guest-agent/server.h"
#include "tests/unit/agent_fixture.h"

#define MiB (1u << 20)

START_TEST(output_and_exit_status_arrive)
{
	struct run r = RUN();

	start(&r, "oe", "echo out; echo err >&2; exit 3");
	ck_assert_int_eq(wait_for("c1", ""), 3);
	ck_assert_int_eq(wait_for("c1", ""), 3);
	expect_text(r.fds[1], "out\n");
	expect_text(r.fds[2], "err\n");
	ck_assert_int_eq(by_id(agent_remove_container, "c1"), 0);
	ck_assert_int_eq(wait_for("c1", ""), -ENOENT);
}
END_TEST

START_TEST(without_streams_there_is_dev_null)
{
	struct run r = RUN();

	start(&r, "", "test $(readlink /proc/self/fd/2) = /dev/null && ! read x");
	ck_assert_int_eq(wait_for("c1", ""), 0);
}
END_TEST

START_TEST(a_killed_process_has_128_and_its_signal)
{
	struct run r = RUN();

	start(&r, "", "exec sleep 1000");
	ck_assert_int_eq(send_signal("c1", "", SIGKILL), 0);
	ck_assert_int_eq(wait_for("c1", ""), 137);
	ck_assert_int_eq(send_signal("c1", "", SIGKILL), -ENOENT);
}
END_TEST

/* More than pipes and sockets hold, in both directions at once, with an end of file on the way in. */
START_TEST(input_is_carried_with_its_end)
{
	struct run r = RUN();
	char *in = malloc(4 * MiB), *out = malloc(4 * MiB + 1);
	size_t i, sent = 0, got = 0;

	for (i = 0; i < 4 * MiB; i++)
		in[i] = i * 2654435761u >> 13;
	start(&r, "io", "exec cat");
	fcntl(r.fds[0], F_SETFL, O_NONBLOCK);
	fcntl(r.fds[1], F_SETFL, O_NONBLOCK);
	for (;;) {
		struct pollfd p[2] = { { .fd = sent < 4 * MiB ? r.fds[0] : -1, .events = POLLOUT },
				       { .fd = r.fds[1], .events = POLLIN } };
		ssize_t n;

		ck_assert_int_gt(poll(p, 2, 30000), 0);
		if (p[0].revents) {
			n = write(r.fds[0], in + sent, 4 * MiB - sent);
			ck_assert_int_gt(n, 0);
			sent += n;
			if (sent == 4 * MiB)
				shutdown(r.fds[0], SHUT_WR);
		}
		n = p[1].revents ? read(r.fds[1], out + got, 4 * MiB + 1 - got) : -1;
		if (n == 0)
			break;
		got += n > 0 ? n : 0;
	}
	ck_assert_uint_eq(got, 4 * MiB);
	ck_assert_mem_eq(in, out, 4 * MiB);
	ck_assert_int_eq(wait_for("c1", ""), 0);
	free(in);
	free(out);
}
END_TEST

START_TEST(the_request_may_come_before_the_streams)
{
	struct run r = RUN();

	r.tokens[1] = agent_stdio_token();
	ck_assert_int_eq(create(&r, "echo hello"), 0);
	ck_assert_int_eq(by_id(agent_start_container, "c1"), 0);
	ck_assert_int_eq(agent_stdio_open(w.vsock, r.tokens, r.fds, 3, 5000, &e), 0);
	expect_text(r.fds[1], "hello\n");
}
END_TEST

/* As on a pipe whose reader is gone. */
START_TEST(streams_that_never_come_are_given_up)
{
	struct run r = RUN();

	r.tokens[0] = agent_stdio_token();
	r.tokens[1] = agent_stdio_token();
	ck_assert_int_eq(create(&r, "cat; while echo x; do sleep 0.05; done"), 0);
	ck_assert_int_eq(by_id(agent_start_container, "c1"), 0);
	ck_assert_int_eq(wait_for("c1", ""), 141);
}
END_TEST

START_TEST(streams_that_nobody_claims_are_closed)
{
	struct run r = RUN();
	uint64_t zero = 0;
	int fd;
	char c;

	open_streams(&r, "o");
	ck_assert_int_eq(read(r.fds[1], &c, 1), 0);
	fd = agent_connect_unix(w.vsock, GUEST_STDIO_PORT, 5000, &e);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, "1234", 4), 4); /* half a token */
	ck_assert_int_eq(read(fd, &c, 1), 0);
	close(fd);
	fd = agent_connect_unix(w.vsock, GUEST_STDIO_PORT, 5000, &e);
	ck_assert_int_eq(write(fd, &zero, sizeof(zero)), sizeof(zero));
	ck_assert_int_eq(read(fd, &c, 1), 0);
	close(fd);
	/* The token is worth nothing any more. */
	ck_assert_int_eq(create(&r, "exec sleep 100"), 0);
}
END_TEST

START_TEST(a_token_is_for_one_stream)
{
	struct run r = RUN(), other = { .id = "c2" };
	int fds[3];
	char c;

	open_streams(&r, "oe");
	/* A second stream with the same token. */
	ck_assert_int_eq(agent_stdio_open(w.vsock, r.tokens, fds, 2, 5000, &e), 0);
	ck_assert_int_eq(read(fds[1], &c, 1), 0);
	close(fds[1]);
	r.tokens[2] = r.tokens[1];
	ck_assert_int_eq(create(&r, "true"), -EINVAL);
	r.tokens[1] = r.tokens[2] = 0;
	r.tokens[0] = agent_stdio_token();
	ck_assert_int_eq(create(&r, "true"), 0);
	other.tokens[0] = r.tokens[0]; /* waits for its stream already */
	ck_assert_int_eq(create(&other, "true"), -EINVAL);
}
END_TEST

START_TEST(unclaimed_streams_are_bounded)
{
	int fds[STDIO_UNCLAIMED_MAX + 8], refused = 0;
	size_t i;
	char c;

	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = agent_connect_unix(w.vsock, GUEST_STDIO_PORT, 5000, &e);
		ck_assert_int_ge(fds[i], 0);
	}
	/* All end in time; what counts is that the agent lives on. */
	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		refused += read(fds[i], &c, 1) == 0;
		close(fds[i]);
	}
	ck_assert_int_eq(refused, ARRAY_SIZE(fds));
	ck_assert_int_eq(agent_get_details(w.agent, &(Microvm__Empty)MICROVM__EMPTY__INIT, NULL, &e), 0);
}
END_TEST

START_TEST(output_after_the_end_of_the_first_process_arrives)
{
	struct run r = RUN();

	start(&r, "o", "(sleep 0.3; echo late) & echo early");
	ck_assert_int_eq(wait_for("c1", ""), 0);
	ck_assert_int_eq(by_id(agent_remove_container, "c1"), 0);
	expect_text(r.fds[1], "early\nlate\n");
}
END_TEST

START_TEST(much_output_waits_for_a_slow_reader)
{
	struct run r = RUN();
	char *out = malloc(9 * MiB);

	start(&r, "o", "head -c 8388608 /dev/zero; exit 4");
	/* The agent is there for others meanwhile. */
	ck_assert_int_eq(agent_get_details(w.agent, &(Microvm__Empty)MICROVM__EMPTY__INIT, NULL, &e), 0);
	ck_assert_uint_eq(read_all(r.fds[1], out, 9 * MiB), 8 * MiB);
	ck_assert_int_eq(wait_for("c1", ""), 4);
	free(out);
}
END_TEST

START_TEST(a_reader_that_goes_breaks_the_pipe)
{
	struct run r = RUN();
	char buf[2];

	start(&r, "o", "exec yes");
	ck_assert_int_eq(read(r.fds[1], buf, 2), 2);
	close(r.fds[1]);
	ck_assert_int_eq(wait_for("c1", ""), 141);
}
END_TEST

START_TEST(a_process_that_reads_no_more_refuses_input)
{
	struct run r = RUN();
	char buf[4096] = "";
	int i, r2 = 0;

	start(&r, "i", "exec true");
	ck_assert_int_eq(wait_for("c1", ""), 0);
	/* The stream ends on the host's side as well; through a relay that takes more than one write to see. */
	for (i = 0; i < 10000 && !r2; i++)
		r2 = send(r.fds[0], buf, sizeof(buf), MSG_NOSIGNAL) < 0 ? errno : 0;
	ck_assert(r2 == EPIPE || r2 == ECONNRESET);
}
END_TEST

START_TEST(close_stdin_delivers_what_was_sent)
{
	Microvm__ProcessRequest req = MICROVM__PROCESS_REQUEST__INIT;
	struct run r = RUN();

	start(&r, "io", "read x; echo got $x; exec cat");
	ck_assert_int_eq(write(r.fds[0], "one\n", 4), 4);
	{
		char line[9] = "";

		ck_assert_int_eq(read_full(r.fds[1], line, 8), 0);
		ck_assert_str_eq(line, "got one\n");
	}
	req.id = (char *)"c1";
	ck_assert_int_eq(agent_close_stdin(w.agent, &req, NULL, &e), 0);
	ck_assert_int_eq(wait_for("c1", ""), 0);
	expect_text(r.fds[1], "");
	ck_assert_int_eq(agent_close_stdin(w.agent, &req, NULL, &e), 0);
}
END_TEST

START_TEST(a_terminal_echoes_and_resizes)
{
	Microvm__ResizeRequest size = MICROVM__RESIZE_REQUEST__INIT;
	struct run r = RUN(.terminal = true);
	char buf[200] = "";

	open_streams(&r, "io");
	ck_assert_int_eq(create(&r, "stty size; read x; echo got $x; tty >/dev/null && exit 5"), 0);
	size.id = (char *)"c1";
	size.rows = 33;
	size.cols = 111;
	ck_assert_int_eq(agent_resize_tty(w.agent, &size, NULL, &e), 0);
	ck_assert_int_eq(by_id(agent_start_container, "c1"), 0);
	ck_assert_int_eq(write(r.fds[0], "abc\n", 4), 4);
	ck_assert_int_eq(wait_for("c1", ""), 5);
	read_all(r.fds[1], buf, sizeof(buf) - 1);
	ck_assert_ptr_nonnull(strstr(buf, "33 111\r\n"));
	ck_assert_ptr_nonnull(strstr(buf, "got abc\r\n"));
	size.rows = 70000;
	ck_assert_int_eq(agent_resize_tty(w.agent, &size, NULL, &e), -EINVAL);
	size.rows = 3;
	ck_assert_int_eq(agent_resize_tty(w.agent, &size, NULL, &e), -EBUSY);
}
END_TEST

START_TEST(a_terminal_whose_watcher_goes_hangs_up)
{
	struct run r = RUN(.terminal = true);
	char buf[2];

	start(&r, "io", "exec yes");
	ck_assert_int_eq(read(r.fds[1], buf, 2), 2);
	close(r.fds[1]);
	ck_assert_int_eq(wait_for("c1", ""), 128 + SIGHUP);
}
END_TEST

START_TEST(a_terminal_that_nobody_watches_does_not_stop_its_programs)
{
	struct run r = RUN(.terminal = true);

	start(&r, "", "head -c 1000000 /dev/zero");
	ck_assert_int_eq(wait_for("c1", ""), 0);
}
END_TEST

Suite *test_suite(void);

Suite *test_suite(void)
{
	Suite *s = suite_create("agent_streams");
	TCase *t = tcase_create("streams");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, output_and_exit_status_arrive);
	tcase_add_test(t, without_streams_there_is_dev_null);
	tcase_add_test(t, a_killed_process_has_128_and_its_signal);
	tcase_add_test(t, input_is_carried_with_its_end);
	tcase_add_test(t, the_request_may_come_before_the_streams);
	tcase_add_test(t, streams_that_never_come_are_given_up);
	tcase_add_test(t, streams_that_nobody_claims_are_closed);
	tcase_add_test(t, a_token_is_for_one_stream);
	tcase_add_test(t, unclaimed_streams_are_bounded);
	tcase_add_test(t, output_after_the_end_of_the_first_process_arrives);
	tcase_add_test(t, much_output_waits_for_a_slow_reader);
	tcase_add_test(t, a_reader_that_goes_breaks_the_pipe);
	tcase_add_test(t, a_process_that_reads_no_more_refuses_input);
	tcase_add_test(t, close_stdin_delivers_what_was_sent);
	tcase_add_test(t, a_terminal_echoes_and_resizes);
	tcase_add_test(t, a_terminal_whose_watcher_goes_hangs_up);
	tcase_add_test(t, a_terminal_that_nobody_watches_does_not_stop_its_programs);
	suite_add_tcase(s, t);
	return s;
}
