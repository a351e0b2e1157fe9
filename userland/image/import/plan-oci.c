/* SPDX-License-Identifier: Apache-2.0 */
/* OCI image layout (image-spec, image-layout.md): index.json, then by digests down to the configuration and the layers. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/util.h"
#include "image/import/plan.h"
#include "image/manifest.h"

static int check_layout(const struct source *src, struct err *e)
{
	_cleanup_free_ char *text = NULL, *version = NULL;
	struct json_node doc = { 0 };
	size_t len;
	int r = source_read(src, "oci-layout", 65536, &text, &len, e);

	if (r == -ENOENT)
		return err_set(e, ENOENT, "not an OCI image layout: it has no file 'oci-layout'");
	if (!r)
		r = json_parse(text, len, 65536, &doc, e);
	if (!r)
		r = json_as_object(&doc, e);
	if (!r)
		r = json_get_string(&doc, "imageLayoutVersion", &version, e);
	if (!r && !str_eq(version, "1.0.0"))
		r = err_set(e, ENOTSUP, "imageLayoutVersion '%.32s'; only 1.0.0 is known", version ? version : "");
	json_done(&doc);
	return r ? err_wrap(e, "oci-layout") : 0;
}

static char *blob_path(const char *digest)
{
	return xasprintf("blobs/%.6s/%s", digest, digest + 7);
}

/* Reads a document and checks it against its descriptor. */
static int read_document(const struct source *src, const struct oci_descriptor *d, size_t max, char **data,
			 struct err *e)
{
	_cleanup_free_ char *path = blob_path(d->digest), *text = NULL;
	char actual[DIGEST_TEXT_MAX];
	size_t len;
	int r = source_read(src, path, max, &text, &len, e);

	if (r == -ENOENT)
		return err_set(e, ENOENT, "blob %s is missing; the image is incomplete, copy it again", d->digest);
	if (r)
		return r;
	if (len != d->size)
		return err_set(e, EBADMSG, "blob %s: %zu bytes where %llu were announced; the image is damaged",
			       d->digest, len, (unsigned long long)d->size);
	digest_buffer(d->digest, text, len, actual);
	if (strcmp(actual, d->digest) != 0)
		return err_set(e, EBADMSG, "blob %s: its digest is %s; the image is damaged", d->digest, actual);
	*data = take_ptr(text);
	return 0;
}

static int plan_layers(const struct source *src, const struct oci_manifest *m, struct plan *plan, struct err *e)
{
	size_t i;

	plan->layers = xcalloc(m->n, sizeof(*plan->layers));
	for (i = 0; i < m->n; i++) {
		struct plan_blob *b = &plan->layers[plan->layers_n++];

		snprintf(b->digest, sizeof(b->digest), "%s", m->layers[i].digest);
		b->size = m->layers[i].size;
		b->path = blob_path(b->digest);
	}
	return 0;
}

static int plan_manifest(const struct source *src, const char *json, size_t len, struct plan *plan, struct err *e)
{
	struct oci_manifest m;
	char *config;
	int r = oci_manifest_parse(json, len, &m, e);

	if (r)
		return r;
	r = plan_layers(src, &m, plan, e);
	if (!r)
		r = read_document(src, &m.config, IMAGE_CONFIG_MAX, &config, e);
	if (!r)
		r = plan_set_config(plan, m.config.digest, config, m.config.size, e);
	oci_manifest_free(&m);
	return r;
}

/* One step down: from an index to the descriptor for this host. *next's strings live in *index. */
static int descend(const struct oci_descriptor *d, const char *json, size_t len, struct oci_index *index,
		   const struct oci_descriptor **next, struct err *e)
{
	int r = oci_index_parse(json, len, index, e);

	if (!r)
		r = oci_index_by_platform(index, next, e);
	return r ? err_wrap(e, "index %.71s", d->digest) : 0;
}

/* From the descriptor that the tag gave, through indexes of indexes, to the manifest. */
static int follow(const struct source *src, const struct oci_descriptor *d, struct plan *plan, struct err *e)
{
	struct oci_index index = { 0 };
	unsigned int depth;
	int r = 0;

	for (depth = 0; !r; depth++) {
		enum oci_kind kind = oci_kind_of(d->media_type);
		struct oci_index inner = { 0 };
		char *json;

		if (kind != OCI_MANIFEST && kind != OCI_INDEX) {
			r = media_type_refuse(d->media_type, "an image's manifest", e);
			break;
		}
		if (depth > IMAGE_INDEX_DEPTH_MAX) {
			r = err_set(e, E2BIG, "indexes within each other, more than %u deep", IMAGE_INDEX_DEPTH_MAX);
			break;
		}
		r = read_document(src, d, IMAGE_MANIFEST_MAX, &json, e);
		if (r)
			break;
		plan_add_document(plan, d->digest, json, d->size);
		if (kind == OCI_MANIFEST) {
			r = plan_manifest(src, json, d->size, plan, e);
			if (r)
				err_wrap(e, "manifest %.71s", d->digest);
			break;
		}
		r = descend(d, json, d->size, &inner, &d, e);
		oci_index_free(&index);
		index = inner;
	}
	oci_index_free(&index);
	return r;
}

int plan_oci(const struct import *imp, const struct source *src, struct plan *plan, struct err *e)
{
	_cleanup_free_ char *json = NULL;
	const struct oci_descriptor *d;
	struct oci_index index = { 0 };
	size_t len;
	int r = check_layout(src, e);

	if (r)
		return r;
	r = source_read(src, "index.json", IMAGE_MANIFEST_MAX, &json, &len, e);
	if (r)
		return r;
	r = oci_index_parse(json, len, &index, e);
	if (r)
		return err_wrap(e, "index.json");
	r = oci_index_by_tag(&index, imp->ref->tag, &d, e);
	if (!r) {
		snprintf(plan->target, sizeof(plan->target), "%s", d->digest);
		plan->tag = xstrdup(d->name ? d->name : imp->ref->tag);
		r = follow(src, d, plan, e);
	}
	oci_index_free(&index);
	return r;
}
