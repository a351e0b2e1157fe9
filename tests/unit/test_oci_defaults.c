/* SPDX-License-Identifier: Apache-2.0 */
/* Docker's options to a spec, and profiles to filters. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/capability.h"
#include "base/cleanup.h"
#include "base/util.h"
#include "oci/defaults.h"
#include "oci/seccomp.h"
#include "oci/spec.h"

Suite *test_suite(void);

#define LIST(...) ((char *[]){ __VA_ARGS__, NULL })

static char *just_true[] = { "true", NULL };

static Microvm__Spec *make(struct oci_options o)
{
	struct err e = ERR_INIT;
	Microvm__Spec *s;

	if (!o.args && !o.image.cmd && !o.image.entrypoint && !o.entrypoint)
		o.args = just_true;
	ck_assert_msg(!oci_spec_default(&o, &s, &e), "%s", e.msg);
	return s;
}

static void refuse(struct oci_options o, const char *says)
{
	struct err e = ERR_INIT;
	Microvm__Spec *s;

	if (!o.args)
		o.args = just_true;
	ck_assert_int_lt(oci_spec_default(&o, &s, &e), 0);
	ck_assert_msg(strstr(e.msg, says) != NULL, "\"%s\" does not say \"%s\"", e.msg, says);
}

static void expect_args(struct oci_options o, const char *want)
{
	char joined[256] = "";
	Microvm__Spec *s = make(o);
	size_t i;

	for (i = 0; i < s->process->n_args; i++)
		snprintf(joined + strlen(joined), sizeof(joined) - strlen(joined), "%s ", s->process->args[i]);
	ck_assert_str_eq(joined, want);
	oci_spec_free(s);
}

/* The table of docker's documentation, "Understand how CMD and ENTRYPOINT interact". */
START_TEST(entrypoint_and_cmd)
{
	struct oci_image_defaults both = { .entrypoint = LIST("ep", "a"), .cmd = LIST("cmd") };
	struct oci_image_defaults cmd = { .cmd = LIST("cmd", "x") };
	struct err e = ERR_INIT;
	Microvm__Spec *s;

	expect_args((struct oci_options){ .image = both }, "ep a cmd ");
	expect_args((struct oci_options){ .image = both, .args = LIST("mine") }, "ep a mine ");
	expect_args((struct oci_options){ .image = both, .entrypoint = "/e" }, "/e ");
	expect_args((struct oci_options){ .image = both, .entrypoint = "/e", .args = LIST("mine") }, "/e mine ");
	expect_args((struct oci_options){ .image = both, .entrypoint = "", .args = LIST("mine") }, "mine ");
	expect_args((struct oci_options){ .image = cmd }, "cmd x ");
	expect_args((struct oci_options){ .image = cmd, .args = LIST("mine") }, "mine ");
	ck_assert_int_eq(oci_spec_default(&(struct oci_options){ 0 }, &s, &e), -EINVAL);
	ck_assert_msg(strstr(e.msg, "no command"), "%s", e.msg);
	ck_assert_int_eq(oci_spec_default(&(struct oci_options){ .image = both, .entrypoint = "" }, &s, &e), -EINVAL);
}
END_TEST

START_TEST(environment)
{
	struct oci_options o = {
		.image.env = LIST("PATH=/own", "A=image", "B=image", "C=image"),
		.env = LIST("B=mine", "C", "D=new"),
		.hostname = "h",
		.terminal = true,
	};
	Microvm__Spec *s = make(o);
	static const char *const want[] = { "PATH=/own", "HOSTNAME=h", "TERM=xterm", "A=image", "B=mine", "D=new" };
	size_t i;

	ck_assert_uint_eq(s->process->n_env, ARRAY_SIZE(want));
	for (i = 0; i < ARRAY_SIZE(want); i++)
		ck_assert_str_eq(s->process->env[i], want[i]);
	oci_spec_free(s);
	refuse((struct oci_options){ .env = LIST("=x") }, "--env \"=x\"");
}
END_TEST

static uint64_t caps_of(struct oci_options o)
{
	Microvm__Spec *s = make(o);
	uint64_t caps = 0;
	size_t i;

	for (i = 0; i < s->process->capabilities->n_effective; i++)
		caps |= 1ull << capability_parse(s->process->capabilities->effective[i]);
	ck_assert_uint_eq(s->process->capabilities->n_inheritable, 0);
	oci_spec_free(s);
	return caps;
}

START_TEST(capabilities)
{
	const uint64_t docker = 0xa80425fb, kill_bit = 1ull << CAP_KILL, admin = 1ull << CAP_SYS_ADMIN;

	ck_assert_uint_eq(caps_of((struct oci_options){ 0 }), docker);
	ck_assert_uint_eq(caps_of((struct oci_options){ .cap_drop = LIST("KILL") }), docker & ~kill_bit);
	ck_assert_uint_eq(caps_of((struct oci_options){ .cap_add = LIST("cap_sys_admin") }), docker | admin);
	ck_assert_uint_eq(caps_of((struct oci_options){ .cap_drop = LIST("all"), .cap_add = LIST("KILL") }), kill_bit);
	ck_assert_uint_eq(caps_of((struct oci_options){ .cap_add = LIST("ALL"), .cap_drop = LIST("KILL") }),
			  CAPABILITY_ALL & ~kill_bit);
	ck_assert_uint_eq(caps_of((struct oci_options){ .privileged = true }), CAPABILITY_ALL);
	refuse((struct oci_options){ .cap_add = LIST("FLY") }, "--cap-add FLY: no such capability");
	refuse((struct oci_options){ .cap_drop = LIST("CAP_") }, "--cap-drop CAP_: no such capability");
}
END_TEST

START_TEST(security_options)
{
	Microvm__Spec *s = make((struct oci_options){ .security_opt = LIST("no-new-privileges", "seccomp=unconfined",
									   "apparmor=unconfined", "label:disable") });

	ck_assert(s->process->no_new_privileges);
	ck_assert_ptr_null(s->linux->seccomp);
	ck_assert_uint_gt(s->linux->n_masked_paths, 0);
	oci_spec_free(s);
	s = make((struct oci_options){ .security_opt = LIST("no-new-privileges:false", "systempaths=unconfined") });
	ck_assert(!s->process->no_new_privileges);
	ck_assert_ptr_nonnull(s->linux->seccomp);
	ck_assert_uint_eq(s->linux->n_masked_paths + s->linux->n_readonly_paths, 0);
	oci_spec_free(s);
	s = make((struct oci_options){ .privileged = true });
	ck_assert_ptr_null(s->linux->seccomp);
	ck_assert_uint_eq(s->linux->n_masked_paths, 0);
	ck_assert(s->linux->resources->devices[0]->allow);
	oci_spec_free(s);
	refuse((struct oci_options){ .security_opt = LIST("seccomp=/no/such/profile") },
	       "seccomp profile /no/such/profile");
	refuse((struct oci_options){ .security_opt = LIST("apparmor=strict") }, "no AppArmor");
	refuse((struct oci_options){ .security_opt = LIST("label=type:x") }, "no SELinux");
	refuse((struct oci_options){ .security_opt = LIST("no-new-privileges=perhaps") }, "expected true or false");
	refuse((struct oci_options){ .security_opt = LIST("shields=up") }, "--security-opt shields=up: not known");
}
END_TEST

static const Microvm__Mount *mount_at(const Microvm__Spec *s, const char *path)
{
	size_t i;

	for (i = 0; i < s->n_mounts; i++)
		if (str_eq(s->mounts[i]->destination, path))
			return s->mounts[i];
	return NULL;
}

START_TEST(tmpfs)
{
	Microvm__Spec *s = make((struct oci_options){ .tmpfs = LIST("/a/b/c", "/a", "/dev/shm:size=1m,exec") });
	const Microvm__Mount *shm = mount_at(s, "/dev/shm");

	ck_assert_str_eq(s->mounts[s->n_mounts - 2]->destination, "/a");
	ck_assert_str_eq(s->mounts[s->n_mounts - 1]->destination, "/a/b/c");
	ck_assert_uint_eq(shm->n_options, 5);
	ck_assert_str_eq(shm->options[3], "size=1m");
	oci_spec_free(s);
	refuse((struct oci_options){ .tmpfs = LIST("relative") }, "\"relative\" is not an absolute path");
	refuse((struct oci_options){ .tmpfs = LIST("/") }, "not an absolute path of a folder below /");
	refuse((struct oci_options){ .tmpfs = LIST("/x:colour=red") }, "option \"colour=red\" is not known");
	refuse((struct oci_options){ .tmpfs = LIST("/x:size=") }, "option \"size=\" is not known");
}
END_TEST

START_TEST(resources)
{
	Microvm__Spec *s = make((struct oci_options){ .pids_limit = 50,
						      .memory_bytes = 1 << 20,
						      .nano_cpus = 1500000000,
						      .cpu_shares = 512,
						      .oom_score_adj = "-5",
						      .ulimit = LIST("nofile=10:20", "core=-1", "nofile=5"),
						      .sysctl = LIST("net.core.somaxconn=7") });
	const Microvm__Resources *r = s->linux->resources;

	ck_assert_int_eq(r->pids_limit->value, 50);
	ck_assert_int_eq(r->memory->limit->value, 1 << 20);
	ck_assert_int_eq(r->cpu->quota->value, 150000);
	ck_assert_uint_eq(r->cpu->period->value, 100000);
	ck_assert_uint_eq(r->cpu->shares->value, 512);
	ck_assert_int_eq(s->process->oom_score_adj->value, -5);
	ck_assert_uint_eq(s->process->n_rlimits, 2);
	ck_assert_uint_eq(s->process->rlimits[0]->hard, 5);
	ck_assert_uint_eq(s->process->rlimits[1]->soft, UINT64_MAX);
	ck_assert_str_eq(s->linux->sysctl[0]->value, "7");
	oci_spec_free(s);
	refuse((struct oci_options){ .ulimit = LIST("speed=9") }, "no such limit as \"speed\"");
	refuse((struct oci_options){ .ulimit = LIST("nofile=9:8") }, "above the hard one");
	refuse((struct oci_options){ .ulimit = LIST("nofile=x") }, "expected NAME=SOFT[:HARD]");
	refuse((struct oci_options){ .sysctl = LIST("a.b") }, "expected NAME=VALUE");
	refuse((struct oci_options){ .oom_score_adj = "1001" }, "not within -1000 and 1000");
	refuse((struct oci_options){ .cwd = "x" }, "--workdir x: not an absolute path");
	refuse((struct oci_options){ .user = ":x" }, "--user");
	refuse((struct oci_options){ .hostname = "two words" }, "--hostname two words");
}
END_TEST

START_TEST(exec_process)
{
	Microvm__Spec *s = make((struct oci_options){ .env = LIST("A=1"), .cwd = "/w", .user = "me" });
	struct oci_exec_options o = { .args = LIST("ls", "-l"), .env = LIST("A=2"), .terminal = true, .user = "you" };
	struct err e = ERR_INIT;
	Microvm__Process *p;

	ck_assert_int_eq(oci_process_exec(s->process, &o, &p, &e), 0);
	ck_assert_uint_eq(p->n_args, 2);
	ck_assert_str_eq(p->args[1], "-l");
	ck_assert_str_eq(p->cwd, "/w");
	ck_assert_str_eq(p->user->name, "you");
	ck_assert_str_eq(p->env[1], "A=2");
	ck_assert_str_eq(p->env[2], "TERM=xterm");
	oci_process_free(p);
	o.args = LIST("");
	ck_assert_int_eq(oci_process_exec(s->process, &o, &p, &e), -EINVAL);
	oci_spec_free(s);
}
END_TEST

START_TEST(signal_names)
{
	static const struct {
		const char *name;
		int number;
	} cases[] = {
		{ "TERM", 15 },	      { "SIGTERM", 15 }, { "sigkill", 9 }, { "15", 15 }, { "RTMIN", 34 },
		{ "SIGRTMIN+3", 37 }, { "RTMAX-1", 63 }, { "64", 64 },	   { "IOT", 6 },
	};
	static const char *const bad[] = { "", "0", "65", "TERMINATE", "SIG", "RTMIN+31", "RTMIN+", "-9", "NULL" };
	struct err e = ERR_INIT;
	size_t i;
	int n;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		ck_assert_msg(!oci_signal_parse(cases[i].name, &n, &e), "%s: %s", cases[i].name, e.msg);
		ck_assert_int_eq(n, cases[i].number);
	}
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(oci_signal_parse(bad[i], &n, &e) == -EINVAL, "%s", bad[i]);
}
END_TEST

/* ---- filters, in force in a child: what it gets from one system call ---- */

static int call_under(const Microvm__Seccomp *s, long nr, long a0)
{
	struct sock_fprog prog = { .len = (unsigned short)(s->bpf.len / 8),
				   .filter = (struct sock_filter *)s->bpf.data };
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (!pid) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
		    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, s->flags, &prog))
			_exit(255);
		/* Not _exit(): a sanitizer's makes system calls of its own, which the filter may not like. */
		syscall(SYS_exit_group, syscall(nr, a0, 0, 0, 0, 0) < 0 ? errno : 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

START_TEST(default_profile)
{
	struct err e = ERR_INIT;
	Microvm__Seccomp *s;

	ck_assert_int_eq(oci_seccomp_default(0, &s, &e), 0);
	ck_assert_int_eq(call_under(s, SYS_getpid, 0), 0);
	ck_assert_int_eq(call_under(s, SYS_keyctl, 0), EPERM);
	ck_assert_int_eq(call_under(s, SYS_clone3, 0), ENOSYS);
	ck_assert_int_eq(call_under(s, SYS_socket, AF_VSOCK), EPERM);
	ck_assert_int_eq(call_under(s, SYS_clone, 0x10000000 /* NEWUSER */ | 0x04000000), EPERM);
	ck_assert_int_eq(call_under(s, SYS_unshare, 0), EPERM);
	microvm__seccomp__free_unpacked(s, NULL);
	ck_assert_int_eq(oci_seccomp_default(1ull << CAP_SYS_ADMIN, &s, &e), 0);
	ck_assert_int_eq(call_under(s, SYS_unshare, 0), 0);
	ck_assert_int_eq(call_under(s, SYS_keyctl, 0), EPERM);
	ck_assert_int_ne(call_under(s, SYS_clone3, 0), ENOSYS);
	microvm__seccomp__free_unpacked(s, NULL);
}
END_TEST

static Microvm__Seccomp *compile(const char *text, uint64_t caps)
{
	struct err e = ERR_INIT;
	struct json_node root;
	Microvm__Seccomp *s;

	ck_assert_msg(!json_parse(text, strlen(text), OCI_SECCOMP_MAX, &root, &e), "%s", e.msg);
	ck_assert_msg(!oci_seccomp_compile(&root, caps, &s, &e), "%s", e.msg);
	json_done(&root);
	return s;
}

START_TEST(profiles)
{
	Microvm__Seccomp *s = compile(
		"{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":13,\"syscalls\":["
		"{\"names\":[\"exit_group\",\"no_such_call\",\"getpid\",\"getuid\"],\"action\":\"SCMP_ACT_ALLOW\"},"
		"{\"names\":[\"getppid\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":95},"
		"{\"names\":[\"personality\"],\"action\":\"SCMP_ACT_ALLOW\",\"args\":[{\"index\":0,\"value\":0,\"op\":"
		"\"SCMP_CMP_EQ\"},"
		"{\"index\":0,\"value\":8,\"op\":\"SCMP_CMP_EQ\"}]}]}",
		0);

	ck_assert_int_eq(call_under(s, SYS_getpid, 0), 0);
	ck_assert_int_eq(call_under(s, SYS_gettid, 0), 13);
	ck_assert_int_eq(call_under(s, SYS_getppid, 0), 95);
	/* Two comparisons of one argument are alternatives. */
	ck_assert_int_eq(call_under(s, SYS_personality, 0), 0);
	ck_assert_int_eq(call_under(s, SYS_personality, 8), 0);
	ck_assert_int_eq(call_under(s, SYS_personality, 9), 13);
	/* Newer than the newest that it names: not there. */
	ck_assert_int_eq(call_under(s, SYS_close_range, 3), ENOSYS);
	microvm__seccomp__free_unpacked(s, NULL);
	s = compile("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"name\":\"getppid\",\"action\":\"SCMP_ACT_"
		    "KILL_PROCESS\"}]}",
		    0);
	ck_assert_int_eq(call_under(s, SYS_getppid, 0), -SIGSYS);
	ck_assert_int_eq(call_under(s, SYS_gettid, 0), 0);
	microvm__seccomp__free_unpacked(s, NULL);
}
END_TEST

/* docker's format: rules that depend on what the container may do */
START_TEST(docker_profile)
{
	static const char text[] =
		"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"archMap\":[{\"architecture\":\"SCMP_ARCH_X86_64\","
		"\"subArchitectures\":[\"SCMP_ARCH_X86\","
		"\"SCMP_ARCH_X32\"]}],\"syscalls\":["
		"{\"names\":[\"getppid\"],\"action\":\"SCMP_ACT_ERRNO\",\"excludes\":{\"caps\":[\"CAP_KILL\"]}},"
		"{\"names\":[\"gettid\"],\"action\":\"SCMP_ACT_ERRNO\",\"includes\":{\"caps\":[\"CAP_KILL\"]}},"
		"{\"names\":[\"getuid\"],\"action\":\"SCMP_ACT_ERRNO\",\"includes\":{\"arches\":[\"s390x\"]}},"
		"{\"names\":[\"getgid\"],\"action\":\"SCMP_ACT_ERRNO\",\"includes\":{\"arches\":[\"amd64\"],"
		"\"minKernel\":\"4.8\"}}]}";
	Microvm__Seccomp *with = compile(text, 1ull << CAP_KILL), *without = compile(text, 0);

	ck_assert_int_eq(call_under(with, SYS_getppid, 0), 0);
	ck_assert_int_eq(call_under(with, SYS_gettid, 0), EPERM);
	ck_assert_int_eq(call_under(without, SYS_getppid, 0), EPERM);
	ck_assert_int_eq(call_under(without, SYS_gettid, 0), 0);
	ck_assert_int_eq(call_under(without, SYS_getuid, 0), 0);
	ck_assert_int_eq(call_under(without, SYS_getgid, 0), EPERM);
	microvm__seccomp__free_unpacked(with, NULL);
	microvm__seccomp__free_unpacked(without, NULL);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("oci_defaults");
	TCase *t = tcase_create("options"), *p = tcase_create("seccomp");

	tcase_add_test(t, entrypoint_and_cmd);
	tcase_add_test(t, environment);
	tcase_add_test(t, capabilities);
	tcase_add_test(t, security_options);
	tcase_add_test(t, tmpfs);
	tcase_add_test(t, resources);
	tcase_add_test(t, exec_process);
	tcase_add_test(t, signal_names);
	suite_add_tcase(s, t);
	tcase_add_test(p, default_profile);
	tcase_add_test(p, profiles);
	tcase_add_test(p, docker_profile);
	suite_add_tcase(s, p);
	return s;
}
