/* SPDX-License-Identifier: Apache-2.0 */
/* Errors, the log, numbers from people, and the check of what a VMM is told. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/log.h"
#include "base/util.h"
#include "base/vmspec.h"

Suite *test_suite(void);

/* ---- err ---- */

START_TEST(err_keeps_code_and_wraps_message)
{
	struct err e = ERR_INIT;

	ck_assert_int_eq(err_errno(&e, -ENOENT, "image %s", "x"), -ENOENT);
	ck_assert_str_eq(e.msg, "image x: No such file or directory");
	ck_assert_int_eq(err_wrap(&e, "run"), -ENOENT);
	ck_assert_str_eq(e.msg, "run: image x: No such file or directory");
	ck_assert_int_eq(e.code, ENOENT);
}
END_TEST

START_TEST(err_takes_either_sign_and_no_struct)
{
	struct err e = ERR_INIT;

	ck_assert_int_eq(err_set(&e, EINVAL, "a"), -EINVAL);
	ck_assert_int_eq(err_set(&e, -EINVAL, "a"), -EINVAL);
	ck_assert_int_eq(err_set(NULL, EINVAL, "a"), -EINVAL);
	ck_assert_int_eq(err_set(&e, 0, "never a success"), -EIO);
	ck_assert_int_lt(err_wrap(NULL, "a"), 0);
}
END_TEST

/* What a stranger's file can make long must not push the cause out of the message. */
START_TEST(err_long_context_leaves_the_cause)
{
	struct err e = ERR_INIT;
	char big[4 * ERR_MSG_MAX];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	err_set(&e, ENOSPC, "disk full");
	err_wrap(&e, "%s", big);
	ck_assert_uint_lt(strlen(e.msg), ERR_MSG_MAX);
	ck_assert_ptr_nonnull(strstr(e.msg, "disk full"));
	err_set(&e, ENOSPC, "%s", big);
	err_wrap(&e, "context");
	ck_assert_int_eq(strncmp(e.msg, "context: xxx", 12), 0);
	ck_assert_uint_lt(strlen(e.msg), ERR_MSG_MAX);
}
END_TEST

/* ---- log ---- */

static char *logged(void (*fn)(void))
{
	char *text = NULL;
	int fds[2];
	ssize_t n;

	ck_assert_int_eq(pipe(fds), 0);
	log_to_fd(fds[1]);
	fn();
	close(fds[1]);
	log_to_fd(2);
	text = xcalloc(1, 65536);
	n = read(fds[0], text, 65535);
	ck_assert_int_ge(n, 0);
	close(fds[0]);
	return text;
}

static void log_one_of_each(void)
{
	log_error("bad %d", 1);
	log_warn("odd");
	log_info("fyi");
}

START_TEST(log_names_the_program_and_drops_what_is_below_its_level)
{
	_cleanup_free_ char *text = NULL;

	log_init("tester", LOG_WARN);
	text = logged(log_one_of_each);
	ck_assert_str_eq(text, "tester: bad 1\ntester: odd\n");
}
END_TEST

static void log_flood(void)
{
	int i;

	for (i = 0; i < 3001; i++)
		log_guest("line %d", i);
}

START_TEST(log_guest_flood_is_thinned)
{
	_cleanup_free_ char *text = logged(log_flood);
	size_t lines = 0, i;

	for (i = 0; text[i]; i++)
		lines += text[i] == '\n';
	ck_assert_uint_eq(lines, 13);
	ck_assert_ptr_nonnull(strstr(text, "line 3000\n"));
}
END_TEST

static void log_long(void)
{
	char big[5000];

	memset(big, 'y', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	log_error("%s", big);
}

START_TEST(log_long_line_is_cut_and_ended)
{
	_cleanup_free_ char *text = logged(log_long);

	ck_assert_uint_lt(strlen(text), 1201);
	ck_assert_int_eq(text[strlen(text) - 1], '\n');
}
END_TEST

/* ---- numbers ---- */

static const struct {
	const char *text;
	int result;
	uint64_t value;
} sizes[] = {
	{ "0", 0, 0 },
	{ "4096", 0, 4096 },
	{ "64m", 0, 64ull << 20 },
	{ "1G", 0, 1ull << 30 },
	{ "2k", 0, 2048 },
	{ "7b", 0, 7 },
	{ "1GiB", 0, 1ull << 30 },
	{ "1mb", 0, 1ull << 20 },
	{ "3t", 0, 3ull << 40 },
	{ "", -EINVAL, 0 },
	{ "m", -EINVAL, 0 },
	{ "-1", -EINVAL, 0 },
	{ "1.5g", -EINVAL, 0 },
	{ "1x", -EINVAL, 0 },
	{ "1 m", -EINVAL, 0 },
	{ " 1", -EINVAL, 0 },
	{ "0x10", -EINVAL, 0 },
	{ "1mm", -EINVAL, 0 },
	{ "18446744073709551615", 0, UINT64_MAX },
	{ "18446744073709551616", -ERANGE, 0 },
	{ "18446744073709551615k", -ERANGE, 0 },
};

START_TEST(size_is_parsed_or_refused)
{
	uint64_t v = 0;

	ck_assert_int_eq(parse_size(sizes[_i].text, &v), sizes[_i].result);
	ck_assert_uint_eq(v, sizes[_i].value);
}
END_TEST

static const struct {
	const char *text;
	int result;
	uint64_t value;
} durations[] = {
	{ "90", 0, 90000000000ull },
	{ "90s", 0, 90000000000ull },
	{ "1m30s", 0, 90000000000ull },
	{ "250ms", 0, 250000000ull },
	{ "1h", 0, 3600000000000ull },
	{ "3us", 0, 3000 },
	{ "5ns", 0, 5 },
	{ "0", 0, 0 },
	{ "", -EINVAL, 0 },
	{ "s", -EINVAL, 0 },
	{ "1d", -EINVAL, 0 },
	{ "-1s", -EINVAL, 0 },
	{ "1m ", -EINVAL, 0 },
	{ "99999999999999999999", -ERANGE, 0 },
	{ "18446744073710s", -ERANGE, 0 },
	{ "5124095h5124095h", -ERANGE, 0 },
};

START_TEST(duration_is_parsed_or_refused)
{
	uint64_t v = 0;

	ck_assert_int_eq(parse_duration(durations[_i].text, &v), durations[_i].result);
	ck_assert_uint_eq(v, durations[_i].value);
}
END_TEST

START_TEST(number_is_whole_and_in_range)
{
	uint64_t v = 77;

	ck_assert_int_eq(parse_u64("12", 1, 32, &v), 0);
	ck_assert_uint_eq(v, 12);
	ck_assert_int_eq(parse_u64("33", 1, 32, &v), -ERANGE);
	ck_assert_int_eq(parse_u64("0", 1, 32, &v), -ERANGE);
	ck_assert_int_eq(parse_u64("12x", 1, 32, &v), -EINVAL);
	ck_assert_int_eq(parse_u64("+1", 1, 32, &v), -EINVAL);
	ck_assert_int_eq(parse_u64("", 1, 32, &v), -EINVAL);
	ck_assert_int_eq(parse_u64(NULL, 1, 32, &v), -EINVAL);
	ck_assert_int_eq(parse_u64("99999999999999999999", 0, UINT64_MAX, &v), -ERANGE);
	ck_assert_uint_eq(v, 12);
}
END_TEST

START_TEST(random_ids_are_hex_and_differ)
{
	char a[65], b[65];

	random_id(a);
	random_id(b);
	ck_assert_uint_eq(strspn(a, "0123456789abcdef"), 64);
	ck_assert_uint_eq(strlen(a), 64);
	ck_assert_str_ne(a, b);
}
END_TEST

/* ---- vmspec ---- */

static void valid(struct vmspec *spec)
{
	struct vmspec_device *dev;

	vmspec_init(spec);
	spec->mem_bytes = 64u << 20;
	spec->kvm_fd = 3;
	spec->kernel_fd = 4;
	spec->uid = spec->gid = 100000;
	dev = vmspec_add(spec, VMSPEC_BLK);
	dev->blk.fd = 5;
	dev = vmspec_add(spec, VMSPEC_VSOCK);
	dev->vsock.guest_cid = 3;
	dev->vsock.ports_n = 2;
	dev->vsock.ports[0] = (struct vmspec_port){ .port = 1, .fd = 6 };
	dev->vsock.ports[1] = (struct vmspec_port){ .port = 2, .fd = 7 };
}

static void many_vcpus(struct vmspec *s)
{
	s->vcpus = VMSPEC_VCPUS_MAX + 1;
}
static void no_vcpus(struct vmspec *s)
{
	s->vcpus = 0;
}
static void other_version(struct vmspec *s)
{
	s->version++;
}
static void other_size(struct vmspec *s)
{
	s->size_bytes--;
}
static void little_memory(struct vmspec *s)
{
	s->mem_bytes = VMSPEC_MEM_MIN - (2u << 20);
}
static void odd_memory(struct vmspec *s)
{
	s->mem_bytes += 4096;
}
static void huge_memory(struct vmspec *s)
{
	s->mem_bytes = VMSPEC_MEM_MAX + (2u << 20);
}
static void no_kvm(struct vmspec *s)
{
	s->kvm_fd = -1;
}
static void no_kernel(struct vmspec *s)
{
	s->kernel_fd = -1;
}
static void endless_cmdline(struct vmspec *s)
{
	memset(s->cmdline, 'x', sizeof(s->cmdline));
}
static void odd_flags(struct vmspec *s)
{
	s->flags = 0x80;
}
static void root_in_jail(struct vmspec *s)
{
	s->uid = 0;
}
static void many_devices(struct vmspec *s)
{
	s->devices_n = VMSPEC_DEVICES_MAX + 1;
}
static void disk_without_file(struct vmspec *s)
{
	s->devices[0].blk.fd = -1;
}
static void many_queues(struct vmspec *s)
{
	s->devices[0].blk.queues = 2;
}
static void odd_device_flags(struct vmspec *s)
{
	s->devices[0].flags = 1u << 30;
}
static void host_cid(struct vmspec *s)
{
	s->devices[1].vsock.guest_cid = 2;
}
static void any_cid(struct vmspec *s)
{
	s->devices[1].vsock.guest_cid = UINT32_MAX;
}
static void port_twice(struct vmspec *s)
{
	s->devices[1].vsock.ports[1].port = 1;
}
static void port_without_file(struct vmspec *s)
{
	s->devices[1].vsock.ports[1].fd = -1;
}
static void many_ports(struct vmspec *s)
{
	s->devices[1].vsock.ports_n = VMSPEC_PORTS_MAX + 1;
}

static void (*const breakers[])(struct vmspec *) = {
	many_vcpus,  no_vcpus,	       other_version,	other_size, little_memory, odd_memory,	      huge_memory,
	no_kvm,	     no_kernel,	       endless_cmdline, odd_flags,  root_in_jail,  many_devices,      disk_without_file,
	many_queues, odd_device_flags, host_cid,	any_cid,    port_twice,	   port_without_file, many_ports,
};

START_TEST(vmspec_valid_is_taken)
{
	struct err e = ERR_INIT;
	struct vmspec spec;

	valid(&spec);
	ck_assert_msg(vmspec_check(&spec, &e) == 0, "%s", e.msg);
}
END_TEST

START_TEST(vmspec_broken_is_refused_with_a_reason)
{
	struct err e = ERR_INIT;
	struct vmspec spec;

	valid(&spec);
	breakers[_i](&spec);
	ck_assert_int_lt(vmspec_check(&spec, &e), 0);
	ck_assert_int_ne(e.msg[0], '\0');
}
END_TEST

START_TEST(vmspec_has_room_for_so_many_devices)
{
	struct vmspec spec;
	unsigned int i;

	vmspec_init(&spec);
	for (i = 0; i < VMSPEC_DEVICES_MAX; i++)
		ck_assert_ptr_nonnull(vmspec_add(&spec, VMSPEC_RNG));
	ck_assert_ptr_null(vmspec_add(&spec, VMSPEC_RNG));
}
END_TEST

START_TEST(vm_end_has_a_name_always)
{
	ck_assert_str_eq(vm_end_name(VM_END_TRIPLE_FAULT), "triple fault");
	ck_assert_str_eq(vm_end_name(0), "unknown end");
	ck_assert_str_eq(vm_end_name(UINT32_MAX), "unknown end");
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("base");
	TCase *tc = tcase_create("err");

	tcase_add_test(tc, err_keeps_code_and_wraps_message);
	tcase_add_test(tc, err_takes_either_sign_and_no_struct);
	tcase_add_test(tc, err_long_context_leaves_the_cause);
	suite_add_tcase(suite, tc);

	tc = tcase_create("log");
	tcase_add_test(tc, log_names_the_program_and_drops_what_is_below_its_level);
	tcase_add_test(tc, log_guest_flood_is_thinned);
	tcase_add_test(tc, log_long_line_is_cut_and_ended);
	suite_add_tcase(suite, tc);

	tc = tcase_create("numbers");
	tcase_add_loop_test(tc, size_is_parsed_or_refused, 0, ARRAY_SIZE(sizes));
	tcase_add_loop_test(tc, duration_is_parsed_or_refused, 0, ARRAY_SIZE(durations));
	tcase_add_test(tc, number_is_whole_and_in_range);
	tcase_add_test(tc, random_ids_are_hex_and_differ);
	suite_add_tcase(suite, tc);

	tc = tcase_create("vmspec");
	tcase_add_test(tc, vmspec_valid_is_taken);
	tcase_add_loop_test(tc, vmspec_broken_is_refused_with_a_reason, 0, ARRAY_SIZE(breakers));
	tcase_add_test(tc, vmspec_has_room_for_so_many_devices);
	tcase_add_test(tc, vm_end_has_a_name_always);
	suite_add_tcase(suite, tc);
	return suite;
}
