/* SPDX-License-Identifier: Apache-2.0 */
/* Two peers on a socket pair, or one peer and a hand that writes frames as no client of ours would. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "guest-agent/agent.pb-c.h"
#include "rpc/ttrpc.h"
#include "userland/rpc/ttrpc.pb-c.h"

#define SERVICE "microvm.Agent"

static struct loop *loop;
static int sv[2];
static struct ttrpc_peer *server, *client;
static int closed_n, closed_reason, cancelled_n, kept_n, done_n, failed_n;
static int last_code;
static char last_msg[ERR_MSG_MAX], last_value[64];
static struct ttrpc_call *kept[TTRPC_CALLS_MAX];

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
enum { ECHO, FAIL, KEEP, BIG, DROP, METHODS };
static const struct ttrpc_method methods[] = {
	[ECHO] = METHOD("Echo", serve_echo), [FAIL] = METHOD("Fail", serve_fail), [KEEP] = METHOD("Keep", serve_keep),
	[BIG] = METHOD("Big", serve_big),    [DROP] = METHOD("Drop", serve_drop),
};
static const struct ttrpc_method unknown = METHOD("Unknown", NULL);
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
		snprintf(last_msg, sizeof(last_msg), "%s", e->msg);
	} else {
		snprintf(last_value, sizeof(last_value), "%s", ((const Microvm__NameValue *)response)->value);
	}
}

static void start_server(void)
{
	struct ttrpc_peer_config c = { .services = services, .services_n = 1, .arg = &loop, .closed = closed };

	ck_assert_int_eq(ttrpc_peer_new(&server, loop, sv[1], &c), 0);
}

static void start_client(void)
{
	struct ttrpc_peer_config c = { .closed = closed };

	ck_assert_int_eq(ttrpc_peer_new(&client, loop, sv[0], &c), 0);
}

static void setup(void)
{
	ck_assert_int_eq(loop_new(&loop, 16, 0), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	closed_n = cancelled_n = kept_n = done_n = failed_n = 0;
	closed_reason = 1;
	client = server = NULL;
}

static void nothing(struct loop_op *op, int res) {}

static void settle(void)
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

static void teardown(void)
{
	ttrpc_peer_free(client);
	ttrpc_peer_free(server);
	settle();
	loop_free(loop);
}

static void wait_for(const int *counter, int n)
{
	while (*counter < n)
		ck_assert_int_eq(loop_run_once(loop, true), 0);
}

static int call(const struct ttrpc_method *m, const char *value, struct err *e)
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

static void call_async(const struct ttrpc_method *m, const char *value, uint64_t timeout_ns)
{
	Microvm__NameValue nv = MICROVM__NAME_VALUE__INIT;

	nv.name = (char *)"n";
	nv.value = (char *)value;
	ttrpc_call_async(client, SERVICE, m, &nv.base, timeout_ns, done, NULL);
}

/* ---- both peers ---- */

START_TEST(calls_are_answered)
{
	struct err e = ERR_INIT;

	start_server();
	start_client();
	ck_assert_int_eq(call(&methods[ECHO], "hello", &e), 0);
	ck_assert_str_eq(last_value, "hello");
	ck_assert_int_eq(call(&methods[ECHO], "", &e), 0);
	ck_assert_str_eq(last_value, "");
	ck_assert_int_eq(call(&methods[FAIL], "", &e), -ENOENT);
	ck_assert_str_eq(e.msg, "container n: not? here");
	ck_assert_int_eq(call(&unknown, "", &e), -EOPNOTSUPP);
	ck_assert_ptr_nonnull(strstr(e.msg, "Unknown"));
	ck_assert_int_eq(ttrpc_call_sync(client, "other.Service", &methods[ECHO],
					 &(Microvm__NameValue)MICROVM__NAME_VALUE__INIT.base, 0, NULL, &e),
			 -EOPNOTSUPP);
	ck_assert_ptr_nonnull(strstr(e.msg, "other.Service"));
}
END_TEST

START_TEST(answers_come_in_any_order)
{
	Microvm__NameValue nv = MICROVM__NAME_VALUE__INIT;

	start_server();
	start_client();
	call_async(&methods[KEEP], "", 0);
	call_async(&methods[ECHO], "second", 0);
	wait_for(&done_n, 1);
	ck_assert_str_eq(last_value, "second");
	nv.value = (char *)"first";
	ttrpc_reply(kept[0], &nv.base);
	wait_for(&done_n, 2);
	ck_assert_str_eq(last_value, "first");
	ck_assert_int_eq(failed_n, 0);
}
END_TEST

START_TEST(large_messages_pass_and_too_large_ones_are_refused)
{
	struct err e = ERR_INIT;
	size_t len = TTRPC_BODY_MAX - 100;
	char *big = malloc(TTRPC_BODY_MAX + 1);

	memset(big, 'x', TTRPC_BODY_MAX);
	big[len] = '\0';
	start_server();
	start_client();
	ck_assert_int_eq(call(&methods[ECHO], big, &e), 0);
	big[len] = 'x';
	big[TTRPC_BODY_MAX] = '\0';
	ck_assert_int_eq(call(&methods[ECHO], big, &e), -EMSGSIZE);
	/* One that fits, but not together with what the frame adds. */
	big[TTRPC_BODY_MAX - 10] = '\0';
	ck_assert_int_eq(call(&methods[ECHO], big, &e), -EMSGSIZE);
	ck_assert_int_eq(call(&methods[BIG], "4194304", &e), -ENOSPC);
	ck_assert_int_eq(call(&methods[BIG], "4194290", &e), -ENOSPC);
	ck_assert_int_eq(call(&methods[BIG], "4194000", &e), 0);
	ck_assert_int_eq(call(&methods[ECHO], "still there", &e), 0);
	free(big);
}
END_TEST

START_TEST(a_time_limit_ends_both_sides)
{
	start_server();
	start_client();
	call_async(&methods[KEEP], "", 5000000);
	wait_for(&done_n, 1);
	ck_assert_int_eq(last_code, ETIMEDOUT);
	wait_for(&cancelled_n, 1);
	ck_assert_int_eq(kept_n, 1);
	ck_assert_int_eq(call(&methods[ECHO], "still there", NULL), 0);
}
END_TEST

START_TEST(too_many_calls_are_refused)
{
	Microvm__NameValue nv = MICROVM__NAME_VALUE__INIT;
	unsigned int i;

	start_server();
	start_client();
	for (i = 0; i < TTRPC_CALLS_MAX + 3; i++)
		call_async(&methods[KEEP], "", 0);
	wait_for(&done_n, 3);
	ck_assert_int_eq(failed_n, 3);
	ck_assert_int_eq(last_code, ENOSPC);
	ck_assert_int_eq(kept_n, TTRPC_CALLS_MAX);
	nv.value = (char *)"x";
	while (kept_n)
		ttrpc_reply(kept[--kept_n], &nv.base);
	wait_for(&done_n, TTRPC_CALLS_MAX + 3);
	ck_assert_int_eq(failed_n, 3);
	call_async(&methods[KEEP], "", 0);
	wait_for(&kept_n, 1);
}
END_TEST

START_TEST(the_servers_end_fails_open_calls)
{
	start_server();
	start_client();
	call_async(&methods[KEEP], "", 0);
	call_async(&methods[KEEP], "", 1000000000000ull);
	wait_for(&kept_n, 2);
	ttrpc_peer_free(server);
	server = NULL;
	ck_assert_int_eq(cancelled_n, 2);
	wait_for(&closed_n, 1);
	ck_assert_int_eq(closed_reason, 0);
	ck_assert_int_eq(failed_n, 2);
	ck_assert_int_eq(last_code, EPIPE);
	/* Later calls fail too, and never from within the call itself. */
	call_async(&methods[ECHO], "", 0);
	ck_assert_int_eq(done_n, 2);
	wait_for(&done_n, 3);
	ck_assert_int_eq(last_code, EPIPE);
	ck_assert_int_eq(closed_n, 1);
}
END_TEST

START_TEST(the_clients_end_cancels_what_is_served)
{
	start_server();
	start_client();
	call_async(&methods[KEEP], "", 0);
	wait_for(&kept_n, 1);
	ttrpc_peer_free(client);
	client = NULL;
	ck_assert_int_eq(done_n, 1);
	ck_assert_int_eq(last_code, ECANCELED);
	wait_for(&closed_n, 1);
	ck_assert_int_eq(cancelled_n, 1);
	ck_assert_int_eq(closed_reason, 0);
}
END_TEST

START_TEST(a_server_may_be_freed_while_it_serves)
{
	start_server();
	start_client();
	call_async(&methods[DROP], "x", 0);
	wait_for(&closed_n, 1);
	ck_assert_int_eq(done_n, 1);
}
END_TEST

START_TEST(non_blocking_sockets_are_fine)
{
	fcntl(sv[0], F_SETFL, O_NONBLOCK);
	fcntl(sv[1], F_SETFL, O_NONBLOCK);
	start_server();
	start_client();
	ck_assert_int_eq(call(&methods[ECHO], "hello", NULL), 0);
}
END_TEST

/* ---- a hand-written client ---- */

static size_t put_frame(uint8_t *out, uint8_t type, uint32_t id, const void *body, size_t len)
{
	struct ttrpc_header h = { .len_bytes = len, .stream_id = id, .type = type };

	ttrpc_header_encode(&h, out);
	memcpy(out + TTRPC_HEADER_LEN, body, len);
	return TTRPC_HEADER_LEN + len;
}

static size_t put_request(uint8_t *out, uint32_t id, const char *method, const char *value)
{
	Ttrpc__Request r = TTRPC__REQUEST__INIT;
	Microvm__NameValue nv = MICROVM__NAME_VALUE__INIT;
	uint8_t payload[200], body[400];

	nv.value = (char *)value;
	r.service = (char *)SERVICE;
	r.method = (char *)method;
	r.payload.data = payload;
	r.payload.len = microvm__name_value__pack(&nv, payload);
	return put_frame(out, TTRPC_REQUEST, id, body, ttrpc__request__pack(&r, body));
}

static void hand_send(const void *data, size_t len)
{
	ck_assert_int_eq(write_full(sv[0], data, len), 0);
}

/* Runs the loop until a response can be read; its status code, and its stream id. -1: end of stream. */
static int hand_response(uint32_t *id)
{
	uint8_t raw[TTRPC_HEADER_LEN], *body;
	struct ttrpc_header h;
	Ttrpc__Response *r;
	size_t got = 0;
	ssize_t n;
	int code;

	fcntl(sv[0], F_SETFL, O_NONBLOCK);
	while (got < sizeof(raw)) {
		n = read(sv[0], raw + got, sizeof(raw) - got);
		if (n == 0)
			return -1;
		if (n > 0)
			got += n;
		else
			ck_assert_int_eq(loop_run_once(loop, true), 0);
	}
	ck_assert_int_eq(ttrpc_header_decode(raw, &h), 0);
	ck_assert_int_eq(h.type, TTRPC_RESPONSE);
	body = malloc(h.len_bytes + 1);
	for (got = 0; got < h.len_bytes;) {
		n = read(sv[0], body + got, h.len_bytes - got);
		if (n > 0)
			got += n;
		else
			ck_assert_int_eq(loop_run_once(loop, true), 0);
	}
	fcntl(sv[0], F_SETFL, 0);
	r = ttrpc__response__unpack(NULL, h.len_bytes, body);
	ck_assert_ptr_nonnull(r);
	code = r->status ? r->status->code : 0;
	ttrpc__response__free_unpacked(r, NULL);
	free(body);
	*id = h.stream_id;
	return code;
}

START_TEST(frames_may_come_in_pieces)
{
	uint8_t buf[500];
	size_t len = put_request(buf, 1, "Echo", "x"), i;
	uint32_t id;

	start_server();
	for (i = 0; i < len; i++) {
		hand_send(buf + i, 1);
		if (i < len - 1)
			loop_run_once(loop, true);
	}
	ck_assert_int_eq(hand_response(&id), TTRPC_OK);
	ck_assert_uint_eq(id, 1);
}
END_TEST

START_TEST(frames_may_come_together)
{
	uint8_t buf[2000];
	size_t len = put_request(buf, 1, "Echo", "x");
	uint32_t id;

	len += put_request(buf + len, 3, "Nope", "x");
	len += put_request(buf + len, 5, "Echo", "x");
	start_server();
	hand_send(buf, len);
	ck_assert_int_eq(hand_response(&id), TTRPC_OK);
	ck_assert_int_eq(hand_response(&id), TTRPC_UNIMPLEMENTED);
	ck_assert_uint_eq(id, 3);
	ck_assert_int_eq(hand_response(&id), TTRPC_OK);
	ck_assert_uint_eq(id, 5);
}
END_TEST

START_TEST(bad_stream_ids_are_refused)
{
	uint8_t buf[2000];
	size_t len = put_request(buf, 2, "Echo", "x");
	uint32_t id;

	len += put_request(buf + len, 7, "Echo", "x");
	len += put_request(buf + len, 7, "Echo", "x");
	len += put_request(buf + len, 5, "Echo", "x");
	len += put_frame(buf + len, TTRPC_DATA, 9, "x", 1);
	start_server();
	hand_send(buf, len);
	ck_assert_int_eq(hand_response(&id), TTRPC_INVALID_ARGUMENT);
	ck_assert_uint_eq(id, 2);
	ck_assert_int_eq(hand_response(&id), TTRPC_OK);
	ck_assert_int_eq(hand_response(&id), TTRPC_INVALID_ARGUMENT);
	ck_assert_int_eq(hand_response(&id), TTRPC_INVALID_ARGUMENT);
	ck_assert_uint_eq(id, 5);
	ck_assert_int_eq(hand_response(&id), TTRPC_UNIMPLEMENTED);
	ck_assert_uint_eq(id, 9);
}
END_TEST

START_TEST(malformed_bodies_are_refused)
{
	uint8_t buf[2000], body[100];
	Ttrpc__Request r = TTRPC__REQUEST__INIT;
	size_t len = put_frame(buf, TTRPC_REQUEST, 1, "\xff\xff\xff\xff", 4);
	uint32_t id;

	r.service = (char *)SERVICE;
	r.method = (char *)"Echo";
	r.payload.data = (uint8_t *)"\xff\xff";
	r.payload.len = 2;
	len += put_frame(buf + len, TTRPC_REQUEST, 3, body, ttrpc__request__pack(&r, body));
	len += put_request(buf + len, 5, "Echo", "x");
	start_server();
	hand_send(buf, len);
	ck_assert_int_eq(hand_response(&id), TTRPC_INVALID_ARGUMENT);
	ck_assert_uint_eq(id, 1);
	ck_assert_int_eq(hand_response(&id), TTRPC_INVALID_ARGUMENT);
	ck_assert_uint_eq(id, 3);
	ck_assert_int_eq(hand_response(&id), TTRPC_OK);
}
END_TEST

START_TEST(an_oversized_frame_is_answered_then_the_stream_ends)
{
	const uint8_t raw[TTRPC_HEADER_LEN] = { 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 3, TTRPC_REQUEST, 0 };
	uint32_t id;

	start_server();
	hand_send(raw, sizeof(raw));
	ck_assert_int_eq(hand_response(&id), TTRPC_RESOURCE_EXHAUSTED);
	ck_assert_uint_eq(id, 3);
	wait_for(&closed_n, 1);
	ck_assert_int_eq(closed_reason, -EMSGSIZE);
	ck_assert_int_eq(hand_response(&id), -1);
}
END_TEST

START_TEST(an_unknown_frame_type_ends_the_stream)
{
	const uint8_t raw[TTRPC_HEADER_LEN] = { 0, 0, 0, 0, 0, 0, 0, 3, 77, 0 };

	start_server();
	hand_send(raw, sizeof(raw));
	wait_for(&closed_n, 1);
	ck_assert_int_eq(closed_reason, -EPROTO);
}
END_TEST

START_TEST(a_stream_that_ends_within_a_frame_is_broken)
{
	uint8_t buf[500];
	size_t len = put_request(buf, 1, "Echo", "x");

	start_server();
	hand_send(buf, len - 1);
	shutdown(sv[0], SHUT_WR);
	wait_for(&closed_n, 1);
	ck_assert_int_eq(closed_reason, -ECONNRESET);
}
END_TEST

/* A client that stops sending still gets what it asked for before. */
START_TEST(a_half_closed_stream_gets_its_answers)
{
	uint8_t buf[500];
	size_t len = put_request(buf, 1, "Big", "4000000");
	uint32_t id;

	start_server();
	hand_send(buf, len);
	shutdown(sv[0], SHUT_WR);
	ck_assert_int_eq(hand_response(&id), TTRPC_OK);
	wait_for(&closed_n, 1);
	ck_assert_int_eq(closed_reason, 0);
}
END_TEST

/* One that asks on and on and takes no answers fills its own pipe, not our memory. */
START_TEST(a_slow_reader_is_not_served_further)
{
	uint8_t buf[500];
	uint32_t id, next = 1;
	int stalls = 0, answers = 0;

	start_server();
	fcntl(sv[0], F_SETFL, O_NONBLOCK);
	while (stalls < 20) {
		size_t len = put_request(buf, next, "Big", "60000");

		if (write(sv[0], buf, len) == (ssize_t)len) {
			next += 2;
			stalls = 0;
			continue;
		}
		ck_assert_int_eq(errno, EAGAIN);
		stalls++;
		settle();
	}
	ck_assert_int_eq(closed_n, 0);
	/* All of them are answered once the client reads. */
	while (answers < (int)(next / 2)) {
		ck_assert_int_eq(hand_response(&id), TTRPC_OK);
		ck_assert_uint_eq(id, 2 * answers++ + 1);
	}
}
END_TEST

/* ---- a hand-written server ---- */

START_TEST(strange_answers_fail_only_their_call)
{
	Ttrpc__Response resp = TTRPC__RESPONSE__INIT;
	uint8_t buf[300], body[100];
	size_t len;

	start_client();
	call_async(&methods[ECHO], "", 0);
	call_async(&methods[ECHO], "", 0);
	call_async(&methods[ECHO], "", 0);
	call_async(&methods[ECHO], "", 0);
	len = put_frame(buf, TTRPC_RESPONSE, 99, "", 0);       /* nobody asked */
	len += put_frame(buf + len, TTRPC_REQUEST, 1, "x", 1); /* we serve nothing */
	len += put_frame(buf + len, TTRPC_RESPONSE, 1, "\xff", 1);
	len += put_frame(buf + len, TTRPC_DATA, 3, "", 0);
	resp.payload.data = (uint8_t *)"\xff";
	resp.payload.len = 1;
	len += put_frame(buf + len, TTRPC_RESPONSE, 5, body, ttrpc__response__pack(&resp, body));
	len += put_frame(buf + len, TTRPC_RESPONSE, 7, "", 0); /* an empty message */
	ck_assert_int_eq(write_full(sv[1], buf, len), 0);
	wait_for(&done_n, 4);
	ck_assert_int_eq(failed_n, 3);
	ck_assert_int_eq(closed_n, 0);
	ck_assert_str_eq(last_value, "");
	close(sv[1]);
	wait_for(&closed_n, 1);
}
END_TEST

START_TEST(an_oversized_answer_ends_the_stream)
{
	const uint8_t raw[TTRPC_HEADER_LEN] = { 0x7f, 0, 0, 0, 0, 0, 0, 1, TTRPC_RESPONSE, 0 };

	start_client();
	call_async(&methods[ECHO], "", 0);
	ck_assert_int_eq(write_full(sv[1], raw, sizeof(raw)), 0);
	wait_for(&closed_n, 1);
	ck_assert_int_eq(closed_reason, -EMSGSIZE);
	ck_assert_int_eq(failed_n, 1);
	close(sv[1]);
}
END_TEST

static void stop_here(const ProtobufCMessage *response, const struct err *e, void *arg)
{
	done_n++;
	ttrpc_peer_free(client);
	client = NULL;
}

START_TEST(a_client_may_be_freed_when_it_is_answered)
{
	Microvm__NameValue nv = MICROVM__NAME_VALUE__INIT;

	start_server();
	start_client();
	ttrpc_call_async(client, SERVICE, &methods[ECHO], &nv.base, 1000000000000ull, stop_here, NULL);
	call_async(&methods[KEEP], "", 0);
	wait_for(&done_n, 2);
	ck_assert_int_eq(last_code, ECANCELED);
	wait_for(&closed_n, 1);
}
END_TEST

Suite *test_suite(void);

Suite *test_suite(void)
{
	Suite *s = suite_create("ttrpc");
	TCase *t = tcase_create("peer");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, calls_are_answered);
	tcase_add_test(t, answers_come_in_any_order);
	tcase_add_test(t, large_messages_pass_and_too_large_ones_are_refused);
	tcase_add_test(t, a_time_limit_ends_both_sides);
	tcase_add_test(t, too_many_calls_are_refused);
	tcase_add_test(t, the_servers_end_fails_open_calls);
	tcase_add_test(t, the_clients_end_cancels_what_is_served);
	tcase_add_test(t, a_server_may_be_freed_while_it_serves);
	tcase_add_test(t, non_blocking_sockets_are_fine);
	tcase_add_test(t, frames_may_come_in_pieces);
	tcase_add_test(t, frames_may_come_together);
	tcase_add_test(t, bad_stream_ids_are_refused);
	tcase_add_test(t, malformed_bodies_are_refused);
	tcase_add_test(t, an_oversized_frame_is_answered_then_the_stream_ends);
	tcase_add_test(t, an_unknown_frame_type_ends_the_stream);
	tcase_add_test(t, a_stream_that_ends_within_a_frame_is_broken);
	tcase_add_test(t, a_half_closed_stream_gets_its_answers);
	tcase_add_test(t, a_slow_reader_is_not_served_further);
	tcase_add_test(t, strange_answers_fail_only_their_call);
	tcase_add_test(t, an_oversized_answer_ends_the_stream);
	tcase_add_test(t, a_client_may_be_freed_when_it_is_answered);
	suite_add_tcase(s, t);
	return s;
}
