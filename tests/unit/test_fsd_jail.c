/* SPDX-License-Identifier: Apache-2.0 */
/* What a file server can still reach once it is jailed. Each test is a process that goes to jail and says what it found. */
#include <check.h>
#include <errno.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/unit/fsd_front.h"

Suite *test_suite(void);

static char dir[64], share[80];

static void setup(void)
{
	char path[96];

	strcpy(dir, "/tmp/fsd-jail.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(share, sizeof(share), "%s/share", dir);
	ck_assert_int_eq(mkdir(share, 0755), 0);
	snprintf(path, sizeof(path), "%s/inside", share);
	ck_assert_int_eq(close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644)), 0);
}

static void teardown(void)
{
	remove_tree(AT_FDCWD, dir);
}

/* The exit status of a process that goes to jail and runs fn. 255: no jail. */
static int in_jail(bool read_only, int (*fn)(int root_fd, int proc_fd))
{
	struct err e = ERR_INIT;
	int status, root_fd, proc_fd;
	pid_t pid = fork();

	if (pid == 0) {
		if (fsd_jail_enter(share, read_only, 64, &root_fd, &proc_fd, &e)) {
			fprintf(stderr, "%s\n", e.msg);
			_exit(255);
		}
		_exit(fn(root_fd, proc_fd));
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* 0: all is as it should be; else the number of what is not. */
static int sees_the_share_alone(int root_fd, int proc_fd)
{
	char path[16];

	if (access("/inside", F_OK) || faccessat(root_fd, "inside", F_OK, 0))
		return 1;
	if (!access("/etc", F_OK) || !faccessat(root_fd, "../../etc", F_OK, 0))
		return 2;
	/* Nothing of /proc but its own list of files, and no way up from there. */
	snprintf(path, sizeof(path), "%d", root_fd);
	if (faccessat(proc_fd, path, F_OK, 0) || access(path, F_OK))
		return 3;
	if (!faccessat(proc_fd, "../status", F_OK, 0) || !faccessat(proc_fd, "../../version", F_OK, 0) ||
	    !faccessat(proc_fd, "../../../etc", F_OK, 0))
		return 4;
	if (getpid() != 1 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 5;
	/* Rights over owners, and no others. */
	if (fchownat(root_fd, "inside", 5, 5, 0))
		return 6;
	if (!mknodat(root_fd, "disk", S_IFBLK | 0600, 0x800) || errno != EPERM)
		return 7;
	if (!syscall(SYS_mount, "none", "/", "tmpfs", 0, NULL) || errno != EPERM)
		return 8;
	return 0;
}

static int changes_nothing(int root_fd, int proc_fd)
{
	if (!mkdirat(root_fd, "d", 0755) || errno != EROFS)
		return 1;
	if (openat(root_fd, "inside", O_RDWR) >= 0 || errno != EROFS)
		return 2;
	return openat(root_fd, "inside", O_RDONLY) < 0 ? 3 : 0;
}

static int makes_a_socket(int root_fd, int proc_fd)
{
	struct err e = ERR_INIT;

	if (fsd_jail_seccomp(&e))
		return 1;
	/* One that is allowed, one that is not. */
	if (syscall(SYS_lseek, root_fd, 0, SEEK_SET))
		return 2;
	return (int)syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
}

START_TEST(a_jail_holds_the_share_alone)
{
	if (!geteuid())
		ck_assert_int_eq(in_jail(false, sees_the_share_alone), 0);
}
END_TEST

START_TEST(a_read_only_share_is_a_read_only_mount)
{
	if (!geteuid())
		ck_assert_int_eq(in_jail(true, changes_nothing), 0);
}
END_TEST

START_TEST(other_system_calls_end_it)
{
	if (!geteuid())
		ck_assert_int_eq(in_jail(false, makes_a_socket), 7);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("fsd_jail");
	TCase *c = tcase_create("jail");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, a_jail_holds_the_share_alone);
	tcase_add_test(c, a_read_only_share_is_a_read_only_mount);
	tcase_add_test(c, other_system_calls_end_it);
	suite_add_tcase(s, c);
	return s;
}
