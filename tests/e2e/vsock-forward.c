/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock-forward LISTEN CONNECT: hands streams on, each in a process of its own. It stands where the kernel's tests of vsock
 * (tools/testing/vsock) want a socket that is not there: AF_VSOCK on a host whose guest has its streams by the VMM or our
 * module, and TCP between a host and a guest without a network.
 *   tcp:PORT         on 127.0.0.1; to connect, it waits for the listener
 *   vsock:PORT       to listen; from any CID
 *   vsock:CID:PORT   to connect
 *   guest:PATH:PORT  to connect, by a sandbox's socket
 * With seq- before it, vsock: and guest: are of messages (SOCK_SEQPACKET); then both have to be.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/util.h"

#define TRIES 300 /* a tenth of a second each */
#define GUEST_LIMIT_MS 10000

static _Noreturn void fail(const char *what, const char *why)
{
	fprintf(stderr, "vsock-forward: %s: %s\n", what, why);
	exit(1);
}

static struct sockaddr_in tcp_at(const char *port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				     .sin_port = htons((uint16_t)atoi(port)) };
}

static int type = SOCK_STREAM;

/* The words behind "seq-", which both have or neither. */
static const char *take_type(const char *where, bool first)
{
	const bool seq = str_starts(where, "seq-");

	if (first)
		type = seq ? SOCK_SEQPACKET : SOCK_STREAM;
	else if (seq != (type == SOCK_SEQPACKET))
		fail(where, "streams and messages do not go together");
	return where + (seq ? 4 : 0);
}

static int listen_at(const char *where)
{
	struct sockaddr_vm vm = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY };
	const bool tcp = str_starts(where, "tcp:");
	struct sockaddr_in in;
	int fd, one = 1;

	if (!tcp && !str_starts(where, "vsock:"))
		fail(where, "neither tcp: nor vsock:");
	fd = socket(tcp ? AF_INET : AF_VSOCK, type | SOCK_CLOEXEC, 0);
	if (tcp) {
		in = tcp_at(where + 4);
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	} else {
		vm.svm_port = (unsigned int)strtoul(where + 6, NULL, 10);
	}
	if (fd < 0 || bind(fd, tcp ? (struct sockaddr *)&in : (struct sockaddr *)&vm, tcp ? sizeof(in) : sizeof(vm)) ||
	    listen(fd, 16))
		fail(where, strerror(errno));
	return fd;
}

static int connect_tcp(const char *where)
{
	const struct sockaddr_in in = tcp_at(where + 4);
	int i, fd;

	for (i = 0; i < TRIES; i++) {
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd >= 0 && !connect(fd, (const struct sockaddr *)&in, sizeof(in)))
			return fd;
		close(fd);
		usleep(100000);
	}
	fail(where, strerror(errno));
}

static int connect_messages(const char *path, uint32_t port)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	char line[32];

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	snprintf(line, sizeof(line), "CONNECT %u\n", port);
	if (fd < 0 || connect(fd, (struct sockaddr *)&un, sizeof(un)) || send(fd, line, strlen(line), 0) < 0 ||
	    recv(fd, line, sizeof(line), 0) < 3 || memcmp(line, "OK ", 3))
		fail(path, strerror(errno));
	return fd;
}

static int connect_to(const char *where)
{
	const char *port = strrchr(where, ':') + 1;
	struct sockaddr_vm vm = { .svm_family = AF_VSOCK, .svm_port = (unsigned int)strtoul(port, NULL, 10) };
	struct err e = ERR_INIT;
	char path[256];
	int fd;

	if (str_starts(where, "tcp:"))
		return connect_tcp(where);
	if (str_starts(where, "guest:")) {
		snprintf(path, sizeof(path), "%.*s", (int)(port - 1 - (where + 6)), where + 6);
		if (type == SOCK_SEQPACKET)
			return connect_messages(path, vm.svm_port);
		fd = agent_connect_unix(path, vm.svm_port, GUEST_LIMIT_MS, &e);
		if (fd < 0)
			fail(where, e.msg);
		return fd;
	}
	if (!str_starts(where, "vsock:"))
		fail(where, "none of tcp:, vsock: and guest:");
	vm.svm_cid = (unsigned int)strtoul(where + 6, NULL, 10);
	fd = socket(AF_VSOCK, type | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&vm, sizeof(vm)))
		fail(where, strerror(errno));
	return fd;
}

/* What is there from one to the other. false: nothing will come any more. */
static bool pass(int from, int to)
{
	static char buffer[256 << 10]; /* as long as any message */
	ssize_t n = recv(from, buffer, sizeof(buffer), 0), done = 0, part;

	for (; n > 0 && done < n; done += part) {
		part = send(to, buffer + done, (size_t)(n - done), MSG_NOSIGNAL);
		if (part <= 0)
			return false;
	}
	return n > 0;
}

/* Its end has come: is the other side gone, or does it still read? */
static bool is_gone(const struct pollfd *p)
{
	int domain = 0;
	socklen_t len = sizeof(domain);

	if (p->revents & (POLLHUP | POLLERR))
		return true;
	getsockopt(p->fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
	return domain == AF_VSOCK && send(p->fd, "", 0, MSG_NOSIGNAL) < 0;
}

static void forward(int a, int b)
{
	struct pollfd p[2] = { { .fd = a, .events = POLLIN }, { .fd = b, .events = POLLIN } };
	const int fds[2] = { a, b };
	int i, open = 2;

	while (open && poll(p, 2, -1) > 0)
		for (i = 0; i < 2; i++)
			if (p[i].revents && !pass(fds[i], fds[!i])) {
				if (is_gone(&p[i]))
					return;
				shutdown(fds[!i], SHUT_WR);
				p[i].fd = -1;
				open--;
			}
}

int main(int argc, char **argv)
{
	int listener, fd;

	if (argc != 3 || !strchr(argv[1], ':') || !strchr(argv[2], ':'))
		fail("usage", "vsock-forward LISTEN CONNECT");
	signal(SIGCHLD, SIG_IGN);
	listener = listen_at(take_type(argv[1], true));
	argv[2] = (char *)take_type(argv[2], false);
	printf("listening\n");
	fflush(stdout);
	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		if (!fork()) {
			close(listener);
			forward(fd, connect_to(argv[2]));
			_exit(0);
		}
		close(fd);
	}
	fail(argv[1], strerror(errno));
}
