/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "guest-agent/agent.pb-c.h"
#include "rpc/ttrpc.h"
#include "rpc/unpack.h"

START_TEST(headers_are_big_endian)
{
	const uint8_t raw[TTRPC_HEADER_LEN] = { 0, 0, 1, 2, 0, 0, 0, 5, TTRPC_RESPONSE, 1 };
	struct ttrpc_header h;
	uint8_t back[TTRPC_HEADER_LEN];

	ck_assert_int_eq(ttrpc_header_decode(raw, &h), 0);
	ck_assert_uint_eq(h.len_bytes, 0x102);
	ck_assert_uint_eq(h.stream_id, 5);
	ck_assert_uint_eq(h.type, TTRPC_RESPONSE);
	ck_assert_uint_eq(h.flags, 1);
	ttrpc_header_encode(&h, back);
	ck_assert_mem_eq(raw, back, sizeof(raw));
}
END_TEST

START_TEST(bad_headers_are_refused)
{
	struct ttrpc_header h = { .len_bytes = TTRPC_BODY_MAX, .stream_id = 1, .type = TTRPC_REQUEST };
	uint8_t raw[TTRPC_HEADER_LEN];

	ttrpc_header_encode(&h, raw);
	ck_assert_int_eq(ttrpc_header_decode(raw, &h), 0);
	h.len_bytes++;
	ttrpc_header_encode(&h, raw);
	ck_assert_int_eq(ttrpc_header_decode(raw, &h), -EMSGSIZE);
	h = (struct ttrpc_header){ .len_bytes = 1, .stream_id = 1, .type = 4 };
	ttrpc_header_encode(&h, raw);
	ck_assert_int_eq(ttrpc_header_decode(raw, &h), -EPROTO);
	h.type = 0;
	ttrpc_header_encode(&h, raw);
	ck_assert_int_eq(ttrpc_header_decode(raw, &h), -EPROTO);
}
END_TEST

START_TEST(errors_survive_the_way_over_the_wire)
{
	static const int same[] = { ENOENT,    EEXIST,	   EINVAL, EACCES, EBUSY, ETIMEDOUT,
				    ECANCELED, EOPNOTSUPP, ENOSPC, ERANGE, EIO };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(same); i++) {
		ck_assert_int_eq(ttrpc_errno_of_code(ttrpc_code_of_errno(same[i])), same[i]);
		ck_assert_int_eq(ttrpc_code_of_errno(same[i]), ttrpc_code_of_errno(-same[i]));
	}
	ck_assert_int_eq(ttrpc_errno_of_code(TTRPC_OK), 0);
	ck_assert_int_eq(ttrpc_code_of_errno(0), TTRPC_OK);
	/* What has no row is still an error. */
	ck_assert_int_eq(ttrpc_code_of_errno(EXDEV), TTRPC_UNKNOWN);
	ck_assert_int_ne(ttrpc_errno_of_code(99), 0);
	ck_assert_int_ne(ttrpc_errno_of_code(TTRPC_UNKNOWN), 0);
}
END_TEST

START_TEST(messages_are_unpacked_within_a_budget)
{
	Microvm__NameValue nv = MICROVM__NAME_VALUE__INIT;
	uint8_t packed[64], *bomb = malloc(TTRPC_BODY_MAX);
	ProtobufCMessage *m;
	size_t len, i;

	nv.name = (char *)"a";
	nv.value = (char *)"b";
	len = microvm__name_value__pack(&nv, packed);
	m = ttrpc_unpack(&microvm__name_value__descriptor, packed, len);
	ck_assert_ptr_nonnull(m);
	ck_assert_str_eq(((Microvm__NameValue *)m)->value, "b");
	protobuf_c_message_free_unpacked(m, NULL);
	ck_assert_ptr_null(ttrpc_unpack(&microvm__name_value__descriptor, packed, len - 1));
	/* Two million empty mounts (field 6) in 4 MiB. */
	for (i = 0; i < TTRPC_BODY_MAX; i += 2) {
		bomb[i] = 6 << 3 | 2;
		bomb[i + 1] = 0;
	}
	ck_assert_ptr_null(ttrpc_unpack(&microvm__spec__descriptor, bomb, TTRPC_BODY_MAX));
	free(bomb);
}
END_TEST

Suite *test_suite(void);

Suite *test_suite(void)
{
	Suite *s = suite_create("ttrpc codec");
	TCase *t = tcase_create("codec");

	tcase_add_test(t, headers_are_big_endian);
	tcase_add_test(t, bad_headers_are_refused);
	tcase_add_test(t, errors_survive_the_way_over_the_wire);
	tcase_add_test(t, messages_are_unpacked_within_a_budget);
	suite_add_tcase(s, t);
	return s;
}
