/* SPDX-License-Identifier: Apache-2.0 */
/* What a share's settings make of FUSE requests: read-only, quotas, owners, and the mounts that are in it. */
#include <check.h>
#include <errno.h>
#include <sched.h>
#include <sys/mount.h>

#include "base/cleanup.h"
#include "tests/unit/fsd_calls.h"

Suite *test_suite(void);

START_TEST(begins_with_init)
{
	struct fuse_init_out out;
	struct fuse_entry_out entry;

	teardown();
	front_new(&f, &(struct fs_config){ .writeback = true, .posix_acl = true, .attr_timeout_ns = 1500000000 });
	front_connect(&f);
	ck_assert_int_eq(lookup(ROOT, "a", &entry), -EIO);
	ck_assert_int_eq(front_init(&f, FUSE_INIT_EXT | FUSE_WRITEBACK_CACHE | FUSE_BIG_WRITES, &out), sizeof(out));
	ck_assert_uint_eq(out.minor, FUSE_KERNEL_MINOR_VERSION);
	/* Nothing that was not offered. */
	ck_assert_uint_eq(out.flags, FUSE_INIT_EXT | FUSE_WRITEBACK_CACHE | FUSE_BIG_WRITES);
	ck_assert_int_eq(mkdir(host("a"), 0755), 0);
	ck_assert_int_eq(lookup(ROOT, "a", &entry), sizeof(entry));
	ck_assert(entry.attr_valid == 1 && entry.attr_valid_nsec == 500000000);
}
END_TEST

START_TEST(read_only_changes_nothing)
{
	struct fuse_setattr_in attr = { .valid = FATTR_MODE };
	char buf[256];
	uint64_t id, fh;

	teardown();
	start(&(struct fs_config){ .read_only = true, .xattr = true, .locks = FS_LOCKS_REMOTE });
	host_file("a", "x");
	id = node(ROOT, "a");
	ck_assert_int_eq(open_node(id, O_RDONLY, &fh), 0);
	ck_assert_int_eq(read_at(id, fh, 0, 4, buf), 1);
	ck_assert_int_eq(open_node(id, O_RDWR, &fh), -EROFS);
	ck_assert_int_eq(open_node(id, O_RDONLY | O_TRUNC, &fh), -EROFS);
	ck_assert_int_eq(front_call(&f, FUSE_UNLINK, ROOT, NULL, 0, "a", NULL, NULL, 0), -EROFS);
	ck_assert_int_eq(front_call(&f, FUSE_SETATTR, id, &attr, sizeof(attr), NULL, NULL, buf, 200), -EROFS);
	ck_assert_int_eq(front_call(&f, FUSE_MKDIR, ROOT, &(struct fuse_mkdir_in){ 0755, 0 }, 8, "d", NULL, buf, 200),
			 -EROFS);
	ck_assert_int_eq(front_call(&f, FUSE_SYMLINK, ROOT, NULL, 0, "s", "t", buf, 200), -EROFS);
	ck_assert_int_eq(front_call(&f, FUSE_CREATE, ROOT, &(struct fuse_create_in){ O_CREAT, 0644, 0, 0 }, 16, "n",
				    NULL, buf, 200),
			 -EROFS);
	ck_assert_int_eq(front_call(&f, FUSE_REMOVEXATTR, id, NULL, 0, "user.a", NULL, NULL, 0), -EROFS);
	ck_assert_int_eq(access(host("a"), F_OK), 0);
	ck_assert_int_ne(access(host("d"), F_OK), 0);
}
END_TEST

/* Past the quota inodes are held by handles, and open files are refused. */
START_TEST(keeps_to_its_quota)
{
	struct fuse_attr_out out;
	struct fuse_getattr_in in = { 0 };
	uint8_t created[256];
	uint64_t ids[100], fh, last = 0;
	char name[16];
	int i, opened = 0;

	teardown();
	start(&(struct fs_config){ .fd_limit = 64 });
	for (i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "file-%d", i);
		host_file(name, name);
		ids[i] = node(ROOT, name);
		ck_assert_uint_eq(node(ROOT, name), ids[i]);
	}
	ck_assert_uint_eq(fs_inodes(f.fs), 101);
	for (i = 0; i < 100; i++) {
		ck_assert_int_eq(front_call(&f, FUSE_GETATTR, ids[i], &in, sizeof(in), NULL, NULL, &out, sizeof(out)),
				 sizeof(out));
		ck_assert_uint_eq(out.attr.size, i < 10 ? 6 : 7);
	}
	for (i = 0; i < 100; i++) {
		int r = open_node(ids[99 - i], O_RDONLY, &fh);

		ck_assert(r == 0 || r == -ENFILE);
		opened += r == 0;
		last = r ? last : fh;
	}
	ck_assert_int_eq(opened, 32);
	/* All the rest goes on; and one that is closed makes room for another. */
	ck_assert_int_eq(front_call(&f, FUSE_CREATE, ROOT, &(struct fuse_create_in){ O_CREAT, 0644, 0, 0 }, 16, "n",
				    NULL, &created, sizeof(created)),
			 -ENFILE);
	ck_assert_int_ne(access(host("n"), F_OK), 0);
	ck_assert_int_eq(release(FUSE_RELEASE, ids[68], last), 0);
	ck_assert_int_eq(open_node(ids[0], O_RDONLY, &fh), 0);
	ck_assert_int_eq(read_at(ids[0], fh, 0, sizeof(name), name), 6);
	ck_assert_int_eq(open_node(ids[1], O_RDONLY, &fh), -ENFILE);
	/* A handle tells a new file from the old one, though it may have its number. */
	ck_assert_int_eq(unlink(host("file-50")), 0);
	ck_assert_int_eq(front_call(&f, FUSE_GETATTR, ids[50], &in, sizeof(in), NULL, NULL, &out, sizeof(out)) < 0 ||
				 out.attr.nlink == 0,
			 1);
}
END_TEST

/* What a guest may know is bounded; what it forgets makes room. */
START_TEST(knows_so_many_files_and_no_more)
{
	struct fuse_forget_in forget = { .nlookup = 1 };
	struct fuse_entry_out out;
	uint64_t ids[70], last;
	char name[16];
	int i;

	teardown();
	start(&(struct fs_config){ .inode_limit = 64 });
	for (i = 0; i < 70; i++) {
		snprintf(name, sizeof(name), "file-%d", i);
		host_file(name, name);
		if (i < 63)
			ids[i] = node(ROOT, name);
		else
			ck_assert_int_eq(front_call(&f, FUSE_LOOKUP, ROOT, NULL, 0, name, NULL, &out, sizeof(out)),
					 -ENFILE);
	}
	ck_assert_uint_eq(fs_inodes(f.fs), 64);
	/* What it knows it still finds. */
	ck_assert_uint_eq(node(ROOT, "file-62"), ids[62]);
	front_call(&f, FUSE_FORGET, ids[0], &forget, sizeof(forget), NULL, NULL, NULL, 0);
	last = node(ROOT, "file-69");
	ck_assert_uint_ne(last, ids[0]);
}
END_TEST

static void bind_mount(const char *from, const char *to, unsigned long flags)
{
	_cleanup_free_ char *source = xstrdup(host(from));

	ck_assert_int_eq(mount(source, host(to), NULL, MS_BIND, NULL), 0);
	if (flags)
		ck_assert_int_eq(mount(NULL, host(to), NULL, MS_REMOUNT | MS_BIND | flags, NULL), 0);
}

static uint64_t node_below(const char *folder, const char *name)
{
	return node(node(ROOT, folder), name);
}

/* A file is the same node wherever it is mounted, unless it is another one by its mount; a folder never is. */
START_TEST(one_file_in_two_mounts)
{
	if (geteuid())
		return;
	/* What is mounted here is seen by who has opened the share here. */
	teardown();
	ck_assert(!unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	setup();
	mkdir(host("data"), 0755);
	mkdir(host("data/sub"), 0755);
	mkdir(host("again"), 0755);
	mkdir(host("once"), 0755);
	host_file("data/file", "x");
	host_file("one", "");
	bind_mount("data", "again", 0);
	bind_mount("data", "once", MS_RDONLY);
	bind_mount("data/file", "one", 0);
	ck_assert_uint_eq(node_below("data", "file"), node_below("again", "file"));
	ck_assert_uint_eq(node_below("data", "file"), node(ROOT, "one"));
	ck_assert_uint_ne(node_below("data", "file"), node_below("once", "file"));
	ck_assert_uint_ne(node_below("data", "sub"), node_below("again", "sub"));
	umount(host("one"));
	umount(host("once"));
	umount(host("again"));
}
END_TEST

START_TEST(maps_owners)
{
	struct fs_config config = { .cache = FS_CACHE_NONE };
	struct fuse_entry_out out;
	struct stat st;

	if (geteuid())
		return;
	teardown();
	ck_assert_int_eq(idmap_add(&config.uids, "0:100000:65536"), 0);
	ck_assert_int_eq(idmap_add(&config.gids, "0:200000:65536"), 0);
	start(&config);
	f.uid = 5;
	f.gid = 6;
	ck_assert_int_eq(
		front_call(&f, FUSE_MKDIR, ROOT, &(struct fuse_mkdir_in){ 0755, 0 }, 8, "d", NULL, &out, sizeof(out)),
		sizeof(out));
	ck_assert_int_eq(stat(host("d"), &st), 0);
	ck_assert(st.st_uid == 100005 && st.st_gid == 200006);
	ck_assert(out.attr.uid == 5 && out.attr.gid == 6);
	host_file("a", "");
	ck_assert_int_eq(lookup(ROOT, "a", &out), sizeof(out));
	ck_assert(out.attr.uid == IDMAP_NOBODY && out.attr.gid == IDMAP_NOBODY);
	f.uid = 70000;
	ck_assert_int_eq(
		front_call(&f, FUSE_MKDIR, ROOT, &(struct fuse_mkdir_in){ 0755, 0 }, 8, "e", NULL, &out, sizeof(out)),
		-EOVERFLOW);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("fsd_config");
	TCase *c = tcase_create("settings");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, begins_with_init);
	tcase_add_test(c, read_only_changes_nothing);
	tcase_add_test(c, keeps_to_its_quota);
	tcase_add_test(c, knows_so_many_files_and_no_more);
	tcase_add_test(c, one_file_in_two_mounts);
	tcase_add_test(c, maps_owners);
	suite_add_tcase(s, c);
	return s;
}
