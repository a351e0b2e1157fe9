/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/ttrpc_fixture.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/util.h"
#include "guest-agent/agent.pb-c.h"

struct loop *loop;
int sv[2];
struct ttrpc_peer *server, *client;
int closed_n, closed_reason, cancelled_n, kept_n, done_n, failed_n;
int last_code;
char last_value[64];
struct ttrpc_call *kept[TTRPC_CALLS_MAX];

/* ---- the service: names are the agent's messages, which are at hand ---- */

static void serve_echo(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	ck_assert_ptr_eq(arg, &loop);
	ttrpc_reply(call, req);
}

static void serve_fail(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct err e = ERR_INIT;

	err_set(&e, ENOENT, "container %s: not\x1b here", ((const Microvm__NameValue *)req)->name);
	ttrpc_fail(call, &e);
}

static void cancelled(struct ttrpc_call *call, void *arg)
{
	cancelled_n++;
}

static void serve_keep(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	ttrpc_call_on_cancel(call, cancelled, NULL);
	kept[kept_n++] = call;
}

static void serve_big(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	Microvm__NameValue nv = MICROVM__NAME_VALUE__INIT;
	size_t len = strtoul(((const Microvm__NameValue *)req)->value, NULL, 10);

	nv.name = (char *)"big";
	nv.value = malloc(len + 1);
	memset(nv.value, 'b', len);
	nv.value[len] = '\0';
	ttrpc_reply(call, &nv.base);
	free(nv.value);
}

static void serve_drop(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct ttrpc_peer *p = ttrpc_call_peer(call);

	ttrpc_reply(call, req);
	ttrpc_peer_free(p);
	server = NULL;
}

#define METHOD(m, f)                                                                                                  \
	{                                                                                                             \
		.name = m, .request = &microvm__name_value__descriptor, .response = &microvm__name_value__descriptor, \
		.serve = f                                                                                            \
	}
const struct ttrpc_method methods[METHODS] = {
	[ECHO] = METHOD("Echo", serve_echo), [FAIL] = METHOD("Fail", serve_fail), [KEEP] = METHOD("Keep", serve_keep),
	[BIG] = METHOD("Big", serve_big),    [DROP] = METHOD("Drop", serve_drop),
};
const struct ttrpc_method unknown = METHOD("Unknown", NULL);
static const struct ttrpc_service services[] = { { .name = SERVICE, .methods = methods, .methods_n = METHODS } };

static void closed(struct ttrpc_peer *p, int reason, void *arg)
{
	closed_n++;
	closed_reason = reason;
}

static void done(const ProtobufCMessage *response, const struct err *e, void *arg)
{
	done_n++;
	last_code = 0;
	if (e) {
		failed_n++;
		last_code = e->code;
	} else {
		snprintf(last_value, sizeof(last_value), "%s", ((const Microvm__NameValue *)response)->value);
	}
}

void start_server(void)
{
	struct ttrpc_peer_config c = { .services = services, .services_n = 1, .arg = &loop, .closed = closed };

	ck_assert_int_eq(ttrpc_peer_new(&server, loop, sv[1], &c), 0);
}

void start_client(void)
{
	struct ttrpc_peer_config c = { .closed = closed };

	ck_assert_int_eq(ttrpc_peer_new(&client, loop, sv[0], &c), 0);
}

void setup(void)
{
	ck_assert_int_eq(loop_new(&loop, 16, 0), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	closed_n = cancelled_n = kept_n = done_n = failed_n = 0;
	closed_reason = 1;
	client = server = NULL;
}

static void nothing(struct loop_op *op, int res) {}

void settle(void)
{
	struct loop_op op;
	int i;

	loop_op_init(&op, nothing);
	for (i = 0; i < 3; i++) {
		loop_timer(loop, &op, 1000000);
		while (loop_op_busy(&op))
			loop_run_once(loop, true);
	}
}

void teardown(void)
{
	ttrpc_peer_free(client);
	ttrpc_peer_free(server);
	settle();
	loop_free(loop);
}

void wait_for(const int *counter, int n)
{
	while (*counter < n)
		ck_assert_int_eq(loop_run_once(loop, true), 0);
}

int call(const struct ttrpc_method *m, const char *value, struct err *e)
{
	Microvm__NameValue nv = MICROVM__NAME_VALUE__INIT;
	ProtobufCMessage *resp = NULL;
	int r;

	nv.name = (char *)"n";
	nv.value = (char *)value;
	r = ttrpc_call_sync(client, SERVICE, m, &nv.base, 0, &resp, e);
	if (!r) {
		snprintf(last_value, sizeof(last_value), "%s", ((Microvm__NameValue *)resp)->value);
		protobuf_c_message_free_unpacked(resp, NULL);
	}
	return r;
}

void call_async(const struct ttrpc_method *m, const char *value, uint64_t timeout_ns)
{
	Microvm__NameValue nv = MICROVM__NAME_VALUE__INIT;

	nv.name = (char *)"n";
	nv.value = (char *)value;
	ttrpc_call_async(client, SERVICE, m, &nv.base, timeout_ns, done, NULL);
}
