/* SPDX-License-Identifier: Apache-2.0 */
/* A container's file system: mounts with all their options, devices, and images that try to lead out of it. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "guest-agent/mounts.h"
#include "oci/pb.h"
#include "tests/unit/container_fixture.h"

Suite *test_suite(void);

static const char *const show = "grep ' /m ' /proc/self/mounts | cut -d' ' -f3,4";

START_TEST(options_of_tmpfs)
{
	static const struct {
		const char *options[8];
		const char *want;
	} cases[] = {
		{ { "size=1m", "mode=700" }, "tmpfs rw,relatime,size=1024k,mode=700\n" },
		{ { "ro", "nosuid", "nodev", "noexec", "size=1m" },
		  "tmpfs ro,nosuid,nodev,noexec,relatime,size=1024k\n" },
		{ { "ro", "rw", "noexec", "exec", "size=1m" }, "tmpfs rw,relatime,size=1024k\n" },
		{ { "noatime", "nodiratime", "size=1m" }, "tmpfs rw,noatime,nodiratime,size=1024k\n" },
		{ { "strictatime", "size=1m" }, "tmpfs rw,size=1024k\n" },
		{ { "rro", "size=1m" }, "tmpfs ro,relatime,size=1024k\n" },
		{ { "sync", "size=1m", "rslave", "defaults" }, "tmpfs rw,sync,relatime,size=1024k\n" },
	};
	size_t i, k;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct box *b = box_new(show, NULL);
		char *options[9] = { NULL };

		for (k = 0; k < 8 && cases[i].options[k]; k++)
			options[k] = (char *)cases[i].options[k];
		box_mount(b, "/m", "tmpfs", "tmpfs", options);
		box_expect(b, cases[i].want);
	}
}
END_TEST

START_TEST(bad_options)
{
	struct box *b = box_new("true", NULL);

	box_mount(b, "/m", "tmpfs", "tmpfs", LIST("colour=red"));
	box_expect_refused(b, -EINVAL, "mount /m (tmpfs): option \"colour=red\"");
	b = box_new("true", NULL);
	box_mount(b, "/m", "tmpfs", "tmpfs", LIST("size=lots"));
	box_expect_refused(b, -EINVAL, "size=lots");
	b = box_new("true", NULL);
	box_mount(b, "/m", "none", "/run", LIST("bind", "size=1m"));
	box_expect_refused(b, -EINVAL, "option \"size=1m\" is not for a bind mount");
	b = box_new("true", NULL);
	box_mount(b, "/m", "none", "run", LIST("bind"));
	box_expect_refused(b, -EINVAL, "\"run\" is not an absolute path");
	b = box_new("true", NULL);
	box_mount(b, "/m", "nosuchfs", "x", LIST("ro"));
	box_expect_refused(b, -ENODEV, "no file system \"nosuchfs\"");
	b = box_new("true", NULL);
	box_mount(b, "/m", "none", "/no/such/source", LIST("bind"));
	box_expect_refused(b, -ENOENT, "source /no/such/source");
}
END_TEST

START_TEST(bind)
{
	struct box *b = box_new("cat /m/file; cat /etc/one; echo x > /m/new && echo written; (echo y > /etc/one) "
				"2>/dev/null || echo ro",
				NULL);
	struct stat st;

	make_folder("/run/data", 0755);
	make_file("/run/data/file", "from the guest\n");
	box_mount(b, "/m", "none", "/run/data", LIST("rbind", "rprivate"));
	/* Onto a file that isn't there, in a folder that isn't there. */
	box_mount(b, "/etc/one", "bind", "/run/data/file", LIST("ro"));
	box_expect(b, "from the guest\nfrom the guest\nwritten\nro\n");
	ck_assert_int_eq(stat("/run/data/new", &st), 0);
}
END_TEST

START_TEST(recursive_read_only)
{
	static const struct {
		char *option;
		const char *want;
	} cases[] = {
		{ "ro", "below\n" },
		{ "rro", "" },
	};
	size_t i;

	make_folder("/run/data", 0755);
	make_folder("/run/data/below", 0755);
	ck_assert_int_eq(mount("tmpfs", "/run/data/below", "tmpfs", 0, NULL), 0);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct box *b = box_new(
			"cd /m; touch x 2>/dev/null && echo top; touch below/x 2>/dev/null && echo below; true", NULL);

		box_mount(b, "/m", "bind", "/run/data", LIST("rbind", cases[i].option));
		box_expect(b, cases[i].want);
	}
}
END_TEST

START_TEST(remount)
{
	struct box *b = box_new(show, NULL);

	box_mount(b, "/m", "tmpfs", "tmpfs", LIST("size=1m", "nosuid"));
	box_mount(b, "/m", "none", "", LIST("bind", "remount", "ro"));
	box_expect(b, "tmpfs ro,nosuid,relatime,size=1024k\n");
	b = box_new("true", NULL);
	box_mount(b, "/nowhere", "none", "", LIST("remount", "ro"));
	box_expect_refused(b, -ENOENT, "nothing to remount");
}
END_TEST

START_TEST(copy_up)
{
	struct box *b =
		box_new("cd /m; find . | sort; cat file sub/deep; stat -c %a file; echo x > new; cat new", NULL);

	box_file(b, "/m/file", "file\n", 0640);
	box_file(b, "/m/sub/deep", "deep\n", 0644);
	box_mount(b, "/m", "tmpfs", "tmpfs", LIST("tmpcopyup", "size=1m"));
	box_expect(b, ".\n./file\n./sub\n./sub/deep\nfile\ndeep\n640\nx\n");
	b = box_new("true", NULL);
	box_file(b, "/m/file",
		 "more than a page, a kilobyte or two of it"
		 "................................................................",
		 0644);
	box_mount(b, "/m", "tmpfs", "tmpfs", LIST("tmpcopyup", "nr_inodes=1"));
	box_expect_refused(b, -ENOSPC, "what was there can't be copied");
}
END_TEST

/* A volume that begins with the image's files, and one whose copy was interrupted: what is there already stays. */
START_TEST(volumes_are_filled)
{
	struct box *b = box_new("true", NULL);
	struct stat st, dir;
	char *text;
	ssize_t n;
	char target[16] = "";

	make_folder("/run/image/m/sub", 0750);
	make_file("/run/image/m/file", "the image's\n");
	make_file("/run/image/m/kept", "the image's\n");
	make_file("/run/image/m/sub/deep", "deep\n");
	ck_assert_int_eq(chmod("/run/image/m/file", 04755), 0);
	ck_assert_int_eq(chown("/run/image/m/sub", 12, 34), 0);
	ck_assert_int_eq(chown("/run/image/m", 56, 78), 0);
	ck_assert_int_eq(symlink("/nowhere", "/run/image/m/link"), 0);
	ck_assert_int_eq(mkfifo("/run/image/m/pipe", 0600), 0);
	ck_assert_int_eq(link("/run/image/m/file", "/run/image/m/sub/again"), 0);
	ck_assert_int_eq(link("/run/image/m/kept", "/run/image/m/sub/kept"), 0);
	make_folder("/run/volume", 0700);
	make_file("/run/volume/kept", "kept\n");
	make_file("/run/volume/.microvm-copy", "half");
	b->rootfs.source = "/run/image";
	b->rootfs.fstype = "bind";
	/* What comes to lie over the place is not what it begins with. */
	box_mount(b, "/m", "tmpfs", "tmpfs", LIST("size=1m"));
	box_mount(b, "/m", "bind", "/run/volume", LIST("rbind", "copyup"));
	box_expect(b, "");
	ck_assert_int_eq(read_file(AT_FDCWD, "/run/volume/file", 64, &text, NULL), 0);
	ck_assert_str_eq(text, "the image's\n");
	free(text);
	ck_assert_int_eq(read_file(AT_FDCWD, "/run/volume/kept", 64, &text, NULL), 0);
	ck_assert_str_eq(text, "kept\n");
	free(text);
	ck_assert(!stat("/run/volume/file", &st) && (st.st_mode & 07777) == 04755);
	/* One file of two names stays one, but never becomes one with what was there. */
	ck_assert(!stat("/run/volume/sub/again", &dir) && st.st_ino == dir.st_ino && st.st_nlink == 2);
	ck_assert_int_eq(read_file(AT_FDCWD, "/run/volume/sub/kept", 64, &text, NULL), 0);
	ck_assert_str_eq(text, "the image's\n");
	free(text);
	ck_assert(!stat("/run/image/m/file", &dir) && dir.st_mtim.tv_sec == st.st_mtim.tv_sec);
	ck_assert(!stat("/run/volume/sub", &st) && (st.st_mode & 07777) == 0750 && st.st_uid == 12 && st.st_gid == 34);
	ck_assert(!stat("/run/volume", &st) && (st.st_mode & 07777) == 0755 && st.st_uid == 56 && st.st_gid == 78);
	ck_assert_int_eq(access("/run/volume/sub/deep", F_OK), 0);
	ck_assert_int_ne(access("/run/volume/pipe", F_OK), 0);
	ck_assert_int_ne(access("/run/volume/.microvm-copy", F_OK), 0);
	n = readlink("/run/volume/link", target, sizeof(target) - 1);
	ck_assert(n > 0 && str_eq(target, "/nowhere"));
}
END_TEST

/* The error says which file it was. */
START_TEST(a_volume_that_is_full)
{
	struct box *b = box_new("true", NULL);

	make_folder("/run/image/m/sub", 0755);
	make_file("/run/image/m/sub/big", "x");
	ck_assert_int_eq(truncate("/run/image/m/sub/big", 1 << 20), 0);
	make_folder("/run/volume", 0755);
	ck_assert_int_eq(mount("tmpfs", "/run/volume", "tmpfs", 0, "size=64k"), 0);
	b->rootfs.source = "/run/image";
	b->rootfs.fstype = "bind";
	box_mount(b, "/m", "bind", "/run/volume", LIST("rbind", "copyup"));
	box_expect_refused(b, -ENOSPC, "sub: big: No space left");
	b = box_new("true", NULL);
	box_mount(b, "/m", "tmpfs", "tmpfs", LIST("copyup"));
	box_expect_refused(b, -EINVAL, "copyup is for bind mounts");
	/* Nothing there, nothing to copy. */
	b = box_new("true", NULL);
	box_mount(b, "/none", "bind", "/run/volume", LIST("rbind", "copyup"));
	box_expect(b, "");
}
END_TEST

START_TEST(read_only_root)
{
	struct oci_options o = { .read_only = true,
				 .tmpfs = LIST("/tmp:size=1m,mode=1777", "/deep/er:exec"),
				 .image.volumes = LIST("/data") };
	struct box *b = box_new("for d in / /tmp /deep /deep/er /data /dev/shm; do touch $d/x 2>/dev/null && echo $d; "
				"done; cat /data/was",
				&o);

	box_file(b, "/data/was", "was there\n", 0644);
	box_expect(b, "/tmp\n/deep/er\n/data\n/dev/shm\nwas there\n");
}
END_TEST

START_TEST(writable_layer_is_limited)
{
	struct box *b =
		box_new("dd if=/dev/zero of=/big bs=64k count=64 2>&1 | grep -o 'No space left on device'", NULL);

	b->rootfs.writable_bytes = 3u << 20;
	box_expect(b, "No space left on device\n");
}
END_TEST

START_TEST(masked_and_readonly_paths)
{
	struct oci_options off = { .security_opt = LIST("systempaths=unconfined") };

	expect_output("cat /proc/keys /proc/interrupts | wc -c; ls /sys/firmware | wc -l; (echo x > "
		      "/proc/sys/kernel/domainname) 2>/dev/null || echo ro",
		      NULL, "0\n0\nro\n");
	expect_output("test $(cat /proc/interrupts | wc -c) != 0 && echo open; echo x > /proc/sys/kernel/domainname && "
		      "echo rw",
		      &off, "open\nrw\n");
}
END_TEST

START_TEST(masks_of_the_image)
{
	struct box *b =
		box_new("cat /secret/file /folder/x 2>/dev/null | wc -c; ls /folder | wc -l; echo x > /folder/y", NULL);
	Microvm__Linux *l = b->spec->linux;

	box_file(b, "/secret/file", "secret", 0644);
	box_file(b, "/folder/x", "secret", 0644);
	pb_append(l->n_masked_paths, l->masked_paths, xstrdup("/secret/file"));
	pb_append(l->n_masked_paths, l->masked_paths, xstrdup("/folder"));
	pb_append(l->n_masked_paths, l->masked_paths, xstrdup("/not/there"));
	ck_assert_int_eq(box_run(b), 1);
	ck_assert_msg(strstr(b->output, "0\n0\n") == b->output && strstr(b->output, "Read-only"), "%s", b->output);
	box_free(b);
}
END_TEST

START_TEST(devices)
{
	struct box *b = box_new("cd /dev; stat -c '%n %F %t:%T %a %u:%g' null full tty fuse pipe sub/zero; readlink "
				"fd; readlink ptmx; readlink stdin; echo x >null; "
				"head -c 3 zero | wc -c; (cat fuse; mknod /x b 7 0; cat /x) 2>&1 | sed 's/.*: //'",
				NULL);
	Microvm__Device fuse = MICROVM__DEVICE__INIT, pipe_dev = MICROVM__DEVICE__INIT, zero = MICROVM__DEVICE__INIT;
	Microvm__UInt64Value mode = MICROVM__UINT64_VALUE__INIT, owner = MICROVM__UINT64_VALUE__INIT;
	Microvm__Device *list[] = { &fuse, &pipe_dev, &zero };
	Microvm__Linux *l = b->spec->linux;

	fuse.path = "/dev/fuse";
	fuse.type = "c";
	fuse.major = 10;
	fuse.minor = 229;
	mode.value = 0640;
	owner.value = 33;
	fuse.file_mode = &mode;
	fuse.uid = fuse.gid = &owner;
	pipe_dev.path = "/dev/pipe";
	pipe_dev.type = "p";
	zero.path = "/dev/sub/zero";
	zero.type = "u";
	zero.major = 1;
	zero.minor = 5;
	l->devices = list;
	l->n_devices = 3;
	ck_assert_msg(box_run(b) == 0, "%s", b->e.msg);
	l->devices = NULL;
	l->n_devices = 0;
	/* A node may be there, and still not be used: that's the cgroup's doing. */
	ck_assert_str_eq(
		b->output,
		"null character special file 1:3 666 0:0\nfull character special file 1:7 666 0:0\n"
		"tty character special file 5:0 666 0:0\nfuse character special file a:e5 640 33:33\n"
		"pipe fifo 0:0 666 0:0\nsub/zero character special file 1:5 666 0:0\n"
		"/proc/self/fd\npts/ptmx\n/proc/self/fd/0\n3\nOperation not permitted\nOperation not permitted\n");
	box_free(b);
}
END_TEST

/* ---- paths that a hostile image has ---- */

static int open_jail(void)
{
	int fd;

	make_folder("/run/jail", 0755);
	make_folder("/run/jail/dir", 0755);
	make_folder("/run/outside", 0755);
	fd = open("/run/jail", O_PATH | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	return fd;
}

static bool same_file(int fd, const char *path)
{
	struct stat a, b;

	return !fstat(fd, &a) && !lstat(path, &b) && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

START_TEST(paths_stay_inside)
{
	static const struct {
		const char *link, *target, *path, *made;
	} cases[] = {
		{ NULL, NULL, "/a/b/c", "/run/jail/a/b/c" },
		{ NULL, NULL, "../../x/../y", "/run/jail/y" },
		{ "abs", "/run/outside", "/abs", "/run/jail/run/outside" },
		{ "up", "../../../../run/outside", "/up/z", "/run/jail/run/outside/z" },
		{ "rel", "dir", "/rel/new", "/run/jail/dir/new" },
		{ "dangling", "not/yet", "/dangling/deeper", "/run/jail/not/yet/deeper" },
		{ "dir/link", "../made", "/dir/link", "/run/jail/made" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_close_ int jail = open_jail(), fd = -1;

		if (cases[i].link)
			ck_assert_int_eq(symlinkat(cases[i].target, jail, cases[i].link), 0);
		fd = rootfs_make(jail, cases[i].path, true);
		ck_assert_msg(fd >= 0 && same_file(fd, cases[i].made), "%s: %d", cases[i].path, fd);
		ck_assert_int_ne(access("/run/outside/z", F_OK), 0);
		ck_assert_int_eq(remove_tree(AT_FDCWD, "/run/jail"), 0);
	}
}
END_TEST

START_TEST(path_loops_end)
{
	_cleanup_close_ int jail = open_jail();
	char longest[5000];

	ck_assert_int_eq(symlinkat("loop", jail, "loop"), 0);
	ck_assert_int_eq(symlinkat("b/x", jail, "a"), 0);
	ck_assert_int_eq(symlinkat("a/x", jail, "b"), 0);
	ck_assert_int_eq(symlinkat("grow/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", jail, "grow"), 0);
	ck_assert_int_eq(rootfs_make(jail, "/loop/x", true), -ELOOP);
	ck_assert_int_eq(rootfs_make(jail, "/a", true), -ELOOP);
	ck_assert_int_eq(rootfs_make(jail, "/grow", false), -ELOOP);
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	ck_assert_int_eq(rootfs_make(jail, longest, true), -ENAMETOOLONG);
	longest[300] = '\0';
	ck_assert_int_eq(rootfs_make(jail, longest, true), -ENAMETOOLONG);
}
END_TEST

START_TEST(files_replace_links)
{
	_cleanup_close_ int jail = open_jail();
	_cleanup_free_ char *text = NULL;

	make_file("/run/outside/hosts", "outside\n");
	ck_assert_int_eq(symlinkat("../outside/hosts", jail, "hosts"), 0);
	ck_assert_int_eq(rootfs_write(jail, "/hosts", "new\n", 4, 0600), 0);
	ck_assert_int_eq(rootfs_write(jail, "/hosts", "newer\n", 6, 0644), 0);
	ck_assert_int_eq(read_file(jail, "hosts", 100, &text, NULL), 0);
	ck_assert_str_eq(text, "newer\n");
	free(take_ptr(text));
	ck_assert_int_eq(read_file(AT_FDCWD, "/run/outside/hosts", 100, &text, NULL), 0);
	ck_assert_str_eq(text, "outside\n");
	ck_assert_int_eq(rootfs_write(jail, "/dir", "x", 1, 0644), -EISDIR);
	ck_assert_int_eq(rootfs_write(jail, "/dir/..", "x", 1, 0644), -EINVAL);
}
END_TEST

/* The mounts of a container land in it, whatever its image says about where /dev and /proc are. */
START_TEST(links_in_the_image)
{
	struct box *b = box_new("readlink /dev; readlink /m; ls -d /run/outside/null /elsewhere/x; echo ok", NULL);

	make_folder("/run/outside", 0755);
	make_folder("/run/lower", 0755);
	ck_assert_int_eq(symlink("/run/outside", "/run/lower/dev"), 0);
	ck_assert_int_eq(symlink("../../../../../elsewhere", "/run/lower/m"), 0);
	b->rootfs.source = "/run/lower";
	b->rootfs.fstype = "bind"; /* stands for an image's file system */
	box_mount(b, "/m/x", "tmpfs", "tmpfs", LIST("size=1m"));
	box_expect(b, "/run/outside\n../../../../../elsewhere\n/elsewhere/x\n/run/outside/null\nok\n");
	ck_assert_int_ne(access("/run/outside/null", F_OK), 0);
	ck_assert_int_ne(access("/elsewhere", F_OK), 0);
}
END_TEST

/* A folder that is the root itself: written to by the container, but for the files that a sandbox brings. */
START_TEST(a_folder_as_root)
{
	struct box *b = box_new("cat /etc/hosts; echo more >>/etc/hosts; readlink /etc; echo new >/new; cat /dev/null; "
				"(echo x >/outside/x) 2>/dev/null || echo beneath",
				NULL);
	char *text;

	make_folder("/run/outside", 0755);
	make_file("/run/outside/hosts", "the host's\n");
	make_folder("/run/root/inside", 0755);
	make_file("/run/root/inside/hosts", "its own\n");
	ck_assert_int_eq(symlink("/inside", "/run/root/etc"), 0);
	ck_assert_int_eq(symlink("../../run/outside", "/run/root/outside"), 0);
	b->rootfs.source = "/run/root";
	b->rootfs.fstype = "bind";
	b->rootfs.overlay = false;
	box_file(b, "/etc/hosts", "brought\n", 0644);
	box_expect(b, "brought\n/inside\nbeneath\n");
	ck_assert_int_eq(read_file(AT_FDCWD, "/run/root/inside/hosts", 64, &text, NULL), 0);
	ck_assert_str_eq(text, "its own\n");
	free(text);
	ck_assert_int_eq(read_file(AT_FDCWD, "/run/root/new", 64, &text, NULL), 0);
	ck_assert_str_eq(text, "new\n");
	free(text);
	ck_assert_int_ne(access("/run/outside/x", F_OK), 0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("container_mounts");
	TCase *t = tcase_create("mounts"), *paths = tcase_create("paths");

	tcase_add_checked_fixture(t, fixture_begin, NULL);
	tcase_add_test(t, options_of_tmpfs);
	tcase_add_test(t, bad_options);
	tcase_add_test(t, bind);
	tcase_add_test(t, recursive_read_only);
	tcase_add_test(t, remount);
	tcase_add_test(t, copy_up);
	tcase_add_test(t, volumes_are_filled);
	tcase_add_test(t, a_volume_that_is_full);
	tcase_add_test(t, read_only_root);
	tcase_add_test(t, writable_layer_is_limited);
	tcase_add_test(t, masked_and_readonly_paths);
	tcase_add_test(t, masks_of_the_image);
	tcase_add_test(t, devices);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(paths, fixture_begin, NULL);
	tcase_add_test(paths, paths_stay_inside);
	tcase_add_test(paths, path_loops_end);
	tcase_add_test(paths, files_replace_links);
	tcase_add_test(paths, links_in_the_image);
	tcase_add_test(paths, a_folder_as_root);
	suite_add_tcase(s, paths);
	return s;
}
