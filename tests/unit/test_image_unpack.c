/* SPDX-License-Identifier: Apache-2.0 */
/* Layers onto a tree: what every kind of entry becomes, whiteouts, and what a hostile archive may not do. */
#include <check.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "image/import/layer.h"
#include "image/import/tree.h"
#include "image_fixture.h"

Suite *test_suite(void);

static char top[64], root_path[80];
static int root = -1;
static struct tree *tree;
static struct layer_budget budget;
static struct err e;

static void setup(void)
{
	const struct image_limits limits = IMAGE_LIMITS_DEFAULT;

	snprintf(top, sizeof(top), "/tmp/test-unpack-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(top));
	snprintf(root_path, sizeof(root_path), "%s/root", top);
	ck_assert_int_eq(mkdir(root_path, 0755), 0);
	root = open(root_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	tree = tree_new(root);
	budget = (struct layer_budget){ .limits = limits };
	e = (struct err)ERR_INIT;
}

static void teardown(void)
{
	tree_free(tree);
	close(root);
	ck_assert_int_eq(remove_tree(AT_FDCWD, top), 0);
}

static int unpack_bytes(const void *data, size_t len, const char *diff_id)
{
	struct layer l = { .name = "sha256:test", .packed_bytes = len, .diff_id = diff_id };
	int r;

	l.fd = memfd_create("layer", MFD_CLOEXEC);
	ck_assert_int_eq(write_full(l.fd, data, len), 0);
	ck_assert_int_eq(lseek(l.fd, 0, SEEK_SET), 0);
	r = layer_unpack(tree, &l, &budget, &e);
	close(l.fd);
	return r;
}

static int unpack_with(const struct fx_entry *entries, const char *filter)
{
	struct fx_bytes b = fx_tar(entries, filter);
	int r = unpack_bytes(b.data, b.len, NULL);

	free(b.data);
	return r;
}

#define LAYER(...) ((const struct fx_entry[]){ __VA_ARGS__, { 0 } })
#define unpack(...) unpack_with(LAYER(__VA_ARGS__), NULL)
#define assert_unpacked(...)                         \
	do {                                         \
		int r_ = unpack(__VA_ARGS__);        \
		ck_assert_msg(r_ == 0, "%s", e.msg); \
	} while (0)
#define assert_refused(code, words, ...)                                                         \
	do {                                                                                     \
		ck_assert_int_eq(unpack(__VA_ARGS__), -(code));                                  \
		ck_assert_msg(strstr(e.msg, words) != NULL, "'%s' is not in: %s", words, e.msg); \
	} while (0)

static struct stat stat_of(const char *path)
{
	struct stat st;

	ck_assert_msg(fstatat(root, path, &st, AT_SYMLINK_NOFOLLOW) == 0, "%s: %m", path);
	return st;
}

static bool there(const char *path)
{
	return faccessat(root, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void assert_text(const char *path, const char *text)
{
	_cleanup_free_ char *got = fx_get(root_path, path);

	ck_assert_msg(there(path), "%s is missing", path);
	ck_assert_str_eq(got, text);
}

START_TEST(kinds)
{
	struct stat st;
	char target[32] = "";

	umask(077); /* has no say in modes */
	assert_unpacked({ 'd', "etc/", .mode = 0751, .uid = 5, .gid = 70000, .mtime = 1000 },
			{ 'f', "etc/passwd", "root:x:0:0\n", .mode = 04755, .uid = 1, .gid = 2, .mtime = 2000 },
			{ 'l', "etc/link", "../../nowhere", .uid = 3, .mtime = 3000 },
			{ 'h', "etc/hard", "etc/passwd" }, { 'c', "dev/null", .mode = 0666 },
			{ 'p', "run/pipe", .mode = 0600 }, { 'f', "empty", "" });
	ck_assert_int_eq(tree_finish(tree, &e), 0);
	st = stat_of("etc");
	ck_assert_uint_eq(st.st_mode, S_IFDIR | 0751);
	ck_assert_uint_eq(st.st_uid, 5);
	ck_assert_uint_eq(st.st_gid, 70000);
	ck_assert_int_eq(st.st_mtime, 1000);
	st = stat_of("etc/passwd");
	ck_assert_uint_eq(st.st_mode, S_IFREG | 04755);
	ck_assert_uint_eq(st.st_nlink, 2);
	ck_assert_int_eq(st.st_mtime, 2000);
	assert_text("etc/hard", "root:x:0:0\n");
	st = stat_of("etc/link");
	ck_assert_uint_eq(st.st_uid, 3);
	ck_assert_int_eq(st.st_mtime, 3000);
	ck_assert_int_eq(readlinkat(root, "etc/link", target, sizeof(target) - 1), 13);
	ck_assert_str_eq(target, "../../nowhere");
	st = stat_of("dev/null");
	ck_assert_uint_eq(st.st_mode, S_IFCHR | 0666);
	ck_assert_uint_eq(st.st_rdev, makedev(1, 3));
	ck_assert(S_ISFIFO(stat_of("run/pipe").st_mode));
	ck_assert_uint_eq(stat_of("run").st_mode, S_IFDIR | 0755);
	ck_assert_int_eq(stat_of("empty").st_size, 0);
}
END_TEST

START_TEST(filters)
{
	const struct fx_entry *layer = LAYER({ 'f', "f", "hello" });

	ck_assert_int_eq(unpack_with(layer, "gzip"), 0);
	ck_assert_int_eq(unpack_with(layer, "zstd"), 0);
	assert_text("f", "hello");
	/* Formats that image layers don't come in aren't tried. */
	ck_assert_int_eq(unpack_with(layer, "xz"), -EBADMSG);
	ck_assert_int_eq(unpack_bytes("", 0, NULL), 0);
}
END_TEST

START_TEST(attributes)
{
	static const char cap[] = { 1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
	char value[64] = "";

	assert_unpacked({ 'f', "ping", "x", .uid = 7, .mode = 0755, .xattr = "security.capability", .value = cap,
			  .xattr_len = sizeof(cap) },
			{ 'f', "user", "x", .xattr = "user.note", .value = "hello" },
			{ 'd', "opaque", .xattr = "trusted.overlay.opaque", .value = "y" },
			{ 'd', "opaque2", .xattr = "user.overlay.opaque", .value = "y" },
			{ 'd', "acl", .xattr = "system.posix_acl_access", .value = "x" });
	ck_assert_int_eq(fchdir(root), 0);
	ck_assert_int_eq(getxattr("ping", "security.capability", value, sizeof(value)), sizeof(cap));
	ck_assert_mem_eq(value, cap, sizeof(cap));
	ck_assert_int_eq(getxattr("user", "user.note", value, sizeof(value)), 5);
	ck_assert_int_lt(getxattr("opaque", "trusted.overlay.opaque", value, sizeof(value)), 0);
	ck_assert_int_lt(getxattr("opaque2", "user.overlay.opaque", value, sizeof(value)), 0);
	ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(sparse)
{
	struct stat st;

	assert_unpacked({ 'f', "hole", .size = 8 << 20 });
	st = stat_of("hole");
	ck_assert_int_eq(st.st_size, 8 << 20);
	ck_assert_int_lt(st.st_blocks, 1024);
}
END_TEST

START_TEST(names)
{
	char longest[300], latin[] = "caf\xe9";

	memset(longest, 'n', sizeof(longest));
	longest[255] = '\0';
	assert_unpacked({ 'f', "./a//b/./c", "1" }, { 'f', "/abs", "2" }, { 'f', longest, "3" }, { 'f', latin, "4" },
			{ 'f', "caf\xc3\xa9", "5" }, { 'd', "./", .mode = 0711, .uid = 9 });
	assert_text("a/b/c", "1");
	assert_text("abs", "2");
	assert_text(longest, "3");
	assert_text(latin, "4");
	assert_text("caf\xc3\xa9", "5");
	ck_assert_uint_eq(stat_of(".").st_mode, S_IFDIR | 0711);
}
END_TEST

START_TEST(names_refused)
{
	_cleanup_free_ char *deep = xcalloc(1, 2 * 300 + 1);
	char longer[300];
	int i;

	memset(longer, 'n', sizeof(longer));
	longer[256] = '\0';
	for (i = 0; i < 300; i++)
		memcpy(deep + 2 * i, "d/", 2);
	assert_refused(EINVAL, "'../up'", { 'f', "../up", "x" });
	assert_refused(EINVAL, "'a/../../up'", { 'f', "a/../../up", "x" });
	assert_refused(EINVAL, "'/../'",
		       {
			       'd',
			       "/..",
		       });
	assert_refused(ENAMETOOLONG, "255", { 'f', longer, "x" });
	assert_refused(ENAMETOOLONG, "folders deep", { 'd', deep });
	assert_refused(EINVAL, "root is no folder", { 'f', ".", "x" });
	assert_refused(EINVAL, "root is no folder", { 'l', ".", "/etc" });
	ck_assert(!there("a"));
}
END_TEST

/* A symlink is what the container would see it to be: rooted in the image. What climbs above that root is an attack. */
START_TEST(symlinks)
{
	_cleanup_free_ char *outside = xasprintf("%s/outside", top);

	ck_assert_int_eq(mkdir(outside, 0755), 0);
	assert_unpacked({ 'd', "run" }, { 'd', "var" }, { 'l', "var/run", "/run" }, { 'f', "var/run/pid", "1" },
			{ 'd', "usr/lib" }, { 'l', "lib", "usr/lib" }, { 'f', "lib/libc", "2" },
			{ 'l', "usr/up", "../run" }, { 'f', "usr/up/new/deep", "3" });
	ck_assert(S_ISREG(stat_of("run/pid").st_mode));
	ck_assert(S_ISREG(stat_of("usr/lib/libc").st_mode));
	ck_assert(S_ISLNK(stat_of("lib").st_mode));
	assert_text("run/new/deep", "3");
	assert_refused(ELOOP, "leads out of the image", { 'l', "up", "../outside" }, { 'f', "up/x", "x" });
	assert_refused(ELOOP, "leads out of the image", { 'l', "usr/up2", "../../outside" }, { 'd', "usr/up2/x/" });
	assert_refused(ENOENT, "isn't there", { 'l', "abs", outside }, { 'f', "abs/x", "x" });
	assert_refused(ELOOP, "40 symlinks", { 'l', "loop", "loop2" }, { 'l', "loop2", "loop" },
		       { 'f', "loop/x", "x" });
	assert_refused(ENOTDIR, "no folder", { 'f', "file", "x" }, { 'f', "file/x", "x" });
	ck_assert_int_eq(rmdir(outside), 0);
}
END_TEST

START_TEST(hard_links)
{
	_cleanup_free_ char *secret = xasprintf("%s/secret", top);

	fx_put(top, "secret", "s", 1);
	assert_unpacked({ 'f', "a", "1" }, { 'h', "b", "/a" }, { 'h', "c", "./b" }, { 'h', "a", "a" },
			{ 'l', "s", "/etc" }, { 'h', "s2", "s" });
	ck_assert_uint_eq(stat_of("a").st_nlink, 3);
	ck_assert(S_ISLNK(stat_of("s2").st_mode));
	assert_refused(EINVAL, "'../secret'", { 'h', "x", "../secret" });
	assert_refused(ENOENT, "not there", { 'h', "x", "tmp/none/at/all" });
	assert_refused(ENOENT, "x", { 'h', "x", secret });
	assert_refused(ELOOP, "leads out", { 'l', "up", ".." }, { 'h', "x", "up/secret" });
	assert_refused(EINVAL, "a folder", { 'd', "d" }, { 'h', "x", "d" });
	ck_assert(!there("x"));
}
END_TEST

START_TEST(duplicates)
{
	assert_unpacked({ 'f', "f", "first" }, { 'f', "f", "last" }, { 'f', "d/inner", "x" },
			{ 'f', "d", "now a file" }, { 'f', "e", "x" }, { 'd', "e" }, { 'f', "e/inner", "y" },
			{ 'd', "target" }, { 'l', "s", "target" }, { 'd', "s" }, { 'f', "s/f", "z" }, { 'd', "kept" },
			{ 'f', "kept/f", "k" }, { 'd', "kept", .mode = 0700 });
	assert_text("f", "last");
	assert_text("d", "now a file");
	assert_text("e/inner", "y");
	assert_text("s/f", "z");
	ck_assert(!there("target/f"));
	assert_text("kept/f", "k");
	ck_assert_uint_eq(stat_of("kept").st_mode, S_IFDIR | 0700);
	/* A file over a hard link must not write into the other name. */
	assert_unpacked({ 'h', "g", "f" }, { 'f', "g", "other" });
	assert_text("f", "last");
}
END_TEST

START_TEST(whiteouts)
{
	assert_unpacked({ 'f', "etc/a", "a" }, { 'f', "etc/b", "b" }, { 'f', "opt/x/y/z", "z" },
			{ 'f', "opt/keep", "k" }, { 'f', "srv/1", "1" }, { 'f', "srv/sub/2", "2" },
			{ 'f', "gone/f", "f" });
	assert_unpacked({ 'f', "etc/.wh.a", "" }, { 'f', ".wh.gone", "" }, { 'f', "etc/.wh.never", "" },
			{ 'f', "no/such/.wh.x", "" }, { 'f', "srv/3", "3" }, { 'f', "srv/sub/4", "4" },
			{ 'f', "srv/.wh..wh..opq", "" }, { 'f', "srv/5", "5" }, { 'f', "etc/.wh..wh.plnk", "" },
			{ 'f', "etc/new", "n" }, { 'f', "etc/.wh.new", "" });
	ck_assert(!there("etc/a") && there("etc/b") && !there("gone") && !there("no"));
	ck_assert(!there("srv/1") && !there("srv/sub/2"));
	ck_assert(there("srv/3") && there("srv/sub/4") && there("srv/5"));
	ck_assert(there("etc/new")); /* a whiteout is for the layers below its own */
	ck_assert(!there("etc/.wh.a") && !there("etc/.wh..wh.plnk") && !there("srv/.wh..wh..opq"));
	assert_unpacked({ 'f', "opt/.wh.x", "" }, { 'f', "opt/x/w", "w" });
	ck_assert(!there("opt/x/y") && there("opt/x/w") && there("opt/keep"));
	assert_unpacked({ 'd', "opt" }, { 'f', "opt/.wh..wh..opq", "" });
	ck_assert(there("opt") && !there("opt/x") && !there("opt/keep"));
	assert_refused(EINVAL, "whiteout of nothing", { 'f', "etc/.wh...", "" });
	assert_refused(EINVAL, "whiteout of nothing", { 'f', "etc/.wh.", "" });
	assert_refused(ELOOP, "leads out", { 'l', "up", ".." }, { 'f', "up/.wh.root", "" });
	ck_assert_int_eq(access(root_path, F_OK), 0);
}
END_TEST

START_TEST(folder_times)
{
	assert_unpacked({ 'd', "d", .mtime = 1000 }, { 'f', "d/a", "a" }, { 'f', "made/b", "b" });
	assert_unpacked({ 'f', "d/.wh.a", "" }, { 'f', "d/c", "c" });
	ck_assert_int_eq(tree_finish(tree, &e), 0);
	ck_assert_int_eq(stat_of("d").st_mtime, 1000);
	ck_assert_int_eq(stat_of("made").st_mtime, 0);
}
END_TEST

START_TEST(limits)
{
	struct fx_entry zeros = { 'f', "zeros", .size = 64 << 20 };
	struct fx_bytes b;
	char *text;
	size_t i;

	budget.limits.entries = 3;
	assert_refused(E2BIG, "MICROVM_IMAGE_MAX_ENTRIES", { 'd', "a" }, { 'd', "b" }, { 'd', "c" }, { 'd', "d" });
	budget.limits.entries = 100;
	budget.limits.unpacked_bytes = 1 << 20;
	ck_assert_int_eq(unpack_with((const struct fx_entry[]){ zeros, { 0 } }, NULL), -E2BIG);
	ck_assert_ptr_nonnull(strstr(e.msg, "MICROVM_IMAGE_MAX_BYTES"));
	/* Real zeros, well packed. */
	budget.limits.unpacked_bytes = 1ull << 30;
	budget.limits.ratio_from_bytes = 1 << 20;
	text = xcalloc(1, (8 << 20) + 1);
	for (i = 0; i < 8 << 20; i++)
		text[i] = 'z';
	b = fx_tar(LAYER({ 'f', "bomb", text }), "gzip");
	ck_assert_int_eq(unpack_bytes(b.data, b.len, NULL), -E2BIG);
	ck_assert_ptr_nonnull(strstr(e.msg, "MICROVM_IMAGE_MAX_RATIO"));
	budget.limits.ratio = 2000;
	ck_assert_int_eq(unpack_bytes(b.data, b.len, NULL), 0);
	free(b.data);
	free(text);
}
END_TEST

START_TEST(damaged)
{
	struct fx_bytes b = fx_tar(LAYER({ 'f', "f", "some text that is packed" }), "gzip"),
			plain = fx_tar(LAYER({ 'f', "f", "some text" }), NULL);
	char diff_id[DIGEST_TEXT_MAX];

	ck_assert_int_eq(unpack_bytes(b.data, b.len - 12, NULL), -EBADMSG);
	ck_assert_int_eq(unpack_bytes(plain.data, 700, NULL), -EBADMSG);
	ck_assert_int_eq(unpack_bytes("this is no archive, though it is longer than nothing at all", 50, NULL),
			 -EBADMSG);
	digest_buffer("sha256:", plain.data, plain.len, diff_id);
	ck_assert_int_eq(unpack_bytes(plain.data, plain.len, diff_id), 0);
	plain.data[plain.len - 1] = 'x'; /* behind the end mark, but counted */
	ck_assert_int_eq(unpack_bytes(plain.data, plain.len, diff_id), -EBADMSG);
	ck_assert_ptr_nonnull(strstr(e.msg, diff_id));
	free(b.data);
	free(plain.data);
}
END_TEST

/* As archives of whole images are unpacked: files only, all root's. */
START_TEST(plain_mode)
{
	struct fx_bytes b = fx_tar(LAYER({ 'f', "blobs/.wh.x", "w", .uid = 5, .mode = 04777 }, { 'c', "dev" },
					 { 'l', "l", "blobs/.wh.x" }),
				   NULL);
	struct layer l = { .name = "a.tar", .packed_bytes = b.len, .plain = true };

	l.fd = memfd_create("layer", MFD_CLOEXEC);
	ck_assert_int_eq(write_full(l.fd, b.data, b.len), 0);
	ck_assert_int_eq(lseek(l.fd, 0, SEEK_SET), 0);
	ck_assert_msg(layer_unpack(tree, &l, &budget, &e) == 0, "%s", e.msg);
	close(l.fd);
	free(b.data);
	ck_assert_uint_eq(stat_of("blobs/.wh.x").st_uid, 0);
	ck_assert_uint_eq(stat_of("blobs/.wh.x").st_mode, S_IFREG | 0600);
	ck_assert(!there("dev") && there("l"));
}
END_TEST

Suite *test_suite(void)
{
	const TTest *const tests[] = {
		kinds,	    filters,	attributes, sparse,	  names,  names_refused, symlinks,
		hard_links, duplicates, whiteouts,  folder_times, limits, damaged,	 plain_mode,
	};
	Suite *s = suite_create("image_unpack");
	TCase *tc = tcase_create("unpack");
	size_t i;

	tcase_add_checked_fixture(tc, setup, teardown);
	for (i = 0; i < ARRAY_SIZE(tests); i++)
		tcase_add_test(tc, tests[i]);
	suite_add_tcase(s, tc);
	return s;
}
