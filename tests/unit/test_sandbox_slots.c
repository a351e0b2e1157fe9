/* SPDX-License-Identifier: Apache-2.0 */
/* The sandbox' side of places for disks that come later. The VMM's is a thread that answers as it is told. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/blk_slot.h"
#include "sandbox/slots.h"

Suite *test_suite(void);

#define FILE_BYTES (1u << 20)

static struct slots slots;
static struct err e;
static char path[] = "/tmp/test-slots-XXXXXX";

static struct share_mount mount_of(const char *type, const char *const *options, size_t n)
{
	return (struct share_mount){
		.type = (char *)(uintptr_t)type, .source = path, .options = (char **)(uintptr_t)options, .options_n = n
	};
}

static void setup(void)
{
	int fd;

	strcpy(path + strlen(path) - 6, "XXXXXX");
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	/* Its last sector is not whole. */
	ck_assert_int_eq(ftruncate(fd, FILE_BYTES + 100), 0);
	close(fd);
	e = (struct err)ERR_INIT;
	slots_init(&slots);
	ck_assert_int_eq(slots_open(&slots, &e), 0);
}

static void teardown(void)
{
	slots_end(&slots);
	unlink(path);
}

struct vmm {
	pthread_t thread;
	unsigned int slot;
	int32_t error; /* what it answers */
	struct blk_slot_request req;
	bool has_file;
	struct stat st;
};

static void *answer(void *arg)
{
	struct vmm *v = arg;
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { &v->req, sizeof(v->req) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	const struct blk_slot_answer a = { v->error };
	const ssize_t n = recvmsg(slots.vmm_fds[v->slot], &msg, MSG_CMSG_CLOEXEC);
	int fd;

	v->has_file = n == sizeof(v->req) && CMSG_FIRSTHDR(&msg);
	if (v->has_file) {
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
		fstat(fd, &v->st);
		close(fd);
	}
	return write(slots.vmm_fds[v->slot], &a, sizeof(a)) == sizeof(a) ? arg : NULL;
}

static void vmm_begin(struct vmm *v, unsigned int slot, int32_t error)
{
	*v = (struct vmm){ .slot = slot, .error = error };
	ck_assert_int_eq(pthread_create(&v->thread, NULL, answer, v), 0);
}

static void vmm_end(struct vmm *v)
{
	void *ret;

	ck_assert_int_eq(pthread_join(v->thread, &ret), 0);
	ck_assert_ptr_eq(ret, v);
}

START_TEST(what_is_a_disk)
{
	static const char *const loop[] = { "rw", "loop" }, *const ro[] = { "ro", "loop" };
	struct share_mount m = mount_of("erofs", loop, 2);

	ck_assert(slots_take(&slots, &m));
	ck_assert(slots_read_only(&m));
	m = mount_of("ext4", loop, 2);
	ck_assert(slots_take(&slots, &m));
	ck_assert(!slots_read_only(&m));
	m = mount_of("ext4", ro, 2);
	ck_assert(slots_read_only(&m));
	/* A file without the option; a file system that the guest doesn't have; a folder; nothing. */
	m = mount_of("ext4", loop, 1);
	ck_assert(!slots_take(&slots, &m));
	m = mount_of("btrfs", loop, 2);
	ck_assert(!slots_take(&slots, &m));
	m = mount_of("ext4", loop, 2);
	m.source = (char *)(uintptr_t) "/tmp";
	ck_assert(!slots_take(&slots, &m));
	m.source = (char *)(uintptr_t) "/tmp/is/not/there";
	ck_assert(!slots_take(&slots, &m));
	/* A VM without places. */
	slots_end(&slots);
	m.source = path;
	ck_assert(!slots_take(&slots, &m));
}
END_TEST

START_TEST(a_disk_goes_to_the_first_free_place)
{
	static const char *const loop[] = { "loop" };
	struct share_mount m = mount_of("ext4", loop, 1);
	struct vmm v;
	struct stat st;
	unsigned int i;

	ck_assert_int_eq(stat(path, &st), 0);
	for (i = 0; i < SLOTS_MAX; i++) {
		vmm_begin(&v, i, 0);
		ck_assert_int_eq(slots_plug(&slots, &m, i == 1, &e), (int)i);
		vmm_end(&v);
		ck_assert_uint_eq(v.req.op, BLK_SLOT_PLUG);
		ck_assert_uint_eq(v.req.bytes, FILE_BYTES);
		ck_assert_uint_eq(v.req.is_regular, 1);
		ck_assert_uint_eq(v.req.flags, i == 1 ? VMSPEC_BLK_READONLY : 0);
		ck_assert(v.has_file);
		ck_assert_uint_eq(v.st.st_ino, st.st_ino);
	}
	ck_assert(!slots_take(&slots, &m));
	ck_assert_int_eq(slots_plug(&slots, &m, false, &e), -EBUSY);
	vmm_begin(&v, 2, 0);
	slots_unplug(&slots, 2);
	vmm_end(&v);
	ck_assert_uint_eq(v.req.op, BLK_SLOT_UNPLUG);
	vmm_begin(&v, 2, 0);
	ck_assert_int_eq(slots_plug(&slots, &m, false, &e), 2);
	vmm_end(&v);
}
END_TEST

START_TEST(what_a_vmm_may_say)
{
	static const char *const loop[] = { "loop" };
	static const int32_t odd[] = { 1, INT32_MAX, -4096, INT32_MIN };
	struct share_mount m = mount_of("ext4", loop, 1);
	struct vmm v, next;
	unsigned int i;

	for (i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		vmm_begin(&v, 0, odd[i]);
		ck_assert_int_eq(slots_plug(&slots, &m, false, &e), -EPROTO);
		vmm_end(&v);
	}
	vmm_begin(&v, 0, -EINVAL);
	ck_assert_int_eq(slots_plug(&slots, &m, false, &e), -EINVAL);
	vmm_end(&v);
	/* An answer that nobody has asked for is not that to the next request; a place that the guest holds is passed over. */
	ck_assert_int_eq(write(slots.vmm_fds[0], &(struct blk_slot_answer){ 0 }, sizeof(struct blk_slot_answer)), 4);
	vmm_begin(&v, 0, -EBUSY);
	vmm_begin(&next, 1, 0);
	ck_assert_int_eq(slots_plug(&slots, &m, false, &e), 1);
	vmm_end(&v);
	vmm_end(&next);
	/* It is gone. */
	slots_close_vmm_ends(&slots);
	ck_assert_int_lt(slots_plug(&slots, &m, false, &e), 0);
	slots_unplug(&slots, 1);
	ck_assert(!slots.taken[1]);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("slots");
	TCase *t = tcase_create("all");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, what_is_a_disk);
	tcase_add_test(t, a_disk_goes_to_the_first_free_place);
	tcase_add_test(t, what_a_vmm_may_say);
	suite_add_tcase(s, t);
	return s;
}
