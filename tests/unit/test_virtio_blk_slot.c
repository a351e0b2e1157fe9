/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that come to a slot and leave it. */
#include <check.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/blk_slot.h"
#include "tests/unit/virtio_blk_fixture.h"

Suite *test_suite(void);

static int slot; /* our end of its socket */

static void slot_setup(void)
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	slot = pair[0];
	disk = new_disk();
	open_disk(pair[1], VMSPEC_BLK_SLOT, 1);
	close(pair[1]);
}

static void slot_teardown(void)
{
	teardown();
	if (slot >= 0)
		close(slot);
}

static bool has_answer(struct drv *drv, void *arg)
{
	struct blk_slot_answer *a = arg;

	return recv(slot, a, sizeof(*a), MSG_DONTWAIT) == sizeof(*a);
}

/* A request of len bytes, with so many copies of fd. What it is answered with. */
static int say(const void *req, size_t len, int fd, unsigned int fds_n)
{
	union {
		struct cmsghdr hdr;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)req, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	const int fds[2] = { fd, fd };
	struct blk_slot_answer answer;

	if (fds_n) {
		control.hdr.cmsg_level = SOL_SOCKET;
		control.hdr.cmsg_type = SCM_RIGHTS;
		control.hdr.cmsg_len = CMSG_LEN(fds_n * sizeof(int));
		memcpy(CMSG_DATA(&control.hdr), fds, fds_n * sizeof(int));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(fds_n * sizeof(int));
	}
	ck_assert_int_eq(sendmsg(slot, &msg, 0), (ssize_t)len);
	ck_assert(drv_wait(&d, has_answer, &answer));
	return answer.error;
}

static struct blk_slot_request of_disk(uint32_t flags)
{
	return (struct blk_slot_request){
		.op = BLK_SLOT_PLUG, .flags = flags, .block_bytes = 512, .bytes = SECTORS * 512, .is_regular = 1
	};
}

static int plug(uint32_t flags)
{
	const struct blk_slot_request req = of_disk(flags);

	return say(&req, sizeof(req), disk, 1);
}

static int unplug(void)
{
	const struct blk_slot_request req = { .op = BLK_SLOT_UNPLUG };

	return say(&req, sizeof(req), -1, 0);
}

START_TEST(comes_and_goes)
{
	int i;

	ck_assert_msg(!strstr(d.cmdline, "virtio_mmio"), "an empty slot is announced: %s", d.cmdline);
	ck_assert_uint_eq(config().capacity, 0);
	for (i = 0; i < 3; i++) {
		ck_assert_int_eq(plug(0), 0);
		ck_assert_uint_eq(config().capacity, SECTORS);
		blk_up();
		ck_assert(!(d.features & 1ull << VIRTIO_BLK_F_RO));
		ck_assert_int_eq(request(VIRTIO_BLK_T_IN, 7, 512, true), VIRTIO_BLK_S_OK);
		ck_assert_uint_eq(*(uint64_t *)drv_at(&d, BUF), 7);
		*(uint64_t *)drv_at(&d, BUF) = 4711;
		ck_assert_int_eq(request(VIRTIO_BLK_T_OUT, 8, 512, false), VIRTIO_BLK_S_OK);
		ck_assert_uint_eq(on_file(8), 4711);
		ck_assert_int_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
		/* The guest gives it back, as unbinding its driver does. */
		drv_write(&d, VIRTIO_MMIO_STATUS, 0);
		drv_write(&d, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
		ck_assert_int_eq(unplug(), 0);
		ck_assert_uint_eq(config().capacity, 0);
		ck_assert_int_eq(unplug(), -ENODEV);
	}
}
END_TEST

START_TEST(read_only)
{
	ck_assert_int_eq(plug(VMSPEC_BLK_READONLY), 0);
	blk_up();
	ck_assert(d.features & 1ull << VIRTIO_BLK_F_RO);
	ck_assert_int_eq(request(VIRTIO_BLK_T_IN, 7, 512, true), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(request(VIRTIO_BLK_T_OUT, 7, 512, false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(on_file(7), 7);
}
END_TEST

/* A guest that finds the slot by itself gets nothing from it, and nothing gets into one that it holds. */
START_TEST(empty_one_has_nothing)
{
	blk_up();
	ck_assert_int_eq(request(VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(request(VIRTIO_BLK_T_OUT, 0, 512, false), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(plug(0), -EBUSY);
	drv_write(&d, VIRTIO_MMIO_STATUS, 0);
	ck_assert_int_eq(plug(0), 0);
	ck_assert_int_eq(plug(0), -EBUSY);
}
END_TEST

/* A guest that doesn't let go of it: the file is closed all the same. */
START_TEST(taken_from_a_guest)
{
	struct stat st;
	int pipe_fds[2];

	ck_assert_int_eq(plug(0), 0);
	blk_up();
	ck_assert_int_eq(request(VIRTIO_BLK_T_IN, 7, 512, true), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(unplug(), 0);
	ck_assert_int_eq(request(VIRTIO_BLK_T_IN, 7, 512, true), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(plug(0), -EBUSY);
	/* What is no disk is closed, too: nobody has the pipe's other end then. */
	ck_assert_int_eq(pipe(pipe_fds), 0);
	drv_write(&d, VIRTIO_MMIO_STATUS, 0);
	ck_assert_int_eq(say(&(struct blk_slot_request){ .op = 77 }, sizeof(struct blk_slot_request), pipe_fds[1], 1),
			 -EINVAL);
	close(pipe_fds[1]);
	ck_assert_int_eq(read(pipe_fds[0], &st, 1), 0);
	close(pipe_fds[0]);
}
END_TEST

START_TEST(bad_requests)
{
	struct blk_slot_request req = of_disk(0);

	ck_assert_int_eq(say(&req, sizeof(req), -1, 0), -EBADF);
	ck_assert_int_eq(say(&req, sizeof(req), disk, 2), -EBADF);
	ck_assert_int_eq(say(&req, 4, disk, 1), -EINVAL);
	req.block_bytes = 1000;
	ck_assert_int_eq(say(&req, sizeof(req), disk, 1), -EINVAL);
	req.block_bytes = 8192;
	ck_assert_int_eq(say(&req, sizeof(req), disk, 1), -EINVAL);
	req = of_disk(VMSPEC_BLK_DIRECT);
	ck_assert_int_eq(say(&req, sizeof(req), disk, 1), -EINVAL);
	req = of_disk(0);
	req.bytes = 513;
	ck_assert_int_eq(say(&req, sizeof(req), disk, 1), -EINVAL);
	req.bytes = 0;
	ck_assert_int_eq(say(&req, sizeof(req), disk, 1), -EINVAL);
	ck_assert_int_eq(plug(0), 0);
	/* Nobody is there any more: the disk stays. */
	close(slot);
	slot = -1;
	drv_turns(&d);
	blk_up();
	ck_assert_int_eq(request(VIRTIO_BLK_T_IN, 7, 512, true), VIRTIO_BLK_S_OK);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("virtio-blk: slots");
	TCase *t = tcase_create("all");

	tcase_add_checked_fixture(t, slot_setup, slot_teardown);
	tcase_add_test(t, comes_and_goes);
	tcase_add_test(t, read_only);
	tcase_add_test(t, empty_one_has_nothing);
	tcase_add_test(t, taken_from_a_guest);
	tcase_add_test(t, bad_requests);
	suite_add_tcase(s, t);
	return s;
}
