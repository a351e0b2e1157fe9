/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a reference to a rootfs and back out of the store, through microvm-import as users run it: sources of all kinds,
 * damaged ones, several processes at once, one that is killed, a disk that is full. Each test looks for what is left over.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <linux/landlock.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "image/image.h"
#include "image/import/confine.h"
#include "image_fixture.h"

Suite *test_suite(void);

#define LAYER(...) ((const struct fx_entry[]){ __VA_ARGS__, { 0 } })
#define HELLO LAYER({ 'd', "etc" }, { 'f', "etc/hello", "hello world\n" }, { 'f', "bin/sh", "#!", .mode = 0755 })

static char top[64], dir[80], root[80], ref[120], importer[4096];
static struct image_store *store;
static struct image_get_options options;
static struct err e;

/* ../../bin/microvm-import, seen from this program. */
static void find_importer(void)
{
	ssize_t n = readlink("/proc/self/exe", importer, sizeof(importer) - 64);
	int up;

	ck_assert_int_gt(n, 0);
	importer[n] = '\0';
	for (up = 0; up < 3; up++)
		*strrchr(importer, '/') = '\0';
	strcat(importer, "/bin/microvm-import");
	ck_assert_msg(access(importer, X_OK) == 0, "%s: build it first", importer);
	options.importer = importer;
}

static void setup(void)
{
	snprintf(top, sizeof(top), "/tmp/test-image-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(top));
	snprintf(dir, sizeof(dir), "%s/layout", top);
	snprintf(root, sizeof(root), "%s/store", top);
	snprintf(ref, sizeof(ref), "oci:%s:t", dir);
	find_importer();
	ck_assert_msg(image_store_open(root, &store, &e) == 0, "%s", e.msg);
}

static unsigned int count(const char *folder)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", root, folder);
	_cleanup_closedir_ DIR *d = opendir(path);
	unsigned int n = 0;
	struct dirent *ent;

	ck_assert_ptr_nonnull(d);
	while ((ent = readdir(d)))
		n += ent->d_name[0] != '.';
	return n;
}

static void teardown(void)
{
	ck_assert_uint_eq(count("tmp"), 0);
	image_store_close(store);
	ck_assert_int_eq(remove_tree(AT_FDCWD, top), 0);
}

static struct image *get(const char *text)
{
	struct image *image = NULL;

	ck_assert_msg(image_get(store, text, &options, &image, &e) == 0, "%s", e.msg);
	return image;
}

static void assert_no(int code, const char *text, const char *words)
{
	struct image *image = NULL;
	int r = image_get(store, text, &options, &image, &e);

	ck_assert_msg(r == -code, "%d, not %d: %s", r, -code, e.msg);
	ck_assert_msg(strstr(e.msg, words) != NULL, "'%s' is not in: %s", words, e.msg);
	ck_assert_msg(!strstr(e.msg, "blob") || strstr(e.msg, "sha256:") || strstr(e.msg, "missing"), "%s", e.msg);
}

/* What a file in the rootfs holds, by erofs-utils' own reader. */
static char *rootfs_text(const struct image *image, const char *path)
{
	_cleanup_free_ char *out = xasprintf("%s/extracted", top);
	_cleanup_free_ char *command = xasprintf("fsck.erofs --extract=%s %s >/dev/null 2>&1", out, image->rootfs_path);
	char *text;

	ck_assert_int_eq(remove_tree(AT_FDCWD, out), 0);
	ck_assert_int_eq(system(command), 0);
	text = fx_get(out, path);
	ck_assert_int_eq(remove_tree(AT_FDCWD, out), 0);
	return text;
}

static struct fx_image make_layout(void)
{
	struct fx_image image = { .dir = dir, .layers = { HELLO }, .filter = "gzip" };

	fx_layout(&image);
	return image;
}

START_TEST(oci_folder)
{
	struct fx_image made = {
		.dir = dir,
		.filter = "zstd",
		.nested_index = true,
		.layers = { HELLO, LAYER({ 'f', "etc/.wh.hello", "" }, { 'f', "etc/second", "two" }) },
		.run_config = "{\"Env\":[\"X=1\"],\"Entrypoint\":[\"/bin/sh\"]}",
	};
	_cleanup_free_ char *hello = NULL, *second = NULL;
	struct image *image, *again;

	fx_layout(&made);
	image = get(ref);
	ck_assert_str_eq(image->id, made.config_digest);
	ck_assert_str_eq(image->name, ref);
	ck_assert_str_eq(image->config.env[0], "X=1");
	ck_assert_str_eq(image->config.entrypoint[0], "/bin/sh");
	ck_assert_uint_gt(image->size_bytes, 0);
	hello = rootfs_text(image, "etc/hello");
	second = rootfs_text(image, "etc/second");
	ck_assert_str_eq(hello, "");
	ck_assert_str_eq(second, "two");
	/* Warm: without an importer, by every kind of name. */
	options.importer = "/nonexistent";
	again = get(ref);
	ck_assert_str_eq(again->rootfs_path, image->rootfs_path);
	image_free(again);
	again = get("t");
	ck_assert_str_eq(again->name, ref);
	image_free(again);
	again = get(image->id + 7);
	ck_assert_ptr_null(again->name);
	image_free(again);
	image->id[20] = '\0';
	again = get(image->id);
	image_free(again);
	image_free(image);
}
END_TEST

START_TEST(same_image_same_bytes)
{
	char digest[2][DIGEST_TEXT_MAX];
	struct fx_image made = make_layout();
	size_t i, len;

	for (i = 0; i < 2; i++) {
		struct image *image = get(ref);
		char *data;

		ck_assert_str_eq(image->id, made.config_digest);
		ck_assert_int_eq(read_file(AT_FDCWD, image->rootfs_path, 64 << 20, &data, &len), 0);
		digest_buffer("sha256:", data, len, digest[i]);
		free(data);
		image_free(image);
		ck_assert_int_eq(image_remove(store, ref, false, NULL, &e), 0);
	}
	ck_assert_str_eq(digest[0], digest[1]);
}
END_TEST

START_TEST(tag_moves)
{
	struct fx_image made = make_layout();
	struct image *image = get(ref);
	char first[IMAGE_ID_MAX];

	strcpy(first, image->id);
	image_free(image);
	made.layers[0] = LAYER({ 'f', "new", "new" });
	fx_layout(&made);
	image = get(ref);
	ck_assert_str_ne(image->id, first);
	ck_assert_uint_eq(count("rootfs"), 2);
	image_free(image);
}
END_TEST

static void run(const char *folder, const char *script)
{
	_cleanup_free_ char *command = xasprintf("cd %s && %s", folder, script);

	ck_assert_int_eq(system(command), 0);
}

START_TEST(oci_archive)
{
	_cleanup_free_ char *text = NULL, *archive_ref = xasprintf("oci-archive:%s/a.tar", top);
	struct image *image;

	make_layout();
	run(dir, "tar cf ../a.tar --owner=1000 oci-layout index.json blobs");
	image = get(archive_ref);
	text = rootfs_text(image, "etc/hello");
	ck_assert_str_eq(text, "hello world\n");
	image_free(image);
	run(dir, "tar czf ../a.tar ./oci-layout ./index.json ./blobs");
	image = get(archive_ref);
	image_free(image);
	/* Old enough to be known by its times, it's warm. */
	run(dir, "touch -d '2020-01-01' ../a.tar; sleep 2.1");
	image_free(get(archive_ref));
	options.importer = "/nonexistent";
	image_free(get(archive_ref));
	run(dir, "touch ../a.tar");
	assert_no(ENOENT, archive_ref, "/nonexistent");
	options.importer = importer;
	run(dir, "head -c 1000 ../a.tar > ../b.tar; mv ../b.tar ../a.tar");
	assert_no(EBADMSG, archive_ref, "a.tar");
	assert_no(EISDIR, "oci-archive:/etc", "oci:");
	assert_no(ENOENT, "oci-archive:/nowhere.tar", "no such path");
}
END_TEST

/* docker save's older form: a layer as a symlink to another's, configuration by its digest. */
START_TEST(docker_archive)
{
	_cleanup_free_ char *d = xasprintf("%s/docker", top), *a = xasprintf("%s/docker/one", top),
			    *b = xasprintf("%s/docker/two", top), *config = NULL, *manifest = NULL, *text = NULL,
			    *name = NULL, *archive_ref = xasprintf("docker-archive:%s/d.tar", top),
			    *tagged_ref = xasprintf("docker-archive:%s/d.tar:app", top);
	struct fx_bytes layer = fx_tar(HELLO, NULL);
	char diff_id[DIGEST_TEXT_MAX], id[DIGEST_TEXT_MAX];
	struct image *image;

	ck_assert(mkdir(d, 0755) == 0 && mkdir(a, 0755) == 0 && mkdir(b, 0755) == 0);
	fx_put(a, "layer.tar", layer.data, layer.len);
	name = xasprintf("%s/layer.tar", b);
	ck_assert_int_eq(symlink("../one/layer.tar", name), 0);
	free(name);
	digest_buffer("sha256:", layer.data, layer.len, diff_id);
	free(layer.data);
	config = xasprintf("{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"diff_ids\":[\"%s\",\"%s\"]}}",
			   diff_id, diff_id);
	digest_buffer("sha256:", config, strlen(config), id);
	name = xasprintf("%s.json", id + 7);
	fx_put(d, name, config, strlen(config));
	manifest = xasprintf(
		"[{\"Config\":\"%s\",\"RepoTags\":[\"app:latest\"],\"Layers\":[\"one/layer.tar\",\"two/layer.tar\"]}]",
		name);
	fx_put(d, "manifest.json", manifest, strlen(manifest));
	run(d, "tar cf ../d.tar one two *.json");
	image = get(archive_ref);
	ck_assert_str_eq(image->id, id);
	text = rootfs_text(image, "etc/hello");
	ck_assert_str_eq(text, "hello world\n");
	image_free(image);
	image_free(get(tagged_ref));
	image_free(get("app"));
	fx_put(d, name, " {}", 3);
	run(d, "tar cf ../d.tar one two *.json");
	assert_no(EBADMSG, archive_ref, "its digest is");
	/* Names that lead out of the archive. */
	run(d, "echo '[{\"Config\":\"../../../../etc/passwd\",\"Layers\":[\"one/layer.tar\"]}]' >manifest.json; tar cf "
	       "../d.tar one two *.json");
	assert_no(EXDEV, archive_ref, "etc/passwd");
	run(d, "rm manifest.json; tar cf ../d.tar one two *.json");
	assert_no(ENOENT, archive_ref, "manifest.json");
}
END_TEST

static const struct {
	struct fx_image image;
	int code;
	const char *words;
} damaged[] = {
	{ { .flip_layer_byte = true }, EBADMSG, "its digest is" },
	{ { .cut_layer = true }, EBADMSG, "only" },
	{ { .layer_size = 5 }, EBADMSG, "more than 5 bytes" },
	{ { .layer_size = 1 << 30 }, EBADMSG, "only" },
	{ { .no_layer_blob = true }, ENOENT, "is missing" },
	{ { .layer_digest = "sha1:0000000000000000000000000000000000000000" }, ENOTSUP, "unknown algorithm" },
	{ { .layer_digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000" },
	  ENOENT,
	  "missing" },
	{ { .diff_id = "sha256:0000000000000000000000000000000000000000000000000000000000000000" },
	  EBADMSG,
	  "unpacked, its digest is" },
	{ { .no_layers = true }, EINVAL, "no layers" },
	{ { .layer_type = "application/x-unheard-of" }, ENOTSUP, "application/x-unheard-of: unknown" },
	{ { .layer_type = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted" }, ENOTSUP, "encrypted" },
	{ { .layer_type = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" }, ENOTSUP, "foreign" },
	{ { .config_type = "application/vnd.cncf.helm.config.v1+json" }, ENOTSUP, "helm" },
	{ { .manifest_type = "application/vnd.oci.artifact.manifest.v1+json" }, ENOTSUP, "artifact" },
	{ { .architecture = "arm64" }, ENOTSUP, "linux/arm64, this host runs linux/amd64" },
	{ { .os = "windows" }, ENOTSUP, "windows/amd64" },
	{ { .schema = 1 }, ENOTSUP, "schemaVersion 1" },
	{ { .run_config = "7" }, EINVAL, "config: expected object" },
};

START_TEST(damaged_image)
{
	struct fx_image image = damaged[_i].image;

	image.dir = dir;
	image.filter = "gzip";
	image.layers[0] = LAYER({ 'f', "first", "1" });
	image.layers[1] = HELLO;
	fx_layout(&image);
	assert_no(damaged[_i].code, ref, damaged[_i].words);
	ck_assert_uint_eq(count("rootfs") + count("images") + count("blobs/sha256"), 0);
}
END_TEST

static const struct {
	struct fx_entry entries[4];
	int code;
	const char *words;
} hostile[] = {
	{ { { 'f', "../../escape", "x" } }, EINVAL, "'../../escape'" },
	{ { { 'l', "up", "../../.." }, { 'f', "up/escape", "x" } }, ELOOP, "'up/escape'" },
	{ { { 'h', "x", "../../etc/passwd" } }, EINVAL, "'../../etc/passwd'" },
	{ { { 'f', "bomb", .size = 1ll << 26 } }, E2BIG, "MICROVM_IMAGE_MAX_BYTES" },
};

START_TEST(hostile_layer)
{
	struct fx_image image = { .dir = dir, .layers = { hostile[_i].entries } };

	setenv("MICROVM_IMAGE_MAX_BYTES", "32m", 1);
	fx_layout(&image);
	assert_no(hostile[_i].code, ref, hostile[_i].words);
	ck_assert_int_lt(access("/tmp/escape", F_OK), 0);
	ck_assert_uint_eq(count("rootfs") + count("images") + count("blobs/sha256"), 0);
}
END_TEST

START_TEST(not_there)
{
	make_layout();
	assert_no(ENOENT, "busybox", "store is empty");
	image_free(get(ref));
	assert_no(ENOENT, "busybox", "microvm images");
	assert_no(ENOENT, "oci:/nowhere", "no such path");
	snprintf(ref, sizeof(ref), "oci:%s:u", dir);
	assert_no(ENOENT, ref, "there is: t");
	snprintf(ref, sizeof(ref), "oci:%s", top);
	assert_no(ENOENT, ref, "oci-layout");
	snprintf(ref, sizeof(ref), "oci:%s/index.json", dir);
	assert_no(ENOTDIR, ref, "oci-archive:");
	options.importer = "/nonexistent";
	snprintf(ref, sizeof(ref), "oci:%s:other", dir);
	assert_no(ENOENT, ref, "/nonexistent");
}
END_TEST

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
		oci_folder,
		same_image_same_bytes,
		tag_moves,
		oci_archive,
		docker_archive,
		not_there,
		at_once,
		killed,
		full_disk,
		listed_and_removed,
		use_outlives_its_starter,
		shared_blobs,
		litter_is_swept,
		damaged_store,
		confined,
		not_root,
	};
	Suite *s = suite_create("image_get");
	TCase *tc = tcase_create("get");
	size_t i;

	tcase_add_checked_fixture(tc, setup, teardown);
	for (i = 0; i < ARRAY_SIZE(tests); i++)
		tcase_add_test(tc, tests[i]);
	tcase_add_loop_test(tc, damaged_image, 0, ARRAY_SIZE(damaged));
	tcase_add_loop_test(tc, hostile_layer, 0, ARRAY_SIZE(hostile));
	suite_add_tcase(s, tc);
	return s;
}
