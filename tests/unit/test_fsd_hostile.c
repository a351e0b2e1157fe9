/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that no kernel sends: each operation of the protocol cut short at every length there is. */
#include <errno.h>
#include <sys/xattr.h>

#include "tests/unit/fsd_calls.h"

Suite *test_suite(void);

#define GUARD 256u
#define GUARD_BYTE 0xa5

/* An operation's whole body: a fixed part of zeroes but for what is in `words`, and names with their NULs. */
static const struct body {
	uint32_t op, fixed;
	const char *names;
	uint32_t names_len;
	bool silent;
} bodies[] = {
	{ FUSE_LOOKUP, 0, "a", 2, false },
	{ FUSE_FORGET, sizeof(struct fuse_forget_in), "", 0, true },
	{ FUSE_GETATTR, sizeof(struct fuse_getattr_in), "", 0, false },
	{ FUSE_SETATTR, sizeof(struct fuse_setattr_in), "", 0, false },
	{ FUSE_SYMLINK, 0, "s\0target", 9, false },
	{ FUSE_MKNOD, sizeof(struct fuse_mknod_in), "n", 2, false },
	{ FUSE_MKDIR, sizeof(struct fuse_mkdir_in), "d", 2, false },
	{ FUSE_UNLINK, 0, "a", 2, false },
	{ FUSE_RMDIR, 0, "folder", 7, false },
	{ FUSE_RENAME, sizeof(struct fuse_rename_in), "a\0b", 4, false },
	{ FUSE_LINK, sizeof(struct fuse_link_in), "l", 2, false },
	{ FUSE_OPEN, sizeof(struct fuse_open_in), "", 0, false },
	{ FUSE_READ, sizeof(struct fuse_read_in), "", 0, false },
	{ FUSE_WRITE, sizeof(struct fuse_write_in), "", 0, false },
	{ FUSE_RELEASE, sizeof(struct fuse_release_in), "", 0, false },
	{ FUSE_FSYNC, sizeof(struct fuse_fsync_in), "", 0, false },
	{ FUSE_SETXATTR, sizeof(struct fuse_setxattr_in), "user.a", 7, false },
	{ FUSE_GETXATTR, sizeof(struct fuse_getxattr_in), "user.a", 7, false },
	{ FUSE_LISTXATTR, sizeof(struct fuse_getxattr_in), "", 0, false },
	{ FUSE_REMOVEXATTR, 0, "user.a", 7, false },
	{ FUSE_FLUSH, sizeof(struct fuse_flush_in), "", 0, false },
	{ FUSE_INIT, 16, "", 0, false },
	{ FUSE_OPENDIR, sizeof(struct fuse_open_in), "", 0, false },
	{ FUSE_READDIR, sizeof(struct fuse_read_in), "", 0, false },
	{ FUSE_RELEASEDIR, sizeof(struct fuse_release_in), "", 0, false },
	{ FUSE_FSYNCDIR, sizeof(struct fuse_fsync_in), "", 0, false },
	{ FUSE_GETLK, sizeof(struct fuse_lk_in), "", 0, false },
	{ FUSE_SETLK, sizeof(struct fuse_lk_in), "", 0, false },
	{ FUSE_SETLKW, sizeof(struct fuse_lk_in), "", 0, false },
	{ FUSE_CREATE, sizeof(struct fuse_create_in), "c", 2, false },
	{ FUSE_INTERRUPT, sizeof(struct fuse_interrupt_in), "", 0, true },
	{ FUSE_BATCH_FORGET, sizeof(struct fuse_batch_forget_in), "", 0, true },
	{ FUSE_FALLOCATE, sizeof(struct fuse_fallocate_in), "", 0, false },
	{ FUSE_READDIRPLUS, sizeof(struct fuse_read_in), "", 0, false },
	{ FUSE_RENAME2, sizeof(struct fuse_rename2_in), "a\0b", 4, false },
	{ FUSE_LSEEK, sizeof(struct fuse_lseek_in), "", 0, false },
	{ FUSE_COPY_FILE_RANGE, sizeof(struct fuse_copy_file_range_in), "", 0, false },
	{ FUSE_SYNCFS, sizeof(struct fuse_syncfs_in), "", 0, false },
	{ FUSE_TMPFILE, sizeof(struct fuse_create_in), "t", 2, false },
	{ 52 /* FUSE_STATX */, 24, "", 0, false },
};

static void setup_files(void)
{
	setup();
	host_file("a", "content");
	ck_assert_int_eq(mkdir(host("folder"), 0755), 0);
}

/* The most that the arguments' buffer can hold, so that whoever reads on behind a body finds names and numbers there. */
static void leave_something_behind(uint64_t node)
{
	uint8_t filler[4096];
	unsigned int i;

	for (i = 0; i + 2 <= sizeof(filler); i += 2)
		memcpy(filler + i, "a", 2);
	ck_assert_int_lt(front_call_raw(&f, FUSE_SETXATTR, node, filler, sizeof(filler), NULL, 0), 0);
}

/* What the chain came back with: -1000 for an empty one. The room's end and what is behind it stay as they were. */
static int send_cut(const struct body *b, uint64_t node, const uint8_t *body, uint32_t len, uint32_t room)
{
	uint8_t *answer = front_answer(&f, 0);
	struct fuse_out_header out = { 0 };
	unsigned int i;
	int r;

	memset(answer, GUARD_BYTE, sizeof(out) + room + GUARD);
	r = front_call_raw(&f, b->op, node, body, len, NULL, room);
	memcpy(&out, answer, sizeof(out));
	for (i = 0; i < GUARD; i++)
		ck_assert_msg(answer[sizeof(out) + room + i] == GUARD_BYTE, "operation %u: wrote past its room", b->op);
	if (b->silent) {
		for (i = 0; i < sizeof(out); i++)
			ck_assert_msg(answer[i] == GUARD_BYTE, "operation %u: answered", b->op);
		return -1000;
	}
	ck_assert_msg(r != -1001 && r != -1000, "operation %u: a wrong answer", b->op);
	return r;
}

START_TEST(refuses_every_body_cut_short)
{
	uint64_t a = node(ROOT, "a"), folder = node(ROOT, "folder"), nodes[3] = { ROOT, a, folder };
	unsigned int i, k;
	uint8_t body[256];
	uint32_t len;

	for (i = 0; i < ARRAY_SIZE(bodies); i++) {
		const struct body *b = &bodies[i];

		memset(body, 0, sizeof(body));
		memcpy(body + b->fixed, b->names, b->names_len);
		for (k = 0; k < ARRAY_SIZE(nodes); k++)
			for (len = 0; len < b->fixed + b->names_len; len++) {
				leave_something_behind(a);
				ck_assert_msg(send_cut(b, nodes[k], body, len, 128) < 0, "operation %u took %u bytes",
					      b->op, len);
			}
	}
	/* Nothing has come of it. */
	ck_assert_uint_eq(fs_inodes(f.fs), 3);
	ck_assert_uint_eq(fs_handles(f.fs), 0);
	ck_assert_int_eq(access(host("a"), F_OK), 0);
	ck_assert_int_eq(access(host("folder"), F_OK), 0);
	ck_assert_int_eq(listxattr(host("a"), NULL, 0), 0);
}
END_TEST

/* Whole bodies, but hardly any room for what is to be said. */
START_TEST(answers_into_any_room)
{
	unsigned int i;
	uint8_t body[256];
	uint32_t room;

	for (i = 0; i < ARRAY_SIZE(bodies); i++) {
		const struct body *b = &bodies[i];

		/* Those that wait for a lock are not answered now, and INIT makes the server forget. */
		if (b->op == FUSE_SETLKW || b->op == FUSE_INIT)
			continue;
		memset(body, 0, sizeof(body));
		memcpy(body + b->fixed, b->names, b->names_len);
		for (room = 0; room < sizeof(struct fuse_entry_out) + 32; room += room < 24 ? 1 : 13)
			send_cut(b, ROOT, body, b->fixed + b->names_len, room);
	}
}
END_TEST

START_TEST(takes_no_opcode_that_is_none)
{
	uint32_t op, i;
	bool known;

	for (op = 0; op < 300; op++) {
		/* These two have no body of their own; IOCTL, BMAP, POLL, NOTIFY_REPLY and mappings are not served. */
		known = op == FUSE_READLINK || op == FUSE_STATFS || op == FUSE_DESTROY;
		for (i = 0; i < ARRAY_SIZE(bodies) && !known; i++)
			known = bodies[i].op == op;
		if (!known)
			ck_assert_int_eq(front_call_raw(&f, op, ROOT, NULL, 0, NULL, 64), -ENOSYS);
	}
	ck_assert_int_eq(front_call_raw(&f, UINT32_MAX, ROOT, NULL, 0, NULL, 64), -ENOSYS);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("fsd_hostile");
	TCase *c = tcase_create("requests");

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, setup_files, teardown);
	tcase_add_test(c, refuses_every_body_cut_short);
	tcase_add_test(c, answers_into_any_room);
	tcase_add_test(c, takes_no_opcode_that_is_none);
	suite_add_tcase(s, c);
	return s;
}
