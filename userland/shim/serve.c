/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/serve.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "sandbox/state.h"
#include "shim/service.h"
#include "shim/task.h"

#define LOOP_ENTRIES 64u
#define LAST_WORDS_NS 2000000000ull /* for the answer to Shutdown and the last events */

struct connection {
	struct connection *next;
	struct server *server;
	struct ttrpc_peer *peer;
};

struct server {
	struct shim shim;
	const struct serve_config *config;
	struct loop_op accept_op, limit_op, told_op;
	char told;
	struct connection *connections;
	int listen_fd;
	bool ending;
};

/* Once it is to end: when the last event was taken and the last client has gone. */
static void check_over(struct server *s)
{
	if (s->ending && !s->connections && events_all_sent(s->shim.events))
		loop_stop(s->shim.loop, 0);
}

static void on_closed(struct ttrpc_peer *peer, int reason, void *arg)
{
	struct server *s = container_of(arg, struct server, shim);
	struct connection **at;

	for (at = &s->connections; *at; at = &(*at)->next)
		if ((*at)->peer == peer) {
			struct connection *c = *at;

			*at = c->next;
			free(c);
			break;
		}
	ttrpc_peer_free(peer);
	check_over(s);
}

static void on_accepted(struct loop_op *op, int res)
{
	struct server *s = container_of(op, struct server, accept_op);
	const struct ttrpc_peer_config config = {
		.services = &task_service, .services_n = 1, .closed = on_closed, .arg = &s->shim
	};
	struct connection *c;

	if (s->ending || res == -ECANCELED) {
		if (res >= 0)
			close(res);
		return;
	}
	if (res >= 0) {
		c = xcalloc(1, sizeof(*c));
		c->next = s->connections;
		s->connections = c;
		if (ttrpc_peer_new(&c->peer, s->shim.loop, res, &config) < 0) {
			s->connections = c->next;
			free(c);
			close(res);
		}
	}
	loop_accept(s->shim.loop, op, s->listen_fd);
}

static void on_limit(struct loop_op *op, int res)
{
	if (res != -ECANCELED)
		loop_stop(container_of(op, struct server, limit_op)->shim.loop, 0);
}

/* Who started it was killed before anybody heard of it. */
static void on_told(struct loop_op *op, int res)
{
	if (res == 0)
		loop_stop(container_of(op, struct server, told_op)->shim.loop, 0);
}

static void on_all_sent(void *arg)
{
	check_over(arg);
}

/* Nobody finds it any more; who is connected gets the last answers. */
static void on_over(struct shim *shim)
{
	struct server *s = container_of(shim, struct server, shim);
	struct connection *c;

	if (s->ending)
		return;
	s->ending = true;
	unlink(s->config->socket_path);
	loop_cancel(shim->loop, &s->accept_op);
	for (c = s->connections; c; c = c->next)
		ttrpc_peer_finish(c->peer);
	loop_timer(shim->loop, &s->limit_op, LAST_WORDS_NS);
}

static void on_pod_ready(void *arg, const struct err *e)
{
	struct server *s = arg;

	tasks_pod_ready(&s->shim, e);
	/* What making it took is not wanted any more. */
	malloc_trim(0);
}

static void on_pod_ended(void *arg, const struct err *e)
{
	struct server *s = arg;

	tasks_pod_ended(&s->shim, e);
}

/* A VM that can't be made is told to who creates a container. */
static void start_pod(struct server *s, const struct sandbox_paths *paths)
{
	_cleanup_free_ char *name = xasprintf("%s.%s", s->shim.namespace, s->shim.id);
	const struct pod_config config = {
		.paths = paths,
		.loop = s->shim.loop,
		.bundle = s->config->bundle,
		.name = state_name_valid(name) ? name : NULL,
		.ready = on_pod_ready,
		.ended = on_pod_ended,
		.arg = s,
	};

	if (pod_new(&s->shim.pod, &config, &s->shim.pod_error))
		log_error("%s", s->shim.pod_error.msg);
}

static void free_all(struct server *s)
{
	struct connection *c;

	while ((c = s->connections)) {
		s->connections = c->next;
		ttrpc_peer_free(c->peer);
		free(c);
	}
	pod_free(take_ptr(s->shim.pod));
	tasks_free(&s->shim);
	events_free(s->shim.events);
	loop_free(s->shim.loop);
}

int shim_serve(const struct serve_config *c, struct err *e)
{
	const struct sandbox_paths paths = { 0 };
	struct server s = { .config = c, .listen_fd = c->listen_fd };
	int r = loop_new(&s.shim.loop, LOOP_ENTRIES, 0);

	if (r)
		return err_errno(e, r, "cannot make an io_uring");
	s.shim.id = c->id;
	s.shim.namespace = c->namespace;
	s.shim.over = on_over;
	s.shim.events = events_new(s.shim.loop, c->events_address, c->namespace);
	events_on_sent(s.shim.events, on_all_sent, &s);
	loop_op_init(&s.accept_op, on_accepted);
	loop_op_init(&s.limit_op, on_limit);
	tasks_init(&s.shim);
	loop_accept(s.shim.loop, &s.accept_op, s.listen_fd);
	loop_op_init(&s.told_op, on_told);
	if (c->told_fd >= 0)
		loop_read(s.shim.loop, &s.told_op, c->told_fd, &s.told, 1, -1);
	start_pod(&s, &paths);
	r = loop_run(s.shim.loop);
	unlink(c->socket_path);
	free_all(&s);
	return r < 0 ? err_errno(e, r, "event loop") : 0;
}
