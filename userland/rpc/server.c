/* SPDX-License-Identifier: Apache-2.0 */
/* The serving half of a peer: requests to calls, answers to responses. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "rpc/peer.h"
#include "rpc/unpack.h"
#include "userland/rpc/ttrpc.pb-c.h"

struct ttrpc_call {
	struct ttrpc_call *next, **link;
	struct ttrpc_peer *peer;
	uint32_t stream_id;
	const struct ttrpc_method *method;
	ProtobufCMessage *req;
	void (*cancel)(struct ttrpc_call *call, void *arg);
	void *cancel_arg;
	struct loop_op timer;
	bool silent;   /* nobody waits for the answer any more */
	bool answered; /* only its timer is still in flight */
};

static void respond(struct ttrpc_peer *p, uint32_t stream_id, Ttrpc__Response *response)
{
	if (peer_send(p, TTRPC_RESPONSE, stream_id, &response->base) == -EMSGSIZE)
		server_refuse(p, stream_id, TTRPC_RESOURCE_EXHAUSTED, "response is over the limit of 4 MiB");
}

void server_refuse(struct ttrpc_peer *p, uint32_t stream_id, enum ttrpc_code code, const char *message)
{
	Ttrpc__Response response = TTRPC__RESPONSE__INIT;
	Ttrpc__Status status = TTRPC__STATUS__INIT;

	status.code = code;
	status.message = (char *)message;
	response.status = &status;
	respond(p, stream_id, &response);
}

static void call_free(struct ttrpc_call *call)
{
	struct ttrpc_peer *p = call->peer;

	free(call);
	peer_unref(p);
}

/* The answer was given, or never will be. */
static void call_finish(struct ttrpc_call *call)
{
	*call->link = call->next;
	if (call->next)
		call->next->link = call->link;
	call->peer->serving_n--;
	if (call->req)
		protobuf_c_message_free_unpacked(call->req, NULL);
	call->req = NULL;
	call->answered = true;
	if (loop_op_busy(&call->timer))
		loop_cancel(call->peer->loop, &call->timer);
	else
		call_free(call);
}

/* Nobody waits any more: the server is told if it wants to know, or its answer is dropped when it comes. */
static void call_cancel(struct ttrpc_call *call)
{
	call->silent = true;
	if (!call->cancel)
		return;
	call->cancel(call, call->cancel_arg);
	call_finish(call);
}

static void timer_done(struct loop_op *op, int res)
{
	struct ttrpc_call *call = container_of(op, struct ttrpc_call, timer);

	if (call->answered) {
		call_free(call);
		return;
	}
	if (res || call->silent)
		return;
	server_refuse(call->peer, call->stream_id, TTRPC_DEADLINE_EXCEEDED, "the caller's time limit has passed");
	call_cancel(call);
}

static const struct ttrpc_method *find_method(const struct ttrpc_peer *p, const Ttrpc__Request *r, bool *service_known)
{
	size_t i, j;

	*service_known = false;
	for (i = 0; i < p->config.services_n; i++) {
		const struct ttrpc_service *s = &p->config.services[i];

		if (!str_eq(s->name, r->service))
			continue;
		*service_known = true;
		for (j = 0; j < s->methods_n; j++)
			if (str_eq(s->methods[j].name, r->method))
				return &s->methods[j];
	}
	return NULL;
}

static struct ttrpc_call *call_new(struct ttrpc_peer *p, uint32_t stream_id, const struct ttrpc_method *method,
				   ProtobufCMessage *req)
{
	struct ttrpc_call *call = xcalloc(1, sizeof(*call));

	call->peer = p;
	call->stream_id = stream_id;
	call->method = method;
	call->req = req;
	loop_op_init(&call->timer, timer_done);
	peer_ref(p);
	call->next = p->serving;
	call->link = &p->serving;
	if (call->next)
		call->next->link = &call->next;
	p->serving = call;
	p->serving_n++;
	return call;
}

static void serve(struct ttrpc_peer *p, uint32_t stream_id, const Ttrpc__Request *request)
{
	bool service_known;
	const struct ttrpc_method *m = find_method(p, request, &service_known);
	struct ttrpc_call *call;
	ProtobufCMessage *req;
	char message[200];

	if (!m) {
		snprintf(message, sizeof(message), "%s %.80s is not served here", service_known ? "method" : "service",
			 service_known ? request->method : request->service);
		server_refuse(p, stream_id, TTRPC_UNIMPLEMENTED, message);
		return;
	}
	if (p->serving_n >= TTRPC_CALLS_MAX) {
		server_refuse(p, stream_id, TTRPC_RESOURCE_EXHAUSTED,
			      "too many calls at a time; wait for answers first");
		return;
	}
	req = ttrpc_unpack(m->request, request->payload.data, request->payload.len);
	if (!req) {
		snprintf(message, sizeof(message), "%s: the request can't be unpacked as %s", m->name,
			 m->request->name);
		server_refuse(p, stream_id, TTRPC_INVALID_ARGUMENT, message);
		return;
	}
	call = call_new(p, stream_id, m, req);
	if (request->timeout_nano > 0)
		loop_timer(p->loop, &call->timer, request->timeout_nano);
	m->serve(call, req, p->config.arg);
}

void server_frame(struct ttrpc_peer *p, const struct ttrpc_header *h, const uint8_t *body)
{
	Ttrpc__Request *request;

	if (!p->config.services_n)
		return;
	if (h->type == TTRPC_DATA) {
		server_refuse(p, h->stream_id, TTRPC_UNIMPLEMENTED, "streaming calls are not served here");
		return;
	}
	if (!(h->stream_id & 1)) {
		server_refuse(p, h->stream_id, TTRPC_INVALID_ARGUMENT, "a client's stream ids are odd");
		return;
	}
	if (h->stream_id <= p->last_id) {
		server_refuse(p, h->stream_id, TTRPC_INVALID_ARGUMENT, "stream ids grow from call to call");
		return;
	}
	p->last_id = h->stream_id;
	request = (Ttrpc__Request *)ttrpc_unpack(&ttrpc__request__descriptor, body, h->len_bytes);
	if (!request) {
		server_refuse(p, h->stream_id, TTRPC_INVALID_ARGUMENT, "the frame's body is not a ttrpc request");
		return;
	}
	serve(p, h->stream_id, request);
	protobuf_c_message_free_unpacked(&request->base, NULL);
}

void ttrpc_reply(struct ttrpc_call *call, const ProtobufCMessage *message)
{
	Ttrpc__Response response = TTRPC__RESPONSE__INIT;
	size_t len = protobuf_c_message_get_packed_size(message);

	if (!call->silent && len > TTRPC_BODY_MAX) {
		server_refuse(call->peer, call->stream_id, TTRPC_RESOURCE_EXHAUSTED,
			      "response is over the limit of 4 MiB");
	} else if (!call->silent) {
		response.payload.data = xcalloc(1, len);
		response.payload.len = protobuf_c_message_pack(message, response.payload.data);
		respond(call->peer, call->stream_id, &response);
		free(response.payload.data);
	}
	call_finish(call);
}

void ttrpc_fail(struct ttrpc_call *call, const struct err *e)
{
	enum ttrpc_code code = ttrpc_code_of_errno(e->code);

	/* OK with no payload would read as an empty answer. */
	if (!call->silent)
		server_refuse(call->peer, call->stream_id, code == TTRPC_OK ? TTRPC_UNKNOWN : code, e->msg);
	call_finish(call);
}

struct ttrpc_peer *ttrpc_call_peer(struct ttrpc_call *call)
{
	return call->peer;
}

void ttrpc_call_on_cancel(struct ttrpc_call *call, void (*fn)(struct ttrpc_call *call, void *arg), void *arg)
{
	call->cancel = fn;
	call->cancel_arg = arg;
}

void server_end(struct ttrpc_peer *p)
{
	struct ttrpc_call *call;

	/* A cancelled call leaves the list, and its server may answer others meanwhile: start over after each. */
again:
	for (call = p->serving; call; call = call->next)
		if (!call->silent) {
			call_cancel(call);
			goto again;
		}
}
