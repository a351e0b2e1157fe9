/* SPDX-License-Identifier: Apache-2.0 */
/* Two peers on a socket pair. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "guest-agent/agent.pb-c.h"
#include "tests/unit/ttrpc_fixture.h"

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
	tcase_add_test(t, a_client_may_be_freed_when_it_is_answered);
	suite_add_tcase(s, t);
	return s;
}
