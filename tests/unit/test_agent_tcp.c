/* SPDX-License-Identifier: Apache-2.0 */
/* TCP to the guest's loopback: as the host asks the agent for it, and as an engine's port forward does. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "agent_world.h"
#include "base/netns.h"
#include "base/util.h"
#include "guest-agent/tcp.h"
#include "sandbox/loopback.h"

static struct world w;
static struct err e;

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static socklen_t address(union address *a, int family, uint16_t port)
{
	memset(a, 0, sizeof(*a));
	a->any.sa_family = family;
	if (family == AF_INET6) {
		a->v6.sin6_port = htons(port);
		a->v6.sin6_addr = in6addr_loopback;
		return sizeof(a->v6);
	}
	a->v4.sin_port = htons(port);
	a->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return sizeof(a->v4);
}

/* A server of the guest, which is in our own namespace here. */
static int serve(int family, uint16_t *port)
{
	union address a;
	socklen_t len = address(&a, family, 0);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, &a.any, len), 0);
	ck_assert_int_eq(listen(fd, 100), 0);
	ck_assert_int_eq(getsockname(fd, &a.any, &len), 0);
	*port = ntohs(family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port);
	return fd;
}

static int tcp(uint16_t port)
{
	int fd = agent_tcp_dial(w.vsock, &e);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(agent_tcp_finish(fd, w.vsock, port, monotonic_ns() + 5000000000ull, &e), 0);
	return fd;
}

static void setup(void)
{
	world_start(&w, &(struct world_options){ .grace_ms = 300 });
	e = (struct err)ERR_INIT;
}

static void teardown(void)
{
	world_stop(&w);
}

static void says(int from, int to, const char *text)
{
	char got[64] = "";

	ck_assert_int_eq(send(from, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
	ck_assert_int_eq(read_full(to, got, strlen(text)), 0);
	ck_assert_str_eq(got, text);
}

START_TEST(what_listens_is_reached)
{
	static const int families[] = { AF_INET, AF_INET6 };
	uint16_t port;
	size_t i;
	char c;

	for (i = 0; i < ARRAY_SIZE(families); i++) {
		int listening = serve(families[i], &port), host = tcp(port), guest = accept(listening, NULL, NULL);

		ck_assert_int_ge(guest, 0);
		says(host, guest, "question");
		ck_assert_int_eq(shutdown(host, SHUT_WR), 0);
		ck_assert_int_eq(read(guest, &c, 1), 0); /* a half-close, and answers still come */
		says(guest, host, "answer");
		close(guest);
		ck_assert_int_eq(read(host, &c, 1), 0);
		close(host);
		close(listening);
	}
	ck_assert_int_eq(read(tcp(port), &c, 1), 0); /* nobody there now */
}
END_TEST

START_TEST(connections_are_bounded)
{
	int fds[TCP_CONNECTIONS_MAX + 2], listening, guest, refused = 0;
	uint16_t port;
	size_t i;
	char c;

	listening = serve(AF_INET, &port);
	for (i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = tcp(port);
	for (i = 0; i < TCP_CONNECTIONS_MAX; i++) {
		guest = accept(listening, NULL, NULL);
		ck_assert_int_eq(write(guest, "x", 1), 1);
		close(guest);
	}
	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		refused += read(fds[i], &c, 1) != 1;
		close(fds[i]);
	}
	ck_assert_int_eq(refused, 2);
	/* Those that have ended count no more. */
	for (i = 0; i < 200; i++) {
		int host = tcp(port), got;

		guest = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
		ck_assert_int_eq(write(guest, "x", 1), 1);
		close(guest);
		got = (int)read(host, &c, 1);
		close(host);
		ck_assert_int_eq(got, 1);
	}
	close(listening);
}
END_TEST

/* ---- the loopback of a pod's namespace on the host ------------------------------------------------------------------ */

/* A namespace with lo up, as a file; we stay where we are. */
static int make_netns(void)
{
	int back = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), fd, s;
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };

	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(ioctl(s, SIOCSIFFLAGS, &lo), 0);
	close(s);
	ck_assert_int_eq(netns_leave(back, &e), 0);
	close(back);
	return fd;
}

static int socket_in(int netns, int family)
{
	const struct timeval limit = { .tv_sec = 20 };
	int back, fd;

	ck_assert_int_eq(netns_enter(netns, &back, &e), 0);
	fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(netns_leave(back, &e), 0);
	close(back);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	return fd;
}

/* To the loopback there. */
static int connect_in(int netns, int family, uint16_t port)
{
	union address a;
	const socklen_t len = address(&a, family, port);
	int fd = socket_in(netns, family);

	ck_assert_int_eq(connect(fd, &a.any, len), 0);
	return fd;
}

static void run_until_readable(int fd)
{
	struct timeval now = { .tv_usec = 1000 };
	char c;

	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &now, sizeof(now)), 0);
	while (recv(fd, &c, 1, MSG_PEEK) < 0 && (errno == EAGAIN || errno == EINTR))
		ck_assert_int_ge(loop_run_once(w.loop, false), 0);
}

START_TEST(a_port_forward_reaches_the_guest)
{
	static const int families[] = { AF_INET, AF_INET6 };
	const int netns = make_netns();
	struct loopback *l;
	union address a;
	uint16_t port, none;
	char path[64], c;
	socklen_t len;
	size_t i;
	int listening = serve(AF_INET, &port), fd, guest;

	close(serve(AF_INET, &none));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", netns);
	ck_assert_msg(!loopback_new(&l, path, &e), "%s", e.msg);
	loopback_serve(l, w.loop, w.vsock);
	for (i = 0; i < ARRAY_SIZE(families); i++) {
		fd = connect_in(netns, families[i], port);
		ck_assert_int_eq(fcntl(listening, F_SETFL, O_NONBLOCK), 0);
		while ((guest = accept(listening, NULL, NULL)) < 0)
			ck_assert_int_ge(loop_run_once(w.loop, false), 0);
		ck_assert_int_eq(send(fd, "q", 1, 0), 1);
		run_until_readable(guest);
		ck_assert_int_eq(recv(guest, &c, 1, 0), 1);
		ck_assert_int_eq(send(guest, "a", 1, 0), 1);
		run_until_readable(fd);
		ck_assert_int_eq(recv(fd, &c, 1, 0), 1);
		close(guest);
		run_until_readable(fd);
		ck_assert_int_eq(recv(fd, &c, 1, 0), 0);
		close(fd);
	}
	/* Where nobody listens, the connection ends. */
	fd = connect_in(netns, AF_INET, none);
	run_until_readable(fd);
	ck_assert_int_le(recv(fd, &c, 1, 0), 0);
	close(fd);
	/* One that is open ends with it, and then the ports are nobody's. */
	fd = connect_in(netns, AF_INET, port);
	while ((guest = accept(listening, NULL, NULL)) < 0)
		ck_assert_int_ge(loop_run_once(w.loop, false), 0);
	loopback_free(l);
	ck_assert_int_le(recv(fd, &c, 1, 0), 0);
	close(fd);
	fd = socket_in(netns, AF_INET);
	len = address(&a, AF_INET, port);
	ck_assert_int_lt(connect(fd, &a.any, len), 0);
	ck_assert_int_eq(errno, ECONNREFUSED);
	close(fd);
	close(guest);
	close(listening);
	close(netns);
}
END_TEST

START_TEST(a_namespace_that_is_none_is_refused)
{
	struct loopback *l;

	ck_assert_int_eq(loopback_new(&l, "/nonexistent", &e), -ENOENT);
	ck_assert_ptr_nonnull(strstr(e.msg, "/nonexistent"));
	ck_assert_int_eq(loopback_new(&l, "/proc/self/ns/uts", &e), -EINVAL);
}
END_TEST

Suite *test_suite(void);

Suite *test_suite(void)
{
	Suite *s = suite_create("agent_tcp");
	TCase *t = tcase_create("tcp");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, what_listens_is_reached);
	tcase_add_test(t, connections_are_bounded);
	tcase_add_test(t, a_port_forward_reaches_the_guest);
	tcase_add_test(t, a_namespace_that_is_none_is_refused);
	suite_add_tcase(s, t);
	return s;
}
