/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON reader: strict, exact, bounded, and complaints that name their place. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/util.h"

Suite *test_suite(void);

static struct json_node root;
static struct err e;

static void setup(void)
{
	memset(&root, 0, sizeof(root));
	memset(&e, 0, sizeof(e));
}

static void teardown(void)
{
	json_done(&root);
	json_done(&root);
}

static int parse(const char *text)
{
	json_done(&root);
	return json_parse(text, strlen(text), 1u << 20, &root, &e);
}

static const char *const not_json[] = {
	"",
	" ",
	"{",
	"[",
	"\"",
	"{\"a\"}",
	"{\"a\":}",
	"{a:1}",
	"{'a':1}",
	"[1,]",
	"{\"a\":1,}",
	"[1 2]",
	"nul",
	"tru",
	"01",
	"+1",
	".5",
	"1.",
	"1e",
	"0x10",
	"NaN",
	"Infinity",
	"\"\\x\"",
	"\"\\u12\"",
	"\"a\nb\"",
	"{} {}",
	"1 2",
	"// c\n1",
	"/* c */ 1",
	"\xff",
	"\"\xff\"",
	"[1]x",
	"null",
	"{\"a\":18446744073709551616}",
	"-9223372036854775809",
};

START_TEST(not_json_is_refused)
{
	ck_assert_msg(parse(not_json[_i]) < 0, "'%s' was taken", not_json[_i]);
	ck_assert_int_ne(e.msg[0], '\0');
}
END_TEST

static const char *const json[] = {
	"true", " 1 ", "-0", "1.5e3", "\"\"", "[]", "{}", "\"\\u00e9\\n\"", "\"\xc3\xa9\"", "{\"a\":[{\"b\":null}]}\n",
};

START_TEST(json_is_taken)
{
	ck_assert_msg(parse(json[_i]) == 0, "'%s': %s", json[_i], e.msg);
}
END_TEST

START_TEST(depth_and_length_are_bounded)
{
	char deep[4096];

	memset(deep, '[', sizeof(deep));
	ck_assert_int_lt(json_parse(deep, sizeof(deep), sizeof(deep), &root, &e), 0);
	ck_assert_int_eq(json_parse("[1,2,3]", 7, 6, &root, &e), -EFBIG);
	ck_assert_int_lt(json_parse("[1\0]", 4, 100, &root, &e), 0);
}
END_TEST

START_TEST(numbers_are_exact)
{
	uint64_t u = 0;
	int64_t i = 0;

	ck_assert_int_eq(parse("{\"u\":18446744073709551615,\"i\":-9223372036854775808,\"f\":1.5,\"n\":-1}"), 0);
	ck_assert_int_eq(json_get_u64(&root, "u", 0, UINT64_MAX, &u, NULL, &e), 0);
	ck_assert_uint_eq(u, UINT64_MAX);
	ck_assert_int_eq(json_get_i64(&root, "i", INT64_MIN, INT64_MAX, &i, NULL, &e), 0);
	ck_assert_int_eq(i, INT64_MIN);
	ck_assert_int_lt(json_get_u64(&root, "f", 0, 10, &u, NULL, &e), 0);
	ck_assert_int_lt(json_get_u64(&root, "n", 0, 10, &u, NULL, &e), 0);
	ck_assert_int_eq(json_get_i64(&root, "u", INT64_MIN, INT64_MAX, &i, NULL, &e), -ERANGE);
	ck_assert_int_eq(json_get_u64(&root, "u", 0, 7, &u, NULL, &e), -ERANGE);
	ck_assert_uint_eq(u, UINT64_MAX);
}
END_TEST

START_TEST(absent_and_null_leave_values_alone)
{
	char **list = NULL;
	bool b = true, present = true;
	char *s = NULL;
	size_t n = 5;

	ck_assert_int_eq(parse("{\"null\":null}"), 0);
	ck_assert_int_eq(json_get_bool(&root, "null", &b, &present, &e), 0);
	ck_assert(b && !present);
	ck_assert_int_eq(json_get_string(&root, "none", &s, &e), 0);
	ck_assert_ptr_null(s);
	ck_assert_int_eq(json_get_strings(&root, "null", 10, &list, &n, &e), 0);
	ck_assert(list == NULL && n == 0);
}
END_TEST

START_TEST(lists_are_copied_and_bounded)
{
	char **list = NULL;
	size_t n = 0;

	ck_assert_int_eq(parse("{\"l\":[\"a\",\"\",\"c\"],\"bad\":[\"a\",7],\"hole\":[null]}"), 0);
	ck_assert_int_eq(json_get_strings(&root, "l", 3, &list, &n, &e), 0);
	ck_assert_uint_eq(n, 3);
	ck_assert_str_eq(list[2], "c");
	ck_assert_ptr_null(list[3]);
	json_free_strings(list);
	ck_assert_int_eq(json_get_strings(&root, "l", 2, &list, &n, &e), -E2BIG);
	ck_assert_int_eq(json_get_strings(&root, "bad", 9, &list, &n, &e), -EINVAL);
	ck_assert_ptr_nonnull(strstr(e.msg, "bad[1]"));
	ck_assert_int_eq(json_get_strings(&root, "hole", 9, &list, &n, &e), -EINVAL);
	json_free_strings(NULL);
}
END_TEST

START_TEST(complaints_name_their_place)
{
	struct json_node process, args, entry;
	const char *s;
	size_t n;

	ck_assert_int_eq(parse("{\"process\":{\"args\":[\"sh\",\"-c\",7]}}"), 0);
	ck_assert(json_member(&root, "process", &process));
	ck_assert_int_eq(json_get_array(&process, "args", 9, &args, &n, &e), 0);
	ck_assert(json_entry(&args, 2, &entry));
	ck_assert_int_eq(json_as_string(&entry, &s, &e), -EINVAL);
	ck_assert_ptr_nonnull(strstr(e.msg, "process.args[2]"));
	ck_assert(!json_entry(&args, 3, &entry));
	ck_assert(!json_member(&process, "none", &entry));
}
END_TEST

START_TEST(wrong_types_and_nuls_are_refused)
{
	struct json_node child;
	char *s = NULL;
	bool b;

	ck_assert_int_eq(parse("{\"s\":\"a\\u0000b\",\"n\":1,\"o\":{}}"), 0);
	ck_assert_int_lt(json_get_string(&root, "s", &s, &e), 0);
	ck_assert_int_lt(json_get_string(&root, "n", &s, &e), 0);
	ck_assert_int_lt(json_get_bool(&root, "n", &b, NULL, &e), 0);
	ck_assert_int_lt(json_get_object(&root, "n", &child, NULL, &e), 0);
	ck_assert_int_eq(json_get_object(&root, "o", &child, NULL, &e), 0);
	ck_assert_ptr_null(s);
}
END_TEST

START_TEST(long_path_is_cut_at_its_front)
{
	char text[400], path[32];
	struct json_node child, deeper;

	snprintf(text, sizeof(text), "{\"%0100d\":{\"%0100d\":1}}", 1, 2);
	ck_assert_int_eq(parse(text), 0);
	text[102] = '\0';
	ck_assert(json_member(&root, text + 2, &child));
	ck_assert(json_member(&child, "none", &deeper) == false);
	ck_assert_uint_lt(strlen(json_path(&child, path, sizeof(path))), sizeof(path));
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("base_json");
	TCase *tc = tcase_create("json");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, not_json_is_refused, 0, ARRAY_SIZE(not_json));
	tcase_add_loop_test(tc, json_is_taken, 0, ARRAY_SIZE(json));
	tcase_add_test(tc, depth_and_length_are_bounded);
	tcase_add_test(tc, numbers_are_exact);
	tcase_add_test(tc, absent_and_null_leave_values_alone);
	tcase_add_test(tc, lists_are_copied_and_bounded);
	tcase_add_test(tc, complaints_name_their_place);
	tcase_add_test(tc, wrong_types_and_nuls_are_refused);
	tcase_add_test(tc, long_path_is_cut_at_its_front);
	suite_add_tcase(suite, tc);
	return suite;
}
