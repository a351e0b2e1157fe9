/* SPDX-License-Identifier: Apache-2.0 */
#include "guest-agent/server.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/guest.h"
#include "base/log.h"
#include "base/util.h"

#define LAST_WORDS_NS 500000000ull /* for the host to take the last answer */

struct connection {
	struct connection *next;
	struct server *server;
	struct ttrpc_peer *peer;
};

struct server *server_of(struct connection *c)
{
	return c->server;
}

const void *server_keeper(const struct connection *c)
{
	return c == c->server->control ? NULL : c;
}

/* ---- connections -------------------------------------------------------------------------------- */

static void connection_closed(struct ttrpc_peer *peer, int reason, void *arg)
{
	struct connection *c = arg, **at;
	struct server *s = c->server;

	for (at = &s->connections; *at; at = &(*at)->next)
		if (*at == c) {
			*at = c->next;
			s->connections_n--;
			break;
		}
	ttrpc_peer_free(peer);
	if (s->last_words == peer) {
		s->last_words = NULL;
		s->config.over(s->reason, s->config.arg);
	} else if (s->control == c) {
		server_stop(s, reason ? "the control connection broke" : "the control connection was closed");
	} else {
		tasks_abandon(&s->tasks, c);
	}
	free(c);
}

static struct connection *connection_new(struct server *s, int fd)
{
	struct connection *c = xcalloc(1, sizeof(*c));
	struct ttrpc_peer_config config = {
		.services = &agent_service,
		.services_n = 1,
		.arg = c,
		.closed = connection_closed,
	};

	c->server = s;
	if (ttrpc_peer_new(&c->peer, s->loop, fd, &config) < 0) {
		free(c);
		return NULL;
	}
	c->next = s->connections;
	s->connections = c;
	s->connections_n++;
	return c;
}

/* The fd of an accept; -1 if there is none, or it is not the host's. */
static int accepted(struct server *s, int res, const char *what)
{
	if (res < 0) {
		log_guest("%s: accept: %s", what, strerror(-res));
		return -1;
	}
	if (s->config.transport->is_host(res, s->config.transport_arg))
		return res;
	log_guest("%s: a connection that is not the host's is refused", what);
	close(res);
	return -1;
}

static void rpc_accepted(struct loop_op *op, int res)
{
	struct server *s = container_of(op, struct server, rpc_accept);
	int fd = accepted(s, res, "rpc");

	if (fd >= 0 && (s->connections_n >= CONNECTIONS_MAX || !connection_new(s, fd))) {
		log_guest("rpc: %u connections are the limit; one is refused", CONNECTIONS_MAX);
		close(fd);
	}
	loop_accept(s->loop, op, s->rpc_fd);
}

static void stdio_stream_accepted(struct loop_op *op, int res)
{
	struct server *s = container_of(op, struct server, stdio_accept);
	int fd = accepted(s, res, "stdio");

	if (fd >= 0)
		stdio_accepted(&s->tasks.stdio, fd);
	loop_accept(s->loop, op, s->stdio_fd);
}

static void tcp_stream_accepted(struct loop_op *op, int res)
{
	struct server *s = container_of(op, struct server, tcp_accept);
	int fd = accepted(s, res, "tcp");

	if (fd >= 0)
		tcp_accepted(&s->tcp, fd);
	loop_accept(s->loop, op, s->tcp_fd);
}

static uint32_t control_port(const struct server *s)
{
	return s->config.control_port ? s->config.control_port : GUEST_CONTROL_PORT;
}

static void control_connected(struct loop_op *op, int res)
{
	struct server *s = container_of(op, struct server, control_connect);
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(s->control_fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (!error)
		s->control = connection_new(s, s->control_fd);
	if (s->control) {
		s->control_fd = -1;
		return;
	}
	log_error("host port %u: %s", control_port(s), strerror(error ? error : ENOMEM));
	server_stop(s, "the host doesn't answer");
}

int server_open(struct server *s, const struct server_config *config, struct err *e)
{
	const struct transport *t = config->transport;

	*s = (struct server){ .config = *config, .rpc_fd = -1, .stdio_fd = -1, .tcp_fd = -1, .control_fd = -1 };
	/* Listening comes first: a host that sees the connection may use all ports at once. */
	s->rpc_fd = t->listen(GUEST_RPC_PORT, config->transport_arg);
	if (s->rpc_fd < 0)
		return err_errno(e, s->rpc_fd, "vsock port %u; does the guest kernel have vsock?", GUEST_RPC_PORT);
	s->stdio_fd = t->listen(GUEST_STDIO_PORT, config->transport_arg);
	if (s->stdio_fd < 0)
		return err_errno(e, s->stdio_fd, "vsock port %u", GUEST_STDIO_PORT);
	s->tcp_fd = t->listen(GUEST_TCP_PORT, config->transport_arg);
	if (s->tcp_fd < 0)
		return err_errno(e, s->tcp_fd, "vsock port %u", GUEST_TCP_PORT);
	if (config->connecting)
		config->connecting(config->arg);
	s->control_fd = t->connect(control_port(s), config->transport_arg);
	if (s->control_fd < 0)
		return err_errno(e, s->control_fd, "host port %u; does this machine have a vsock device?",
				 control_port(s));
	return 0;
}

/* ---- the end ------------------------------------------------------------------------------------ */

/* All containers have ended, or had their time. */
static void finish(struct server *s)
{
	Microvm__Empty empty = MICROVM__EMPTY__INIT;
	struct ttrpc_call *call = take_ptr(s->destroy_call);

	if (s->finished)
		return;
	s->finished = true;
	loop_cancel(s->loop, &s->stop_timer);
	tasks_remove_all(&s->tasks);
	sync();
	if (!call) {
		s->config.over(s->reason, s->config.arg);
		return;
	}
	s->last_words = ttrpc_call_peer(call);
	ttrpc_reply(call, &empty.base);
	ttrpc_peer_finish(s->last_words);
	loop_timer(s->loop, &s->last_timer, LAST_WORDS_NS);
}

static void last_time(struct loop_op *op, int res)
{
	struct server *s = container_of(op, struct server, last_timer);

	if (s->last_words)
		s->config.over(s->reason, s->config.arg);
}

static void stop_check(struct loop_op *op, int res)
{
	struct server *s = container_of(op, struct server, stop_check);

	if (s->stopping && !tasks_running(&s->tasks))
		finish(s);
}

static void stop_time(struct loop_op *op, int res)
{
	struct server *s = container_of(op, struct server, stop_timer);

	if (s->finished || res)
		return;
	if (s->killed) {
		log_error("containers that don't die are left behind");
		finish(s);
		return;
	}
	s->killed = true;
	tasks_signal_all(&s->tasks, SIGKILL, true);
	loop_timer(s->loop, op, s->config.stop_grace_ns);
}

static void task_ended(struct tasks *ts, void *arg)
{
	struct server *s = arg;

	if (s->stopping && !loop_op_busy(&s->stop_check))
		loop_defer(s->loop, &s->stop_check);
}

void server_stop(struct server *s, const char *reason)
{
	if (s->stopping)
		return;
	s->stopping = true;
	s->reason = reason;
	log_debug("the sandbox ends: %s", reason);
	tasks_signal_all(&s->tasks, SIGTERM, false);
	loop_timer(s->loop, &s->stop_timer, s->config.stop_grace_ns);
	task_ended(&s->tasks, s); /* there may be none */
}

static void destroy_cancelled(struct ttrpc_call *call, void *arg)
{
	struct server *s = arg;

	s->destroy_call = NULL;
}

void server_destroy(struct server *s, struct ttrpc_call *call)
{
	struct err e = ERR_INIT;

	if (s->destroy_call || s->finished) {
		err_set(&e, EBUSY, "sandbox: it is being destroyed already");
		ttrpc_fail(call, &e);
		return;
	}
	s->destroy_call = call;
	ttrpc_call_on_cancel(call, destroy_cancelled, s);
	server_stop(s, "the host asked for it");
}

int server_start(struct server *s, struct loop *loop, struct err *e)
{
	int r = tasks_init(&s->tasks, loop);

	if (r < 0)
		return err_errno(e, r, "signalfd");
	s->loop = loop;
	s->tcp.loop = loop;
	s->tasks.ended = task_ended;
	s->tasks.ended_arg = s;
	loop_op_init(&s->rpc_accept, rpc_accepted);
	loop_op_init(&s->stdio_accept, stdio_stream_accepted);
	loop_op_init(&s->tcp_accept, tcp_stream_accepted);
	loop_op_init(&s->control_connect, control_connected);
	loop_op_init(&s->stop_timer, stop_time);
	loop_op_init(&s->stop_check, stop_check);
	loop_op_init(&s->last_timer, last_time);
	loop_accept(loop, &s->rpc_accept, s->rpc_fd);
	loop_accept(loop, &s->stdio_accept, s->stdio_fd);
	loop_accept(loop, &s->tcp_accept, s->tcp_fd);
	loop_poll(loop, &s->control_connect, s->control_fd, POLLOUT);
	return 0;
}
