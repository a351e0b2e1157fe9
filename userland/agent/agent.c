/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/agent.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "rpc/ttrpc.h"

struct agent {
	struct ttrpc_peer *peer;
	struct agent_config config;
	bool calling_closed, freed;
};

#define AGENT_ENUM(fn, Request, Reply, timeout_s) METHOD_##fn,
enum { AGENT_METHODS(AGENT_ENUM) METHODS_N };
#undef AGENT_ENUM

/* Names and messages are those that protobuf-c made of the service. */
static struct ttrpc_method methods[METHODS_N];

static void fill_methods(void)
{
	size_t i;

	if (methods[0].name)
		return;
	for (i = 0; i < METHODS_N && i < microvm__agent__descriptor.n_methods; i++) {
		const ProtobufCMethodDescriptor *d = &microvm__agent__descriptor.methods[i];

		methods[i] = (struct ttrpc_method){ .name = d->name, .request = d->input, .response = d->output };
	}
}

static void peer_closed(struct ttrpc_peer *peer, int reason, void *arg)
{
	struct agent *a = arg;

	if (!a->config.closed)
		return;
	a->calling_closed = true;
	a->config.closed(a, reason, a->config.arg);
	a->calling_closed = false;
	if (a->freed)
		free(a);
}

int agent_new(struct agent **out, struct loop *loop, int fd, const struct agent_config *config)
{
	struct agent *a = xcalloc(1, sizeof(*a));
	struct ttrpc_peer_config c = { .closed = peer_closed, .arg = a };
	int r;

	fill_methods();
	if (config)
		a->config = *config;
	r = ttrpc_peer_new(&a->peer, loop, fd, &c);
	if (r < 0) {
		free(a);
		return r;
	}
	*out = a;
	return 0;
}

void agent_free(struct agent *a)
{
	if (!a || a->freed)
		return;
	a->freed = true;
	ttrpc_peer_free(a->peer);
	if (!a->calling_closed)
		free(a);
}

void agent_reply_free(void *reply)
{
	if (reply)
		protobuf_c_message_free_unpacked(reply, NULL);
}

#define NS_PER_S 1000000000ull

#define AGENT_DEFINE(fn, Request, Reply, timeout_s)                                                               \
	int agent_##fn(struct agent *a, const Microvm__##Request *req, Microvm__##Reply **reply, struct err *e)   \
	{                                                                                                         \
		return ttrpc_call_sync(a->peer, GUEST_SERVICE, &methods[METHOD_##fn], &req->base,                 \
				       (timeout_s)*NS_PER_S, (ProtobufCMessage **)reply, e);                      \
	}                                                                                                         \
	void agent_##fn##_async(struct agent *a, const Microvm__##Request *req, agent_done_fn done, void *arg)    \
	{                                                                                                         \
		ttrpc_call_async(a->peer, GUEST_SERVICE, &methods[METHOD_##fn], &req->base, (timeout_s)*NS_PER_S, \
				 done, arg);                                                                      \
	}
AGENT_METHODS(AGENT_DEFINE)
