/* SPDX-License-Identifier: Apache-2.0 */
#include "image/manifest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/util.h"
#include "image/config.h"
#include "image/limits.h"

#define REFUSED_FOREIGN \
	"foreign (non-distributable) layers aren't supported; use a copy of the image with its layers inside"
#define REFUSED_SCHEMA1 "docker's schema 1 is no longer supported; push or save the image anew with a current tool"

static const struct {
	const char *media_type;
	enum oci_kind kind;
	const char *why; /* OCI_REFUSED */
} media_types[] = {
	{ "application/vnd.oci.image.index.v1+json", OCI_INDEX, NULL },
	{ "application/vnd.docker.distribution.manifest.list.v2+json", OCI_INDEX, NULL },
	{ "application/vnd.oci.image.manifest.v1+json", OCI_MANIFEST, NULL },
	{ "application/vnd.docker.distribution.manifest.v2+json", OCI_MANIFEST, NULL },
	{ "application/vnd.oci.image.config.v1+json", OCI_CONFIG, NULL },
	{ "application/vnd.docker.container.image.v1+json", OCI_CONFIG, NULL },
	{ "application/vnd.oci.image.layer.v1.tar", OCI_LAYER, NULL },
	{ "application/vnd.oci.image.layer.v1.tar+gzip", OCI_LAYER, NULL },
	{ "application/vnd.oci.image.layer.v1.tar+zstd", OCI_LAYER, NULL },
	{ "application/vnd.docker.image.rootfs.diff.tar", OCI_LAYER, NULL },
	{ "application/vnd.docker.image.rootfs.diff.tar.gzip", OCI_LAYER, NULL },
	{ "application/vnd.docker.image.rootfs.diff.tar.zstd", OCI_LAYER, NULL },
	{ "application/vnd.oci.image.layer.nondistributable.v1.tar", OCI_REFUSED, REFUSED_FOREIGN },
	{ "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", OCI_REFUSED, REFUSED_FOREIGN },
	{ "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", OCI_REFUSED, REFUSED_FOREIGN },
	{ "application/vnd.docker.image.rootfs.foreign.diff.tar", OCI_REFUSED, REFUSED_FOREIGN },
	{ "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", OCI_REFUSED, REFUSED_FOREIGN },
	{ "application/vnd.docker.distribution.manifest.v1+json", OCI_REFUSED, REFUSED_SCHEMA1 },
	{ "application/vnd.docker.distribution.manifest.v1+prettyjws", OCI_REFUSED, REFUSED_SCHEMA1 },
};

static const char *refusal(const char *media_type)
{
	size_t i, len = strlen(media_type), suffix = strlen("+encrypted");

	if (len > suffix && str_eq(media_type + len - suffix, "+encrypted"))
		return "encrypted layers aren't supported; decrypt the image first (skopeo copy --decryption-key)";
	for (i = 0; i < ARRAY_SIZE(media_types); i++)
		if (media_types[i].why && str_eq(media_type, media_types[i].media_type))
			return media_types[i].why;
	return NULL;
}

enum oci_kind oci_kind_of(const char *media_type)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(media_types); i++)
		if (str_eq(media_type, media_types[i].media_type))
			return media_types[i].kind;
	return refusal(media_type) ? OCI_REFUSED : OCI_UNKNOWN;
}

int media_type_refuse(const char *media_type, const char *wanted, struct err *e)
{
	const char *why = refusal(media_type);

	if (why)
		return err_set(e, ENOTSUP, "media type %.128s: %s", media_type, why);
	if (!*media_type)
		return err_set(e, ENOTSUP, "no media type where that of %s is needed", wanted);
	return err_set(e, ENOTSUP, "media type %.128s: %s where %s is needed", media_type,
		       oci_kind_of(media_type) == OCI_UNKNOWN ? "unknown" : "something else", wanted);
}

int oci_digest_check(const char *digest, struct err *e)
{
	size_t want, n;

	if (str_starts(digest, "sha256:"))
		want = 64;
	else if (str_starts(digest, "sha512:"))
		want = 128;
	else if (strchr(digest, ':'))
		return err_set(e, ENOTSUP, "digest '%.160s': unknown algorithm; sha256 and sha512 are supported",
			       digest);
	else
		return err_set(e, EINVAL, "digest '%.160s': not of the form sha256:HEX", digest);
	n = strspn(digest + 7, "0123456789abcdef");
	if (n != want || digest[7 + n])
		return err_set(e, EINVAL, "digest '%.160s': not %zu lower-case hex digits", digest, want);
	return 0;
}

static void descriptor_free(struct oci_descriptor *d)
{
	free(d->media_type);
	free(d->digest);
	free(d->name);
	free(d->full_name);
	free(d->os);
	free(d->architecture);
	free(d->variant);
	*d = (struct oci_descriptor){ 0 };
}

static int parse_platform(const struct json_node *n, struct oci_descriptor *d, struct err *e)
{
	struct json_node platform;
	bool present;
	int r = json_get_object(n, "platform", &platform, &present, e);

	if (r || !present)
		return r;
	r = json_get_string(&platform, "os", &d->os, e);
	if (!r)
		r = json_get_string(&platform, "architecture", &d->architecture, e);
	if (!r)
		r = json_get_string(&platform, "variant", &d->variant, e);
	return r;
}

/* *d is freed by the caller, also after an error. */
static int parse_descriptor(const struct json_node *n, struct oci_descriptor *d, struct err *e)
{
	struct json_node notes;
	struct err why = ERR_INIT;
	bool present;
	int r = json_as_object(n, e);

	if (!r)
		r = json_get_string(n, "mediaType", &d->media_type, e);
	if (!r && !d->media_type)
		d->media_type = xstrdup("");
	if (!r)
		r = json_get_string(n, "digest", &d->digest, e);
	if (!r && !d->digest)
		return json_fail(n, e, EINVAL, "no digest");
	if (!r && oci_digest_check(d->digest, &why))
		r = json_fail(n, e, why.code, "%s", why.msg);
	if (!r)
		r = json_get_u64(n, "size", 0, INT64_MAX, &d->size, &present, e);
	if (!r && !present)
		r = json_fail(n, e, EINVAL, "no size");
	if (!r)
		r = parse_platform(n, d, e);
	if (!r)
		r = json_get_object(n, "annotations", &notes, &present, e);
	if (r || !present)
		return r;
	r = json_get_string(&notes, "org.opencontainers.image.ref.name", &d->name, e);
	return r ? r : json_get_string(&notes, "io.containerd.image.name", &d->full_name, e);
}

static int parse_descriptors(const struct json_node *doc, const char *key, size_t max, struct oci_descriptor **list,
			     size_t *n, struct err *e)
{
	struct json_node array, entry;
	size_t count, i;
	int r = json_get_array(doc, key, max, &array, &count, e);

	if (r)
		return r;
	*list = xcalloc(count, sizeof(**list));
	for (i = 0; !r && i < count; i++) {
		json_entry(&array, i, &entry);
		*n = i + 1;
		r = parse_descriptor(&entry, &(*list)[i], e);
	}
	return r;
}

static int check_schema(const struct json_node *doc, enum oci_kind want, const char *what, struct err *e)
{
	_cleanup_free_ char *media_type = NULL;
	uint64_t version = 0;
	bool present;
	int r = json_as_object(doc, e);

	if (!r)
		r = json_get_u64(doc, "schemaVersion", 0, INT64_MAX, &version, &present, e);
	if (r)
		return r;
	if (!present)
		return err_set(e, EINVAL, "not %s: no schemaVersion", what);
	if (version != 2)
		return err_set(e, ENOTSUP, "schemaVersion %llu; only 2 is supported", (unsigned long long)version);
	r = json_get_string(doc, "mediaType", &media_type, e);
	if (!r && media_type && oci_kind_of(media_type) != want)
		r = media_type_refuse(media_type, what, e);
	return r;
}

int oci_index_parse(const char *json, size_t len, struct oci_index *index, struct err *e)
{
	struct json_node doc = { 0 };
	int r;

	*index = (struct oci_index){ 0 };
	r = json_parse(json, len, IMAGE_MANIFEST_MAX, &doc, e);
	if (!r)
		r = check_schema(&doc, OCI_INDEX, "an image index", e);
	if (!r)
		r = parse_descriptors(&doc, "manifests", IMAGE_INDEX_ENTRIES_MAX, &index->entries, &index->n, e);
	json_done(&doc);
	if (r)
		oci_index_free(index);
	return r;
}

void oci_index_free(struct oci_index *index)
{
	size_t i;

	for (i = 0; i < index->n; i++)
		descriptor_free(&index->entries[i]);
	free(index->entries);
	*index = (struct oci_index){ 0 };
}

static int check_manifest(const struct oci_manifest *m, struct err *e)
{
	size_t i;

	if (oci_kind_of(m->config.media_type) != OCI_CONFIG) {
		media_type_refuse(m->config.media_type, "an image's configuration", e);
		return err_wrap(e, "config");
	}
	if (m->config.size > IMAGE_CONFIG_MAX)
		return err_set(e, E2BIG, "config: %llu bytes, %u is the limit", (unsigned long long)m->config.size,
			       IMAGE_CONFIG_MAX);
	if (!m->n)
		return err_set(e, EINVAL,
			       "the image has no layers: there is nothing to run; build it with a root file system");
	for (i = 0; i < m->n; i++) {
		if (oci_kind_of(m->layers[i].media_type) == OCI_LAYER)
			continue;
		media_type_refuse(m->layers[i].media_type, "a layer", e);
		return err_wrap(e, "layer %zu", i + 1);
	}
	return 0;
}

int oci_manifest_parse(const char *json, size_t len, struct oci_manifest *m, struct err *e)
{
	struct json_node doc = { 0 }, config;
	bool present;
	int r;

	*m = (struct oci_manifest){ 0 };
	r = json_parse(json, len, IMAGE_MANIFEST_MAX, &doc, e);
	if (!r)
		r = check_schema(&doc, OCI_MANIFEST, "an image manifest", e);
	if (!r)
		r = json_get_object(&doc, "config", &config, &present, e);
	if (!r && !present)
		r = json_fail(&doc, e, EINVAL, "no config");
	if (!r)
		r = parse_descriptor(&config, &m->config, e);
	if (!r)
		r = parse_descriptors(&doc, "layers", IMAGE_LAYERS_MAX, &m->layers, &m->n, e);
	if (!r)
		r = check_manifest(m, e);
	json_done(&doc);
	if (r)
		oci_manifest_free(m);
	return r;
}

void oci_manifest_free(struct oci_manifest *m)
{
	size_t i;

	descriptor_free(&m->config);
	for (i = 0; i < m->n; i++)
		descriptor_free(&m->layers[i]);
	free(m->layers);
	*m = (struct oci_manifest){ 0 };
}

static void docker_image_free(struct docker_image *image)
{
	free(image->config);
	json_free_strings(image->tags);
	json_free_strings(image->layers);
}

static int parse_docker_image(const struct json_node *n, struct docker_image *image, struct err *e)
{
	int r = json_as_object(n, e);

	if (!r)
		r = json_get_string(n, "Config", &image->config, e);
	if (!r && !image->config)
		r = json_fail(n, e, EINVAL, "no Config");
	if (!r)
		r = json_get_strings(n, "RepoTags", IMAGE_INDEX_ENTRIES_MAX, &image->tags, &image->tags_n, e);
	if (!r)
		r = json_get_strings(n, "Layers", IMAGE_LAYERS_MAX, &image->layers, &image->layers_n, e);
	if (!r && !image->layers_n)
		r = json_fail(n, e, EINVAL, "the image has no layers: there is nothing to run");
	return r;
}

int docker_manifest_parse(const char *json, size_t len, struct docker_manifest *m, struct err *e)
{
	struct json_node doc = { 0 }, entry;
	size_t count = 0, i;
	int r;

	*m = (struct docker_manifest){ 0 };
	r = json_parse(json, len, IMAGE_MANIFEST_MAX, &doc, e);
	if (!r)
		r = json_as_array(&doc, IMAGE_INDEX_ENTRIES_MAX, &count, e);
	if (!r)
		m->images = xcalloc(count, sizeof(*m->images));
	for (i = 0; !r && i < count; i++) {
		json_entry(&doc, i, &entry);
		m->n = i + 1;
		r = parse_docker_image(&entry, &m->images[i], e);
	}
	json_done(&doc);
	if (r)
		docker_manifest_free(m);
	return r;
}

void docker_manifest_free(struct docker_manifest *m)
{
	size_t i;

	for (i = 0; i < m->n; i++)
		docker_image_free(&m->images[i]);
	free(m->images);
	*m = (struct docker_manifest){ 0 };
}
