/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of a run that need no VM: environment, vmspec, console, log, streams. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/guest.h"
#include "base/util.h"
#include "sandbox/console.h"
#include "io/forward.h"
#include "sandbox/module_path.h"
#include "sandbox/output_log.h"
#include "sandbox/process_env.h"
#include "sandbox/vmspec_build.h"

Suite *test_suite(void);

static struct err e;

/* ---- environment -------------------------------------------------------------------------------------------------- */

START_TEST(test_env_file)
{
	char text[] = "# comment\n\n  A=1\nB=two words  \r\nC=\nHOST_HAS\nHOST_HAS_NOT\nD=x=y";
	struct strv out = { 0 };

	setenv("HOST_HAS", "it", 1);
	unsetenv("HOST_HAS_NOT");
	ck_assert_msg(!process_env_file("f", text, strlen(text), &out, &e), "%s", e.msg);
	ck_assert_uint_eq(out.n, 6);
	ck_assert_str_eq(out.v[0], "A=1");
	ck_assert_str_eq(out.v[1], "B=two words  ");
	ck_assert_str_eq(out.v[2], "C=");
	ck_assert_str_eq(out.v[3], "HOST_HAS=it");
	ck_assert_str_eq(out.v[4], "HOST_HAS_NOT");
	ck_assert_str_eq(out.v[5], "D=x=y");
	strv_clear(&out);
}
END_TEST

START_TEST(test_env_file_bad)
{
	char blank[] = "A=1\nB C=2\n", none[] = "=x\n", nul[] = "A=\0b";
	struct strv out = { 0 };

	ck_assert_int_eq(process_env_file("the-file", blank, strlen(blank), &out, &e), -EINVAL);
	ck_assert_ptr_nonnull(strstr(e.msg, "the-file, line 2"));
	ck_assert_int_eq(process_env_file("f", none, strlen(none), &out, &e), -EINVAL);
	ck_assert_int_eq(process_env_file("f", nul, sizeof(nul) - 1, &out, &e), -EINVAL);
	strv_clear(&out);
}
END_TEST

START_TEST(test_strv_env)
{
	struct strv env = { 0 };

	strv_push(&env, "AB=1");
	strv_push(&env, "A=2");
	strv_env_set(&env, "A=3");
	strv_env_set(&env, "C=4");
	ck_assert_uint_eq(env.n, 3);
	ck_assert_str_eq(strv_env_find(&env, "A"), "A=3");
	strv_env_unset(&env, "AB");
	ck_assert_uint_eq(env.n, 2);
	ck_assert_ptr_null(env.v[2]);
	ck_assert_ptr_null(strv_env_find(&env, "AB"));
	strv_clear(&env);
}
END_TEST

/* ---- vmspec ------------------------------------------------------------------------------------------------------- */

static const struct vm_facts facts = {
	.module_fd = -1,
	.kvm_fd = 10,
	.kernel_fd = 11,
	.initramfs_fd = 12,
	.report_fd = 13,
	.log_fd = 14,
	.parent_fd = 15,
	.rootfs_fd = 16,
	.listen_fd = 17,
	.seq_listen_fd = -1,
	.balloon_fd = -1,
	.control_fd = 18,
	.fs_fd = -1,
	.uid = 1984757760,
	.host_mem_bytes = 4ull << 30,
};

START_TEST(test_vmspec)
{
	struct run_options o = RUN_OPTIONS_INIT;
	struct vmspec spec;

	o.nano_cpus = 1200000000;
	o.mem_bytes = (64 << 20) + 1;
	o.kernel_args = (char *)"extra=1";
	ck_assert_msg(!vmspec_build(&o, &facts, &spec, &e), "%s", e.msg);
	ck_assert_uint_eq(spec.vcpus, 2);
	ck_assert_uint_eq(spec.mem_bytes, 66 << 20);
	ck_assert_uint_eq(spec.uid, facts.uid);
	ck_assert_uint_eq(spec.devices_n, 2);
	ck_assert_uint_eq(spec.devices[0].type, VMSPEC_BLK);
	ck_assert_uint_eq(spec.devices[0].flags, VMSPEC_BLK_READONLY);
	ck_assert_uint_eq(spec.devices[1].vsock.ports[0].port, GUEST_CONTROL_PORT);
	ck_assert_ptr_nonnull(strstr(spec.cmdline, " extra=1"));
	ck_assert_ptr_null(strstr(spec.cmdline, "ignore_loglevel"));
	o.debug_console = true;
	ck_assert_int_eq(vmspec_build(&o, &facts, &spec, &e), 0);
	ck_assert_ptr_nonnull(strstr(spec.cmdline, "ignore_loglevel"));
}
END_TEST

/* By vhost-vsock the guest has a CID and a port of its own, and the VMM none of the host's sockets. */
START_TEST(test_vmspec_vhost)
{
	struct run_options o = RUN_OPTIONS_INIT;
	struct vm_facts f = facts;
	const struct vmspec_device *dev;
	struct vmspec spec;

	f.module_fd = 19;
	f.vhost_cid = 4711;
	f.control_port = 815;
	ck_assert_msg(!vmspec_build(&o, &f, &spec, &e), "%s", e.msg);
	dev = &spec.devices[spec.devices_n - 1];
	ck_assert_uint_eq(dev->vsock.guest_cid, 4711);
	ck_assert_int_eq(dev->vsock.vhost_fd, 19);
	ck_assert_int_eq(dev->vsock.module_fd, -1);
	ck_assert_int_eq(dev->vsock.listen_fd, -1);
	ck_assert_uint_eq(dev->vsock.ports_n, 0);
	ck_assert_ptr_nonnull(strstr(spec.cmdline, " microvm.port=815"));
	spec.devices[spec.devices_n - 1].vsock.listen_fd = 20;
	ck_assert_int_eq(vmspec_check(&spec, &e), -EINVAL);
}
END_TEST

/* The option before the environment, that before what is there; what can't be is an error that names the option. */
START_TEST(test_module_path)
{
	int fd, here = module_open(MODULE_VSOCK, &fd, &e) ? 0 : 1;

	if (here)
		close(fd);
	unsetenv("MICROVM_VSOCK");
	ck_assert_str_eq(module_path_choose(MODULE_VSOCK, NULL, NULL, &fd, &e),
			 here ? MODULE_PATH_KERNEL : MODULE_PATH_USER);
	ck_assert_int_eq(fd >= 0, here);
	if (fd >= 0)
		close(fd);
	setenv("MICROVM_VSOCK", "pigeon", 1);
	ck_assert_ptr_null(module_path_choose(MODULE_VSOCK, NULL, NULL, &fd, &e));
	ck_assert_ptr_nonnull(strstr(e.msg, "--vsock: 'pigeon'"));
	ck_assert_str_eq(module_path_choose(MODULE_VSOCK, "user", NULL, &fd, &e), MODULE_PATH_USER);
	ck_assert_int_eq(fd, -1);
	ck_assert_ptr_null(module_path_choose(MODULE_BALLOON, "vhost", NULL, &fd, &e));
	ck_assert_ptr_nonnull(strstr(e.msg, "--balloon"));
	unsetenv("MICROVM_VSOCK");
}
END_TEST

START_TEST(test_vmspec_limits)
{
	struct run_options o = RUN_OPTIONS_INIT;
	char args[VMSPEC_CMDLINE_MAX + 1];
	struct vmspec spec;

	o.mem_bytes = 8 << 20;
	ck_assert_int_eq(vmspec_build(&o, &facts, &spec, &e), -EINVAL);
	ck_assert_ptr_nonnull(strstr(e.msg, "48m"));
	o.mem_bytes = 5ull << 30;
	ck_assert_int_eq(vmspec_build(&o, &facts, &spec, &e), -EINVAL);
	ck_assert_ptr_nonnull(strstr(e.msg, "4096 MiB"));
	o.mem_bytes = SANDBOX_MEM_DEFAULT;
	o.nano_cpus = 33000000000ull;
	ck_assert_int_eq(vmspec_build(&o, &facts, &spec, &e), -ERANGE);
	o.nano_cpus = 9999999;
	ck_assert_int_eq(vmspec_build(&o, &facts, &spec, &e), -ERANGE);
	o.nano_cpus = 0;
	memset(args, 'x', sizeof(args) - 1);
	args[sizeof(args) - 1] = '\0';
	o.kernel_args = args;
	ck_assert_int_eq(vmspec_build(&o, &facts, &spec, &e), -E2BIG);
	ck_assert_uint_eq(vmspec_build_vcpus(0), 1);
	ck_assert_uint_eq(vmspec_build_vcpus(1), 1);
	ck_assert_uint_eq(vmspec_build_vcpus(32000000000ull), 32);
}
END_TEST

/* ---- console ------------------------------------------------------------------------------------------------------ */

START_TEST(test_console_keeps_the_end)
{
	struct console c = CONSOLE_INIT;
	char line[32], text[64];
	int i, n;

	ck_assert_str_eq(console_last_line(&c, line, sizeof(line)), "");
	for (i = 0; i < 1000; i++) {
		n = snprintf(text, sizeof(text), "line %d\n", i);
		console_add(&c, text, n);
	}
	ck_assert_str_eq(console_last_line(&c, line, sizeof(line)), "line 999");
	console_add(&c, "\n \r\n\n", 5);
	ck_assert_str_eq(console_last_line(&c, line, sizeof(line)), "line 999");
	/* Nothing that a terminal would obey. */
	console_add(&c, "\033[31mred\007\n", 11);
	ck_assert_str_eq(console_last_line(&c, line, sizeof(line)), "[31mred");
	console_add(&c, "a line that is longer than the buffer for it", 44);
	ck_assert_uint_eq(strlen(console_last_line(&c, line, sizeof(line))), sizeof(line) - 1);
}
END_TEST

START_TEST(test_console_file_is_bounded)
{
	char path[] = "/tmp/test-console-XXXXXX";
	_cleanup_free_ char *big = xcalloc(1, 100000);
	struct console c = CONSOLE_INIT;
	int i;

	c.file = mkstemp(path);
	unlink(path);
	for (i = 0; i < 10; i++)
		console_add(&c, big, 100000);
	ck_assert_int_eq(lseek(c.file, 0, SEEK_END), CONSOLE_FILE_MAX);
	console_close(&c);
}
END_TEST

/* ---- log ---------------------------------------------------------------------------------------------------------- */

static bool never(void *opaque)
{
	return false;
}

/* What output_log_show prints to fd (1 or 2), into buf. */
static size_t shown(int dirfd, int64_t tail, int fd, char *buf, size_t size)
{
	const struct output_show show = { .tail = tail, .alive = never };
	char path[] = "/tmp/test-shown-XXXXXX";
	int file = mkstemp(path), null = open("/dev/null", O_WRONLY), saved[2] = { dup(1), dup(2) };
	ssize_t n;

	unlink(path);
	dup2(fd == 1 ? file : null, 1);
	dup2(fd == 2 ? file : null, 2);
	n = output_log_show(dirfd, &show, &e);
	dup2(saved[0], 1);
	dup2(saved[1], 2);
	close(saved[0]);
	close(saved[1]);
	close(null);
	ck_assert_msg(!n, "%s", e.msg);
	n = pread(file, buf, size - 1, 0);
	close(file);
	ck_assert_int_ge(n, 0);
	buf[n] = '\0';
	return n;
}

START_TEST(test_output_log)
{
	char path[] = "/tmp/test-log-XXXXXX", text[256];
	struct output_log log;
	int dirfd;

	ck_assert_ptr_nonnull(mkdtemp(path));
	dirfd = open(path, O_RDONLY | O_DIRECTORY);
	ck_assert_int_eq(output_log_open(&log, dirfd, &e), 0);
	output_log_write(&log, 1, "one\ntw", 6);
	output_log_write(&log, 2, "err\n", 4);
	output_log_write(&log, 1, "o\n\0\xff three", 10);
	ck_assert_uint_eq(shown(dirfd, -1, 1, text, sizeof(text)), 16);
	ck_assert_mem_eq(text, "one\ntwo\n\0\xff three", 16);
	shown(dirfd, -1, 2, text, sizeof(text));
	ck_assert_str_eq(text, "err\n");
	output_log_close(&log);
	close(dirfd);
	remove_tree(AT_FDCWD, path);
}
END_TEST

START_TEST(test_output_log_is_bounded)
{
	char path[] = "/tmp/test-log-XXXXXX", text[256];
	_cleanup_free_ char *block = xcalloc(1, OUTPUT_RECORD_MAX);
	struct output_log log;
	int dirfd, i;
	struct stat st;

	ck_assert_ptr_nonnull(mkdtemp(path));
	dirfd = open(path, O_RDONLY | O_DIRECTORY);
	ck_assert_int_eq(output_log_open(&log, dirfd, &e), 0);
	memset(block, '\n', OUTPUT_RECORD_MAX);
	for (i = 0; i < 300; i++)
		output_log_write(&log, 1, block, OUTPUT_RECORD_MAX);
	output_log_write(&log, 1, "last but one\nlast\n", 18);
	ck_assert_int_eq(fstatat(dirfd, "output", &st, 0), 0);
	ck_assert_int_le(st.st_size, OUTPUT_LOG_MAX);
	ck_assert_int_eq(fstatat(dirfd, "output.1", &st, 0), 0);
	ck_assert_int_le(st.st_size, OUTPUT_LOG_MAX);
	shown(dirfd, 1, 1, text, sizeof(text));
	ck_assert_str_eq(text, "last\n");
	output_log_close(&log);
	close(dirfd);
	remove_tree(AT_FDCWD, path);
}
END_TEST

/* ---- streams ------------------------------------------------------------------------------------------------------ */

struct side {
	struct forward f;
	bool over;
	int reason;
	struct {
		char data[1 << 20];
		size_t n;
	} got;
};

static void on_ended(struct forward *f, int reason)
{
	struct side *s = container_of(f, struct side, f);

	s->over = true;
	s->reason = reason;
}

static void take(struct forward *f, const void *data, size_t len)
{
	struct side *s = container_of(f, struct side, f);

	memcpy(s->got.data + s->got.n, data, len);
	s->got.n += len;
}

static struct loop *new_loop(void)
{
	struct loop *loop;

	ck_assert_int_eq(loop_new(&loop, 16, 0), 0);
	return loop;
}

START_TEST(test_forward_is_whole_and_hands_the_end_on)
{
	struct side *s = xcalloc(1, sizeof(*s)), *back = xcalloc(1, sizeof(*back));
	struct loop *loop = new_loop();
	char path[] = "/tmp/test-forward-XXXXXX", *data = xcalloc(1, 700001);
	int in = mkstemp(path), pair[2];
	size_t i;

	unlink(path);
	for (i = 0; i < 700001; i++)
		data[i] = (char)(i * 7 + i / 251);
	ck_assert_int_eq(write_full(in, data, 700001), 0);
	lseek(in, 0, SEEK_SET);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	s->f = (struct forward){ .in = in, .out = pair[0], .out_kind = FORWARD_SOCKET, .ended = on_ended };
	back->f = (struct forward){
		.in = pair[1], .in_kind = FORWARD_SOCKET, .out_kind = FORWARD_SINK, .sink = take, .ended = on_ended
	};
	forward_start(&s->f, loop);
	forward_start(&back->f, loop);
	while (!back->over)
		ck_assert_int_ge(loop_run_once(loop, true), 0);
	ck_assert(s->over);
	ck_assert_int_eq(s->reason, 0);
	ck_assert_uint_eq(back->got.n, 700001);
	ck_assert_mem_eq(back->got.data, data, 700001);
	forward_free(&s->f);
	forward_free(&back->f);
	loop_free(loop);
	close(in);
	close(pair[0]);
	close(pair[1]);
	free(data);
	free(s);
	free(back);
}
END_TEST

START_TEST(test_forward_reader_that_went)
{
	struct side *s = xcalloc(1, sizeof(*s));
	struct loop *loop = new_loop();
	int pair[2], out[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	ck_assert_int_eq(pipe(out), 0);
	close(out[0]);
	s->f = (struct forward){ .in = pair[0], .in_kind = FORWARD_SOCKET, .out = out[1], .ended = on_ended };
	forward_start(&s->f, loop);
	ck_assert_int_eq(write_full(pair[1], "x", 1), 0);
	while (!s->over)
		ck_assert_int_ge(loop_run_once(loop, true), 0);
	ck_assert_int_eq(s->reason, -EPIPE);
	forward_free(&s->f);
	loop_free(loop);
	close(pair[0]);
	close(pair[1]);
	close(out[1]);
	free(s);
}
END_TEST

START_TEST(test_forward_cancelled_while_it_waits)
{
	struct side *s = xcalloc(1, sizeof(*s));
	struct loop *loop = new_loop();
	int in[2], pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	ck_assert_int_eq(pipe(in), 0);
	s->f = (struct forward){ .in = in[0], .out = pair[0], .out_kind = FORWARD_SOCKET, .ended = on_ended };
	forward_start(&s->f, loop);
	ck_assert_int_ge(loop_run_once(loop, false), 0);
	forward_cancel(&s->f);
	while (!s->over)
		ck_assert_int_ge(loop_run_once(loop, true), 0);
	ck_assert_int_eq(s->reason, -ECANCELED);
	forward_free(&s->f);
	loop_free(loop);
	close(in[0]);
	close(in[1]);
	close(pair[0]);
	close(pair[1]);
	free(s);
}
END_TEST

START_TEST(test_forward_to_a_pipe_that_does_not_block)
{
	struct side *s = xcalloc(1, sizeof(*s));
	struct loop *loop = new_loop();
	int pair[2], out[2];
	char *data = xcalloc(1, 300000), *back = xcalloc(1, 300000);
	size_t got = 0;

	memset(data, 'y', 300000);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	ck_assert_int_eq(pipe2(out, O_NONBLOCK), 0);
	s->f = (struct forward){ .in = pair[0], .in_kind = FORWARD_SOCKET, .out = out[1], .ended = on_ended };
	forward_start(&s->f, loop);
	if (!fork()) {
		write_full(pair[1], data, 300000);
		_exit(0);
	}
	close(pair[1]);
	while (got < 300000) {
		ssize_t n = read(out[0], back + got, 1000);

		if (n > 0)
			got += n;
		else
			ck_assert_int_ge(loop_run_once(loop, true), 0);
	}
	while (!s->over)
		ck_assert_int_ge(loop_run_once(loop, true), 0);
	ck_assert_int_eq(s->reason, 0);
	ck_assert_mem_eq(data, back, 300000);
	forward_free(&s->f);
	loop_free(loop);
	close(pair[0]);
	close(out[0]);
	close(out[1]);
	free(data);
	free(back);
	free(s);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("sandbox_parts");
	TCase *t = tcase_create("parts"), *f = tcase_create("forward");

	tcase_add_test(t, test_env_file);
	tcase_add_test(t, test_env_file_bad);
	tcase_add_test(t, test_strv_env);
	tcase_add_test(t, test_vmspec);
	tcase_add_test(t, test_vmspec_vhost);
	tcase_add_test(t, test_module_path);
	tcase_add_test(t, test_vmspec_limits);
	tcase_add_test(t, test_console_keeps_the_end);
	tcase_add_test(t, test_console_file_is_bounded);
	tcase_add_test(t, test_output_log);
	tcase_add_test(t, test_output_log_is_bounded);
	tcase_add_test(f, test_forward_is_whole_and_hands_the_end_on);
	tcase_add_test(f, test_forward_reader_that_went);
	tcase_add_test(f, test_forward_cancelled_while_it_waits);
	tcase_add_test(f, test_forward_to_a_pipe_that_does_not_block);
	suite_add_tcase(s, t);
	suite_add_tcase(s, f);
	return s;
}
