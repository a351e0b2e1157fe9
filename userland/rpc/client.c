/* SPDX-License-Identifier: Apache-2.0 */
/* The calling half of a peer: requests out, responses to those who wait for them. */
#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "rpc/peer.h"
#include "rpc/unpack.h"
#include "userland/rpc/ttrpc.pb-c.h"

struct client_call {
	struct client_call *next, **link;
	struct ttrpc_peer *peer;
	uint32_t stream_id;
	const struct ttrpc_method *method;
	void (*done)(const ProtobufCMessage *response, const struct err *e, void *arg);
	void *arg;
	struct loop_op op; /* its time limit; or, when it could not even be sent, the deferred failure */
	int failure;
	bool finished;
};

static void call_free(struct client_call *call)
{
	struct ttrpc_peer *p = call->peer;

	free(call);
	peer_unref(p);
}

/* Gives the result to the caller; the call is gone, at the latest when its timer has ended. */
static void call_finish(struct client_call *call, const ProtobufCMessage *response, const struct err *e)
{
	*call->link = call->next;
	if (call->next)
		call->next->link = call->link;
	call->finished = true;
	call->done(response, e, call->arg);
	if (loop_op_busy(&call->op))
		loop_cancel(call->peer->loop, &call->op);
	else
		call_free(call);
}

static void call_fail(struct client_call *call, int code)
{
	struct err e = ERR_INIT;

	if (code == -ETIMEDOUT)
		err_set(&e, code, "%s: no answer within the time limit", call->method->name);
	else if (code == -EMSGSIZE)
		err_set(&e, code, "%s: the request is over the limit of %u MiB", call->method->name,
			TTRPC_BODY_MAX >> 20);
	else if (code == -ECANCELED)
		err_set(&e, code, "%s: the call was given up", call->method->name);
	else
		err_errno(&e, code, "%s: the connection ended before the answer came", call->method->name);
	call_finish(call, NULL, &e);
}

static void op_done(struct loop_op *op, int res)
{
	struct client_call *call = container_of(op, struct client_call, op);

	if (call->finished)
		call_free(call);
	else if (res == 0)
		call_fail(call, call->failure);
}

void ttrpc_call_async(struct ttrpc_peer *p, const char *service, const struct ttrpc_method *method,
		      const ProtobufCMessage *request, uint64_t timeout_ns,
		      void (*done)(const ProtobufCMessage *response, const struct err *e, void *arg), void *arg)
{
	struct client_call *call = xcalloc(1, sizeof(*call));
	Ttrpc__Request frame = TTRPC__REQUEST__INIT;

	call->peer = p;
	call->method = method;
	call->done = done;
	call->arg = arg;
	call->stream_id = p->next_id;
	loop_op_init(&call->op, op_done);
	peer_ref(p);
	call->next = p->calling;
	call->link = &p->calling;
	if (call->next)
		call->next->link = &call->next;
	p->calling = call;

	frame.service = (char *)service;
	frame.method = (char *)method->name;
	frame.timeout_nano = min_t(uint64_t, timeout_ns, INT64_MAX);
	frame.payload.len = protobuf_c_message_get_packed_size(request);
	call->failure = -EMSGSIZE;
	if (frame.payload.len <= TTRPC_BODY_MAX) {
		frame.payload.data = xcalloc(1, frame.payload.len);
		protobuf_c_message_pack(request, frame.payload.data);
		/* Ids are used once; after 2^31 calls the connection has served its time. */
		call->failure =
			p->next_id > UINT32_MAX - 2 ? -EPIPE : peer_send(p, TTRPC_REQUEST, p->next_id, &frame.base);
		free(frame.payload.data);
	}
	if (call->failure) {
		loop_defer(p->loop, &call->op);
		return;
	}
	p->next_id += 2;
	call->failure = -ETIMEDOUT;
	if (timeout_ns)
		loop_timer(p->loop, &call->op, timeout_ns);
}

static struct client_call *find_call(const struct ttrpc_peer *p, uint32_t stream_id)
{
	struct client_call *call;

	for (call = p->calling; call; call = call->next)
		if (call->stream_id == stream_id && call->failure == -ETIMEDOUT)
			return call;
	return NULL;
}

bool client_has_call(const struct ttrpc_peer *p, uint32_t stream_id)
{
	return find_call(p, stream_id) != NULL;
}

/* What a peer says ends up on a person's terminal. */
static void set_remote_error(struct err *e, const struct client_call *call, const Ttrpc__Status *status)
{
	char *c;

	err_set(e, ttrpc_errno_of_code(status->code), "%.*s", ERR_MSG_MAX - 1,
		status->message && *status->message ? status->message : "the call failed, without a message");
	for (c = e->msg; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
}

static void take_response(struct client_call *call, const Ttrpc__Response *response)
{
	const struct ttrpc_method *m = call->method;
	struct err e = ERR_INIT;
	ProtobufCMessage *message;

	if (response->status && response->status->code) {
		set_remote_error(&e, call, response->status);
		call_finish(call, NULL, &e);
		return;
	}
	message = ttrpc_unpack(m->response, response->payload.data, response->payload.len);
	if (!message) {
		err_set(&e, EPROTO, "%s: the answer can't be unpacked as %s", m->name, m->response->name);
		call_finish(call, NULL, &e);
		return;
	}
	call_finish(call, message, NULL);
	protobuf_c_message_free_unpacked(message, NULL);
}

void client_frame(struct ttrpc_peer *p, const struct ttrpc_header *h, const uint8_t *body)
{
	struct client_call *call = find_call(p, h->stream_id);
	Ttrpc__Response *response;
	struct err e = ERR_INIT;

	if (!call)
		return; /* given up before its answer came */
	response = h->type == TTRPC_RESPONSE
			   ? (Ttrpc__Response *)ttrpc_unpack(&ttrpc__response__descriptor, body, h->len_bytes)
			   : NULL;
	if (!response) {
		err_set(&e, EPROTO, "%s: the answer is not a ttrpc response", call->method->name);
		call_finish(call, NULL, &e);
		return;
	}
	take_response(call, response);
	protobuf_c_message_free_unpacked(&response->base, NULL);
}

void client_end(struct ttrpc_peer *p, int reason)
{
	while (p->calling)
		call_fail(p->calling, reason);
}

struct sync_call {
	ProtobufCMessage *response;
	struct err error;
	const struct ttrpc_method *method;
	bool over, wanted;
};

/* The answer is unpacked again from its packed form, as the one given here goes with the call. */
static ProtobufCMessage *copy_message(const ProtobufCMessage *message)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	uint8_t *packed = xcalloc(1, len);
	ProtobufCMessage *copy;

	protobuf_c_message_pack(message, packed);
	copy = protobuf_c_message_unpack(message->descriptor, NULL, len, packed);
	free(packed);
	return copy;
}

static void sync_done(const ProtobufCMessage *response, const struct err *e, void *arg)
{
	struct sync_call *s = arg;

	s->over = true;
	if (e)
		s->error = *e;
	else if (s->wanted) {
		s->response = copy_message(response);
		if (!s->response)
			err_set(&s->error, ENOMEM, "%s: no memory for the answer", s->method->name);
	}
}

static void sync_abandoned(const ProtobufCMessage *response, const struct err *e, void *arg) {}

int ttrpc_call_sync(struct ttrpc_peer *p, const char *service, const struct ttrpc_method *method,
		    const ProtobufCMessage *request, uint64_t timeout_ns, ProtobufCMessage **response, struct err *e)
{
	struct sync_call s = { .method = method, .wanted = response != NULL };
	struct loop *loop = p->loop;
	struct client_call *call;
	int r = 0;

	ttrpc_call_async(p, service, method, request, timeout_ns, sync_done, &s);
	call = p->calling; /* new calls go to the front */
	while (!s.over && !r)
		r = loop_run_once(loop, true);
	if (!s.over) {
		/* The ring itself failed; the call may stay in flight but must not touch this frame. */
		call->done = sync_abandoned;
		call->arg = NULL;
		return err_errno(e, r, "%s: event loop", method->name);
	}
	if (s.error.code)
		return err_set(e, s.error.code, "%s", s.error.msg);
	if (response)
		*response = s.response;
	return 0;
}
