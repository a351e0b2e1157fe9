/* SPDX-License-Identifier: Apache-2.0 */
/* --volume, --mount, --disk and the volumes themselves. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "sandbox/share_tree.h"
#include "sandbox/shares.h"
#include "sandbox/vmspec_build.h"
#include "sandbox/volumes.h"

/* Empty ones only, by one at a time, and again after an end in the middle. */
START_TEST(new_volumes_are_filled_once)
{
	char store[] = "/tmp/test-volumes-XXXXXX";
	struct err e = ERR_INIT;
	_cleanup_free_ char *path = NULL, *file = NULL;
	struct volume_info v;
	int fd, other;

	ck_assert_ptr_nonnull(mkdtemp(store));
	ck_assert_int_eq(volume_use(store, "v", NULL, &path, &e), 0);
	file = xasprintf("%s/file", path);
	ck_assert_msg(volume_fill_begin(store, "v", &fd, &e) == 0, "%s", e.msg);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(volume_fill_begin(store, "v", &other, &e), -EAGAIN);
	ck_assert_int_eq(write_file_atomic(AT_FDCWD, file, "x", 1, 0644), 0);
	/* It died. */
	close(fd);
	ck_assert_int_eq(volume_fill_begin(store, "v", &fd, &e), 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(volume_fill_end(&fd), 0);
	ck_assert_int_eq(fd, -1);
	ck_assert_int_eq(volume_fill_begin(store, "v", &fd, &e), 0);
	ck_assert_int_eq(fd, -1);
	ck_assert_int_eq(volume_fill_end(&fd), 0);
	/* One that was emptied is as good as new. */
	unlink(file);
	ck_assert_int_eq(volume_fill_begin(store, "v", &fd, &e), 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(volume_fill_end(&fd), 0);
	ck_assert_int_eq(volume_find(store, "v", &v, &e), 0);
	ck_assert_int_eq(write_file_atomic(AT_FDCWD, file, path, strlen(path), 0644), 0);
	ck_assert_uint_ge(volume_bytes(&v), 1);
	volume_info_free(&v);
	ck_assert(!volume_is_anonymous("v"));
	ck_assert(volume_is_anonymous("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"));
	ck_assert_int_eq(volume_remove(store, "v", &e), 0);
	remove_tree(AT_FDCWD, store);
}
END_TEST

Suite *test_suite(void);

START_TEST(volumes_as_docker_has_them)
{
	static const struct {
		const char *text, *source, *target;
		enum share_kind kind;
		bool read_only;
	} good[] = {
		{ "/a:/b", "/a", "/b", SHARE_BIND, false },
		{ "/a b/c:/x//y/./z/:ro", "/a b/c", "/x/y/z", SHARE_BIND, true },
		{ "name:/data", "name", "/data", SHARE_VOLUME, false },
		{ "n.a-m_e:/data:ro,z", "n.a-m_e", "/data", SHARE_VOLUME, true },
		{ "/a:/b:rw", "/a", "/b", SHARE_BIND, false },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(good); i++) {
		struct err e = ERR_INIT;
		struct share s;

		ck_assert_msg(share_parse_volume(good[i].text, &s, &e) == 0, "%s", e.msg);
		ck_assert_str_eq(s.source, good[i].source);
		ck_assert_str_eq(s.target, good[i].target);
		ck_assert_int_eq(s.kind, good[i].kind);
		ck_assert(s.read_only == good[i].read_only);
		share_free(&s);
	}
}
END_TEST

START_TEST(mounts_as_docker_has_them)
{
	struct err e = ERR_INIT;
	struct share s;

	ck_assert_int_eq(share_parse_volume("/data", &s, &e), 0);
	ck_assert(s.kind == SHARE_VOLUME && !s.source && !s.no_copy && str_eq(s.target, "/data"));
	share_free(&s);
	ck_assert_int_eq(share_parse_volume("v:/data:nocopy", &s, &e), 0);
	ck_assert(s.kind == SHARE_VOLUME && s.no_copy);
	share_free(&s);
	ck_assert_msg(share_parse_mount("target=/b,volume-nocopy,volume-driver=local", &s, &e) == 0, "%s", e.msg);
	ck_assert(s.kind == SHARE_VOLUME && !s.source && s.no_copy);
	share_free(&s);
	ck_assert_msg(share_parse_mount("type=bind,source=/a,target=/b,readonly", &s, &e) == 0, "%s", e.msg);
	ck_assert_int_eq(s.kind, SHARE_BIND);
	ck_assert(s.read_only && !s.make_source);
	share_free(&s);
	ck_assert_int_eq(share_parse_mount("src=v,dst=/b,ro=false", &s, &e), 0);
	ck_assert_int_eq(s.kind, SHARE_VOLUME);
	ck_assert(!s.read_only);
	share_free(&s);
	ck_assert_int_eq(share_parse_mount("type=tmpfs,destination=/t,tmpfs-size=64k,tmpfs-mode=1770", &s, &e), 0);
	ck_assert_int_eq(s.kind, SHARE_TMPFS);
	ck_assert_str_eq(s.options, "rw,size=65536,mode=1770");
	share_free(&s);
}
END_TEST

START_TEST(a_root_as_podman_has_it)
{
	static const struct {
		const char *text, *source;
		bool read_only, overlay;
	} cases[] = {
		{ "/a", "/a", false, false },
		{ "dir:O", "dir", true, true },
		{ "/a:b", "/a:b", false, false },
	};
	struct run_options o = RUN_OPTIONS_INIT;
	struct err e = ERR_INIT;
	struct shares all;
	struct share s;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		ck_assert_int_eq(share_parse_rootfs(cases[i].text, false, &s, &e), 0);
		ck_assert_str_eq(s.source, cases[i].source);
		ck_assert(s.read_only == cases[i].read_only && s.overlay == cases[i].overlay);
		share_free(&s);
	}
	/* What is mounted on it needs places, which a root that nobody writes to can't get. */
	ck_assert_int_eq(share_parse_rootfs("/a", true, &s, &e), 0);
	ck_assert(s.read_only && s.overlay);
	share_free(&s);
	ck_assert_int_lt(share_parse_rootfs(":O", false, &s, &e), 0);
	/* The first of all, as the container's other mounts are in it. */
	o.rootfs = (char *)"/root";
	strv_push(&o.volume, "/x:/x");
	ck_assert_msg(shares_parse(&o, &all, &e) == 0, "%s", e.msg);
	ck_assert_str_eq(shares_root(&all)->source, "/root");
	ck_assert_str_eq(all.v[1].target, "/x");
	shares_free(&all);
	ck_assert_ptr_null(shares_root(&all));
	strv_push(&o.storage_opt, "size=1m");
	ck_assert_int_lt(shares_parse(&o, &all, &e), 0);
	ck_assert_msg(strstr(e.msg, "/root:O") != NULL, "%s", e.msg);
	strv_clear(&o.storage_opt);
	strv_clear(&o.volume);
}
END_TEST

START_TEST(bad_words_are_named)
{
	static const struct {
		int (*parse)(const char *, struct share *, struct err *);
		const char *text, *words;
	} bad[] = {
		{ share_parse_volume, "rel/dir:/x", "absolute path" },
		{ share_parse_volume, "../x:/x", "invalid characters" },
		{ share_parse_volume, "/a:rel", "must be absolute" },
		{ share_parse_volume, "/a:/", "can't be '/'" },
		{ share_parse_volume, "/a:/x/../..", "'..'" },
		{ share_parse_volume, "/a:", "no target" },
		{ share_parse_volume, ":/x", "no source" },
		{ share_parse_volume, "only", "must be absolute" },
		{ share_parse_volume, "/a:/b:rwx", "invalid mode: 'rwx'" },
		{ share_parse_volume, "/a:/b:ro:rw", "invalid mode" },
		{ share_parse_volume, "", "no target" },
		{ share_parse_mount, "type=npipe,source=/a,target=/b", "npipe" },
		{ share_parse_mount, "type=bind,source=a,target=/b", "must be absolute" },
		{ share_parse_mount, "type=bind,target=/b", "no source" },
		{ share_parse_mount, "type=bind,source=/a", "no target" },
		{ share_parse_mount, "type=bind,source=/a,target=/b,colour=red", "'colour'" },
		{ share_parse_mount, "type=bind,source=/a,target=/b,tmpfs-size=1m", "cannot mix" },
		{ share_parse_mount, "type=tmpfs,source=/a,target=/b", "no source" },
		{ share_parse_mount, "type=tmpfs,target=/b,tmpfs-size=lots", "lots" },
		{ share_parse_mount, "type=tmpfs,target=/b,tmpfs-mode=9", "tmpfs-mode" },
		{ share_parse_mount, "type=volume,source=a/b,target=/b", "a/b" },
		{ share_parse_mount, "type=bind,,source=/a,target=/b", "empty" },
		{ share_parse_mount, "type=bind,source=/a,target=/b,readonly=maybe", "maybe" },
		{ share_parse_mount, "type", "type \"\"" },
		{ share_parse_mount, "type=bind,source=/a,target=/b,volume-nocopy", "cannot mix" },
		{ share_parse_mount, "source=a,target=/b,volume-nocopy=x", "volume-nocopy: x" },
		{ share_parse_mount, "source=a,target=/b,volume-driver=nfs", "volume-driver" },
		{ share_parse_mount, "source=a,target=/b,volume-opt=type=tmpfs", "volume-opt" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err e = ERR_INIT;
		struct share s;

		ck_assert_msg(bad[i].parse(bad[i].text, &s, &e) < 0, "%s", bad[i].text);
		ck_assert_msg(strstr(e.msg, bad[i].words) != NULL, "%s", e.msg);
		ck_assert_msg(strstr(e.msg, bad[i].text) != NULL, "%s", e.msg);
		ck_assert_ptr_null(s.source);
	}
}
END_TEST

START_TEST(disk_words)
{
	static const char *const bad[] = {
		"", ":ro", "/d:qcow2", "/d:serial=", "/d:serial=a b", "/d:serial=123456789012345678901", "/d:ro,,direct"
	};
	struct err e = ERR_INIT;
	struct disk d;
	size_t i;

	ck_assert_int_eq(disk_parse("some/file.img", &d, &e), 0);
	ck_assert_str_eq(d.path, "some/file.img");
	ck_assert(!d.read_only && !d.direct && !d.serial[0]);
	disk_free(&d);
	ck_assert_int_eq(disk_parse("/d:ro,direct,serial=12345678901234567890", &d, &e), 0);
	ck_assert(d.read_only && d.direct);
	ck_assert_str_eq(d.serial, "12345678901234567890");
	disk_free(&d);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(disk_parse(bad[i], &d, &e) == -EINVAL, "%s", bad[i]);
}
END_TEST

START_TEST(outer_targets_come_first_and_none_twice)
{
	struct run_options o = RUN_OPTIONS_INIT;
	struct err e = ERR_INIT;
	struct shares s;

	strv_push(&o.volume, "/1:/a/b/c");
	strv_push(&o.volume, "/2:/a");
	strv_push(&o.mount, "type=tmpfs,target=/a/b");
	ck_assert_msg(shares_parse(&o, &s, &e) == 0, "%s", e.msg);
	ck_assert_uint_eq(s.n, 3);
	ck_assert_str_eq(s.v[0].target, "/a");
	ck_assert_str_eq(s.v[1].target, "/a/b");
	ck_assert_str_eq(s.v[2].target, "/a/b/c");
	ck_assert_str_eq(s.v[1].options, "rw");
	shares_free(&s);
	strv_push(&o.mount, "type=bind,src=/x,dst=/a/");
	ck_assert_int_eq(shares_parse(&o, &s, &e), -EINVAL);
	ck_assert_ptr_nonnull(strstr(e.msg, "duplicate mount point: /a"));
	strv_clear(&o.mount);
	strv_push(&o.tmpfs, "/a/./b/c/:size=1m");
	ck_assert_int_eq(shares_parse(&o, &s, &e), -EINVAL);
	ck_assert_ptr_nonnull(strstr(e.msg, "duplicate mount point: /a/b/c"));
	strv_clear(&o.volume);
	strv_clear(&o.tmpfs);
}
END_TEST

START_TEST(what_the_vmm_is_told)
{
	struct disk disks[2] = { { .read_only = true, .serial = "abc" }, { .direct = true } };
	const int fds[2] = { 20, 21 };
	struct vm_facts f = { .kvm_fd = 10,
			      .module_fd = -1,
			      .kernel_fd = 11,
			      .initramfs_fd = 12,
			      .report_fd = 13,
			      .log_fd = 14,
			      .parent_fd = 15,
			      .rootfs_fd = 16,
			      .listen_fd = 17,
			      .seq_listen_fd = -1,
			      .balloon_fd = -1,
			      .control_fd = 18,
			      .uid = 1000,
			      .host_mem_bytes = 4ull << 30,
			      .disks = disks,
			      .disk_fds = fds,
			      .disks_n = 2,
			      .fs_fd = 22 };
	struct run_options o = RUN_OPTIONS_INIT;
	struct err e = ERR_INIT;
	struct vmspec spec;

	o.nano_cpus = 2000000000;
	o.rootfs_device = (char *)"pmem";
	ck_assert_msg(vmspec_build(&o, &f, &spec, &e) == 0, "%s", e.msg);
	ck_assert_uint_eq(spec.devices_n, 5);
	ck_assert_uint_eq(spec.devices[0].type, VMSPEC_PMEM);
	ck_assert_uint_eq(spec.devices[0].flags, VMSPEC_PMEM_READONLY);
	ck_assert_uint_eq(spec.devices[1].flags, VMSPEC_BLK_READONLY);
	ck_assert_str_eq(spec.devices[1].blk.serial, "abc");
	ck_assert_uint_eq(spec.devices[1].blk.queues, 2);
	ck_assert_uint_eq(spec.devices[2].flags, VMSPEC_BLK_DIRECT);
	ck_assert_int_eq(spec.devices[2].blk.fd, 21);
	ck_assert_uint_eq(spec.devices[3].type, VMSPEC_FS);
	ck_assert_str_eq(spec.devices[3].fs.tag, "share");
	ck_assert_uint_eq(spec.devices[4].type, VMSPEC_VSOCK);
}
END_TEST

START_TEST(volumes_live_in_the_store)
{
	char store[] = "/tmp/test-volumes-XXXXXX";
	struct err e = ERR_INIT;
	struct volume_info v, *list;
	char *path = NULL;
	size_t n;
	int lock;

	ck_assert_ptr_nonnull(mkdtemp(store));
	ck_assert_int_eq(volume_list(store, &list, &n, &e), 0);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(volume_use(store, "../x", NULL, NULL, &e), -EINVAL);
	ck_assert_msg(volume_use(store, "b", &lock, &path, &e) == 0, "%s", e.msg);
	ck_assert_int_eq(volume_use(store, "a", NULL, NULL, &e), 0);
	ck_assert_int_eq(access(path, W_OK), 0);
	ck_assert_int_eq(volume_list(store, &list, &n, &e), 0);
	ck_assert_uint_eq(n, 2);
	ck_assert_str_eq(list[0].name, "a");
	ck_assert_str_eq(list[1].path, path);
	volume_list_free(list, n);
	ck_assert_int_eq(volume_remove(store, "b", &e), -EBUSY);
	ck_assert_ptr_nonnull(strstr(e.msg, "in use"));
	close(lock);
	ck_assert_int_eq(volume_remove(store, "b", &e), 0);
	ck_assert_int_eq(access(path, F_OK), -1);
	ck_assert_int_eq(volume_remove(store, "b", &e), -ENOENT);
	ck_assert_int_eq(volume_find(store, "b", &v, &e), -ENOENT);
	ck_assert_int_eq(volume_find(store, "a", &v, &e), 0);
	volume_info_free(&v);
	free(path);
	remove_tree(AT_FDCWD, store);
}
END_TEST

START_TEST(layers_of_one_folder)
{
	static const struct {
		const char *lowers, *folder, *names;
	} cases[] = {
		{ "/s/12/fs:/s/1/fs", "/s/", "12/fs:1/fs" },
		{ "/s/a/fs:/s/ab:/s/", "/s/", "a/fs:ab:." },
		{ "/s/a", "/s/", "a" },
		{ "/a:/b", NULL, NULL },
		{ "a/b:a/c", NULL, NULL },
		{ "/s/a\\:b:/s/c", NULL, NULL },
		{ "", NULL, NULL },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *folder = NULL, *names = share_tree_shorten(cases[i].lowers, &folder);

		ck_assert_pstr_eq(names, cases[i].names);
		ck_assert_pstr_eq(folder, cases[i].folder);
	}
}
END_TEST

/* More than mount(2) takes of options. */
START_TEST(an_image_of_many_layers)
{
	char tmp[] = "/tmp/layers-XXXXXX", *lowers = xstrdup("lowerdir="), *options[] = { NULL };
	struct share_mount m = { .type = "overlay", .source = "overlay", .options = options, .options_n = 1 };
	_cleanup_free_ char *tree = NULL, *file = NULL;
	struct err e = ERR_INIT;
	int i;

	ck_assert_msg(!share_tree_own_mounts(&e), "%s", e.msg);
	ck_assert_ptr_nonnull(mkdtemp(tmp));
	ck_assert_int_eq(mount("test", tmp, "tmpfs", 0, NULL), 0);
	for (i = 0; i < 100; i++) {
		_cleanup_free_ char *name = xasprintf("%s/some-snapshotter-with-a-long-name/snapshots/%d", tmp, i);
		char *more = xasprintf("%s%s%s", lowers, i ? ":" : "", name);

		ck_assert_int_eq(mkdir_p(AT_FDCWD, name, 0755), 0);
		free(lowers);
		lowers = more;
	}
	file = xasprintf("%s/some-snapshotter-with-a-long-name/snapshots/99/file", tmp);
	ck_assert_int_ge(close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0644)), 0);
	tree = xasprintf("%s/tree", tmp);
	ck_assert_int_eq(mkdir(tree, 0755), 0);
	options[0] = lowers;
	ck_assert_msg(!share_tree_mount(tree, 7, &m, 1, true, &e), "%s", e.msg);
	free(file);
	file = xasprintf("%s/7/file", tree);
	ck_assert_int_eq(access(file, F_OK), 0);
	share_tree_remove(tree, 7);
	free(lowers);
	umount2(tmp, MNT_DETACH);
	rmdir(tmp);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("sandbox-shares");
	TCase *t = tcase_create("all");

	tcase_add_test(t, volumes_as_docker_has_them);
	tcase_add_test(t, mounts_as_docker_has_them);
	tcase_add_test(t, a_root_as_podman_has_it);
	tcase_add_test(t, bad_words_are_named);
	tcase_add_test(t, disk_words);
	tcase_add_test(t, outer_targets_come_first_and_none_twice);
	tcase_add_test(t, what_the_vmm_is_told);
	tcase_add_test(t, volumes_live_in_the_store);
	tcase_add_test(t, layers_of_one_folder);
	tcase_add_test(t, an_image_of_many_layers);
	tcase_add_test(t, new_volumes_are_filled_once);
	suite_add_tcase(s, t);
	return s;
}
