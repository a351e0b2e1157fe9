/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes from a hostile peer, given to a server and to a client with an open call. The first byte chooses which. What is
 * checked: the sanitizers are content, all calls end, and the peer's end is told once.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "guest-agent/agent.pb-c.h"
#include "rpc/ttrpc.h"

#define ROUNDS_MAX 10000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static int closed_n, done_n;

static void echo(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	ttrpc_reply(call, req);
}

static void forget(struct ttrpc_call *call, void *arg) {}

static void keep(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	ttrpc_call_on_cancel(call, forget, NULL);
}

static const struct ttrpc_method methods[] = {
	{ "CreateContainer", &microvm__create_container_request__descriptor,
	  &microvm__create_container_request__descriptor, echo },
	{ "WaitProcess", &microvm__process_request__descriptor, &microvm__wait_reply__descriptor, keep },
};
static const struct ttrpc_service service = { "microvm.Agent", methods, ARRAY_SIZE(methods) };

static void closed(struct ttrpc_peer *p, int reason, void *arg)
{
	closed_n++;
}

static void done(const ProtobufCMessage *response, const struct err *e, void *arg)
{
	done_n++;
}

static void nothing(struct loop_op *op, int res) {}

/* Feeds the peer as its socket takes it, and throws away what it says. */
static void feed(int fd, const uint8_t *data, size_t size)
{
	char sink[65536];
	size_t sent = 0;
	int round;

	for (round = 0; !closed_n && round < ROUNDS_MAX; round++) {
		ssize_t n = send(fd, data + sent, size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		sent += n > 0 ? n : 0;
		if (sent == size)
			shutdown(fd, SHUT_WR);
		while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
			;
		loop_run_once(loop, false);
	}
}

static void settle(void)
{
	struct loop_op op;
	int i;

	loop_op_init(&op, nothing);
	for (i = 0; i < 2; i++) {
		loop_timer(loop, &op, 1000);
		while (loop_op_busy(&op))
			loop_run_once(loop, true);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const bool serving = size && (data[0] & 1);
	const struct ttrpc_peer_config config = {
		.services = serving ? &service : NULL,
		.services_n = serving,
		.closed = closed,
	};
	Microvm__ProcessRequest req = MICROVM__PROCESS_REQUEST__INIT;
	Microvm__CreateContainerRequest create = MICROVM__CREATE_CONTAINER_REQUEST__INIT;
	struct ttrpc_peer *p;
	int sv[2];

	if (!size)
		return 0;
	if (!loop && loop_new(&loop, 16, 0) < 0)
		abort();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0 || ttrpc_peer_new(&p, loop, sv[0], &config) < 0)
		abort();
	closed_n = done_n = 0;
	if (!serving) {
		ttrpc_call_async(p, service.name, &methods[1], &req.base, 0, done, NULL);
		ttrpc_call_async(p, service.name, &methods[0], &create.base, 1000000000, done, NULL);
	}
	feed(sv[1], data + 1, size - 1);
	if (closed_n != 1 || (!serving && done_n != 2))
		abort();
	ttrpc_peer_free(p);
	close(sv[1]);
	settle();
	return 0;
}
