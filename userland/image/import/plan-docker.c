/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What docker save writes: manifest.json names a configuration and layer files; there are no descriptors, so the files'
 * digests are computed here, and what proves them is the configuration's list of diff_ids.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "image/import/blob.h"
#include "image/import/plan.h"
#include "image/manifest.h"

static int plan_config(const struct source *src, const char *path, struct plan *plan, struct err *e)
{
	const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	char digest[DIGEST_TEXT_MAX];
	size_t len, hex;
	char *data;
	int r = source_read(src, path, IMAGE_CONFIG_MAX, &data, &len, e);

	if (r)
		return r;
	digest_buffer("sha256:", data, len, digest);
	/* Its file is called by its digest, HEX.json or blobs/sha256/HEX. */
	hex = strspn(base, "0123456789abcdef");
	if (hex == 64 && (!base[hex] || str_eq(base + hex, ".json")) && strncmp(base, digest + 7, 64) != 0) {
		free(data);
		return err_set(e, EBADMSG, "%.256s: its digest is %s; the image is damaged", path, digest);
	}
	return plan_set_config(plan, digest, data, len, e);
}

int plan_docker(const struct import *imp, const struct source *src, struct plan *plan, struct err *e)
{
	_cleanup_free_ char *json = NULL;
	struct docker_manifest m = { 0 };
	const struct docker_image *image;
	size_t len, i;
	int r = source_read(src, "manifest.json", IMAGE_MANIFEST_MAX, &json, &len, e);

	if (r == -ENOENT)
		return err_set(
			e, ENOENT,
			"not made by docker save: it has no manifest.json (an OCI archive is named with oci-archive:)");
	if (r)
		return r;
	r = docker_manifest_parse(json, len, &m, e);
	if (r)
		return err_wrap(e, "manifest.json");
	digest_buffer("sha256:", json, len, plan->target);
	r = docker_manifest_by_tag(&m, imp->ref->tag, &image, e);
	if (!r) {
		plan->tag = xstrdup(image->tags_n ? image->tags[0] : imp->ref->tag);
		plan->layers = xcalloc(image->layers_n, sizeof(*plan->layers));
	}
	for (i = 0; !r && i < image->layers_n; i++) {
		struct plan_blob *b = &plan->layers[plan->layers_n++];

		b->path = xstrdup(image->layers[i]);
		r = blob_measure(imp, src, b, e);
	}
	if (!r)
		r = plan_config(src, image->config, plan, e);
	docker_manifest_free(&m);
	return r;
}
