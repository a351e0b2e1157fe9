/* SPDX-License-Identifier: Apache-2.0 */
/* What a container's program finds, and what becomes of it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/capability.h"
#include "base/cleanup.h"
#include "tests/unit/container_fixture.h"

Suite *test_suite(void);

START_TEST(hello)
{
	expect_output("echo hello; echo $$; /bin/sh -c 'exit 0'", NULL, "hello\n1\n");
}
END_TEST

START_TEST(exit_status)
{
	static const struct {
		const char *script;
		int status;
	} cases[] = {
		{ "exit 7", 7 },
		{ "exit 255", 255 },
		{ "sh -c 'kill -9 $$'; exit $?", 137 },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct box *b = box_new(cases[i].script, NULL);

		ck_assert_int_eq(box_run(b), cases[i].status);
		box_free(b);
	}
}
END_TEST

START_TEST(environment)
{
	struct oci_options o = { .env = LIST("A=1", "B=two words"), .hostname = "box", .cwd = "/made/for/it" };

	expect_output("echo $A,$B,$PATH,$HOME,$HOSTNAME; pwd; sh -c 'echo $0'; cat /proc/sys/kernel/hostname; umask",
		      &o,
		      "1,two words,/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin,/,box\n"
		      "/made/for/it\nsh\nbox\n0022\n");
}
END_TEST

START_TEST(users)
{
	static const char *const passwd = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:100::/home/alice:/bin/sh\n";
	static const char *const group = "root:x:0:\nusers:x:100:\nwheel:x:10:alice,root\nstaff:x:50:\n";
	static const struct {
		const char *user, *want;
	} cases[] = {
		{ NULL, "0 0 0 10 /root\n" },
		{ "alice", "1000 100 100 10 /home/alice\n" },
		{ "1000", "1000 100 100 10 /home/alice\n" },
		{ "alice:staff", "1000 50 50 /home/alice\n" },
		{ "4711", "4711 0 0 /\n" },
		{ "4711:12", "4711 12 12 /\n" },
		{ ":staff", "0 50 50 /root\n" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		/* --user ":GROUP" is refused as docker does; an image may say it. */
		struct oci_options o = { .image.user = cases[i].user };
		struct box *b = box_new("echo $(id -u) $(id -g) $(id -G) $HOME", &o);

		box_file(b, "/etc/passwd", passwd, 0644);
		box_file(b, "/etc/group", group, 0644);
		ck_assert_msg(box_run(b) == 0, "%s: %s", cases[i].user, b->e.msg);
		ck_assert_str_eq(b->output, cases[i].want);
		box_free(b);
	}
}
END_TEST

START_TEST(unknown_user)
{
	struct oci_options o = { .user = "nobody-here" };
	struct box *b = box_new("true", &o);

	ck_assert_int_eq(box_create(b), -ENOENT);
	ck_assert_msg(strstr(b->e.msg, "\"nobody-here\"") && strstr(b->e.msg, "/etc/passwd"), "%s", b->e.msg);
	box_free(b);
}
END_TEST

/* What isn't a file where one should be is not touched. */
START_TEST(hostile_passwd)
{
	struct box *b = box_new("true", NULL);

	box_file(b, "/etc/passwd/x", "", 0644);
	ck_assert_int_eq(box_create(b), -EINVAL);
	ck_assert_msg(strstr(b->e.msg, "/etc/passwd is no regular file"), "%s", b->e.msg);
	box_free(b);
}
END_TEST

START_TEST(capabilities)
{
	struct oci_options none = { .cap_drop = LIST("ALL") };
	struct oci_options one = { .cap_drop = LIST("ALL"), .cap_add = LIST("net_admin") };
	struct oci_options user = { .user = "1000" };
	struct oci_options all = { .privileged = true };
	uint64_t given = 0;
	unsigned int cap;
	char want[128];
	const char *script =
		"grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | while read k v; do echo -n $v,; done";

	expect_output(script, NULL,
		      "0000000000000000,00000000a80425fb,00000000a80425fb,00000000a80425fb,0000000000000000,");
	expect_output(script, &none,
		      "0000000000000000,0000000000000000,0000000000000000,0000000000000000,0000000000000000,");
	expect_output(script, &one,
		      "0000000000000000,0000000000001000,0000000000001000,0000000000001000,0000000000000000,");
	expect_output(script, &user,
		      "0000000000000000,0000000000000000,0000000000000000,00000000a80425fb,0000000000000000,");
	/* All that there is to give, which on a machine that is a container itself isn't all there is. */
	for (cap = 0; cap < CAPABILITY_COUNT; cap++)
		given |= (uint64_t)(prctl(PR_CAPBSET_READ, cap, 0, 0, 0) > 0) << cap;
	snprintf(want, sizeof(want), "0000000000000000,%016llx,%016llx,%016llx,0000000000000000,",
		 (unsigned long long)given, (unsigned long long)given, (unsigned long long)given);
	expect_output(script, &all, want);
}
END_TEST

START_TEST(ambient_capabilities)
{
	struct oci_options o = { .user = "1000" };
	struct box *b = box_new("grep -E 'Cap(Prm|Amb)' /proc/self/status | while read k v; do echo -n $v,; done", &o);
	Microvm__Capabilities *c = b->spec->process->capabilities;
	char *kill_list[] = { "CAP_KILL" };

	c->n_inheritable = c->n_ambient = 1;
	c->inheritable = c->ambient = kill_list;
	ck_assert_msg(box_run(b) == 0, "%s", b->e.msg);
	ck_assert_str_eq(b->output, "0000000000000020,0000000000000020,");
	c->n_inheritable = c->n_ambient = 0;
	c->inheritable = c->ambient = NULL;
	box_free(b);
}
END_TEST

START_TEST(seccomp)
{
	struct oci_options nnp = { .security_opt = LIST("no-new-privileges") };
	struct oci_options off = { .security_opt = LIST("seccomp=unconfined") };
	struct oci_options admin = { .cap_add = LIST("SYS_ADMIN") };
	const char *status =
		"grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status | while read k v; do echo -n $v,; done";
	const char *unshares = "unshare -u true 2>/dev/null && echo yes || echo no";

	expect_output(status, NULL, "0,2,");
	expect_output(status, &nnp, "1,2,");
	expect_output(status, &off, "0,0,");
	expect_output(unshares, NULL, "no\n");
	expect_output(unshares, &admin, "yes\n");
}
END_TEST

START_TEST(namespaces)
{
	char want[64];
	struct stat st;

	ck_assert_int_eq(stat("/proc/self/ns/net", &st), 0);
	snprintf(want, sizeof(want), "net:[%lu]\n/\n", (unsigned long)st.st_ino);
	expect_output("readlink /proc/self/ns/net; sed -n 's/^0:://p' /proc/self/cgroup", NULL, want);
}
END_TEST

START_TEST(own_network)
{
	struct box *b = box_new("cat /sys/class/net/lo/flags; ls /sys/class/net", NULL);
	Microvm__Namespace ns = MICROVM__NAMESPACE__INIT, **list;
	Microvm__Linux *l = b->spec->linux;
	size_t n = l->n_namespaces;

	list = xcalloc(n + 1, sizeof(*list));
	memcpy(list, l->namespaces, n * sizeof(*list));
	ns.type = "network";
	list[n] = &ns;
	free(l->namespaces);
	l->namespaces = list;
	l->n_namespaces = n + 1;
	ck_assert_msg(box_run(b) == 0, "%s", b->e.msg);
	ck_assert_str_eq(b->output, "0x9\nlo\n");
	l->n_namespaces = n;
	box_free(b);
}
END_TEST

START_TEST(limits)
{
	struct oci_options o = { .ulimit = LIST("nofile=123:456", "core=0"), .oom_score_adj = "500" };

	expect_output("ulimit -Sn; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj", &o, "123\n456\n0\n500\n");
}
END_TEST

START_TEST(scheduling)
{
	struct box *b = box_new("cut -d' ' -f19,41 /proc/self/stat", NULL);
	Microvm__Scheduler s = MICROVM__SCHEDULER__INIT;

	s.policy = "SCHED_BATCH";
	s.nice = 7;
	b->spec->process->scheduler = &s;
	ck_assert_msg(box_run(b) == 0, "%s", b->e.msg);
	ck_assert_str_eq(b->output, "7 3\n");
	b->spec->process->scheduler = NULL;
	box_free(b);
}
END_TEST

/* name in PATH, path, folder, not executable: found out before it is started, and not by rights that its user has not */
START_TEST(exec_errors_at_creation)
{
	static const struct {
		const char *program, *user;
		int error;
		const char *says;
	} cases[] = {
		{ "no-such-program", NULL, -ENOENT, "exec: \"no-such-program\": executable file not found in $PATH" },
		{ "/no/such", NULL, -ENOENT, "exec: \"/no/such\": No such file or directory" },
		{ "./plain", NULL, -ENOENT, "exec: \"./plain\": No such file or directory" },
		{ "/etc", NULL, -EACCES, "exec: \"/etc\": is a directory" },
		{ "/etc/plain", NULL, -EACCES, "exec: \"/etc/plain\": Permission denied" },
		{ "plain", NULL, -EACCES, "exec: \"plain\": permission denied" },
		{ "etc", NULL, -ENOENT, "exec: \"etc\": executable file not found in $PATH" },
		{ "/etc/of-root", "1000", -EACCES, "exec: \"/etc/of-root\": Permission denied" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct oci_options o = { .args = LIST((char *)cases[i].program),
					 .env = LIST("PATH=/bin:/etc:/"),
					 .user = cases[i].user,
					 .cap_drop = cases[i].user ? LIST("ALL") : NULL };
		struct box *b = box_new("", &o);

		box_file(b, "/etc/plain", "x", 0644);
		box_file(b, "/etc/of-root", "#!/bin/sh\n", 0700);
		ck_assert_int_eq(box_create(b), cases[i].error);
		ck_assert_str_eq(b->e.msg, cases[i].says);
		box_free(b);
	}
}
END_TEST

/* Who a program is looked for as: its user, with the capabilities that it will have. */
START_TEST(found_as_the_user)
{
	struct oci_options o = { .args = LIST("/etc/of-root"), .user = "1000" };
	struct box *b = box_new("", &o);
	char *all_files[] = { "CAP_DAC_OVERRIDE" };
	Microvm__Capabilities *c = b->spec->process->capabilities;

	box_file(b, "/etc/of-root", "#!/bin/sh\nexit 6\n", 0700);
	c->n_inheritable = c->n_ambient = 1;
	c->inheritable = c->ambient = all_files;
	ck_assert_msg(box_run(b) == 6, "%s", b->e.msg);
	c->n_inheritable = c->n_ambient = 0;
	c->inheritable = c->ambient = NULL;
	box_free(b);
}
END_TEST

START_TEST(exec_error_at_the_start)
{
	struct oci_options o = { .args = LIST("/etc/data") };
	struct box *b = box_new("", &o);

	box_file(b, "/etc/data", "neither ELF nor script", 0755);
	ck_assert_msg(box_create(b) == 0, "%s", b->e.msg);
	ck_assert_int_eq(box_start(b), -ENOEXEC);
	ck_assert_str_eq(b->e.msg, "exec: \"/etc/data\": Exec format error");
	ck_assert_int_eq(box_finish(b, b->pid), 126);
	box_free(b);
}
END_TEST

START_TEST(create_then_remove)
{
	struct box *b = box_new("echo never", NULL);

	ck_assert_msg(box_create(b) == 0, "%s", b->e.msg);
	box_free(b);
}
END_TEST

START_TEST(start_twice)
{
	struct box *b = box_new("exit 3", NULL);

	ck_assert_int_eq(box_run(b), 3);
	ck_assert_int_eq(box_start(b), -EALREADY);
	box_free(b);
}
END_TEST

/* Others in the pid namespace end with the first process. */
START_TEST(orphans_end)
{
	struct box *b = box_new("sleep 1000 & sleep 1000 & exit 4", NULL);

	ck_assert_int_eq(box_run(b), 4);
	box_free(b);
}
END_TEST

START_TEST(signals)
{
	struct box *b = box_new("trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done", NULL);
	char c;

	ck_assert_msg(box_create(b) == 0 && box_start(b) == 0, "%s", b->e.msg);
	ck_assert_int_eq(read(b->out, &c, 1), 1);
	ck_assert_int_eq(container_signal(b->c, b->pid, 65, false, &b->e), -EINVAL);
	ck_assert_int_eq(container_signal(b->c, b->pid, SIGTERM, false, &b->e), 0);
	ck_assert_int_eq(box_finish(b, b->pid), 9);
	ck_assert_int_eq(container_signal(b->c, b->pid, SIGTERM, false, &b->e), -ESRCH);
	box_free(b);
}
END_TEST

START_TEST(signal_all)
{
	struct box *b = box_new("sleep 1000 & sleep 1000 & wait", NULL);
	uint32_t pids[16];
	size_t n = 0;

	ck_assert_msg(box_create(b) == 0 && box_start(b) == 0, "%s", b->e.msg);
	while (n < 3)
		ck_assert_int_eq(container_pids(b->c, pids, ARRAY_SIZE(pids), &n, &b->e), 0);
	ck_assert_int_eq(container_signal(b->c, b->pid, SIGKILL, true, &b->e), 0);
	ck_assert_int_eq(box_finish(b, b->pid), 137);
	box_free(b);
}
END_TEST

START_TEST(pause_resume)
{
	struct box *b = box_new("sleep 1000", NULL);
	pid_t pid;

	ck_assert_msg(box_create(b) == 0 && box_start(b) == 0, "%s", b->e.msg);
	ck_assert_msg(container_pause(b->c, &b->e) == 0, "%s", b->e.msg);
	ck_assert_int_eq(box_exec(b, LIST("true"), NULL, &pid), -EBUSY);
	ck_assert_msg(container_resume(b->c, &b->e) == 0, "%s", b->e.msg);
	ck_assert_msg(container_pause(b->c, &b->e) == 0, "%s", b->e.msg);
	/* Paused, it can be removed all the same. */
	box_free(b);
}
END_TEST

START_TEST(exec_in_container)
{
	struct box *b = box_new("echo hello > /note; sleep 1000", NULL);
	pid_t pid;

	ck_assert_msg(box_create(b) == 0 && box_start(b) == 0, "%s", b->e.msg);
	ck_assert_msg(
		box_exec(b,
			 LIST("sh", "-c",
			      "until cat /note; do :; done 2>/dev/null; sed -n 's/^0:://p' /proc/self/cgroup;"
			      "grep -E '^(CapEff|Seccomp):' /proc/self/status | while read k v; do echo -n $v,; done;"
			      "exit 5"),
			 NULL, &pid) == 0,
		"%s", b->e.msg);
	ck_assert_int_eq(box_finish(b, pid), 5);
	ck_assert_str_eq(b->output, "hello\n/\n00000000a80425fb,2,");
	ck_assert_int_eq(box_exec(b, LIST("sh", "-c", "id -u"), "12", &pid), 0);
	ck_assert_int_eq(box_finish(b, pid), 0);
	ck_assert_str_eq(b->output, "12\n");
	ck_assert_int_eq(box_exec(b, LIST("nothing-there"), NULL, &pid), -ENOENT);
	ck_assert_str_eq(b->e.msg, "exec: \"nothing-there\": executable file not found in $PATH");
	box_free(b);
}
END_TEST

START_TEST(exec_after_end)
{
	struct box *b = box_new("true", NULL);
	pid_t pid;

	ck_assert_int_eq(box_run(b), 0);
	ck_assert_int_eq(box_exec(b, LIST("true"), NULL, &pid), -ESRCH);
	box_free(b);
}
END_TEST

START_TEST(terminal)
{
	struct oci_options o = { .terminal = true, .console_rows = 33, .console_cols = 77 };
	struct box *b =
		box_new("tty; stty size; echo $TERM; test -c /dev/console && echo console; echo x >/dev/tty", &o);

	ck_assert_int_eq(box_run(b), 0);
	ck_assert_str_eq(b->output, "/dev/pts/0\r\n33 77\r\nxterm\r\nconsole\r\nx\r\n");
	box_free(b);
}
END_TEST

/* A program reopens its streams by name, whoever it runs as. */
START_TEST(reopen_stdout)
{
	struct oci_options o = { .user = "1234" };

	expect_output("echo one >/dev/stdout; echo two >/proc/self/fd/2", &o, "one\ntwo\n");
}
END_TEST

/* The program has its streams and nothing else of anybody's. */
START_TEST(no_other_fds)
{
	int fd = open("/", O_RDONLY);

	ck_assert_int_ge(fd, 0);
	expect_output("ls /proc/self/fd | tr '\\n' ' '", NULL, "0 1 2 3 ");
	close(fd);
}
END_TEST

START_TEST(create_hooks)
{
	struct box *b = box_new("true", NULL);
	Microvm__Hooks hooks = MICROVM__HOOKS__INIT;
	Microvm__Hook make = MICROVM__HOOK__INIT, bad = MICROVM__HOOK__INIT, *list[2] = { &make, &bad };
	_cleanup_free_ char *state = NULL;

	make.path = "/bin/sh";
	make.n_args = 3;
	make.args = LIST("sh", "-c", "cat > /run/state");
	bad.path = "/bin/sh";
	bad.n_args = 3;
	bad.args = LIST("sh", "-c", "exit 3");
	hooks.create_container = list;
	hooks.n_create_container = 1;
	b->spec->hooks = &hooks;
	ck_assert_msg(box_create(b) == 0, "%s", b->e.msg);
	ck_assert_int_eq(read_file(AT_FDCWD, "/run/state", 4096, &state, NULL), 0);
	ck_assert_msg(strstr(state, "\"id\":\"box-") && strstr(state, "\"status\":\"creating\""), "%s", state);
	b->spec->hooks = NULL;
	box_free(b);
	b = box_new("true", NULL);
	hooks.n_create_container = 2;
	b->spec->hooks = &hooks;
	ck_assert_int_eq(box_create(b), -ECANCELED);
	ck_assert_str_eq(b->e.msg, "hooks.createContainer[1] /bin/sh: ended with 3");
	b->spec->hooks = NULL;
	box_free(b);
}
END_TEST

START_TEST(poststop_hook)
{
	struct box *b = box_new("true", NULL);
	Microvm__Hooks hooks = MICROVM__HOOKS__INIT;
	Microvm__Hook stop = MICROVM__HOOK__INIT, *list[1] = { &stop };

	stop.path = "/bin/sh";
	stop.n_args = 3;
	stop.args = LIST("sh", "-c", "echo gone > /run/gone");
	hooks.poststop = list;
	hooks.n_poststop = 1;
	b->spec->hooks = &hooks;
	ck_assert_int_eq(box_run(b), 0);
	b->spec->hooks = NULL;
	ck_assert_int_ne(access("/run/gone", F_OK), 0);
	box_free(b);
	ck_assert_int_eq(access("/run/gone", F_OK), 0);
}
END_TEST

START_TEST(refusals)
{
	struct box *b = box_new("true", NULL);
	Microvm__Process *p = b->spec->process;
	Microvm__Linux *l = b->spec->linux;
	char *was;

	was = p->apparmor_profile;
	p->apparmor_profile = "strict";
	ck_assert_int_eq(box_create(b), -ENOTSUP);
	ck_assert_msg(strstr(b->e.msg, "process.apparmorProfile"), "%s", b->e.msg);
	p->apparmor_profile = was;
	was = l->mount_label;
	l->mount_label = "label";
	ck_assert_int_eq(box_create(b), -ENOTSUP);
	ck_assert_msg(strstr(b->e.msg, "linux.mountLabel"), "%s", b->e.msg);
	l->mount_label = was;
	was = l->namespaces[0]->type;
	l->namespaces[0]->type = "space";
	ck_assert_int_eq(box_create(b), -EINVAL);
	ck_assert_msg(strstr(b->e.msg, "\"space\""), "%s", b->e.msg);
	l->namespaces[0]->type = was;
	was = b->rootfs.fstype;
	b->rootfs.fstype = "nfs";
	ck_assert_int_eq(box_create(b), -ENOTSUP);
	b->rootfs.fstype = was;
	box_free(b);
}
END_TEST

/* Two at once, with nothing between them. */
START_TEST(stats_and_oom_fd)
{
	struct box *b = box_new("sleep 1000", NULL);
	Microvm__Stats s = MICROVM__STATS__INIT;

	ck_assert_msg(box_create(b) == 0 && box_start(b) == 0, "%s", b->e.msg);
	ck_assert_int_eq(container_stats(b->c, &s, &b->e), 0);
	ck_assert_uint_eq(container_oom_take(b->c), 0);
	ck_assert(!container_oom_killed(b->c));
	box_free(b);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("container");
	TCase *t = tcase_create("process"), *life = tcase_create("life");

	tcase_add_checked_fixture(t, fixture_begin, NULL);
	tcase_add_test(t, hello);
	tcase_add_test(t, exit_status);
	tcase_add_test(t, environment);
	tcase_add_test(t, users);
	tcase_add_test(t, unknown_user);
	tcase_add_test(t, hostile_passwd);
	tcase_add_test(t, capabilities);
	tcase_add_test(t, ambient_capabilities);
	tcase_add_test(t, seccomp);
	tcase_add_test(t, namespaces);
	tcase_add_test(t, own_network);
	tcase_add_test(t, limits);
	tcase_add_test(t, scheduling);
	tcase_add_test(t, terminal);
	tcase_add_test(t, reopen_stdout);
	tcase_add_test(t, no_other_fds);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(life, fixture_begin, NULL);
	tcase_add_test(life, exec_errors_at_creation);
	tcase_add_test(life, found_as_the_user);
	tcase_add_test(life, exec_error_at_the_start);
	tcase_add_test(life, create_then_remove);
	tcase_add_test(life, start_twice);
	tcase_add_test(life, orphans_end);
	tcase_add_test(life, signals);
	tcase_add_test(life, signal_all);
	tcase_add_test(life, pause_resume);
	tcase_add_test(life, exec_in_container);
	tcase_add_test(life, exec_after_end);
	tcase_add_test(life, create_hooks);
	tcase_add_test(life, poststop_hook);
	tcase_add_test(life, refusals);
	tcase_add_test(life, stats_and_oom_fd);
	suite_add_tcase(s, life);
	return s;
}
