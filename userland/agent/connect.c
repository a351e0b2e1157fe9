/* SPDX-License-Identifier: Apache-2.0 */
/* Streams into the guest through the VMM's Unix socket, or by AF_VSOCK where the kernel's vhost-vsock has them. */
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/cleanup.h"
#include "base/util.h"

#define ANSWER_MAX 32u /* "OK 4294967295\n" and room */
#define STREAMS_MAX 3u

/* Connects and asks for the port; the answer is read by dial_finish(), so that several can be under way at once. */
static int dial_unix(const char *path, uint32_t port, struct err *e)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	_cleanup_close_ int dir = -1;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char line[32];
	int n;

	if (fd < 0)
		return err_errno(e, errno, "%s: socket", path);
	if (strlen(path) < sizeof(addr.sun_path)) {
		snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	} else {
		/* sun_path has 108 bytes; a name in /proc stands for the file, however long its path is. */
		dir = open(path, O_PATH | O_CLOEXEC);
		if (dir < 0)
			return err_errno(e, errno, "%s", path);
		snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d", dir);
	}
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return err_errno(e, errno, "%s: connect to the sandbox", path);
	n = snprintf(line, sizeof(line), "CONNECT %u\n", port);
	if (send(fd, line, n, MSG_NOSIGNAL) != n)
		return err_errno(e, errno, "%s: connect to port %u of the guest", path, port);
	return take_fd(&fd);
}

/* The CID that a link at path says, or 0. */
static uint32_t cid_at(const char *path)
{
	const size_t prefix = sizeof(AGENT_CID_LINK) - 1;
	char target[32];
	ssize_t n = readlink(path, target, sizeof(target) - 1);

	if (n <= (ssize_t)prefix || memcmp(target, AGENT_CID_LINK, prefix))
		return 0;
	target[n] = '\0';
	return (uint32_t)strtoul(target + prefix, NULL, 10);
}

/* To a port that others of root's have not taken; they are one set for the whole host. */
static int bind_reserved(int fd)
{
	struct sockaddr_vm addr = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY };
	uint32_t start = 0, i;

	if (getrandom(&start, sizeof(start), 0) != sizeof(start))
		return -EIO;
	for (i = 0; i < GUEST_RESERVED_PORTS - 1; i++) {
		addr.svm_port = 1 + (start + i) % (GUEST_RESERVED_PORTS - 1);
		if (!bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
			return 0;
		if (errno != EADDRINUSE)
			return -errno;
	}
	return -EADDRINUSE;
}

static int dial_vsock(const char *path, uint32_t cid, uint32_t port, struct err *e)
{
	const struct sockaddr_vm addr = { .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };
	_cleanup_close_ int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return err_errno(e, errno, "%s: socket", path);
	r = bind_reserved(fd);
	if (r)
		return err_errno(e, r, "%s: no port of the host's for a stream", path);
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)))
		return err_errno(e, errno == ECONNRESET || errno == ENODEV ? ECONNREFUSED : errno,
				 "%s: connect to port %u of the guest", path, port);
	return take_fd(&fd);
}

static int dial(const char *path, uint32_t port, struct err *e)
{
	int fd = dial_unix(path, port, e);
	const uint32_t cid = fd == -ENOENT ? cid_at(path) : 0;

	if (!cid)
		return fd;
	*e = (struct err)ERR_INIT;
	return dial_vsock(path, cid, port, e);
}

/* Exactly the answer's line is taken, byte by byte: what follows belongs to the stream. */
static int dial_finish(int fd, const char *path, uint32_t port, uint64_t deadline_ns, struct err *e)
{
	char line[ANSWER_MAX];
	size_t len = 0;
	int domain = AF_UNIX;
	socklen_t domain_len = sizeof(domain);

	/* Without a VMM between there is nobody to ask: the guest itself has answered. */
	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_len);
	if (domain != AF_UNIX)
		return 0;
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint64_t now = monotonic_ns();
		ssize_t n;

		n = recv(fd, line + len, 1, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return err_set(e, ECONNREFUSED, "%s: nothing listens on port %u of the guest, or it has ended",
				       path, port);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return err_errno(e, errno, "%s: connect to port %u of the guest", path, port);
		if (n == 1) {
			if (line[len++] == '\n')
				break;
			if (len == sizeof(line))
				return err_set(e, EPROTO,
					       "%s: the answer to CONNECT is no line; is this a sandbox's socket?",
					       path);
			continue;
		}
		if (now >= deadline_ns)
			return err_set(e, ETIMEDOUT, "%s: the guest doesn't answer on port %u", path, port);
		if (poll(&p, 1, min_t(uint64_t, (deadline_ns - now) / 1000000 + 1, 60000)) < 0 && errno != EINTR)
			return err_errno(e, errno, "%s: poll", path);
	}
	if (len < 3 || memcmp(line, "OK ", 3))
		return err_set(e, EPROTO, "%s: the answer to CONNECT is not OK; is this a sandbox's socket?", path);
	return 0;
}

int agent_connect_unix(const char *path, uint32_t port, unsigned int timeout_ms, struct err *e)
{
	uint64_t deadline_ns = monotonic_ns() + timeout_ms * 1000000ull;
	_cleanup_close_ int fd = dial(path, port, e);
	int r;

	if (fd < 0)
		return fd;
	r = dial_finish(fd, path, port, deadline_ns, e);
	return r < 0 ? r : take_fd(&fd);
}

uint64_t agent_stdio_token(void)
{
	uint64_t token = 0;

	while (!token)
		if (getrandom(&token, sizeof(token), 0) != sizeof(token))
			token = 0;
	return token;
}

/* What the guest is to read before anything else. */
static int finish(int fd, const char *path, uint32_t port, const void *first, size_t len, uint64_t deadline_ns,
		  struct err *e)
{
	int r = dial_finish(fd, path, port, deadline_ns, e);

	if (r)
		return r;
	return send(fd, first, len, MSG_NOSIGNAL) == (ssize_t)len
		       ? 0
		       : err_errno(e, errno, "%s: a stream to port %u of the guest", path, port);
}

int agent_stdio_dial(const char *path, struct err *e)
{
	return dial(path, GUEST_STDIO_PORT, e);
}

int agent_stdio_finish(int fd, const char *path, uint64_t token, uint64_t deadline_ns, struct err *e)
{
	const uint64_t wire = htole64(token);

	return finish(fd, path, GUEST_STDIO_PORT, &wire, sizeof(wire), deadline_ns, e);
}

int agent_tcp_dial(const char *path, struct err *e)
{
	return dial(path, GUEST_TCP_PORT, e);
}

int agent_tcp_finish(int fd, const char *path, uint16_t port, uint64_t deadline_ns, struct err *e)
{
	const uint16_t wire = htole16(port);

	return finish(fd, path, GUEST_TCP_PORT, &wire, sizeof(wire), deadline_ns, e);
}

int agent_stdio_open(const char *path, const uint64_t *tokens, int *fds, unsigned int n, unsigned int timeout_ms,
		     struct err *e)
{
	uint64_t deadline_ns = monotonic_ns() + timeout_ms * 1000000ull;
	unsigned int i;
	int r = 0;

	if (n > STREAMS_MAX)
		return err_set(e, EINVAL, "a process has %u standard streams", STREAMS_MAX);
	for (i = 0; i < n; i++)
		fds[i] = -1;
	for (i = 0; i < n && !r; i++) {
		fds[i] = tokens[i] ? agent_stdio_dial(path, e) : -1;
		if (tokens[i] && fds[i] < 0)
			r = fds[i];
	}
	for (i = 0; i < n && !r; i++)
		if (fds[i] >= 0)
			r = agent_stdio_finish(fds[i], path, tokens[i], deadline_ns, e);
	for (i = 0; i < n && r; i++)
		if (fds[i] >= 0)
			close(take_fd(&fds[i]));
	return r;
}
