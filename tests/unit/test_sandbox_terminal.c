/* SPDX-License-Identifier: Apache-2.0 */
/* The terminal is as before on every way out, also when nobody is left who could put it back. */
#include <check.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "sandbox/terminal.h"

Suite *test_suite(void);

static int master, slave;
static struct termios before;

static void set_up(void)
{
	struct winsize size = { .ws_row = 31, .ws_col = 97 };

	ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, &size), 0);
	ck_assert_int_eq(tcgetattr(slave, &before), 0);
	ck_assert(before.c_lflag & ICANON);
}

static void tear_down(void)
{
	close(master);
	close(slave);
}

static bool is_as_before(void)
{
	struct termios now;

	ck_assert_int_eq(tcgetattr(slave, &now), 0);
	return now.c_lflag == before.c_lflag && now.c_iflag == before.c_iflag && now.c_oflag == before.c_oflag;
}

START_TEST(test_raw_and_back)
{
	struct err e = ERR_INIT;

	ck_assert_msg(!terminal_raw(slave, &e), "%s", e.msg);
	ck_assert(!is_as_before());
	terminal_restore();
	ck_assert(is_as_before());
	/* Once more does nothing. */
	terminal_restore();
}
END_TEST

START_TEST(test_killed)
{
	int p[2], i;
	char byte;
	pid_t pid;

	ck_assert_int_eq(pipe(p), 0);
	pid = fork();
	if (!pid) {
		struct err e = ERR_INIT;

		if (!terminal_raw(slave, &e) && write(p[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	ck_assert_int_eq(read(p[0], &byte, 1), 1);
	ck_assert(!is_as_before());
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	/* The guard needs its moment; the test's own limit ends this when it never comes. */
	while (!is_as_before())
		nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
	for (i = 0; i < 2; i++)
		close(p[i]);
}
END_TEST

START_TEST(test_no_terminal)
{
	struct err e = ERR_INIT;
	uint32_t rows, cols;
	int fd = open("/dev/null", O_RDWR);

	ck_assert_int_lt(terminal_raw(fd, &e), 0);
	terminal_size(fd, &rows, &cols);
	ck_assert_uint_eq(rows, 0);
	terminal_size(slave, &rows, &cols);
	ck_assert_uint_eq(rows, 31);
	ck_assert_uint_eq(cols, 97);
	close(fd);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("sandbox_terminal");
	TCase *t = tcase_create("terminal");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, test_raw_and_back);
	tcase_add_test(t, test_killed);
	tcase_add_test(t, test_no_terminal);
	suite_add_tcase(s, t);
	return s;
}
