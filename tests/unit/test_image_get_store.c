/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store under what happens to it: several processes at once, one that is killed, a disk that is full, images that are
 * removed or in use.
 */
#include <check.h>
#include <errno.h>
#include <linux/landlock.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "image/import/confine.h"
#include "tests/unit/image_get_fixture.h"

Suite *test_suite(void);

START_TEST(at_once)
{
	pid_t pids[4];
	int status;
	size_t i;

	make_layout();
	for (i = 0; i < ARRAY_SIZE(pids); i++) {
		pids[i] = fork();
		if (!pids[i]) {
			struct image_store *mine;
			struct image *image;

			if (image_store_open(root, &mine, &e) || image_get(mine, ref, &options, &image, &e)) {
				fprintf(stderr, "%s\n", e.msg);
				_exit(1);
			}
			image_free(image);
			_exit(0);
		}
	}
	for (i = 0; i < ARRAY_SIZE(pids); i++) {
		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert_int_eq(status, 0);
	}
	ck_assert_uint_eq(count("rootfs"), 1);
	ck_assert_uint_eq(count("images"), 1);
}
END_TEST

START_TEST(killed)
{
	_cleanup_free_ char *text = xcalloc(1, (24 << 20) + 1);
	struct fx_image image = { .dir = dir };
	int i, status;
	pid_t pid;

	memset(text, 'x', 24 << 20);
	image.layers[0] = LAYER({ 'f', "a", text }, { 'f', "b", text });
	fx_layout(&image);
	for (i = 0; i < 6; i++) {
		pid = fork();
		if (!pid) {
			ck_assert_ptr_nonnull(freopen("/dev/null", "w", stderr));
			execl(importer, importer, root, ref, NULL);
			_exit(127);
		}
		/* Later each time, so that several stages are met; which ones is chance, the outcome isn't. */
		while (!count("tmp") && waitpid(pid, &status, WNOHANG) == 0)
			sched_yield();
		usleep((useconds_t)i * 8000);
		kill(pid, i % 2 ? SIGKILL : SIGTERM);
		waitpid(pid, &status, 0);
		if (WIFEXITED(status) && i % 2 == 0)
			ck_assert_uint_eq(count("tmp"), 0);
		image_store_close(store);
		ck_assert_int_eq(image_store_open(root, &store, &e), 0);
		ck_assert_uint_eq(count("tmp"), 0);
	}
	image_free(get(ref));
	ck_assert_uint_eq(count("blobs/sha256"), 3);
}
END_TEST

START_TEST(full_disk)
{
	_cleanup_free_ char *text = xcalloc(1, (1 << 20) + 1);
	struct fx_image image = { .dir = dir };
	size_t i;

	/* Its own mounts, gone with this process. */
	ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
	ck_assert_int_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	ck_assert_int_eq(mount("small", root, "tmpfs", 0, "size=1536k,mode=700"), 0);
	image_store_close(store);
	ck_assert_int_eq(image_store_open(root, &store, &e), 0);
	for (i = 0; i < 1 << 20; i++)
		text[i] = (char)('a' + (i * i + i / 7) % 26);
	image.layers[0] = LAYER({ 'f', "a", text });
	fx_layout(&image);
	assert_no(ENOSPC, ref, root); /* while it's copied or unpacked */
	ck_assert_uint_eq(count("blobs/sha256") + count("rootfs") + count("tmp"), 0);
	ck_assert_int_eq(mount(NULL, root, NULL, MS_REMOUNT, "size=2560k"), 0);
	assert_no(ENOSPC, ref, root); /* while mkfs.erofs writes */
	ck_assert_uint_eq(count("blobs/sha256") + count("rootfs") + count("tmp"), 0);
	ck_assert_int_eq(mount(NULL, root, NULL, MS_REMOUNT, "size=16m"), 0);
	image_free(get(ref));
	ck_assert_int_eq(umount2(root, MNT_DETACH), 0);
}
END_TEST

START_TEST(listed_and_removed)
{
	struct fx_image made = make_layout();
	_cleanup_free_ char *other = xasprintf("oci:%s", dir);
	struct image_removed removed;
	struct image_usage usage;
	struct image_info *list;
	struct image *image;
	size_t n;

	image_free(get(other));
	image = get(ref);
	ck_assert_int_eq(image_list(store, &list, &n, &e), 0);
	ck_assert_uint_eq(n, 2);
	ck_assert_str_eq(list[0].repository, other);
	ck_assert_str_eq(list[0].tag, "t");
	ck_assert_str_eq(list[0].id, made.config_digest);
	ck_assert_int_eq(list[0].created_s, 1700000000);
	ck_assert(list[0].in_use && list[1].in_use && list[0].disk_bytes > 0);
	image_list_free(list, n);
	ck_assert_int_eq(image_disk_usage(store, &usage, &e), 0);
	ck_assert_uint_eq(usage.images_n, 1);
	ck_assert_uint_eq(usage.names_n, 2);
	ck_assert(usage.blob_bytes > 0 && usage.rootfs_bytes > 0 && usage.tmp_bytes == 0);

	ck_assert_int_eq(image_remove(store, image->id, false, NULL, &e), -EEXIST);
	ck_assert_int_eq(image_remove(store, image->id, true, NULL, &e), -EBUSY);
	ck_assert_int_eq(image_remove(store, other, false, &removed, &e), 0);
	ck_assert_str_eq(removed.untagged[0], other);
	ck_assert_ptr_null(removed.deleted[0]);
	image_removed_free(&removed);
	ck_assert_int_eq(image_remove(store, ref, false, NULL, &e), -EBUSY);
	ck_assert_ptr_nonnull(strstr(e.msg, "in use"));
	image_free(image);
	ck_assert_int_eq(image_remove(store, ref, false, &removed, &e), 0);
	ck_assert_str_eq(removed.untagged[0], ref);
	ck_assert_str_eq(removed.deleted[0], made.config_digest);
	image_removed_free(&removed);
	ck_assert_uint_eq(count("rootfs") + count("images") + count("blobs/sha256"), 0);
	ck_assert_int_eq(image_remove(store, ref, false, NULL, &e), -ENOENT);
	ck_assert_int_eq(image_list(store, &list, &n, &e), 0);
	ck_assert_uint_eq(n, 0);
	image_list_free(list, n);
}
END_TEST

/* The lock is the open file's: a child that inherited it keeps the image, whatever becomes of its parent. */
START_TEST(use_outlives_its_starter)
{
	int gate[2], status;
	struct image *image;
	pid_t pid;
	char c;

	make_layout();
	image = get(ref);
	ck_assert_int_eq(pipe2(gate, O_CLOEXEC), 0);
	pid = fork();
	if (!pid) {
		close(gate[1]);
		_exit(read(gate[0], &c, 1) != 0);
	}
	image_free(image);
	ck_assert_int_eq(image_remove(store, ref, false, NULL, &e), -EBUSY);
	close(gate[1]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(image_remove(store, ref, false, NULL, &e), 0);
	close(gate[0]);
}
END_TEST

/* Blobs that two images share stay with the second. */
START_TEST(shared_blobs)
{
	struct fx_image one = { .dir = dir, .layers = { HELLO }, .tag = "t" }, two = one;
	_cleanup_free_ char *dir2 = xasprintf("%s/layout2", top), *ref2 = xasprintf("oci:%s/layout2:t", top);

	two.dir = dir2;
	two.layers[1] = LAYER({ 'f', "more", "m" });
	fx_layout(&one);
	fx_layout(&two);
	image_free(get(ref));
	image_free(get(ref2));
	ck_assert_uint_eq(count("blobs/sha256"), 6);
	ck_assert_int_eq(image_remove(store, ref, false, NULL, &e), 0);
	ck_assert_uint_eq(count("blobs/sha256"), 4);
	assert_no(ENOENT, "nothing", "nothing");
}
END_TEST

START_TEST(litter_is_swept)
{
	_cleanup_free_ char *stale = xasprintf("%s/tmp/stale/a", root), *live = xasprintf("%s/tmp/live", root);
	_cleanup_close_ int fd = -1;

	ck_assert_int_eq(mkdir_p(AT_FDCWD, stale, 0700), 0);
	ck_assert_int_eq(mkdir_p(AT_FDCWD, live, 0700), 0);
	fd = open(live, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(flock(fd, LOCK_EX), 0);
	image_store_close(store);
	ck_assert_int_eq(image_store_open(root, &store, &e), 0);
	ck_assert_uint_eq(count("tmp"), 1);
	ck_assert_int_eq(access(live, F_OK), 0);
	cleanup_closep(&fd);
	image_store_close(store);
	ck_assert_int_eq(image_store_open(root, &store, &e), 0);
}
END_TEST

/* Damage to the store's own files is mended by importing anew. */
START_TEST(damaged_store)
{
	_cleanup_free_ char *path = NULL;
	struct image *image;

	make_layout();
	image = get(ref);
	path = xasprintf("rootfs/%s/record.json", image->id + 7);
	image_free(image);
	fx_put(root, path, "{\"format\":0}", 12);
	image_free(get(ref));
	fx_put(root, path, "{", 1);
	image_free(get("t"));
	ck_assert_uint_eq(count("rootfs"), 1);
}
END_TEST

/* The importer's process: its store and its source, and little else. */
static int try_confined(void)
{
	_cleanup_free_ char *inside = xasprintf("%s/tmp/x", root), *outside = xasprintf("%s/outside", top);

	import_confine(root, dir);
	if (open(inside, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) < 0 || unlink(inside) < 0)
		return 1;
	if (open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) < 0)
		return 2;
	if (mount("none", root, "tmpfs", 0, NULL) == 0 || errno != EPERM)
		return 3;
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < 2)
		return 0; /* the rest is Landlock's */
	if (open(outside, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0 || errno != EACCES)
		return 4;
	if (open("/etc/shadow", O_RDONLY | O_CLOEXEC) >= 0 || errno != EACCES)
		return 5;
	return 0;
}

START_TEST(confined)
{
	int status;
	pid_t pid;

	make_layout();
	pid = fork();
	if (!pid)
		_exit(try_confined());
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

START_TEST(not_root)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		struct image_store *mine;

		if (setresuid(65534, 65534, 65534) || image_store_open(root, &mine, &e) != -EPERM)
			_exit(1);
		_exit(strstr(e.msg, "sudo") == NULL);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

Suite *test_suite(void)
{
	const TTest *const tests[] = {
		at_once,      killed,	       full_disk,     listed_and_removed, use_outlives_its_starter,
		shared_blobs, litter_is_swept, damaged_store, confined,		  not_root,
	};
	Suite *s = suite_create("image_get_store");
	TCase *tc = tcase_create("store");
	size_t i;

	tcase_add_checked_fixture(tc, setup, teardown);
	for (i = 0; i < ARRAY_SIZE(tests); i++)
		tcase_add_test(tc, tests[i]);
	suite_add_tcase(s, tc);
	return s;
}
