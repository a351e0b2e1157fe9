/* SPDX-License-Identifier: Apache-2.0 */
/* Files: whole reads and writes, atomic replacement, trees made and removed without leaving their folder. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

Suite *test_suite(void);

static char top_path[64];
static int top = -1;

static void setup(void)
{
	snprintf(top_path, sizeof(top_path), "/tmp/test-base-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(top_path));
	top = open(top_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(top, 0);
}

static void teardown(void)
{
	close(top);
	ck_assert_int_eq(remove_tree(AT_FDCWD, top_path), 0);
	ck_assert_int_lt(access(top_path, F_OK), 0);
}

static unsigned int entries(void)
{
	_cleanup_closedir_ DIR *d = opendir(top_path);
	unsigned int n = 0;

	ck_assert_ptr_nonnull(d);
	while (readdir(d))
		n++;
	return n - 2;
}

START_TEST(file_is_replaced_whole)
{
	_cleanup_free_ char *data = NULL;
	struct stat st;
	size_t len;

	ck_assert_int_eq(write_file_atomic(top, "f", "one", 3, 0600), 0);
	ck_assert_int_eq(write_file_atomic(top, "f", "second", 6, 0640), 0);
	ck_assert_int_eq(read_file(top, "f", 100, &data, &len), 0);
	ck_assert_uint_eq(len, 6);
	ck_assert_str_eq(data, "second");
	ck_assert_int_eq(fstatat(top, "f", &st, 0), 0);
	ck_assert_uint_eq(st.st_mode & 0777 & ~0640u, 0);
	ck_assert_uint_eq(entries(), 1);
}
END_TEST

START_TEST(failed_write_leaves_nothing)
{
	ck_assert_int_eq(mkdir_p(top, "dir/below", 0700), 0);
	ck_assert_int_lt(write_file_atomic(top, "dir", "x", 1, 0600), 0);
	ck_assert_int_eq(write_file_atomic(top, "no/such/dir", "x", 1, 0600), -ENOENT);
	ck_assert_uint_eq(entries(), 1);
}
END_TEST

START_TEST(file_over_the_limit_is_refused)
{
	_cleanup_free_ char *data = NULL, *zeros = xcalloc(1, 100000);
	size_t len;

	ck_assert_int_eq(write_file_atomic(top, "f", zeros, 100000, 0600), 0);
	ck_assert_int_eq(read_file(top, "f", 99999, &data, &len), -EFBIG);
	ck_assert_ptr_null(data);
	ck_assert_int_eq(read_file(top, "f", 100000, &data, &len), 0);
	ck_assert_uint_eq(len, 100000);
	ck_assert_int_eq(data[len], '\0');
}
END_TEST

START_TEST(empty_file_is_an_empty_string)
{
	_cleanup_free_ char *data = NULL;
	size_t len = 9;

	ck_assert_int_eq(write_file_atomic(top, "f", "", 0, 0600), 0);
	ck_assert_int_eq(read_file(top, "f", 0, &data, &len), 0);
	ck_assert_uint_eq(len, 0);
	ck_assert_str_eq(data, "");
	ck_assert_int_eq(read_file(top, "none", 10, &data, &len), -ENOENT);
}
END_TEST

START_TEST(short_file_is_no_data)
{
	_cleanup_close_ int fd = -1;
	char buf[8];

	ck_assert_int_eq(write_file_atomic(top, "f", "1234", 4, 0600), 0);
	fd = openat(top, "f", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(read_full(fd, buf, 4), 0);
	ck_assert_int_eq(read_full(fd, buf, 1), -ENODATA);
	ck_assert_int_eq(pread_full(fd, buf, 2, 2), 0);
	ck_assert_mem_eq(buf, "34", 2);
	ck_assert_int_eq(pread_full(fd, buf, 3, 2), -ENODATA);
	ck_assert_int_lt(write_full(fd, "x", 1), 0);
}
END_TEST

START_TEST(folders_are_made_where_they_miss)
{
	struct stat st;

	ck_assert_int_eq(mkdir_p(top, "a/b//c/", 0700), 0);
	ck_assert_int_eq(mkdir_p(top, "a/b/c", 0700), 0);
	ck_assert_int_eq(fstatat(top, "a/b/c", &st, 0), 0);
	ck_assert_int_eq(write_file_atomic(top, "a/file", "", 0, 0600), 0);
	ck_assert_int_eq(mkdir_p(top, "a/file/d", 0700), -ENOTDIR);
}
END_TEST

START_TEST(tree_goes_and_what_it_points_at_stays)
{
	ck_assert_int_eq(mkdir_p(top, "outside", 0700), 0);
	ck_assert_int_eq(write_file_atomic(top, "outside/keep", "", 0, 0600), 0);
	ck_assert_int_eq(mkdir_p(top, "tree/deep/er", 0700), 0);
	ck_assert_int_eq(symlinkat("../outside", top, "tree/link"), 0);
	ck_assert_int_eq(symlinkat("/nowhere", top, "tree/deep/dangling"), 0);
	ck_assert_int_eq(mkfifoat(top, "tree/fifo", 0600), 0);
	ck_assert_int_eq(remove_tree(top, "tree"), 0);
	ck_assert_int_eq(faccessat(top, "outside/keep", F_OK, 0), 0);
	ck_assert_uint_eq(entries(), 1);
	ck_assert_int_eq(remove_tree(top, "tree"), 0);
	ck_assert_int_eq(symlinkat("outside", top, "link"), 0);
	ck_assert_int_eq(remove_tree(top, "link"), 0);
	ck_assert_int_eq(faccessat(top, "outside/keep", F_OK, 0), 0);
}
END_TEST

START_TEST(fd_and_pointer_are_handed_on_once)
{
	int fd = 7;
	char *p = top_path, *q;

	ck_assert_int_eq(take_fd(&fd), 7);
	ck_assert_int_eq(fd, -1);
	q = take_ptr(p);
	ck_assert_ptr_eq(q, top_path);
	ck_assert_ptr_null(p);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("base_files");
	TCase *tc = tcase_create("files");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, file_is_replaced_whole);
	tcase_add_test(tc, failed_write_leaves_nothing);
	tcase_add_test(tc, file_over_the_limit_is_refused);
	tcase_add_test(tc, empty_file_is_an_empty_string);
	tcase_add_test(tc, short_file_is_no_data);
	tcase_add_test(tc, folders_are_made_where_they_miss);
	tcase_add_test(tc, tree_goes_and_what_it_points_at_stays);
	tcase_add_test(tc, fd_and_pointer_are_handed_on_once);
	suite_add_tcase(suite, tc);
	return suite;
}
