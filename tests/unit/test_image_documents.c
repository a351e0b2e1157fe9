/* SPDX-License-Identifier: Apache-2.0 */
/* References, indexes, manifests and configurations: what is taken, and what the complaint is when it isn't. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "image/config.h"
#include "image/limits.h"
#include "image/manifest.h"
#include "image/reference.h"

Suite *test_suite(void);

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B64 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"
#define LAYER_TYPE "application/vnd.oci.image.layer.v1.tar+gzip"
#define CONFIG_DESC \
	"{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"sha256:" A64 "\",\"size\":10}"
#define LAYER_DESC(type) "{\"mediaType\":\"" type "\",\"digest\":\"sha256:" B64 "\",\"size\":20}"
#define MANIFEST(layers) "{\"schemaVersion\":2,\"config\":" CONFIG_DESC ",\"layers\":[" layers "]}"
#define ENTRY(hex, more) "{\"mediaType\":\"" MANIFEST_TYPE "\",\"digest\":\"sha256:" hex "\",\"size\":7" more "}"
#define TAGGED(hex, tag) ENTRY(hex, ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"" tag "\"}")
#define PLATFORM(hex, arch) ENTRY(hex, ",\"platform\":{\"os\":\"linux\",\"architecture\":\"" arch "\"}")
#define INDEX(entries) "{\"schemaVersion\":2,\"manifests\":[" entries "]}"

static struct err e;

static void assert_says(const char *words)
{
	ck_assert_msg(strstr(e.msg, words) != NULL, "'%s' is not in: %s", words, e.msg);
}

static const struct {
	const char *text;
	int code;
	enum image_transport transport;
	const char *path, *tag, *name; /* with code: words of the message in name */
} references[] = {
	{ "oci:/a/b", 0, IMAGE_OCI, "/a/b", NULL, "oci:/a/b" },
	{ "oci:/a//b/./:tag", 0, IMAGE_OCI, "/a/b", "tag", "oci:/a/b:tag" },
	{ "oci:/a:docker.io/library/x:1", 0, IMAGE_OCI, "/a", "docker.io/library/x:1", "oci:/a:docker.io/library/x:1" },
	{ "oci-archive:/f.tar:t", 0, IMAGE_OCI_ARCHIVE, "/f.tar", "t", "oci-archive:/f.tar:t" },
	{ "docker-archive:/f.tar", 0, IMAGE_DOCKER_ARCHIVE, "/f.tar", NULL, "docker-archive:/f.tar" },
	{ "oci:rel/dir", 0, IMAGE_OCI, "/tmp/rel/dir", NULL, "oci:/tmp/rel/dir" },
	{ "oci:.", 0, IMAGE_OCI, "/tmp", NULL, "oci:/tmp" },
	{ "busybox", 0, IMAGE_STORED, NULL, NULL, "busybox" },
	{ "sha256:abc", 0, IMAGE_STORED, NULL, NULL, "sha256:abc" },
	{ "ocix:/a", 0, IMAGE_STORED, NULL, NULL, "ocix:/a" },
	{ "", EINVAL, 0, NULL, NULL, "empty" },
	{ "oci:", EINVAL, 0, NULL, NULL, "oci:DIR[:TAG]" },
	{ "oci::t", EINVAL, 0, NULL, NULL, "no path" },
	{ "oci:/a:", EINVAL, 0, NULL, NULL, "last colon" },
	{ "bad\nname", EINVAL, 0, NULL, NULL, "control character" },
	{ "docker://busybox", EPROTONOSUPPORT, 0, NULL, NULL, "skopeo copy docker://busybox" },
};

START_TEST(reference)
{
	struct image_reference ref;
	int r;

	ck_assert_int_eq(chdir("/tmp"), 0);
	r = image_reference_parse(references[_i].text, &ref, &e);
	ck_assert_int_eq(r, -references[_i].code);
	if (r) {
		assert_says(references[_i].name);
		return;
	}
	ck_assert_int_eq(ref.transport, references[_i].transport);
	ck_assert_pstr_eq(ref.path, references[_i].path);
	ck_assert_pstr_eq(ref.tag, references[_i].tag);
	ck_assert_str_eq(ref.name, references[_i].name);
	image_reference_free(&ref);
}
END_TEST

START_TEST(digests)
{
	ck_assert_int_eq(oci_digest_check("sha256:" A64, &e), 0);
	ck_assert_int_eq(oci_digest_check("sha512:" A64 B64, &e), 0);
	ck_assert_int_eq(oci_digest_check("md5:abcd", &e), -ENOTSUP);
	ck_assert_int_eq(oci_digest_check("sha256:" A64 "a", &e), -EINVAL);
	ck_assert_int_eq(
		oci_digest_check("sha256:../../../../../../../../../../../../../../../../../../../../../etc", &e),
		-EINVAL);
	ck_assert_int_eq(
		oci_digest_check("sha256:AAAAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", &e),
		-EINVAL);
	ck_assert_int_eq(oci_digest_check("", &e), -EINVAL);
}
END_TEST

static const struct {
	const char *json, *tag;
	int code;
	const char *want; /* the digest's first digit, or words */
} by_tag[] = {
	{ INDEX(ENTRY(A64, "")), NULL, 0, "a" },
	{ INDEX(TAGGED(A64, "one") "," TAGGED(B64, "two")), "two", 0, "b" },
	{ INDEX(TAGGED(A64, "one") "," TAGGED(B64, "latest")), NULL, 0, "b" },
	{ INDEX(TAGGED(A64, "one") "," TAGGED(B64, "two")), NULL, ENOENT, "one, two" },
	{ INDEX(TAGGED(A64, "one")), "two", ENOENT, "no tag 'two'; there is: one" },
	{ INDEX(""), NULL, ENOENT, "no image" },
	{ INDEX(TAGGED(A64, "t") "," TAGGED(B64, "t")), "t", EINVAL, "twice" },
	{ INDEX(TAGGED(A64, "t") "," TAGGED(A64, "t")), "t", 0, "a" },
	{ "{\"manifests\":[]}", NULL, EINVAL, "schemaVersion" },
	{ "{\"schemaVersion\":1,\"manifests\":[]}", NULL, ENOTSUP, "schemaVersion 1" },
	{ "{\"schemaVersion\":2,\"mediaType\":\"" MANIFEST_TYPE "\"}", NULL, ENOTSUP, "something else" },
	{ "[]", NULL, EINVAL, "expected object" },
	{ "{\"schemaVersion\":2,\"manifests\":[null]}", NULL, EINVAL, "manifests[0]" },
	{ "{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"sha256:" A64 "\"}]}", NULL, EINVAL, "no size" },
	{ "{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"sha256:" A64 "\",\"size\":-1}]}", NULL, ERANGE, "size" },
	{ "{\"schemaVersion\":2,\"manifests\":[{\"size\":1}]}", NULL, EINVAL, "no digest" },
	{ "{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"blake3:00\",\"size\":1}]}", NULL, ENOTSUP,
	  "unknown algorithm" },
	{ "{\"schemaVersion\":2,", NULL, EINVAL, "JSON" },
};

START_TEST(index_by_tag)
{
	const struct oci_descriptor *found;
	struct oci_index index = { 0 };
	int r = oci_index_parse(by_tag[_i].json, strlen(by_tag[_i].json), &index, &e);

	if (!r)
		r = oci_index_by_tag(&index, by_tag[_i].tag, &found, &e);
	ck_assert_msg(r == -by_tag[_i].code, "%d: %s", r, e.msg);
	if (r)
		assert_says(by_tag[_i].want);
	else
		ck_assert_int_eq(found->digest[7], by_tag[_i].want[0]);
	oci_index_free(&index);
}
END_TEST

START_TEST(index_by_platform)
{
	static const char both[] = INDEX(PLATFORM(A64, "arm64") "," PLATFORM(B64, "amd64"));
	static const char foreign[] = INDEX(PLATFORM(A64, "arm64") "," PLATFORM(B64, "s390x"));
	const struct oci_descriptor *found;
	struct oci_index index;

	ck_assert_int_eq(oci_index_parse(both, strlen(both), &index, &e), 0);
	ck_assert_int_eq(oci_index_by_platform(&index, &found, &e), 0);
	ck_assert_int_eq(found->digest[7], 'b');
	oci_index_free(&index);
	ck_assert_int_eq(oci_index_parse(foreign, strlen(foreign), &index, &e), 0);
	ck_assert_int_eq(oci_index_by_platform(&index, &found, &e), -ENOTSUP);
	assert_says("linux/amd64");
	assert_says("linux/arm64, linux/s390x");
	oci_index_free(&index);
}
END_TEST

static const struct {
	const char *json;
	int code;
	const char *words;
} manifests[] = {
	{ MANIFEST(LAYER_DESC(LAYER_TYPE)), 0, NULL },
	{ MANIFEST(LAYER_DESC("application/vnd.docker.image.rootfs.diff.tar.gzip")), 0, NULL },
	{ MANIFEST(""), EINVAL, "no layers" },
	{ "{\"schemaVersion\":2,\"config\":" CONFIG_DESC "}", EINVAL, "no layers" },
	{ "{\"schemaVersion\":2,\"layers\":[" LAYER_DESC(LAYER_TYPE) "]}", EINVAL, "no config" },
	{ "{\"schemaVersion\":2,\"config\":" LAYER_DESC(LAYER_TYPE) "}", ENOTSUP, "configuration" },
	{ MANIFEST(LAYER_DESC("application/x-thing")), ENOTSUP, "application/x-thing: unknown" },
	{ MANIFEST(LAYER_DESC(LAYER_TYPE "+encrypted")), ENOTSUP, "decrypt" },
	{ MANIFEST(LAYER_DESC("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")), ENOTSUP, "foreign" },
	{ MANIFEST(LAYER_DESC(LAYER_TYPE) "," LAYER_DESC(MANIFEST_TYPE)), ENOTSUP, "layer 2: media type" },
	{ "{\"schemaVersion\":2,\"config\":3}", EINVAL, "config: expected object" },
};

START_TEST(manifest)
{
	struct oci_manifest m;
	int r = oci_manifest_parse(manifests[_i].json, strlen(manifests[_i].json), &m, &e);

	ck_assert_msg(r == -manifests[_i].code, "%d: %s", r, e.msg);
	if (r)
		assert_says(manifests[_i].words);
	else
		ck_assert_uint_eq(m.layers[0].size, 20);
	oci_manifest_free(&m);
}
END_TEST

START_TEST(docker_manifest)
{
	static const char json[] =
		"[{\"Config\":\"a.json\",\"RepoTags\":[\"busybox:latest\",\"h:5000/b\"],\"Layers\":[\"x/layer.tar\"]},"
		"{\"Config\":\"b.json\",\"RepoTags\":null,\"Layers\":[\"y/layer.tar\"]}]";
	static const char bare[] = "[{\"Config\":\"a.json\",\"RepoTags\":[],\"Layers\":[]}]";
	const struct docker_image *found;
	struct docker_manifest m;

	ck_assert_int_eq(docker_manifest_parse(json, strlen(json), &m, &e), 0);
	ck_assert_int_eq(docker_manifest_by_tag(&m, "busybox", &found, &e), 0);
	ck_assert_str_eq(found->config, "a.json");
	ck_assert_int_eq(docker_manifest_by_tag(&m, "busybox:1", &found, &e), -ENOENT);
	assert_says("busybox:latest");
	ck_assert_int_eq(docker_manifest_by_tag(&m, NULL, &found, &e), -ENOENT);
	docker_manifest_free(&m);
	ck_assert_int_eq(docker_manifest_parse(bare, strlen(bare), &m, &e), -EINVAL);
	assert_says("no layers");
}
END_TEST

START_TEST(config_full)
{
	static const char json[] =
		"{\"architecture\":\"amd64\",\"os\":\"linux\",\"created\":\"2023-11-14T22:13:20.123456789Z\","
		"\"config\":{"
		"\"Env\":[\"A=1\",\"B=\"],\"Entrypoint\":[\"/init\"],\"Cmd\":[\"a\",\"\"],\"User\":\"web:users\","
		"\"WorkingDir\":\"srv\",\"StopSignal\":\"SIGINT\",\"ExposedPorts\":{\"80/tcp\":{},\"53/udp\":{}},"
		"\"Volumes\":{\"/data\":{}},\"Labels\":{\"k\":\"v\",\"n\":null}},"
		"\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:" A64 "\"]}}";
	struct image_config c;

	ck_assert_msg(image_config_parse(json, strlen(json), &c, &e) == 0, "%s", e.msg);
	ck_assert_int_eq(c.created_s, 1700000000);
	ck_assert_str_eq(c.env[1], "B=");
	ck_assert_ptr_null(c.env[2]);
	ck_assert_str_eq(c.entrypoint[0], "/init");
	ck_assert_str_eq(c.cmd[1], "");
	ck_assert_str_eq(c.user, "web:users");
	ck_assert_str_eq(c.working_dir, "/srv");
	ck_assert_str_eq(c.stop_signal, "SIGINT");
	ck_assert_str_eq(c.exposed_ports[1], "53/udp");
	ck_assert_str_eq(c.volumes[0], "/data");
	ck_assert_uint_eq(c.labels_n, 2);
	ck_assert_str_eq(c.labels[1].value, "");
	ck_assert_uint_eq(c.diff_ids_n, 1);
	image_config_free(&c);
	image_config_free(&c);
}
END_TEST

START_TEST(config_bare)
{
	static const char json[] =
		"{\"architecture\":\"arm64\",\"os\":\"linux\",\"created\":\"2001-02-28T23:59:59-01:00\",\"rootfs\":{}}";
	struct image_config c;

	ck_assert_int_eq(image_config_parse(json, strlen(json), &c, &e), 0);
	ck_assert_int_eq(c.created_s, 983408399);
	ck_assert_ptr_null(c.env[0]);
	ck_assert_ptr_null(c.cmd[0]);
	ck_assert_ptr_null(c.volumes[0]);
	ck_assert_ptr_null(c.user);
	ck_assert_uint_eq(c.diff_ids_n, 0);
	image_config_free(&c);
}
END_TEST

static const struct {
	const char *json, *words;
} bad_configs[] = {
	{ "{}", "no architecture" },
	{ "{\"architecture\":\"amd64\"}", "no os" },
	{ "{\"architecture\":\"amd64\",\"os\":\"linux\"}", "no rootfs" },
	{ "{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"type\":\"zfs\"}}", "'zfs'" },
	{ "{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"diff_ids\":[\"x\"]}}", "diff_ids[0]" },
	{ "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Env\":[1]}}", "config.Env[0]" },
	{ "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Env\":[\"a\\u0000b\"]}}", "NUL" },
	{ "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":[]}", "config: expected object" },
	{ "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Labels\":{\"a\":1}}}", "Labels.a" },
};

START_TEST(config_bad)
{
	struct image_config c;

	ck_assert_int_lt(image_config_parse(bad_configs[_i].json, strlen(bad_configs[_i].json), &c, &e), 0);
	assert_says(bad_configs[_i].words);
	image_config_free(&c);
}
END_TEST

START_TEST(limits)
{
	struct image_limits l;

	ck_assert_int_eq(image_limits_get(&l, &e), 0);
	setenv("MICROVM_IMAGE_MAX_BYTES", "3g", 1);
	ck_assert_int_eq(image_limits_get(&l, &e), 0);
	ck_assert_uint_eq(l.unpacked_bytes, 3ull << 30);
	setenv("MICROVM_IMAGE_MAX_RATIO", "0", 1);
	ck_assert_int_eq(image_limits_get(&l, &e), -EINVAL);
	assert_says("MICROVM_IMAGE_MAX_RATIO=0");
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("image_documents");
	TCase *tc = tcase_create("documents");

	tcase_add_loop_test(tc, reference, 0, ARRAY_SIZE(references));
	tcase_add_test(tc, digests);
	tcase_add_loop_test(tc, index_by_tag, 0, ARRAY_SIZE(by_tag));
	tcase_add_test(tc, index_by_platform);
	tcase_add_loop_test(tc, manifest, 0, ARRAY_SIZE(manifests));
	tcase_add_test(tc, docker_manifest);
	tcase_add_test(tc, config_full);
	tcase_add_test(tc, config_bare);
	tcase_add_loop_test(tc, config_bad, 0, ARRAY_SIZE(bad_configs));
	tcase_add_test(tc, limits);
	suite_add_tcase(s, tc);
	return s;
}
