/* SPDX-License-Identifier: Apache-2.0 */
/* One peer, and a hand that writes frames as no client or server of ours would. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "guest-agent/agent.pb-c.h"
#include "tests/unit/ttrpc_fixture.h"
#include "userland/rpc/ttrpc.pb-c.h"

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

Suite *test_suite(void);

Suite *test_suite(void)
{
	Suite *s = suite_create("ttrpc_frames");
	TCase *t = tcase_create("peer");

	tcase_add_checked_fixture(t, setup, teardown);
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
	suite_add_tcase(s, t);
	return s;
}
