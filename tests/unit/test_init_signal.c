/* SPDX-License-Identifier: Apache-2.0 */
/* Which signals the first process of a pid namespace is spared: of the status file's text, and of a real one. */
#include <check.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "guest-agent/init_signal.h"

Suite *test_suite(void);

#define STATUS(nspid, blk, ign, cgt)                                                                               \
	"Name:\tsleep\nPid:\t77\nNSpid:\t" nspid "\nSigQ:\t0/1\nSigBlk:\t" blk "\nSigIgn:\t" ign "\nSigCgt:\t" cgt \
	"\nSeccomp:\t2\n"
#define NONE "0000000000000000"

static const struct {
	const char *status;
	int signal;
	bool spared;
} cases[] = {
	{ STATUS("77\t1", NONE, NONE, NONE), SIGTERM, true },
	{ STATUS("77\t1", NONE, NONE, NONE), SIGINT, true },
	{ STATUS("77\t1", NONE, NONE, NONE), 64, true },
	{ STATUS("77\t1", NONE, NONE, NONE), SIGKILL, false },
	{ STATUS("77\t1", NONE, NONE, NONE), SIGWINCH, false },
	{ STATUS("77\t1", NONE, NONE, NONE), SIGTSTP, false },
	{ STATUS("77\t1", NONE, NONE, NONE), 0, false },
	{ STATUS("77\t1", NONE, NONE, NONE), 65, false },
	/* Signal 15 is bit 14. */
	{ STATUS("77\t1", "0000000000004000", NONE, NONE), SIGTERM, false },
	{ STATUS("77\t1", NONE, "0000000000004000", NONE), SIGTERM, false },
	{ STATUS("77\t1", NONE, NONE, "0000000000004000"), SIGTERM, false },
	{ STATUS("77\t1", NONE, NONE, "0000000000004000"), SIGINT, true },
	{ STATUS("77\t2", NONE, NONE, NONE), SIGTERM, false },
	{ STATUS("77\t11", NONE, NONE, NONE), SIGTERM, false },
	{ STATUS("77", NONE, NONE, NONE), SIGTERM, false },
	{ "", SIGTERM, false },
	{ "Name:\tx\nNSpid:\t5\t1\n", SIGTERM, false },
};

START_TEST(test_status)
{
	ck_assert_int_eq(init_signal_spared_status(cases[_i].status, cases[_i].signal), cases[_i].spared);
}
END_TEST

START_TEST(test_real)
{
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
	} args = {
		.flags = CLONE_NEWPID,
		.exit_signal = SIGCHLD,
	};
	pid_t pid;
	int p[2];
	char byte;

	ck_assert_int_eq(pipe(p), 0);
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (!pid) {
		signal(SIGUSR1, SIG_IGN);
		signal(SIGTERM, SIG_DFL);
		if (write(p[1], "", 1) == 1)
			pause();
		_exit(0);
	}
	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(read(p[0], &byte, 1), 1);
	ck_assert(init_signal_spared(pid, SIGTERM));
	ck_assert(!init_signal_spared(pid, SIGUSR1));
	ck_assert(!init_signal_spared(getpid(), SIGTERM));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	ck_assert(!init_signal_spared(pid, SIGTERM));
	close(p[0]);
	close(p[1]);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("init_signal");
	TCase *t = tcase_create("init_signal");

	tcase_add_loop_test(t, test_status, 0, ARRAY_SIZE(cases));
	if (!geteuid())
		tcase_add_test(t, test_real);
	suite_add_tcase(s, t);
	return s;
}
