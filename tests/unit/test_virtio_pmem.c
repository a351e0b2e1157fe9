/* SPDX-License-Identifier: Apache-2.0 */
/* pmem over a real file. */
#include <check.h>
#include <linux/virtio_pmem.h>
#include <sys/mman.h>

#include "tests/unit/virtio_driver.h"

Suite *test_suite(void);

#define MIB (1ull << 20)
#define REQ DRV_DATA
#define RESP (DRV_DATA + 0x100)

static struct drv d;
static int file;

static int open_pmem(uint64_t bytes, uint32_t flags, struct err *e)
{
	struct vmspec_device *dev;

	file = memfd_create("pmem", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(file, (off_t)bytes), 0);
	ck_assert_int_eq(pwrite(file, "first", 5, 0), 5);
	ck_assert_int_eq(ftruncate(file, (off_t)bytes), 0);
	memset(&d, 0, sizeof(d));
	vmspec_init(&d.spec);
	dev = vmspec_add(&d.spec, VMSPEC_PMEM);
	dev->flags = flags;
	dev->pmem.fd = dup(file);
	return drv_open(&d, e);
}

static void close_pmem(void)
{
	drv_close(&d);
	close(file);
}

static uint64_t config64(unsigned int offset)
{
	return drv_read(&d, VIRTIO_MMIO_CONFIG + offset) | (uint64_t)drv_read(&d, VIRTIO_MMIO_CONFIG + offset + 4)
								   << 32;
}

/* What the device answers to a request of that type. */
static uint32_t request(uint32_t type)
{
	const struct drv_buf bufs[2] = { { REQ, 4, false }, { RESP, 4, true } };

	*(uint32_t *)drv_at(&d, REQ) = htole32(type);
	*(uint32_t *)drv_at(&d, RESP) = 0xeeeeeeee;
	drv_add(&d, 0, bufs, 2);
	drv_kick(&d, 0);
	ck_assert_int_eq(drv_next_used(&d, 0, NULL), 4);
	return le32toh(*(uint32_t *)drv_at(&d, RESP));
}

START_TEST(the_guest_has_the_file_as_memory)
{
	struct err e = ERR_INIT;

	ck_assert_msg(open_pmem(3 * MIB + 100, VMSPEC_PMEM_READONLY, &e) == 0, "%s", e.msg);
	ck_assert_uint_eq(config64(0), GUEST_HOLE_END); /* 16 MiB of RAM end below */
	ck_assert_uint_eq(config64(8), 4 * MIB);
	ck_assert_uint_eq(d.window_gpa, config64(0));
	ck_assert_uint_eq(d.window_bytes, config64(8));
	ck_assert(d.window_read_only);
	ck_assert_uint_eq((uintptr_t)d.window % (2 * MIB), 0); /* as the guest's addresses are, for huge pages */
	ck_assert_mem_eq(d.window, "first", 5);
	/* Behind the file's end, in its last page and in those that it does not have. */
	ck_assert_int_eq(d.window[3 * MIB + 101], 0);
	ck_assert_int_eq(d.window[3 * MIB + 4096], 0);
	ck_assert_int_eq(d.window[4 * MIB - 1], 0);
	/* One page cache: what changes in the file is seen. */
	ck_assert_int_eq(pwrite(file, "later", 5, 8192), 5);
	ck_assert_mem_eq(d.window + 8192, "later", 5);
	close_pmem();
}
END_TEST

START_TEST(flushes)
{
	struct err e = ERR_INIT;
	int i;

	for (i = 0; i < 2; i++) {
		ck_assert_msg(open_pmem(2 * MIB, i ? VMSPEC_PMEM_READONLY : 0, &e) == 0, "%s", e.msg);
		ck_assert(d.window_read_only == (i == 1));
		drv_up(&d, 1, 16, DRV_FEATURES);
		ck_assert_uint_eq(request(VIRTIO_PMEM_REQ_TYPE_FLUSH), 0);
		ck_assert_uint_eq(request(VIRTIO_PMEM_REQ_TYPE_FLUSH), 0);
		ck_assert_uint_eq(request(77), 1);
		close_pmem();
	}
}
END_TEST

START_TEST(requests_wait_for_the_flush_under_way)
{
	const struct drv_buf bufs[2] = { { REQ, 4, false }, { RESP, 4, true } };
	struct err e = ERR_INIT;
	int i;

	ck_assert_msg(open_pmem(2 * MIB, 0, &e) == 0, "%s", e.msg);
	drv_up(&d, 1, 16, DRV_FEATURES);
	*(uint32_t *)drv_at(&d, REQ) = htole32(VIRTIO_PMEM_REQ_TYPE_FLUSH);
	for (i = 0; i < 5; i++)
		drv_add(&d, 0, bufs, 2);
	drv_kick(&d, 0);
	for (i = 0; i < 5; i++)
		ck_assert_int_eq(drv_next_used(&d, 0, NULL), 4);
	/* One that is under way at a reset writes nothing. */
	drv_add(&d, 0, bufs, 2);
	drv_kick(&d, 0);
	drv_up(&d, 1, 16, DRV_FEATURES);
	ck_assert_uint_eq(request(VIRTIO_PMEM_REQ_TYPE_FLUSH), 0);
	close_pmem();
}
END_TEST

START_TEST(malformed_requests_break_the_device)
{
	const struct drv_buf bad[][2] = { { { REQ, 3, false }, { RESP, 4, true } },
					  { { REQ, 4, false }, { RESP, 3, true } } };
	struct err e = ERR_INIT;
	size_t i;

	ck_assert_msg(open_pmem(2 * MIB, VMSPEC_PMEM_READONLY, &e) == 0, "%s", e.msg);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		drv_up(&d, 1, 16, DRV_FEATURES);
		drv_add(&d, 0, bad[i], 2);
		drv_kick(&d, 0);
		ck_assert(drv_wait(&d, drv_is_broken, NULL));
	}
	close_pmem();
}
END_TEST

/* A program that writes from its own text to a disk has the disk's device read from the window; none writes there. */
START_TEST(devices_read_from_the_window_and_never_write_there)
{
	struct err e = ERR_INIT;
	const struct drv_buf answer = { RESP, 4, true };
	struct drv_buf bufs[2] = { { 0, 4, false }, answer };

	ck_assert_msg(open_pmem(2 * MIB, VMSPEC_PMEM_READONLY, &e) == 0, "%s", e.msg);
	drv_up(&d, 1, 16, DRV_FEATURES);
	/* Zeroes, which mean a flush; "first" doesn't. The last bytes, then one more. */
	bufs[0].gpa = d.window_gpa + d.window_bytes - 4;
	drv_add(&d, 0, bufs, 2);
	drv_kick(&d, 0);
	ck_assert_int_eq(drv_next_used(&d, 0, NULL), 4);
	ck_assert_uint_eq(*(uint32_t *)drv_at(&d, RESP), 0);
	bufs[0].gpa = d.window_gpa;
	drv_add(&d, 0, bufs, 2);
	drv_kick(&d, 0);
	ck_assert_int_eq(drv_next_used(&d, 0, NULL), 4);
	ck_assert_uint_eq(*(uint32_t *)drv_at(&d, RESP), htole32(1));
	bufs[0].gpa = d.window_gpa + d.window_bytes - 3;
	drv_add(&d, 0, bufs, 2);
	drv_kick(&d, 0);
	ck_assert(drv_wait(&d, drv_is_broken, NULL));
	drv_up(&d, 1, 16, DRV_FEATURES);
	bufs[0].gpa = REQ;
	bufs[1].gpa = d.window_gpa;
	drv_add(&d, 0, bufs, 2);
	drv_kick(&d, 0);
	ck_assert(drv_wait(&d, drv_is_broken, NULL));
	ck_assert_mem_eq(d.window, "first", 5);
	close_pmem();
}
END_TEST

START_TEST(files_that_will_not_do_are_refused_with_a_reason)
{
	static const struct {
		uint64_t bytes;
		uint32_t flags;
		const char *words;
	} bad[] = {
		{ 0, VMSPEC_PMEM_READONLY, "something in it" },
		{ 3 * MIB, 0, "multiple of 2 MiB" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err e = ERR_INIT;

		ck_assert_int_eq(open_pmem(bad[i].bytes, bad[i].flags, &e), -EINVAL);
		ck_assert_msg(strstr(e.msg, bad[i].words) != NULL, "%s", e.msg);
		loop_free(d.loop);
		guest_mem_free(d.mem);
		close(file);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("virtio-pmem");
	TCase *t = tcase_create("all");

	tcase_add_test(t, the_guest_has_the_file_as_memory);
	tcase_add_test(t, flushes);
	tcase_add_test(t, requests_wait_for_the_flush_under_way);
	tcase_add_test(t, malformed_requests_break_the_device);
	tcase_add_test(t, devices_read_from_the_window_and_never_write_there);
	tcase_add_test(t, files_that_will_not_do_are_refused_with_a_reason);
	suite_add_tcase(s, t);
	return s;
}
