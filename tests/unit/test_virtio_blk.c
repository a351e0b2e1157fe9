/* SPDX-License-Identifier: Apache-2.0 */
/* blk over a real file. */
#include <check.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "io/spot.h"
#include "tests/unit/virtio_blk_fixture.h"

Suite *test_suite(void);

START_TEST(says_what_it_is)
{
	struct virtio_blk_config c = config();

	ck_assert_uint_eq(c.capacity, SECTORS);
	ck_assert_uint_eq(c.blk_size, 512);
	ck_assert_uint_eq(c.opt_io_size, 4096 / 512);
	ck_assert_uint_ge(c.seg_max, 64);
	ck_assert_uint_eq(c.num_queues, 1);
	ck_assert_uint_ge(c.max_discard_sectors, 8);
	blk_up();
	ck_assert(d.features & (1ull << VIRTIO_BLK_F_FLUSH));
	ck_assert(!(d.features & (1ull << VIRTIO_BLK_F_RO)));
	ck_assert(!(d.features & (1ull << VIRTIO_BLK_F_MQ)));
	ck_assert_int_eq(request(VIRTIO_BLK_T_GET_ID, 0, 20, true), VIRTIO_BLK_S_OK);
	ck_assert_mem_eq(drv_at(&d, BUF), "serial-of-20-chars!!", 20);
}
END_TEST

START_TEST(reads_and_writes)
{
	uint64_t *buf;

	blk_up();
	buf = drv_at(&d, BUF);
	ck_assert_int_eq(request(VIRTIO_BLK_T_IN, 7, 4096, true), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(buf[0], 7);
	ck_assert_uint_eq(buf[512 / 8], 8);
	ck_assert_uint_eq(buf[7 * 512 / 8], 14);
	buf[0] = 4711;
	ck_assert_int_eq(request(VIRTIO_BLK_T_OUT, SECTORS - 1, 512, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(on_file(SECTORS - 1), 4711);
	ck_assert_uint_eq(on_file(SECTORS - 2), SECTORS - 2);
	ck_assert_int_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_ne(drv_interrupt(&d), 0);
}
END_TEST

/* Header, data and status cut wherever the driver likes (2.7.4.1). */
START_TEST(any_framing_will_do)
{
	const struct drv_buf bufs[] = {
		{ HDR, 3, false },	{ HDR + 3, 13, false },	  { BUF, 1, true },
		{ BUF + 1, 600, true }, { BUF + 601, 424, true }, /* 1,024 of data and the status */
	};
	struct virtio_blk_outhdr hdr = { .type = VIRTIO_BLK_T_IN, .sector = 9 };

	blk_up();
	memcpy(drv_at(&d, HDR), &hdr, sizeof(hdr));
	memset(drv_at(&d, BUF), 0xee, 1025);
	drv_add(&d, 0, bufs, ARRAY_SIZE(bufs));
	drv_kick(&d, 0);
	ck_assert_int_eq(drv_next_used(&d, 0, NULL), 1025);
	ck_assert_uint_eq(*(uint64_t *)drv_at(&d, BUF), 9);
	ck_assert_uint_eq(*(uint64_t *)drv_at(&d, BUF + 512), 10);
	ck_assert_uint_eq(*(uint8_t *)drv_at(&d, BUF + 1024), VIRTIO_BLK_S_OK);
}
END_TEST

START_TEST(the_disk_ends_where_it_ends)
{
	blk_up();
	ck_assert_int_eq(request(VIRTIO_BLK_T_IN, SECTORS, 512, true), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(request(VIRTIO_BLK_T_IN, SECTORS - 1, 1024, true), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(request(VIRTIO_BLK_T_IN, UINT64_MAX, 512, true), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(request(VIRTIO_BLK_T_OUT, UINT64_MAX / 512, 512, false), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(request(VIRTIO_BLK_T_OUT, 1ull << 55, 512, false), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(request(VIRTIO_BLK_T_IN, 0, 511, true), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(request(VIRTIO_BLK_T_IN, 0, 0, true), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(request(99, 0, 512, true), VIRTIO_BLK_S_UNSUPP);
	ck_assert_int_eq(request(VIRTIO_BLK_T_SECURE_ERASE, 0, 512, false), VIRTIO_BLK_S_UNSUPP);
	/* The file has shrunk behind our back. */
	ck_assert_int_eq(ftruncate(disk, 100 * 512), 0);
	ck_assert_int_eq(request(VIRTIO_BLK_T_IN, 100, 512, true), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(request(VIRTIO_BLK_T_IN, 98, 4096, true), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(request(VIRTIO_BLK_T_IN, 98, 1024, true), VIRTIO_BLK_S_OK);
	ck_assert(!drv_broken(&d));
}
END_TEST

/* The file is in /var/tmp, as a tmpfs would take anything. */
START_TEST(direct_takes_buffers_that_the_file_would_not)
{
	static const struct {
		uint32_t skew, first;
	} cases[] = { { 0, 4096 }, { 512, 3584 }, { 4, 1000 }, { 1, 1 } };
	const uint32_t len = 40960; /* more than is bounced at once */
	char path[] = "/var/tmp/test-blk-XXXXXX", *buf;
	struct virtio_blk_outhdr *hdr;
	unsigned int i, k;
	int fd, direct;

	teardown();
	fd = mkostemp(path, O_CLOEXEC);
	direct = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	unlink(path);
	ck_assert_msg(fd >= 0 && direct >= 0, "/var/tmp has no O_DIRECT");
	ck_assert_int_eq(ftruncate(fd, SECTORS * 512), 0);
	disk = fd;
	open_disk(direct, VMSPEC_BLK_DIRECT, 0);
	close(direct);
	blk_up();
	hdr = drv_at(&d, HDR);
	buf = drv_at(&d, BUF);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		const uint32_t at = BUF + cases[i].skew;
		struct drv_buf bufs[] = { { HDR, sizeof(*hdr), false },
					  { at, cases[i].first, false },
					  { at + cases[i].first, len - cases[i].first, false },
					  { STATUS, 1, true } };

		for (k = 0; k < len; k++)
			buf[cases[i].skew + k] = (char)(k / 512 * 7 + k + i);
		*hdr = (struct virtio_blk_outhdr){ .type = htole32(VIRTIO_BLK_T_OUT), .sector = htole64(8 * i) };
		drv_add(&d, 0, bufs, ARRAY_SIZE(bufs));
		drv_kick(&d, 0);
		ck_assert_int_ge(drv_next_used(&d, 0, NULL), 1);
		ck_assert_int_eq(status_at(0), VIRTIO_BLK_S_OK);

		memset(buf, 0xee, len + 4096);
		bufs[1].write = bufs[2].write = true;
		hdr->type = htole32(VIRTIO_BLK_T_IN);
		drv_add(&d, 0, bufs, ARRAY_SIZE(bufs));
		drv_kick(&d, 0);
		ck_assert_int_eq(drv_next_used(&d, 0, NULL), len + 1);
		ck_assert_int_eq(status_at(0), VIRTIO_BLK_S_OK);
		for (k = 0; k < len; k++)
			ck_assert_int_eq((unsigned char)buf[cases[i].skew + k], (unsigned char)(k / 512 * 7 + k + i));
		ck_assert_int_eq((unsigned char)buf[cases[i].skew + len], 0xee);
	}
}
END_TEST

START_TEST(read_only_is_read_only)
{
	drv_close(&d);
	open_disk(disk, VMSPEC_BLK_READONLY, 0);
	blk_up();
	ck_assert(d.features & (1ull << VIRTIO_BLK_F_RO));
	ck_assert(!(d.features & (1ull << VIRTIO_BLK_F_DISCARD | 1ull << VIRTIO_BLK_F_WRITE_ZEROES)));
	memset(drv_at(&d, BUF), 0, 512);
	ck_assert_int_eq(request(VIRTIO_BLK_T_OUT, 1, 512, false), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(request(VIRTIO_BLK_T_DISCARD, 0, 16, false), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(request(VIRTIO_BLK_T_IN, 1, 512, true), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(on_file(1), 1);
}
END_TEST

static void range(unsigned int i, uint64_t sector, uint32_t sectors, uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes *r = drv_at(&d, BUF);

	r[i] = (struct virtio_blk_discard_write_zeroes){ htole64(sector), htole32(sectors), htole32(flags) };
}

START_TEST(discards_and_writes_zeroes)
{
	struct stat before, after;

	blk_up();
	fstat(disk, &before);
	range(0, 8, 8, 0);
	range(1, 64, 128, 0);
	ck_assert_int_eq(request(VIRTIO_BLK_T_DISCARD, 0, 32, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(on_file(9), 0);
	ck_assert_uint_eq(on_file(100), 0);
	ck_assert_uint_eq(on_file(16), 16);
	ck_assert_uint_eq(on_file(192), 192);
	fstat(disk, &after);
	ck_assert_int_lt(after.st_blocks, before.st_blocks);
	range(0, 1001, 3, 0);
	ck_assert_int_eq(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(on_file(1000), 1000);
	ck_assert_uint_eq(on_file(1001), 0);
	ck_assert_uint_eq(on_file(1003), 0);
	ck_assert_uint_eq(on_file(1004), 1004);
	range(0, 2000, 8, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
	ck_assert_int_eq(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(on_file(2007), 0);
	fstat(disk, &after);
	ck_assert_uint_eq(after.st_size, SECTORS * 512);
}
END_TEST

START_TEST(ranges_are_checked)
{
	blk_up();
	range(0, 0, 8, 0);
	range(1, SECTORS - 1, 2, 0);
	ck_assert_int_eq(request(VIRTIO_BLK_T_DISCARD, 0, 32, false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(on_file(1), 1); /* none of them was done */
	range(0, UINT64_MAX, 2, 0);
	ck_assert_int_eq(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false), VIRTIO_BLK_S_IOERR);
	range(0, 0, 0, 0);
	ck_assert_int_eq(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false), VIRTIO_BLK_S_IOERR);
	range(0, 0, 8, 2);
	ck_assert_int_eq(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false), VIRTIO_BLK_S_UNSUPP);
	range(0, 0, 8, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP); /* must not be set for discard */
	ck_assert_int_eq(request(VIRTIO_BLK_T_DISCARD, 0, 16, false), VIRTIO_BLK_S_UNSUPP);
	ck_assert_int_eq(request(VIRTIO_BLK_T_DISCARD, 0, 15, false), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(request(VIRTIO_BLK_T_DISCARD, 0, 17 * 16, false), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(request(VIRTIO_BLK_T_DISCARD, 0, 0, false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(on_file(1), 1);
}
END_TEST

START_TEST(zeroes_where_the_file_cannot_zero_in_place)
{
	int fd = memfd_create("disk", MFD_CLOEXEC); /* tmpfs punches holes and no more */
	uint64_t i;

	ck_assert_int_eq(ftruncate(fd, 64 * 512), 0);
	for (i = 0; i < 64; i++)
		ck_assert_int_eq(pwrite(fd, &i, 8, i * 512), 8);
	drv_close(&d);
	close(disk);
	disk = fd;
	open_disk(fd, 0, 0);
	blk_up();
	range(0, 3, 2, 0);
	ck_assert_int_eq(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(on_file(3), 0);
	ck_assert_uint_eq(on_file(5), 5);
}
END_TEST

START_TEST(many_requests_in_flight_on_several_queues)
{
	unsigned int i, q, n = 0;
	uint16_t head;

	drv_close(&d);
	open_disk(disk, 0, 2);
	ck_assert_uint_eq(config().num_queues, 2);
	drv_up(&d, 2, QSIZE, BLK_WANT);
	for (q = 0; q < 2; q++)
		for (i = 0; i < 20; i++)
			add(q, q * 20 + i, VIRTIO_BLK_T_IN, q * 20 + i, 512, true);
	drv_kick(&d, 0);
	drv_kick(&d, 1);
	for (n = 0; n < 40; n++)
		ck_assert_int_eq(drv_next_used(&d, n / 20, &head), 513);
	for (i = 0; i < 40; i++) {
		ck_assert_int_eq(status_at(i), VIRTIO_BLK_S_OK);
		ck_assert_uint_eq(*(uint64_t *)drv_at(&d, BUF + 0x1000 * i), i);
	}
	ck_assert(!drv_broken(&d));
}
END_TEST

static bool reset_ended(struct drv *drv, void *arg)
{
	return drv_read(drv, VIRTIO_MMIO_STATUS) == 0;
}

START_TEST(reset_waits_for_what_is_in_flight)
{
	unsigned int i;

	blk_up();
	for (i = 0; i < 16; i++)
		add(0, i, VIRTIO_BLK_T_IN, i, 512, true);
	drv_kick(&d, 0);
	/* The requests are taken but, as they need a turn of the loop each, not ended. */
	loop_run_once(d.loop, true);
	drv_write(&d, VIRTIO_MMIO_STATUS, 0);
	ck_assert_uint_ne(drv_read(&d, VIRTIO_MMIO_STATUS), 0);
	/* Until it reads 0 the device takes no orders. */
	drv_write(&d, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_FAILED);
	ck_assert(drv_wait(&d, reset_ended, NULL));
	ck_assert_uint_eq(drv_used_idx(&d, 0), 0);
	for (i = 0; i < 16; i++)
		ck_assert_int_eq(status_at(i), 0xee);
	blk_up();
	ck_assert_int_eq(request(VIRTIO_BLK_T_IN, 3, 512, true), VIRTIO_BLK_S_OK);
}
END_TEST

static void expect_broken(void)
{
	drv_kick(&d, 0);
	ck_assert(drv_wait(&d, drv_is_broken, NULL));
	blk_up();
	ck_assert_int_eq(request(VIRTIO_BLK_T_IN, 3, 512, true), VIRTIO_BLK_S_OK);
}

START_TEST(malformed_requests_break_the_device_only)
{
	const struct drv_buf no_status[] = { { HDR, 16, false } }, no_header[] = { { STATUS, 1, true } },
			     short_header[] = { { HDR, 15, false }, { STATUS, 1, true } };

	blk_up();
	drv_add(&d, 0, no_status, 1);
	expect_broken();
	drv_add(&d, 0, no_header, 1);
	expect_broken();
	drv_add(&d, 0, short_header, 2);
	expect_broken();
}
END_TEST

START_TEST(without_flush_writes_are_synchronous)
{
	drv_up(&d, 1, QSIZE, DRV_FEATURES);
	memset(drv_at(&d, BUF), 0x5a, 512);
	ck_assert_int_eq(request(VIRTIO_BLK_T_OUT, 5, 512, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(on_file(5), 0x5a5a5a5a5a5a5a5aull);
	ck_assert_int_eq(request(VIRTIO_BLK_T_IN, 5, 512, true), VIRTIO_BLK_S_OK);
}
END_TEST

/* Once a disk kept the thread waiting, requests go by the ring, and on the spot again after a while. */
START_TEST(a_slow_disk_is_left_to_the_ring)
{
	struct spot spot = { 0 };

	ck_assert(spot_ok(&spot, 0));
	spot_note(&spot, 10, 10 + SPOT_SLOW_NS);
	ck_assert(spot_ok(&spot, 20));
	spot_note(&spot, 10, 20 + SPOT_SLOW_NS);
	ck_assert(!spot_ok(&spot, 20));
	ck_assert(!spot_ok(&spot, 19 + SPOT_SLOW_NS + SPOT_RING_FOR_NS));
	ck_assert(spot_ok(&spot, 20 + SPOT_SLOW_NS + SPOT_RING_FOR_NS));
}
END_TEST

/* A file that was opened for reading (EBADF), is sealed (EPERM), or has become shorter: the driver hears of it. */
START_TEST(errors_of_the_file_are_errors_of_the_disk)
{
	char path[64];
	int fd, full = memfd_create("full", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	drv_close(&d);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", disk);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	open_disk(fd, 0, 0);
	blk_up();
	ck_assert_int_eq(request(VIRTIO_BLK_T_OUT, 5, 512, false), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(request(VIRTIO_BLK_T_IN, 5, 512, true), VIRTIO_BLK_S_OK);
	ck_assert(!drv_broken(&d));
	drv_close(&d);
	close(fd);
	ck_assert_int_eq(ftruncate(full, 1 << 20), 0);
	open_disk(full, 0, 0);
	blk_up();
	ck_assert_int_eq(ftruncate(full, 4096), 0);
	ck_assert_int_eq(request(VIRTIO_BLK_T_IN, 100, 512, true), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(fcntl(full, F_ADD_SEALS, F_SEAL_WRITE), 0);
	ck_assert_int_eq(request(VIRTIO_BLK_T_OUT, 1, 512, false), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(request(VIRTIO_BLK_T_DISCARD, 0, 16, false), VIRTIO_BLK_S_IOERR);
	ck_assert(!drv_broken(&d));
	close(full);
}
END_TEST

START_TEST(odd_files_are_refused_with_a_reason)
{
	struct drv other;
	struct err e;
	int fd[3], i;

	fd[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
	fd[1] = memfd_create("odd", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(fd[1], 513), 0);
	fd[2] = memfd_create("empty", MFD_CLOEXEC);
	for (i = 0; i < 3; i++) {
		memset(&other, 0, sizeof(other));
		memset(&e, 0, sizeof(e));
		vmspec_init(&other.spec);
		vmspec_add(&other.spec, VMSPEC_BLK)->blk.fd = fd[i];
		ck_assert_int_eq(drv_open(&other, &e), -EINVAL);
		ck_assert(str_starts(e.msg, "device 0: blk: "));
		loop_free(other.loop);
		guest_mem_free(other.mem);
		close(fd[i]);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("virtio-blk");
	TCase *t = tcase_create("all");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, says_what_it_is);
	tcase_add_test(t, reads_and_writes);
	tcase_add_test(t, any_framing_will_do);
	tcase_add_test(t, the_disk_ends_where_it_ends);
	tcase_add_test(t, direct_takes_buffers_that_the_file_would_not);
	tcase_add_test(t, read_only_is_read_only);
	tcase_add_test(t, discards_and_writes_zeroes);
	tcase_add_test(t, ranges_are_checked);
	tcase_add_test(t, zeroes_where_the_file_cannot_zero_in_place);
	tcase_add_test(t, many_requests_in_flight_on_several_queues);
	tcase_add_test(t, reset_waits_for_what_is_in_flight);
	tcase_add_test(t, malformed_requests_break_the_device_only);
	tcase_add_test(t, without_flush_writes_are_synchronous);
	tcase_add_test(t, a_slow_disk_is_left_to_the_ring);
	tcase_add_test(t, errors_of_the_file_are_errors_of_the_disk);
	tcase_add_test(t, odd_files_are_refused_with_a_reason);
	suite_add_tcase(s, t);
	return s;
}
