/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent as a server: its connections, the life line among them, and the end of the sandbox. How streams come about is
 * the transport's matter, vsock in a guest; the rest does not know.
 */
#ifndef AGENT_SERVER_H
#define AGENT_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "guest-agent/tasks.h"
#include "guest-agent/tcp.h"
#include "io/loop.h"
#include "rpc/ttrpc.h"

#define CONNECTIONS_MAX 128u /* an exec has one, and a container that joined the sandbox from outside */

struct transport {
	/* A listening socket for that port; an fd or negative errno. */
	int (*listen)(uint32_t port, void *arg);
	/* A stream to the host's port, maybe not connected yet (non-blocking); an fd or negative errno. */
	int (*connect)(uint32_t port, void *arg);
	/* Whether an accepted connection is the host's. */
	bool (*is_host)(int fd, void *arg);
};
extern const struct transport transport_vsock;

struct server_config {
	const struct transport *transport;
	void *transport_arg;
	uint32_t control_port; /* of the host; 0: GUEST_CONTROL_PORT */
	/* Called right before the control connection is made: what may wait until the host has been told is done while it answers. */
	void (*connecting)(void *arg);
	/* The sandbox is over; reason is a line for the log. Does not return in a guest. */
	void (*over)(const char *reason, void *arg);
	void *arg;
	uint64_t stop_grace_ns; /* between SIGTERM and SIGKILL, and from there to the end */
};

struct connection;

struct server {
	struct loop *loop;
	struct server_config config;
	int rpc_fd, stdio_fd, tcp_fd, control_fd;
	struct loop_op rpc_accept, stdio_accept, tcp_accept, control_connect;
	struct tcp tcp;
	struct connection *connections;
	unsigned int connections_n;
	struct connection *control;
	struct tasks tasks;

	/* the end */
	bool stopping, killed, finished;
	const char *reason;
	struct ttrpc_call *destroy_call; /* is answered when all containers have ended */
	struct ttrpc_peer *last_words;	 /* the connection that answer goes to */
	struct loop_op stop_timer, stop_check, last_timer;
};

/* Listens and connects to the host. All that can fail without a host has happened when it returns. */
int server_open(struct server *s, const struct server_config *config, struct err *e);
/* Serves from now on, as loop runs. */
int server_start(struct server *s, struct loop *loop, struct err *e);

/* Ends the containers, then the sandbox. Once; later calls do nothing. */
void server_stop(struct server *s, const char *reason);
/* The same, answering call first. */
void server_destroy(struct server *s, struct ttrpc_call *call);

/* service.c: serve() gets the connection */
extern const struct ttrpc_service agent_service;
struct server *server_of(struct connection *c);
/* With whom that ends which is created by it: itself, or (NULL) the sandbox. */
const void *server_keeper(const struct connection *c);

#endif
