/* SPDX-License-Identifier: Apache-2.0 */
/* From a reference to a rootfs, through microvm-import as users run it: sources of all kinds, and damaged ones. */
#include <check.h>
#include <errno.h>

#include "tests/unit/image_get_fixture.h"

Suite *test_suite(void);

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

Suite *test_suite(void)
{
	const TTest *const tests[] = {
		oci_folder, same_image_same_bytes, tag_moves, oci_archive, docker_archive, not_there,
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
