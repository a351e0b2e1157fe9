/* SPDX-License-Identifier: Apache-2.0 */
/* The agent as its host sees it: RPCs, standard streams, ends. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent_world.h"
#include "base/util.h"
#include "guest-agent/server.h"

#define MiB (1u << 20)

static struct world w;
static struct err e;

static void setup(void)
{
	world_start(&w, &(struct world_options){ .claim_ms = 300, .grace_ms = 300 });
	e = (struct err)ERR_INIT;
}

static void setup_strangers(void)
{
	world_start(&w, &(struct world_options){ .strangers = true, .grace_ms = 300 });
}

static void teardown(void)
{
	world_stop(&w);
}

/* ---- what tests ask for ---- */

struct run {
	const char *id;
	bool terminal, exec;
	uint64_t tokens[3];
	int fds[3];
};

static void fill_args(Microvm__Process *p, const char *script, char **args)
{
	args[0] = (char *)"sh";
	args[1] = (char *)"-c";
	args[2] = (char *)script;
	p->args = args;
	p->n_args = 3;
	p->cwd = (char *)"/";
}

static int create(struct run *r, const char *script)
{
	Microvm__CreateContainerRequest req = MICROVM__CREATE_CONTAINER_REQUEST__INIT;
	Microvm__Process process = MICROVM__PROCESS__INIT;
	Microvm__Rootfs rootfs = MICROVM__ROOTFS__INIT;
	Microvm__Stdio stdio = MICROVM__STDIO__INIT;
	Microvm__Spec spec = MICROVM__SPEC__INIT;
	char *args[3];

	fill_args(&process, script, args);
	process.terminal = r->terminal;
	spec.process = &process;
	stdio.stdin = r->tokens[0];
	stdio.stdout = r->tokens[1];
	stdio.stderr = r->tokens[2];
	req.id = (char *)r->id;
	req.spec = &spec;
	req.rootfs = &rootfs;
	req.stdio = &stdio;
	return agent_create_container(w.agent, &req, NULL, &e);
}

static int exec(struct run *r, const char *exec_id, const char *script)
{
	Microvm__ExecRequest req = MICROVM__EXEC_REQUEST__INIT;
	Microvm__Process process = MICROVM__PROCESS__INIT;
	Microvm__Stdio stdio = MICROVM__STDIO__INIT;
	char *args[3];

	fill_args(&process, script, args);
	stdio.stdout = r->tokens[1];
	req.id = (char *)r->id;
	req.exec_id = (char *)exec_id;
	req.process = &process;
	req.stdio = &stdio;
	return agent_exec_process(w.agent, &req, NULL, &e);
}

static int by_id(int (*call)(struct agent *, const Microvm__ContainerRequest *, Microvm__Empty **, struct err *),
		 const char *id)
{
	Microvm__ContainerRequest req = MICROVM__CONTAINER_REQUEST__INIT;

	req.id = (char *)id;
	return call(w.agent, &req, NULL, &e);
}

static int send_signal(const char *id, const char *exec_id, unsigned int sig)
{
	Microvm__SignalRequest req = MICROVM__SIGNAL_REQUEST__INIT;

	req.id = (char *)id;
	req.exec_id = (char *)exec_id;
	req.signal = sig;
	return agent_signal_process(w.agent, &req, NULL, &e);
}

static int wait_for(const char *id, const char *exec_id)
{
	Microvm__ProcessRequest req = MICROVM__PROCESS_REQUEST__INIT;
	Microvm__WaitReply *reply;
	int r, status;

	req.id = (char *)id;
	req.exec_id = (char *)exec_id;
	r = agent_wait_process(w.agent, &req, &reply, &e);
	if (r < 0)
		return r;
	status = reply->exit_status;
	ck_assert_int_gt(reply->exited_at_ns, 0);
	agent_reply_free(reply);
	return status;
}

/* Opens the streams named by "i", "o", "e". */
static void open_streams(struct run *r, const char *which)
{
	size_t i;

	for (i = 0; i < 3; i++)
		r->tokens[i] = strchr(which, "ioe"[i]) ? agent_stdio_token() : 0;
	ck_assert_int_eq(agent_stdio_open(w.vsock, r->tokens, r->fds, 3, 5000, &e), 0);
}

static void start(struct run *r, const char *streams, const char *script)
{
	open_streams(r, streams);
	ck_assert_msg(create(r, script) == 0, "%s", e.msg);
	ck_assert_msg(by_id(agent_start_container, r->id) == 0, "%s", e.msg);
}

/* All that comes until the end of the stream, up to max bytes; how many came. */
static size_t read_all(int fd, char *buf, size_t max)
{
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, buf + len, max - len)) > 0)
		len += n;
	ck_assert_int_eq(n, 0);
	return len;
}

static void expect_text(int fd, const char *text)
{
	char buf[4096] = "";

	read_all(fd, buf, sizeof(buf) - 1);
	ck_assert_str_eq(buf, text);
}

#define RUN(...)                                               \
	{                                                      \
		.id = "c1", .fds = { -1, -1, -1 }, __VA_ARGS__ \
	}

/* ---- the sandbox ---- */

START_TEST(details_are_told)
{
	Microvm__Empty empty = MICROVM__EMPTY__INIT;
	Microvm__GuestDetails *d;

	ck_assert_int_eq(agent_get_details(w.agent, &empty, &d, &e), 0);
	ck_assert_str_eq(d->agent_version, MICROVM_VERSION);
	ck_assert_uint_gt(d->mem_total_bytes, 0);
	ck_assert_uint_le(d->mem_available_bytes, d->mem_total_bytes);
	ck_assert_uint_ge(d->vcpus, 1);
	ck_assert_uint_gt(d->n_features, 0);
	agent_reply_free(d);
}
END_TEST

START_TEST(bad_settings_of_the_sandbox_are_refused)
{
	Microvm__CreateSandboxRequest req = MICROVM__CREATE_SANDBOX_REQUEST__INIT;
	Microvm__NameValue nv = MICROVM__NAME_VALUE__INIT, *list[] = { &nv };
	Microvm__AddEntropyRequest entropy = MICROVM__ADD_ENTROPY_REQUEST__INIT;
	Microvm__SetTimeRequest when = MICROVM__SET_TIME_REQUEST__INIT;
	char name[100];
	uint8_t data[600] = { 0 };

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	req.hostname = name;
	ck_assert_int_eq(agent_create_sandbox(w.agent, &req, NULL, &e), -EINVAL);
	req.hostname = (char *)"";
	req.sysctl = list;
	req.n_sysctl = 1;
	nv.name = (char *)"net.../../../etc/passwd";
	ck_assert_int_eq(agent_create_sandbox(w.agent, &req, NULL, &e), -EINVAL);
	nv.name = (char *)"net.no.such";
	ck_assert_int_eq(agent_create_sandbox(w.agent, &req, NULL, &e), -ENOENT);
	ck_assert_ptr_nonnull(strstr(e.msg, "net.no.such"));
	nv.name = (char *)"kernel.modprobe";
	ck_assert_int_eq(agent_create_sandbox(w.agent, &req, NULL, &e), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(e.msg, "kernel.modprobe"));
	entropy.entropy.data = data;
	entropy.entropy.len = sizeof(data);
	ck_assert_int_eq(agent_add_entropy(w.agent, &entropy, NULL, &e), -EINVAL);
	when.time_ns = -5;
	ck_assert_int_eq(agent_set_time(w.agent, &when, NULL, &e), -EINVAL);
}
END_TEST

/* ---- processes and their streams ---- */

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

/* ---- rules ---- */

START_TEST(mistakes_are_named)
{
	struct run r = RUN(), bad = { .id = "../x" };
	Microvm__CreateContainerRequest empty = MICROVM__CREATE_CONTAINER_REQUEST__INIT;

	ck_assert_int_eq(create(&bad, "true"), -EINVAL);
	empty.id = (char *)"c9";
	ck_assert_int_eq(agent_create_container(w.agent, &empty, NULL, &e), -EINVAL);
	ck_assert_int_eq(by_id(agent_start_container, "c1"), -ENOENT);
	ck_assert_ptr_nonnull(strstr(e.msg, "c1"));
	ck_assert_int_eq(create(&r, "exec sleep 1000"), 0);
	ck_assert_int_eq(create(&r, "true"), -EEXIST);
	ck_assert_int_eq(exec(&r, "x1", "true"), -EBUSY);
	ck_assert_int_eq(by_id(agent_start_container, "c1"), 0);
	ck_assert_int_eq(by_id(agent_start_container, "c1"), -EBUSY);
	ck_assert_int_eq(by_id(agent_remove_container, "c1"), -EBUSY);
	ck_assert_int_eq(send_signal("c1", "", 0), -EINVAL);
	ck_assert_int_eq(send_signal("c1", "", 65), -EINVAL);
	ck_assert_int_eq(send_signal("c1", "x9", 9), -ENOENT);
	ck_assert_int_eq(exec(&r, "", "true"), -EINVAL);
	ck_assert_int_eq(send_signal("c1", "", SIGKILL), 0);
	ck_assert_int_eq(wait_for("c1", ""), 137);
	ck_assert_int_eq(by_id(agent_remove_container, "c1"), 0);
	/* The id is free again. */
	ck_assert_int_eq(create(&r, "true"), 0);
	ck_assert_int_eq(by_id(agent_remove_container, "c1"), 0);
}
END_TEST

START_TEST(a_refused_container_leaves_nothing)
{
	Microvm__CreateContainerRequest req = MICROVM__CREATE_CONTAINER_REQUEST__INIT;
	Microvm__Process process = MICROVM__PROCESS__INIT;
	Microvm__Rootfs rootfs = MICROVM__ROOTFS__INIT;
	Microvm__Spec spec = MICROVM__SPEC__INIT;
	char *args[] = { (char *)"refused" };

	process.args = args;
	process.n_args = 1;
	spec.process = &process;
	req.id = (char *)"c1";
	req.spec = &spec;
	req.rootfs = &rootfs;
	ck_assert_int_eq(agent_create_container(w.agent, &req, NULL, &e), -EOPNOTSUPP);
	ck_assert_str_eq(e.msg, "container c1: refused");
	ck_assert_int_eq(by_id(agent_remove_container, "c1"), -ENOENT);
}
END_TEST

START_TEST(further_processes_have_ids_of_their_own)
{
	struct run r = RUN(), x = RUN();

	start(&r, "", "exec sleep 1000");
	open_streams(&x, "o");
	ck_assert_int_eq(exec(&x, "x1", "echo exec; exit 9"), 0);
	expect_text(x.fds[1], "exec\n");
	ck_assert_int_eq(wait_for("c1", "x1"), 9);
	x.tokens[1] = 0;
	ck_assert_int_eq(exec(&x, "x1", "exec sleep 1000"), 0); /* the first has ended */
	ck_assert_int_eq(exec(&x, "x1", "true"), -EEXIST);
	ck_assert_int_eq(send_signal("c1", "x1", SIGTERM), 0);
	ck_assert_int_eq(wait_for("c1", "x1"), 143);
	ck_assert_int_eq(send_signal("c1", "", SIGKILL), 0);
	ck_assert_int_eq(wait_for("c1", ""), 137);
	ck_assert_int_eq(exec(&x, "x2", "true"), -EBUSY);
}
END_TEST

START_TEST(many_short_processes_are_forgotten_in_order)
{
	struct run r = RUN();
	unsigned int i;
	char id[16];

	start(&r, "", "exec sleep 1000");
	for (i = 0; i < TASK_PROCS_MAX + 5; i++) {
		snprintf(id, sizeof(id), "x%u", i);
		ck_assert_msg(exec(&r, id, "exit 1") == 0, "%s", e.msg);
		/* What has not been reaped yet is not forgotten. */
		ck_assert_int_eq(wait_for("c1", id), 1);
	}
	ck_assert_int_eq(wait_for("c1", "x0"), -ENOENT);
	ck_assert_int_eq(wait_for("c1", id), 1);
}
END_TEST

static Microvm__Event *next_event(void)
{
	Microvm__Event *ev;

	ck_assert_int_eq(agent_next_event(w.agent, &(Microvm__Empty)MICROVM__EMPTY__INIT, &ev, &e), 0);
	return ev;
}

START_TEST(events_are_told_in_order)
{
	struct run r = RUN();
	Microvm__Event *ev;

	start(&r, "", "exit 7");
	ev = next_event();
	ck_assert_int_eq(ev->type, MICROVM__EVENT__TYPE__EXIT);
	ck_assert_str_eq(ev->id, "c1");
	ck_assert_str_eq(ev->exec_id, "");
	ck_assert_uint_eq(ev->exit_status, 7);
	ck_assert_uint_gt(ev->pid, 0);
	agent_reply_free(ev);
	ck_assert_int_eq(by_id(agent_remove_container, "c1"), 0);
	/* More than the queue holds: the oldest are lost. */
	start(&r, "", "exec sleep 1000");
	{
		unsigned int i, lost = 10;
		char id[16];

		for (i = 0; i < EVENTS_MAX + lost; i++) {
			snprintf(id, sizeof(id), "x%u", i);
			ck_assert_int_eq(exec(&r, id, "exit 1"), 0);
			ck_assert_int_eq(wait_for("c1", id), 1);
		}
		ev = next_event();
		ck_assert_str_eq(ev->exec_id, "x10");
		agent_reply_free(ev);
	}
}
END_TEST

START_TEST(containers_answer_for_themselves)
{
	Microvm__ContainerRequest req = MICROVM__CONTAINER_REQUEST__INIT;
	Microvm__UpdateRequest update = MICROVM__UPDATE_REQUEST__INIT;
	struct run r = RUN();
	Microvm__ProcessList *list;
	Microvm__Stats *stats;

	start(&r, "", "exec sleep 1000");
	req.id = (char *)"c1";
	ck_assert_int_eq(agent_list_processes(w.agent, &req, &list, &e), 0);
	ck_assert_uint_eq(list->n_pids, 1);
	agent_reply_free(list);
	ck_assert_int_eq(agent_stats_container(w.agent, &req, &stats, &e), 0);
	ck_assert_uint_eq(stats->pids, 1);
	agent_reply_free(stats);
	ck_assert_int_eq(by_id(agent_pause_container, "c1"), 0);
	ck_assert_int_eq(by_id(agent_resume_container, "c1"), 0);
	ck_assert_int_eq(by_id(agent_pause_container, "c2"), -ENOENT);
	update.id = (char *)"c1";
	ck_assert_int_eq(agent_update_container(w.agent, &update, NULL, &e), -EINVAL);
	req.id = (char *)"c2";
	ck_assert_int_eq(agent_stats_container(w.agent, &req, NULL, &e), -ENOENT);
	ck_assert_int_eq(agent_list_processes(w.agent, &req, NULL, &e), -ENOENT);
}
END_TEST

/* ---- connections and ends ---- */

START_TEST(further_clients_come_and_go)
{
	struct agent *more[CONNECTIONS_MAX + 1];
	int refused = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(more); i++) {
		int fd = agent_connect_unix(w.vsock, GUEST_RPC_PORT, 5000, &e);

		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(agent_new(&more[i], w.loop, fd, NULL), 0);
		refused += agent_get_details(more[i], &(Microvm__Empty)MICROVM__EMPTY__INIT, NULL, &e) < 0;
	}
	ck_assert_int_eq(refused, 2); /* the control connection is one of them */
	for (i = 0; i < ARRAY_SIZE(more); i++)
		agent_free(more[i]);
	ck_assert_int_eq(agent_get_details(w.agent, &(Microvm__Empty)MICROVM__EMPTY__INIT, NULL, &e), 0);
	ck_assert_int_eq(w.closed_n, 0);
}
END_TEST

/* Who joins a sandbox from outside has no other life line; what the control connection made stays. */
START_TEST(a_clients_containers_end_with_it)
{
	struct run r = RUN(), joined = { .id = "c2" }, held = { .id = "c3" };
	struct agent *control = w.agent, *client;
	int fd = agent_connect_unix(w.vsock, GUEST_RPC_PORT, 5000, &e);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(agent_new(&client, w.loop, fd, NULL), 0);
	start(&r, "", "exec sleep 1000");
	w.agent = client;
	start(&joined, "o", "trap '' TERM; while :; do sleep 0.05; done");
	ck_assert_int_eq(create(&held, "true"), 0);
	w.agent = control;
	agent_free(client);
	expect_text(joined.fds[1], "");
	while (!send_signal("c2", "", SIGCONT) || e.code == ESRCH)
		;
	ck_assert_int_eq(e.code, ENOENT);
	while (!send_signal("c3", "", SIGCONT) || e.code == ESRCH)
		;
	ck_assert_int_eq(e.code, ENOENT);
	ck_assert_int_eq(send_signal("c1", "", SIGCONT), 0);
}
END_TEST

START_TEST(strangers_are_refused)
{
	int fd = agent_connect_unix(w.vsock, GUEST_RPC_PORT, 5000, &e);
	char c;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(read(fd, &c, 1), 0);
	close(fd);
	fd = agent_connect_unix(w.vsock, GUEST_STDIO_PORT, 5000, &e);
	ck_assert_int_eq(read(fd, &c, 1), 0);
	close(fd);
}
END_TEST

START_TEST(connecting_fails_clearly)
{
	ck_assert_int_eq(agent_connect_unix(w.vsock, 99, 5000, &e), -ECONNREFUSED);
	ck_assert_int_eq(agent_connect_unix("/nonexistent", 99, 5000, &e), -ENOENT);
	ck_assert_ptr_nonnull(strstr(e.msg, "/nonexistent"));
}
END_TEST

START_TEST(destroying_stops_the_containers_first)
{
	struct run r = RUN();

	start(&r, "o", "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done");
	{
		char line[7] = "";

		ck_assert_int_eq(read_full(r.fds[1], line, 6), 0);
	}
	ck_assert_int_eq(agent_destroy_sandbox(w.agent, &(Microvm__Empty)MICROVM__EMPTY__INIT, NULL, &e), 0);
	ck_assert_int_eq(world_guest_status(&w), 0);
	expect_text(r.fds[1], "bye\n");
}
END_TEST

START_TEST(the_life_lines_end_is_the_sandboxes)
{
	struct run r = RUN(), deaf = { .id = "c2" };

	start(&r, "", "exec sleep 1000");
	start(&deaf, "", "trap '' TERM; while :; do sleep 0.05; done");
	agent_free(w.agent);
	w.agent = NULL;
	loop_run_once(w.loop, false);
	ck_assert_int_eq(world_guest_status(&w), 0);
}
END_TEST

START_TEST(nothing_begins_in_a_sandbox_that_ends)
{
	struct run r = RUN();
	struct agent *other;
	int fd = agent_connect_unix(w.vsock, GUEST_RPC_PORT, 5000, &e);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(agent_new(&other, w.loop, fd, NULL), 0);
	start(&r, "", "trap '' TERM; while :; do sleep 0.05; done");
	agent_free(w.agent);
	w.agent = other;
	r.id = "c2";
	while (!create(&r, "true") && !by_id(agent_remove_container, "c2"))
		; /* until the end of the other connection is seen, which may be between the two */
	ck_assert(e.code == EPIPE || e.code == ECONNRESET);
	ck_assert_int_eq(world_guest_status(&w), 0);
}
END_TEST

static void ignore(const ProtobufCMessage *reply, const struct err *error, void *arg) {}

START_TEST(a_call_given_up_leaves_nobody_waiting)
{
	struct run r = RUN();
	unsigned int i;

	start(&r, "", "exec sleep 1000");
	/* More clients than calls may be open at a time each leave one behind. */
	for (i = 0; i < TTRPC_CALLS_MAX + 10; i++) {
		Microvm__ProcessRequest req = MICROVM__PROCESS_REQUEST__INIT;
		struct agent *a;
		int fd = agent_connect_unix(w.vsock, GUEST_RPC_PORT, 5000, &e);

		ck_assert_int_ge(fd, 0);
		if (agent_new(&a, w.loop, fd, NULL) < 0)
			ck_abort();
		req.id = (char *)"c1";
		agent_wait_process_async(a, &req, ignore, NULL);
		agent_get_details(a, &(Microvm__Empty)MICROVM__EMPTY__INIT, NULL, &e);
		agent_free(a);
	}
	ck_assert_int_eq(send_signal("c1", "", SIGKILL), 0);
	ck_assert_int_eq(wait_for("c1", ""), 137);
}
END_TEST

Suite *test_suite(void);

Suite *test_suite(void)
{
	Suite *s = suite_create("agent");
	TCase *t = tcase_create("agent"), *strangers = tcase_create("strangers");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, details_are_told);
	tcase_add_test(t, bad_settings_of_the_sandbox_are_refused);
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
	tcase_add_test(t, mistakes_are_named);
	tcase_add_test(t, a_refused_container_leaves_nothing);
	tcase_add_test(t, further_processes_have_ids_of_their_own);
	tcase_add_test(t, many_short_processes_are_forgotten_in_order);
	tcase_add_test(t, events_are_told_in_order);
	tcase_add_test(t, containers_answer_for_themselves);
	tcase_add_test(t, further_clients_come_and_go);
	tcase_add_test(t, a_clients_containers_end_with_it);
	tcase_add_test(t, connecting_fails_clearly);
	tcase_add_test(t, destroying_stops_the_containers_first);
	tcase_add_test(t, the_life_lines_end_is_the_sandboxes);
	tcase_add_test(t, nothing_begins_in_a_sandbox_that_ends);
	tcase_add_test(t, a_call_given_up_leaves_nobody_waiting);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(strangers, setup_strangers, teardown);
	tcase_add_test(strangers, strangers_are_refused);
	suite_add_tcase(s, strangers);
	return s;
}
