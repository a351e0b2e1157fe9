/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/container_fixture.h"

START_TEST(hello)
{
	expect_output("echo hello; echo $$; /bin/sh -c 'exit 0'", NULL, "hello\n1\n");
}
END_TEST

Suite *test_suite(void);

Suite *test_suite(void)
{
	Suite *s = suite_create("container");
	TCase *t = tcase_create("basics");

	tcase_add_checked_fixture(t, fixture_begin, NULL);
	tcase_add_test(t, hello);
	suite_add_tcase(s, t);
	return s;
}
