/* SPDX-License-Identifier: Apache-2.0 */
#include "guest-agent/tcp.h"

#include <endian.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "io/relay.h"

/* A service may listen on one of the two only. */
enum { IPV4, IPV6 };

struct connection {
	struct tcp *owner;
	int host_fd, fd;
	uint16_t port; /* as the host sends it, then network order */
	unsigned int family;
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} addr;
	struct loop_op op;
	struct relay relay;
};

static void end(struct connection *c)
{
	cleanup_closep(&c->host_fd);
	cleanup_closep(&c->fd);
	c->owner->n--;
	free(c);
}

static void relay_ended(struct relay *r)
{
	end(container_of(r, struct connection, relay));
}

static void try_next(struct connection *c)
{
	socklen_t len = sizeof(c->addr.v4);

	cleanup_closep(&c->fd);
	c->family++;
	if (c->family == IPV4) {
		c->addr.v4 = (struct sockaddr_in){ .sin_family = AF_INET,
						   .sin_port = c->port,
						   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	} else if (c->family == IPV6) {
		c->addr.v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6,
						    .sin6_port = c->port,
						    .sin6_addr = IN6ADDR_LOOPBACK_INIT };
		len = sizeof(c->addr.v6);
	} else {
		end(c);
		return;
	}
	c->fd = socket(c->addr.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	loop_connect(c->owner->loop, &c->op, c->fd, &c->addr.any, len);
}

static void connected(struct loop_op *op, int res)
{
	struct connection *c = container_of(op, struct connection, op);
	const int one = 1;

	if (res < 0) {
		try_next(c);
		return;
	}
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->relay.ended = relay_ended;
	relay_start(&c->relay, c->owner->loop, take_fd(&c->host_fd), take_fd(&c->fd));
}

static void port_came(struct loop_op *op, int res)
{
	struct connection *c = container_of(op, struct connection, op);

	if (res != sizeof(c->port)) {
		end(c);
		return;
	}
	c->port = htons(le16toh(c->port));
	loop_op_init(&c->op, connected);
	try_next(c);
}

void tcp_accepted(struct tcp *t, int fd)
{
	struct connection *c;

	if (t->n >= TCP_CONNECTIONS_MAX) {
		log_guest("tcp: %u connections are the limit; one is refused", TCP_CONNECTIONS_MAX);
		close(fd);
		return;
	}
	c = xcalloc(1, sizeof(*c));
	*c = (struct connection){ .owner = t, .host_fd = fd, .fd = -1, .family = (unsigned int)-1 };
	t->n++;
	loop_op_init(&c->op, port_came);
	loop_recv(t->loop, &c->op, fd, &c->port, sizeof(c->port), MSG_WAITALL);
}
