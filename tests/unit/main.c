/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs the one suite that a tests/unit/test_X.c defines, each test in a process of its own. The results go to stdout as
 * TAP, which tests/run counts. CK_RUN_CASE=NAME picks a case, CK_FORK=no is for debuggers.
 */
#include <check.h>
#include <signal.h>
#include <stdlib.h>

Suite *test_suite(void);

int main(void)
{
	SRunner *runner;
	int failed;

	/* A hang ends here at last; how long a test takes on a busy machine decides nothing. */
	setenv("CK_DEFAULT_TIMEOUT", "120", 0);
	signal(SIGPIPE, SIG_IGN);
	runner = srunner_create(test_suite());
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
