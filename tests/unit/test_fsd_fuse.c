/* SPDX-License-Identifier: Apache-2.0 */
/* FUSE requests through a queue in shared memory: every operation as it should be, and as it should not. */
#include <check.h>
#include <errno.h>
#include <linux/fs.h>

#include "tests/unit/fsd_calls.h"

Suite *test_suite(void);

START_TEST(looks_up_and_forgets)
{
	struct fuse_forget_in in = { .nlookup = 2 };
	struct fuse_entry_out out;
	uint64_t a;

	host_file("a", "text");
	a = node(ROOT, "a");
	ck_assert_uint_eq(node(ROOT, "a"), a);
	ck_assert_uint_eq(fs_inodes(f.fs), 2);
	ck_assert_int_eq(lookup(ROOT, "b", &out), -ENOENT);
	ck_assert_int_eq(lookup(a, "b", &out), -ENOTDIR);
	/* FORGET has no answer: the chain comes back empty. */
	front_call(&f, FUSE_FORGET, a, &in, sizeof(in), NULL, NULL, NULL, 0);
	ck_assert_uint_eq(fs_inodes(f.fs), 1);
	ck_assert_int_eq(front_call(&f, FUSE_GETATTR, a, &(struct fuse_getattr_in){ 0 }, 16, NULL, NULL, &out,
				    sizeof(struct fuse_attr_out)),
			 -ESTALE);
	ck_assert(node(ROOT, "a") != a);
	in.nlookup = UINT64_MAX;
	front_call(&f, FUSE_FORGET, ROOT, &in, sizeof(in), NULL, NULL, NULL, 0);
	node(ROOT, "a");
}
END_TEST

START_TEST(forgets_in_batches)
{
	struct {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one one[3];
	} batch = { .in.count = 1000 };

	host_file("a", "");
	host_file("b", "");
	batch.one[0] = (struct fuse_forget_one){ node(ROOT, "a"), 1 };
	batch.one[1] = (struct fuse_forget_one){ 0xdead, 1 };
	batch.one[2] = (struct fuse_forget_one){ node(ROOT, "b"), 7 };
	front_call_raw(&f, FUSE_BATCH_FORGET, 0, &batch, sizeof(batch), NULL, 0);
	ck_assert_uint_eq(fs_inodes(f.fs), 1);
}
END_TEST

START_TEST(refuses_names)
{
	static const char *const bad[] = { "", ".", "..", "a/b", "/", "../x", "/etc/passwd" };
	struct fuse_entry_out out;
	char long_name[300];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert_int_eq(lookup(ROOT, bad[i], &out), -EINVAL);
		ck_assert_int_eq(front_call(&f, FUSE_UNLINK, ROOT, NULL, 0, bad[i], NULL, NULL, 0), -EINVAL);
		ck_assert_int_eq(front_call(&f, FUSE_MKDIR, ROOT, &(struct fuse_mkdir_in){ 0755, 0 }, 8, bad[i], NULL,
					    &out, sizeof(out)),
				 -EINVAL);
		ck_assert_int_eq(
			front_call(&f, FUSE_RENAME, ROOT, &(struct fuse_rename_in){ ROOT }, 8, "a", bad[i], NULL, 0),
			-EINVAL);
	}
	memset(long_name, 'x', sizeof(long_name));
	long_name[256] = 0;
	ck_assert_int_eq(lookup(ROOT, long_name, &out), -ENAMETOOLONG);
	/* Without its NUL, and with something behind it. */
	ck_assert_int_eq(front_call_raw(&f, FUSE_LOOKUP, ROOT, "abc", 3, &out, sizeof(out)), -EINVAL);
	ck_assert_int_eq(front_call_raw(&f, FUSE_LOOKUP, ROOT, "abc\0d", 6, &out, sizeof(out)), -EINVAL);
}
END_TEST

START_TEST(follows_no_symlink)
{
	struct fuse_entry_out out;
	uint64_t id, fh;
	char text[64];

	ck_assert_int_eq(symlink("../..", host("up")), 0);
	ck_assert_int_eq(symlink("/etc", host("etc")), 0);
	id = node(ROOT, "up");
	ck_assert_int_eq(lookup(id, "etc", &out), -ENOTDIR);
	ck_assert_int_eq(open_node(id, O_RDONLY, &fh), -ELOOP);
	id = node(ROOT, "etc");
	ck_assert_int_eq(lookup(id, "passwd", &out), -ENOTDIR);
	ck_assert_int_eq(front_call(&f, FUSE_READLINK, id, NULL, 0, NULL, NULL, text, sizeof(text)), 4);
	ck_assert_int_eq(memcmp(text, "/etc", 4), 0);
	ck_assert_int_eq(front_call(&f, FUSE_READLINK, ROOT, NULL, 0, NULL, NULL, text, sizeof(text)), -EINVAL);
	/* Making a file through a link that points outside. */
	ck_assert_int_eq(symlink("/tmp/fsd-test-escaped", host("out")), 0);
	ck_assert_int_lt(front_call(&f, FUSE_CREATE, ROOT, &(struct fuse_create_in){ O_WRONLY | O_CREAT, 0644, 0, 0 },
				    16, "out", NULL, &out, sizeof(out) + 16),
			 0);
	ck_assert_int_ne(access("/tmp/fsd-test-escaped", F_OK), 0);
}
END_TEST

START_TEST(survives_a_folder_replaced_by_a_link)
{
	struct fuse_entry_out out;
	uint64_t d;

	ck_assert_int_eq(mkdir(host("d"), 0755), 0);
	d = node(ROOT, "d");
	ck_assert_int_eq(rmdir(host("d")), 0);
	ck_assert_int_eq(symlink("/etc", host("d")), 0);
	/* The node is the folder that was, not what has its name now. */
	ck_assert_int_eq(lookup(d, "passwd", &out), -ENOENT);
	ck_assert_int_eq(lookup(node(ROOT, "d"), "passwd", &out), -ENOTDIR);
}
END_TEST

START_TEST(opens_no_device)
{
	uint64_t fh;

	ck_assert_int_eq(mkfifo(host("fifo"), 0666), 0);
	ck_assert_int_eq(open_node(node(ROOT, "fifo"), O_RDONLY, &fh), -ENXIO);
	if (mknod(host("null"), S_IFCHR | 0666, 0x103) == 0)
		ck_assert_int_eq(open_node(node(ROOT, "null"), O_RDWR, &fh), -ENXIO);
	ck_assert_int_eq(open_node(ROOT, O_RDONLY, &fh), -EISDIR);
}
END_TEST

START_TEST(reads_and_writes)
{
	uint64_t id, fh, other;
	char text[64];

	host_file("a", "0123456789");
	id = node(ROOT, "a");
	ck_assert_int_eq(open_node(id, O_RDWR, &fh), 0);
	ck_assert_int_eq(read_at(id, fh, 3, 4, text), 4);
	ck_assert_int_eq(memcmp(text, "3456", 4), 0);
	ck_assert_int_eq(read_at(id, fh, 8, 64, text), 2);
	ck_assert_int_eq(read_at(id, fh, 100, 64, text), 0);
	ck_assert_int_eq(read_at(id, fh, UINT64_MAX, 64, text), -EINVAL);
	ck_assert_int_eq(write_at(id, fh, 9, "xyz"), 3);
	ck_assert_int_eq(read_at(id, fh, 0, 64, text), 12);
	ck_assert_int_eq(memcmp(text, "012345678xyz", 12), 0);
	/* Made up, of another node, closed. */
	ck_assert_int_eq(read_at(id, fh + 1, 0, 4, text), -EBADF);
	ck_assert_int_eq(read_at(ROOT, fh, 0, 4, text), -EBADF);
	ck_assert_int_eq(open_node(id, O_RDONLY, &other), 0);
	ck_assert_int_eq(write_at(id, other, 0, "no"), -EBADF);
	ck_assert_int_eq(release(FUSE_RELEASE, id, other), 0);
	ck_assert_int_eq(release(FUSE_RELEASE, id, other), -EBADF);
	ck_assert_int_eq(read_at(id, other, 0, 4, text), -EBADF);
	ck_assert_int_eq(front_call(&f, FUSE_FSYNC, id, &(struct fuse_fsync_in){ .fh = fh }, 16, NULL, NULL, NULL, 0),
			 0);
	ck_assert_int_eq(front_call(&f, FUSE_FLUSH, id, &(struct fuse_flush_in){ .fh = fh }, 24, NULL, NULL, NULL, 0),
			 0);
	ck_assert_int_eq(front_call(&f, FUSE_FALLOCATE, id, &(struct fuse_fallocate_in){ .fh = fh, .length = 4096 }, 32,
				    NULL, NULL, NULL, 0),
			 0);
	ck_assert_int_eq(read_at(id, fh, 0, 64, text), 64);
	ck_assert_int_eq(front_call(&f, FUSE_FALLOCATE, id,
				    &(struct fuse_fallocate_in){ .fh = fh, .length = 4096, .mode = 0x80 }, 32, NULL,
				    NULL, NULL, 0),
			 -EOPNOTSUPP);
	ck_assert_int_eq(release(FUSE_RELEASE, id, fh), 0);
	ck_assert_uint_eq(fs_handles(f.fs), 0);
}
END_TEST

/* A batch: one kick, all answers, one call. */
START_TEST(answers_a_batch_with_one_call)
{
	struct {
		struct fuse_in_header head;
		struct fuse_read_in in;
	} req = { .head = { .len = sizeof(req), .opcode = FUSE_READ } };
	uint64_t id, fh;
	eventfd_t calls;
	unsigned int i;

	host_file("a", "0123456789");
	id = node(ROOT, "a");
	ck_assert_int_eq(open_node(id, O_RDONLY, &fh), 0);
	ck_assert_int_eq(read_at(id, fh, 0, 1, (char *)&calls), 1); /* it is in the page cache */
	eventfd_read(f.call_fd, &calls);
	req.head.nodeid = id;
	req.in = (struct fuse_read_in){ .fh = fh, .size = 1 };
	for (i = 0; i < 8; i++) {
		req.in.offset = i;
		front_put(&f, i, &req, sizeof(req), 64);
	}
	ck_assert_uint_eq(front_wait(&f, 8), 8);
	front_settle(&f);
	for (i = 0; i < 8; i++)
		ck_assert_int_eq(front_answer(&f, i)[16], '0' + (int)i);
	ck_assert_int_eq(eventfd_read(f.call_fd, &calls), 0);
	ck_assert_uint_le(calls, 2);
}
END_TEST

START_TEST(makes_and_removes)
{
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} made;
	struct stat st;
	uint64_t d;
	int r;

	f.uid = 1000;
	f.gid = 1001;
	ck_assert_int_eq(front_call(&f, FUSE_MKDIR, ROOT, &(struct fuse_mkdir_in){ 0777, 027 }, 8, "d", NULL,
				    &made.entry, sizeof(made.entry)),
			 sizeof(made.entry));
	ck_assert_uint_eq(made.entry.attr.mode & 07777, 0750);
	d = made.entry.nodeid;
	r = front_call(&f, FUSE_CREATE, d, &(struct fuse_create_in){ O_RDWR | O_CREAT, 0666, 022, 0 }, 16, "f", NULL,
		       &made, sizeof(made));
	ck_assert_int_eq(r, sizeof(made));
	ck_assert_int_eq(stat(host("d/f"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0644);
	if (!geteuid())
		ck_assert(st.st_uid == 1000 && st.st_gid == 1001);
	ck_assert_int_eq(write_at(made.entry.nodeid, made.open.fh, 0, "new"), 3);
	ck_assert_int_eq(release(FUSE_RELEASE, made.entry.nodeid, made.open.fh), 0);
	ck_assert_int_eq(front_call(&f, FUSE_CREATE, d, &(struct fuse_create_in){ O_CREAT | O_EXCL, 0666, 0, 0 }, 16,
				    "f", NULL, &made, sizeof(made)),
			 -EEXIST);
	ck_assert_int_eq(front_call(&f, FUSE_SYMLINK, d, NULL, 0, "s", "../any/where", &made, sizeof(made.entry)),
			 sizeof(made.entry));
	ck_assert_int_eq(front_call(&f, FUSE_MKNOD, d, &(struct fuse_mknod_in){ .mode = S_IFIFO | 0600 }, 16, "p", NULL,
				    &made, sizeof(made.entry)),
			 sizeof(made.entry));
	ck_assert_int_eq(front_call(&f, FUSE_LINK, d, &(struct fuse_link_in){ node(d, "f") }, 8, "l", NULL, &made,
				    sizeof(made.entry)),
			 sizeof(made.entry));
	ck_assert_uint_eq(made.entry.attr.nlink, 2);
	ck_assert_int_eq(front_call(&f, FUSE_RENAME, d, &(struct fuse_rename_in){ ROOT }, 8, "l", "l2", NULL, 0), 0);
	ck_assert_int_eq(front_call(&f, FUSE_RENAME2, d,
				    &(struct fuse_rename2_in){ .newdir = ROOT, .flags = RENAME_NOREPLACE }, 16, "f",
				    "l2", NULL, 0),
			 -EEXIST);
	ck_assert_int_eq(front_call(&f, FUSE_RENAME2, d, &(struct fuse_rename2_in){ .newdir = ROOT, .flags = 64 }, 16,
				    "f", "l3", NULL, 0),
			 -EINVAL);
	ck_assert_int_eq(front_call(&f, FUSE_RMDIR, ROOT, NULL, 0, "d", NULL, NULL, 0), -ENOTEMPTY);
	ck_assert_int_eq(front_call(&f, FUSE_UNLINK, ROOT, NULL, 0, "l2", NULL, NULL, 0), 0);
	ck_assert_int_eq(front_call(&f, FUSE_TMPFILE, d, &(struct fuse_create_in){ O_RDWR, 0600, 0, 0 }, 16, "/", NULL,
				    &made, sizeof(made)),
			 sizeof(made));
	ck_assert_uint_eq(made.entry.attr.nlink, 0);
}
END_TEST

START_TEST(sets_attributes)
{
	struct fuse_setattr_in in = { .valid = FATTR_MODE | FATTR_SIZE | FATTR_MTIME,
				      .mode = 0601,
				      .size = 3,
				      .mtime = 1000000000,
				      .mtimensec = 5 };
	struct fuse_attr_out out;
	struct fuse_statfs_out vfs;
	uint64_t id;

	host_file("a", "0123456789");
	id = node(ROOT, "a");
	ck_assert_int_eq(front_call(&f, FUSE_SETATTR, id, &in, sizeof(in), NULL, NULL, &out, sizeof(out)), sizeof(out));
	ck_assert_uint_eq(out.attr.mode, S_IFREG | 0601);
	ck_assert_uint_eq(out.attr.size, 3);
	ck_assert_uint_eq(out.attr.mtime, 1000000000);
	ck_assert_uint_eq(out.attr.mtimensec, 5);
	ck_assert_uint_eq(out.attr_valid, 1);
	in = (struct fuse_setattr_in){ .valid = FATTR_SIZE | FATTR_FH, .fh = 12345 };
	ck_assert_int_eq(front_call(&f, FUSE_SETATTR, id, &in, sizeof(in), NULL, NULL, &out, sizeof(out)), -EBADF);
	ck_assert_int_eq(front_call(&f, FUSE_STATFS, id, NULL, 0, NULL, NULL, &vfs, sizeof(vfs)), sizeof(vfs));
	ck_assert_uint_eq(vfs.st.namelen, 255);
}
END_TEST

START_TEST(lists_folders)
{
	struct fuse_open_in in = { 0 };
	struct fuse_open_out out;
	char name[16];
	int i;

	for (i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "file-%d", i);
		host_file(name, "");
	}
	ck_assert_int_eq(front_call(&f, FUSE_OPENDIR, ROOT, &in, sizeof(in), NULL, NULL, &out, sizeof(out)),
			 sizeof(out));
	ck_assert_int_eq(count_entries(out.fh, FUSE_READDIR, 4096), 52);
	ck_assert_int_eq(count_entries(out.fh, FUSE_READDIR, 100), 52);
	ck_assert_uint_eq(fs_inodes(f.fs), 1);
	ck_assert_int_eq(count_entries(out.fh, FUSE_READDIRPLUS, 4096), 52);
	ck_assert_int_eq(count_entries(out.fh, FUSE_READDIRPLUS, 400), 52);
	ck_assert_uint_eq(fs_inodes(f.fs), 51);
	ck_assert_int_eq(
		front_call(&f, FUSE_FSYNCDIR, ROOT, &(struct fuse_fsync_in){ .fh = out.fh }, 16, NULL, NULL, NULL, 0),
		0);
	ck_assert_int_eq(front_call(&f, FUSE_SYNCFS, ROOT, &(struct fuse_syncfs_in){ 0 }, 8, NULL, NULL, NULL, 0), 0);
	ck_assert_int_eq(release(FUSE_RELEASEDIR, ROOT, out.fh), 0);
}
END_TEST

START_TEST(keeps_attributes)
{
	struct {
		struct fuse_setxattr_in in;
		char rest[32];
	} set = { .in.size = 3, .rest = "user.a\0one" };
	struct fuse_getxattr_in get = { .size = 64 };
	char value[64];
	uint64_t id;

	host_file("a", "");
	id = node(ROOT, "a");
	ck_assert_int_eq(front_call_raw(&f, FUSE_SETXATTR, id, &set, sizeof(set.in) + 10, NULL, 0), 0);
	ck_assert_int_eq(front_call(&f, FUSE_GETXATTR, id, &get, sizeof(get), "user.a", NULL, value, 64), 3);
	ck_assert_int_eq(memcmp(value, "one", 3), 0);
	ck_assert_int_eq(front_call(&f, FUSE_LISTXATTR, id, &get, sizeof(get), NULL, NULL, value, 64), 7);
	get.size = 2;
	ck_assert_int_eq(front_call(&f, FUSE_GETXATTR, id, &get, sizeof(get), "user.a", NULL, value, 64), -ERANGE);
	ck_assert_int_eq(
		front_call(&f, FUSE_GETXATTR, id, &get, sizeof(get), "system.posix_acl_access", NULL, value, 64),
		-EOPNOTSUPP);
	set.in.size = 400;
	ck_assert_int_eq(front_call_raw(&f, FUSE_SETXATTR, id, &set, sizeof(set.in) + 10, NULL, 0), -EINVAL);
	ck_assert_int_eq(front_call(&f, FUSE_REMOVEXATTR, id, NULL, 0, "user.a", NULL, NULL, 0), 0);
	ck_assert_int_eq(front_call(&f, FUSE_REMOVEXATTR, id, NULL, 0, "user.a", NULL, NULL, 0), -ENODATA);
}
END_TEST

START_TEST(copies_and_seeks)
{
	struct fuse_copy_file_range_in copy = { .len = 5 };
	struct fuse_lseek_in seek = { .whence = SEEK_HOLE };
	struct fuse_lseek_out at;
	struct fuse_write_out out;
	uint64_t a, b;

	host_file("a", "0123456789");
	host_file("b", "");
	a = node(ROOT, "a");
	copy.nodeid_out = b = node(ROOT, "b");
	ck_assert_int_eq(open_node(a, O_RDONLY, &copy.fh_in), 0);
	ck_assert_int_eq(open_node(b, O_RDWR, &copy.fh_out), 0);
	ck_assert_int_eq(front_call(&f, FUSE_COPY_FILE_RANGE, a, &copy, sizeof(copy), NULL, NULL, &out, sizeof(out)),
			 sizeof(out));
	ck_assert_uint_eq(out.size, 5);
	copy.fh_out = copy.fh_in;
	ck_assert_int_eq(front_call(&f, FUSE_COPY_FILE_RANGE, a, &copy, sizeof(copy), NULL, NULL, &out, sizeof(out)),
			 -EBADF);
	seek.fh = copy.fh_in;
	ck_assert_int_eq(front_call(&f, FUSE_LSEEK, a, &seek, sizeof(seek), NULL, NULL, &at, sizeof(at)), sizeof(at));
	ck_assert_uint_eq(at.offset, 10);
	seek.whence = SEEK_SET;
	ck_assert_int_eq(front_call(&f, FUSE_LSEEK, a, &seek, sizeof(seek), NULL, NULL, &at, sizeof(at)), -EINVAL);
}
END_TEST

/* Each operation with every length from nothing to 200 bytes of noise: an answer comes, and the next one is right. */
START_TEST(answers_what_is_cut_short)
{
	uint8_t noise[200];
	uint32_t op;
	size_t len;

	host_file("a", "x");
	for (op = 0; op < 60; op++) {
		if (op == FUSE_INIT || op == FUSE_FORGET || op == FUSE_BATCH_FORGET || op == FUSE_INTERRUPT)
			continue;
		for (len = 0; len < sizeof(noise); len += 3) {
			memset(noise, (int)(op * 7 + len), sizeof(noise));
			ck_assert_int_gt(front_call_raw(&f, op, ROOT, noise, len, NULL, 512), -1000);
			ck_assert_int_gt(front_call_raw(&f, op, ROOT, noise, len, NULL, 0), -1000);
		}
		if (op == FUSE_DESTROY)
			front_init(&f, ~0ull, NULL);
	}
	node(ROOT, "a");
}
END_TEST

START_TEST(refuses_a_wrong_length)
{
	struct fuse_in_header head = { .len = 4000, .opcode = FUSE_STATFS, .nodeid = ROOT, .unique = 5 };
	struct fuse_out_header out;

	front_put(&f, 0, &head, sizeof(head), 200);
	ck_assert_uint_eq(front_wait(&f, 1), 1);
	memcpy(&out, front_answer(&f, 0), sizeof(out));
	ck_assert_int_eq(out.error, -EINVAL);
	/* Not even a header, and no room for one: the chain comes back, empty. */
	front_put(&f, 0, &head, 10, 200);
	ck_assert_uint_eq(front_wait(&f, 1), 1);
	head.len = sizeof(head);
	front_put(&f, 0, &head, sizeof(head), 8);
	ck_assert_uint_eq(front_wait(&f, 1), 1);
	ck_assert_int_eq(front_call(&f, 9999, ROOT, NULL, 0, NULL, NULL, NULL, 0), -ENOSYS);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("fsd_fuse");
	TCase *c = tcase_create("requests");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, looks_up_and_forgets);
	tcase_add_test(c, forgets_in_batches);
	tcase_add_test(c, refuses_names);
	tcase_add_test(c, follows_no_symlink);
	tcase_add_test(c, survives_a_folder_replaced_by_a_link);
	tcase_add_test(c, opens_no_device);
	tcase_add_test(c, reads_and_writes);
	tcase_add_test(c, answers_a_batch_with_one_call);
	tcase_add_test(c, makes_and_removes);
	tcase_add_test(c, sets_attributes);
	tcase_add_test(c, lists_folders);
	tcase_add_test(c, keeps_attributes);
	tcase_add_test(c, copies_and_seeks);
	tcase_add_test(c, answers_what_is_cut_short);
	tcase_add_test(c, refuses_a_wrong_length);
	suite_add_tcase(s, c);
	return s;
}
