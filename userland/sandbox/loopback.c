/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/loopback.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/bpf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/netns.h"
#include "base/util.h"
#include "io/relay.h"

struct loopback {
	int listen_fd;
	int link_fd; /* the program stays as long as it is open */
	struct loop *loop;
	const char *socket;
	struct loop_op accept_op;
	struct connection *connections;
	unsigned int n;
	bool ending;
};

struct connection {
	struct loopback *owner;
	struct connection *next;
	int fd, guest_fd;
	struct loop_op answered;
	struct relay relay;
	bool relaying;
};

/* ---- the namespace's ports ------------------------------------------------------------------------------------------ */

#define FIELD(d, field) BPF_LOAD(d, BPF_REG_6, offsetof(struct bpf_sk_lookup, field))

/* A map with the socket that the program is to give. */
static int socket_map(int fd)
{
	_cleanup_close_ int map = -1;
	const uint32_t key = 0;
	const uint64_t value = (uint64_t)fd;
	union bpf_attr attr;
	int r;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_SOCKMAP;
	attr.key_size = sizeof(key);
	attr.value_size = sizeof(value);
	attr.max_entries = 1;
	map = bpf_call(BPF_MAP_CREATE, &attr);
	if (map < 0)
		return map;
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)map;
	attr.key = (uintptr_t)&key;
	attr.value = (uintptr_t)&value;
	r = bpf_call(BPF_MAP_UPDATE_ELEM, &attr);
	return r < 0 ? r : take_fd(&map);
}

#define LEAVE 0x7fff /* a jump to the program's end */

/* TCP to 127.0.0.0/8 or ::1, to whatever port, is for the map's socket; all else goes on as without the program. */
static int lookup_program(int map)
{
	struct bpf_insn program[] = {
		BPF_MOVE(BPF_REG_6, BPF_REG_1),
		FIELD(BPF_REG_2, protocol),
		BPF_JUMP_IF(BPF_JNE, BPF_REG_2, IPPROTO_TCP, LEAVE),
		FIELD(BPF_REG_2, family),
		BPF_JUMP_IF(BPF_JEQ, BPF_REG_2, AF_INET6, 4),
		FIELD(BPF_REG_2, local_ip4), /* network order: the first byte is the lowest */
		BPF_AND_WITH(BPF_REG_2, 0xff),
		BPF_JUMP_IF(BPF_JNE, BPF_REG_2, IN_LOOPBACKNET, LEAVE),
		BPF_JUMP(8),
		FIELD(BPF_REG_2, local_ip6[0]),
		BPF_JUMP_IF(BPF_JNE, BPF_REG_2, 0, LEAVE),
		FIELD(BPF_REG_2, local_ip6[1]),
		BPF_JUMP_IF(BPF_JNE, BPF_REG_2, 0, LEAVE),
		FIELD(BPF_REG_2, local_ip6[2]),
		BPF_JUMP_IF(BPF_JNE, BPF_REG_2, 0, LEAVE),
		FIELD(BPF_REG_2, local_ip6[3]),
		BPF_JUMP_IF(BPF_JNE, BPF_REG_2, (int)htonl(1), LEAVE),
		/* map[0]; the key is on the stack. */
		BPF_INSN(BPF_ST | BPF_MEM | BPF_W, BPF_REG_10, 0, -4, 0),
		BPF_INSN(BPF_LD | BPF_IMM | BPF_DW, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0, map),
		BPF_INSN(0, 0, 0, 0, 0),
		BPF_MOVE(BPF_REG_2, BPF_REG_10),
		BPF_ADD_TO(BPF_REG_2, -4),
		BPF_HELPER(BPF_FUNC_map_lookup_elem),
		BPF_JUMP_IF(BPF_JEQ, BPF_REG_0, 0, LEAVE),
		BPF_MOVE(BPF_REG_7, BPF_REG_0),
		BPF_MOVE(BPF_REG_1, BPF_REG_6),
		BPF_MOVE(BPF_REG_2, BPF_REG_7),
		BPF_SET(BPF_REG_3, 0),
		BPF_HELPER(BPF_FUNC_sk_assign),
		BPF_MOVE(BPF_REG_1, BPF_REG_7),
		BPF_HELPER(BPF_FUNC_sk_release),
		BPF_SET(BPF_REG_0, SK_PASS), /* here */
		BPF_RETURN(),
	};
	const size_t n = ARRAY_SIZE(program);
	size_t i;

	for (i = 0; i < n; i++)
		if (program[i].off == LEAVE)
			program[i].off = (short)(n - 2 - i - 1);
	return bpf_load(BPF_PROG_TYPE_SK_LOOKUP, BPF_SK_LOOKUP, program, n);
}

static int take_ports(struct loopback *l, int netns_fd, struct err *e)
{
	static const char what[] = "the ports of the container's network namespace";
	_cleanup_close_ int map = socket_map(l->listen_fd);
	_cleanup_close_ int program = map < 0 ? map : lookup_program(map);
	union bpf_attr attr;

	if (program < 0)
		return err_errno(e, program, "%s", what);
	memset(&attr, 0, sizeof(attr));
	attr.link_create.prog_fd = (uint32_t)program;
	attr.link_create.target_fd = (uint32_t)netns_fd;
	attr.link_create.attach_type = BPF_SK_LOOKUP;
	l->link_fd = bpf_call(BPF_LINK_CREATE, &attr);
	return l->link_fd < 0 ? err_errno(e, l->link_fd, "%s", what) : 0;
}

/* In the namespace. One socket for both families, where there are both. */
static int listen_here(void)
{
	const struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT };
	const struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	_cleanup_close_ int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const int no = 0;

	if (fd < 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no)) < 0 ||
	    bind(fd, (const struct sockaddr *)&v6, sizeof(v6)) < 0) {
		cleanup_closep(&fd);
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0 || bind(fd, (const struct sockaddr *)&v4, sizeof(v4)) < 0)
			return -errno;
	}
	return listen(fd, (int)LOOPBACK_CONNECTIONS_MAX) < 0 ? -errno : take_fd(&fd);
}

int loopback_new(struct loopback **out, const char *netns, struct err *e)
{
	_cleanup_close_ int netns_fd = open(netns, O_RDONLY | O_CLOEXEC | O_NONBLOCK), back = -1;
	struct loopback *l;
	int r, left;

	if (netns_fd < 0)
		return err_errno(e, errno, "network namespace %s", netns);
	l = xcalloc(1, sizeof(*l));
	l->link_fd = l->listen_fd = -1;
	r = netns_enter(netns_fd, &back, e);
	if (!r) {
		l->listen_fd = listen_here();
		if (l->listen_fd < 0)
			r = err_errno(e, l->listen_fd, "a socket in network namespace %s", netns);
		left = netns_leave(back, r ? NULL : e);
		r = r ? r : left;
	}
	if (!r)
		r = take_ports(l, netns_fd, e);
	if (r)
		loopback_free(l);
	else
		*out = l;
	return r;
}

/* ---- connections ---------------------------------------------------------------------------------------------------- */

static void end(struct connection *c)
{
	struct connection **at;

	for (at = &c->owner->connections; *at != c; at = &(*at)->next)
		;
	*at = c->next;
	c->owner->n--;
	cleanup_closep(&c->fd);
	cleanup_closep(&c->guest_fd);
	free(c);
}

static void relay_ended(struct relay *r)
{
	end(container_of(r, struct connection, relay));
}

/* The port that was meant, as the one socket has all. */
static uint16_t port_of(int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} addr = { .any.sa_family = AF_UNSPEC };
	socklen_t len = sizeof(addr);

	if (getsockname(fd, &addr.any, &len) < 0)
		return 0;
	return ntohs(addr.any.sa_family == AF_INET6 ? addr.v6.sin6_port : addr.v4.sin_port);
}

static void answered(struct loop_op *op, int res)
{
	struct connection *c = container_of(op, struct connection, answered);
	struct loopback *l = c->owner;
	const int one = 1;
	struct err e = ERR_INIT;

	if (res <= 0 || l->ending || agent_tcp_finish(c->guest_fd, l->socket, port_of(c->fd), 0, &e)) {
		if (e.code)
			log_debug("loopback: %s", e.msg);
		end(c);
		return;
	}
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->relaying = true;
	c->relay.ended = relay_ended;
	relay_start(&c->relay, l->loop, take_fd(&c->fd), take_fd(&c->guest_fd));
}

static void connect_guest(struct loopback *l, int fd)
{
	struct connection *c = xcalloc(1, sizeof(*c));
	struct err e = ERR_INIT;

	*c = (struct connection){ .owner = l, .next = l->connections, .fd = fd, .guest_fd = -1 };
	l->connections = c;
	l->n++;
	c->guest_fd = l->n > LOOPBACK_CONNECTIONS_MAX ? -1 : agent_tcp_dial(l->socket, &e);
	if (c->guest_fd < 0) {
		log_debug("loopback: %s", e.code ? e.msg : "too many connections");
		end(c);
		return;
	}
	loop_op_init(&c->answered, answered);
	loop_poll(l->loop, &c->answered, c->guest_fd, POLLIN);
}

static void accepted(struct loop_op *op, int res)
{
	struct loopback *l = container_of(op, struct loopback, accept_op);

	if (res >= 0)
		connect_guest(l, res);
	else if (res != -ECANCELED && res != -EINTR && res != -ECONNABORTED)
		log_warn("loopback of a pod: accept: %s; no more are taken", strerror(-res));
	if (!l->ending && (res >= 0 || res == -EINTR || res == -ECONNABORTED))
		loop_accept(l->loop, op, l->listen_fd);
}

void loopback_serve(struct loopback *l, struct loop *loop, const char *socket)
{
	l->loop = loop;
	l->socket = socket;
	loop_op_init(&l->accept_op, accepted);
	loop_accept(loop, &l->accept_op, l->listen_fd);
}

void loopback_free(struct loopback *l)
{
	struct connection *c;

	if (!l)
		return;
	l->ending = true;
	if (l->loop && loop_op_busy(&l->accept_op))
		loop_cancel(l->loop, &l->accept_op);
	for (c = l->connections; c; c = c->next) {
		if (c->relaying)
			relay_cancel(&c->relay);
		else
			loop_cancel(l->loop, &c->answered);
	}
	while ((l->connections || (l->loop && loop_op_busy(&l->accept_op))) && loop_run_once(l->loop, true) >= 0)
		;
	cleanup_closep(&l->link_fd);
	cleanup_closep(&l->listen_fd);
	free(l);
}
