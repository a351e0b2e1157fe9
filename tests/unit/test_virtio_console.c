/* SPDX-License-Identifier: Apache-2.0 */
/* The console: what comes out, how much of it, and what goes in. */
#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "tests/unit/virtio_driver.h"

Suite *test_suite(void);

#define QSIZE 16u
#define RX 0u
#define TX 1u

static struct drv d;
static int out, in; /* our ends */
static char lines[8][600];
static unsigned int lines_n;

static void on_line(void *arg, const char *line)
{
	if (lines_n < ARRAY_SIZE(lines))
		snprintf(lines[lines_n], sizeof(lines[0]), "%s", line);
	lines_n++;
}

static void open_console(int out_fd, int in_fd)
{
	struct vmspec_device *dev;
	struct err e = ERR_INIT;

	memset(&d, 0, sizeof(d));
	vmspec_init(&d.spec);
	dev = vmspec_add(&d.spec, VMSPEC_CONSOLE);
	dev->console.out_fd = out_fd;
	dev->console.in_fd = in_fd;
	ck_assert_msg(drv_open(&d, &e) == 0, "%s", e.msg);
	lines_n = 0;
	virtio_machine_on_console_line(d.machine, on_line, NULL);
	drv_up(&d, 2, QSIZE, DRV_FEATURES);
}

static void setup(void)
{
	int o[2], i[2];

	ck_assert_int_eq(pipe2(o, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(i, O_CLOEXEC), 0);
	out = o[0];
	in = i[1];
	open_console(o[1], i[0]);
}

static void teardown(void)
{
	drv_close(&d);
	close(out);
	close(in);
}

/* The guest prints, and has its buffer back at once. */
static void print(const char *s, uint32_t len)
{
	memcpy(drv_at(&d, DRV_DATA), s, len);
	drv_add(&d, TX, &(struct drv_buf){ DRV_DATA, len, false }, 1);
	drv_kick(&d, TX);
	ck_assert_int_eq(drv_next_used(&d, TX, NULL), 0);
}

static bool readable(struct drv *drv, void *arg)
{
	struct pollfd p = { .fd = out, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static void expect_output(const char *want)
{
	size_t len = strlen(want), have = 0;
	char got[1024];

	while (have < len) {
		ssize_t n;

		ck_assert(drv_wait(&d, readable, NULL));
		n = read(out, got + have, len - have);
		ck_assert_int_gt(n, 0);
		have += n;
	}
	ck_assert_mem_eq(got, want, len);
}

START_TEST(prints)
{
	print("hello\n", 6);
	expect_output("hello\n");
	print("a\x1b[0mb", 6); /* bytes as they are */
	expect_output("a\x1b[0mb");
}
END_TEST

START_TEST(lines_are_cut_and_made_printable)
{
	char longer[700];

	print("one\r\ntw", 7);
	print("o\x1b\xff\n", 4);
	memset(longer, 'x', sizeof(longer));
	longer[699] = '\n';
	print(longer, sizeof(longer));
	print("end\n", 4);
	ck_assert_uint_eq(lines_n, 4);
	ck_assert_str_eq(lines[0], "one");
	ck_assert_str_eq(lines[1], "two??");
	ck_assert_uint_eq(strlen(lines[2]), 511);
	ck_assert_str_eq(lines[3], "end");
}
END_TEST

START_TEST(takes_input_when_there_are_buffers)
{
	ck_assert_int_eq(write(in, "abcdef", 6), 6);
	drv_turns(&d);
	drv_add(&d, RX, &(struct drv_buf){ DRV_DATA, 4, true }, 1);
	drv_kick(&d, RX);
	ck_assert_int_eq(drv_next_used(&d, RX, NULL), 4);
	ck_assert_mem_eq(drv_at(&d, DRV_DATA), "abcd", 4);
	drv_add(&d, RX, &(struct drv_buf){ DRV_DATA, 4, true }, 1);
	drv_kick(&d, RX);
	ck_assert_int_eq(drv_next_used(&d, RX, NULL), 2);
	ck_assert_int_eq(write(in, "gh", 2), 2);
	drv_add(&d, RX, &(struct drv_buf){ DRV_DATA, 4, true }, 1);
	drv_kick(&d, RX);
	ck_assert_int_eq(drv_next_used(&d, RX, NULL), 2);
	ck_assert_mem_eq(drv_at(&d, DRV_DATA), "gh", 2);
}
END_TEST

START_TEST(a_flood_is_dropped_and_counted)
{
	char chunk[4096], got[4096];
	unsigned int i, total = 0, noted = 0;
	unsigned long long dropped = 0;
	char *all = calloc(1, 1 << 20), *at;

	memset(chunk, 'f', sizeof(chunk));
	for (i = 0; i < 100; i++) /* nobody reads; the guest goes on all the same */
		print(chunk, sizeof(chunk));
	while (drv_turns(&d), readable(NULL, NULL)) {
		ssize_t n = read(out, got, sizeof(got));

		ck_assert_int_gt(n, 0);
		memcpy(all + total, got, n);
		total += n;
	}
	for (at = all; (at = strstr(at, "\n[console: ")); at++) {
		dropped += strtoull(at + 11, NULL, 10);
		noted += strchr(at + 1, '\n') + 1 - at;
	}
	ck_assert_uint_gt(dropped, 0);
	ck_assert_uint_eq(total - noted + dropped, 100 * sizeof(chunk));
	ck_assert_uint_le(total, 65536 + 16384 + 4096); /* a pipe's and our own */
	print("again\n", 6);
	expect_output("again\n");
	free(all);
}
END_TEST

START_TEST(a_huge_buffer_is_cut)
{
	memset(drv_at(&d, DRV_DATA), 'h', 8 << 20);
	drv_add(&d, TX, &(struct drv_buf){ DRV_DATA, 8 << 20, false }, 1);
	drv_kick(&d, TX);
	ck_assert_int_eq(drv_next_used(&d, TX, NULL), 0);
	print("alive\n", 6);
}
END_TEST

static int log_fd;

static bool log_has(struct drv *drv, void *arg)
{
	struct stat st;

	return fstat(log_fd, &st) == 0 && st.st_size >= *(off_t *)arg;
}

START_TEST(a_file_has_an_end)
{
	off_t want = 0;
	char chunk[4096], tail[64] = "";
	int fd = memfd_create("log", MFD_CLOEXEC), i;
	struct stat st;

	drv_close(&d);
	open_console(dup(fd), -1);
	memset(chunk, 'l', sizeof(chunk));
	log_fd = fd;
	for (i = 0; i < 5000; i++) { /* 20 MB, as fast as the file takes it */
		print(chunk, sizeof(chunk));
		want = min_t(off_t, want + sizeof(chunk), 16 << 20);
		ck_assert(drv_wait(&d, log_has, &want));
	}
	want += 38; /* the last words */
	ck_assert(drv_wait(&d, log_has, &want));
	fstat(fd, &st);
	ck_assert_int_ge(st.st_size, 16 << 20);
	ck_assert_int_lt(st.st_size, (16 << 20) + 8192);
	ck_assert_int_gt(pread(fd, tail, sizeof(tail) - 1, st.st_size - 40), 0);
	ck_assert_ptr_nonnull(strstr(tail, "[console: full, nothing more is kept]"));
	/* Panics are still seen. */
	print("\nKernel panic\n", 14);
	ck_assert_str_eq(lines[lines_n < 8 ? lines_n - 1 : 1], "Kernel panic");
	close(fd);
}
END_TEST

START_TEST(nobody_reads_any_more)
{
	close(out);
	out = open("/dev/null", O_RDONLY | O_CLOEXEC);
	signal(SIGPIPE, SIG_IGN);
	print("lost\n", 5);
	drv_turns(&d);
	print("lost too\n", 9);
	drv_turns(&d);
	ck_assert(!drv_broken(&d));
}
END_TEST

START_TEST(drain_hands_out_the_rest)
{
	char got[8] = "";

	memcpy(drv_at(&d, DRV_DATA), "last\n", 5);
	drv_add(&d, TX, &(struct drv_buf){ DRV_DATA, 5, false }, 1);
	virtio_machine_drain(d.machine); /* nobody has kicked */
	ck_assert_int_eq(read(out, got, 8), 5);
	ck_assert_str_eq(got, "last\n");
	ck_assert_str_eq(lines[0], "last");
}
END_TEST

START_TEST(wrong_directions_break_the_device_only)
{
	drv_add(&d, TX, &(struct drv_buf){ DRV_DATA, 5, true }, 1);
	drv_kick(&d, TX);
	ck_assert(drv_wait(&d, drv_is_broken, NULL));
	drv_up(&d, 2, QSIZE, DRV_FEATURES);
	ck_assert_int_eq(write(in, "x", 1), 1);
	drv_add(&d, RX, &(struct drv_buf){ DRV_DATA, 5, false }, 1);
	drv_kick(&d, RX);
	ck_assert(drv_wait(&d, drv_is_broken, NULL));
	drv_up(&d, 2, QSIZE, DRV_FEATURES);
	print("well\n", 5);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("virtio-console");
	TCase *t = tcase_create("all");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, prints);
	tcase_add_test(t, lines_are_cut_and_made_printable);
	tcase_add_test(t, takes_input_when_there_are_buffers);
	tcase_add_test(t, a_flood_is_dropped_and_counted);
	tcase_add_test(t, a_huge_buffer_is_cut);
	tcase_add_test(t, a_file_has_an_end);
	tcase_add_test(t, nobody_reads_any_more);
	tcase_add_test(t, drain_hands_out_the_rest);
	tcase_add_test(t, wrong_directions_break_the_device_only);
	suite_add_tcase(s, t);
	return s;
}
