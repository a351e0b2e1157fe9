/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/events.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "rpc/ttrpc.h"
#include "sandbox/state.h"
#include "shim/api.h"
#include "shim/commands.h"

#define SERVICE "containerd.services.events.ttrpc.v1.Events"
#define FORWARD_TIMEOUT_NS 5000000000ull
#define RETRY_NS 1000000000ull

const struct event_row event_rows[EVENT_KINDS] = {
	[EVENT_CREATE] = { "/tasks/create", &containerd__events__task_create__descriptor },
	[EVENT_START] = { "/tasks/start", &containerd__events__task_start__descriptor },
	[EVENT_EXIT] = { "/tasks/exit", &containerd__events__task_exit__descriptor },
	[EVENT_DELETE] = { "/tasks/delete", &containerd__events__task_delete__descriptor },
	[EVENT_EXEC_ADDED] = { "/tasks/exec-added", &containerd__events__task_exec_added__descriptor },
	[EVENT_EXEC_STARTED] = { "/tasks/exec-started", &containerd__events__task_exec_started__descriptor },
	[EVENT_PAUSED] = { "/tasks/paused", &containerd__events__task_paused__descriptor },
	[EVENT_RESUMED] = { "/tasks/resumed", &containerd__events__task_resumed__descriptor },
	[EVENT_OOM] = { "/tasks/oom", &containerd__events__task_oom__descriptor },
};

struct item {
	struct item *next;
	const struct event_row *row;
	int64_t at_ns;
	size_t len;
	uint8_t data[];
};

struct events {
	struct loop *loop;
	const char *address, *namespace;
	struct ttrpc_peer *peer;
	struct item *first, **last;
	size_t n;
	bool in_flight; /* the first one */
	struct loop_op retry_op;
	void (*sent)(void *arg);
	void *sent_arg;
};

static void forward(struct events *ev);

static void on_retry(struct loop_op *op, int res)
{
	if (res != -ECANCELED)
		forward(container_of(op, struct events, retry_op));
}

struct events *events_new(struct loop *loop, const char *address, const char *namespace)
{
	struct events *ev = xcalloc(1, sizeof(*ev));

	ev->loop = loop;
	ev->address = address && *address ? address : NULL;
	ev->namespace = namespace;
	ev->last = &ev->first;
	loop_op_init(&ev->retry_op, on_retry);
	return ev;
}

static void drop(struct events *ev, struct item **at)
{
	struct item *i = *at;

	*at = i->next;
	if (!*at)
		ev->last = at;
	ev->n--;
	free(i);
}

/* containerd restarts: the next one finds a new connection. */
static void on_closed(struct ttrpc_peer *peer, int reason, void *arg)
{
	struct events *ev = arg;

	ev->peer = NULL;
	ttrpc_peer_free(peer);
}

static int connect_to(struct events *ev)
{
	const struct ttrpc_peer_config config = { .closed = on_closed, .arg = ev };
	_cleanup_close_ int fd = shim_connect(ev->address, SOCK_NONBLOCK);
	int r;

	if (fd < 0)
		return fd;
	r = ttrpc_peer_new(&ev->peer, ev->loop, fd, &config);
	if (r < 0)
		return r;
	take_fd(&fd);
	return 0;
}

static void later(struct events *ev)
{
	if (!loop_op_busy(&ev->retry_op))
		loop_timer(ev->loop, &ev->retry_op, RETRY_NS);
}

static void on_forwarded(const ProtobufCMessage *reply, const struct err *e, void *arg)
{
	struct events *ev = arg;

	ev->in_flight = false;
	if (e && e->code == ECANCELED)
		return; /* events_free() */
	if (!reply) {
		log_warn("event %s: %s; it is sent again", ev->first->row->topic, e->msg);
		later(ev);
		return;
	}
	drop(ev, &ev->first);
	if (ev->first)
		forward(ev);
	else if (ev->sent)
		ev->sent(ev->sent_arg);
}

static void forward(struct events *ev)
{
	static struct ttrpc_method method = { .name = "Forward" };
	Containerd__Services__Events__Ttrpc__V1__ForwardRequest req;
	Containerd__Services__Events__Ttrpc__V1__Envelope envelope;
	Google__Protobuf__Timestamp at;
	Google__Protobuf__Any any;
	_cleanup_free_ char *type = NULL;
	const struct item *i = ev->first;

	if (ev->in_flight || !i || loop_op_busy(&ev->retry_op))
		return;
	if (!ev->peer && connect_to(ev) < 0) {
		later(ev);
		return;
	}
	method.request = &containerd__services__events__ttrpc__v1__forward_request__descriptor;
	method.response = &google__protobuf__empty__descriptor;
	containerd__services__events__ttrpc__v1__forward_request__init(&req);
	containerd__services__events__ttrpc__v1__envelope__init(&envelope);
	google__protobuf__any__init(&any);
	timestamp_fill(&at, i->at_ns);
	type = xstrdup(i->row->message->name);
	any.type_url = type;
	any.value.data = (uint8_t *)(uintptr_t)i->data;
	any.value.len = i->len;
	envelope.timestamp = &at;
	envelope.namespace_ = (char *)(uintptr_t)ev->namespace;
	envelope.topic = (char *)(uintptr_t)i->row->topic;
	envelope.event = &any;
	req.envelope = &envelope;
	ev->in_flight = true;
	ttrpc_call_async(ev->peer, SERVICE, &method, &req.base, FORWARD_TIMEOUT_NS, on_forwarded, ev);
}

void events_publish(struct events *ev, enum event_kind kind, const ProtobufCMessage *message)
{
	const size_t len = protobuf_c_message_get_packed_size(message);
	struct item *i;

	if (!ev->address)
		return;
	if (ev->n == EVENTS_QUEUE_MAX) {
		struct item **oldest = ev->in_flight ? &ev->first->next : &ev->first;

		log_warn("containerd takes no events; %s is dropped", (*oldest)->row->topic);
		drop(ev, oldest);
	}
	i = xcalloc(1, sizeof(*i) + len);
	i->row = &event_rows[kind];
	i->at_ns = realtime_ns();
	i->len = len;
	protobuf_c_message_pack(message, i->data);
	*ev->last = i;
	ev->last = &i->next;
	ev->n++;
	forward(ev);
}

bool events_all_sent(const struct events *ev)
{
	return !ev->first;
}

void events_on_sent(struct events *ev, void (*fn)(void *arg), void *arg)
{
	ev->sent = fn;
	ev->sent_arg = arg;
}

void events_free(struct events *ev)
{
	if (ev->peer)
		ttrpc_peer_free(ev->peer);
	while (ev->first)
		drop(ev, &ev->first);
	free(ev);
}
