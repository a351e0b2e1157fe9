/* SPDX-License-Identifier: Apache-2.0 */
/* Index, manifest and docker save's manifest.json: whatever the bytes are, each reader gets them. */
#include <stdint.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "image/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int ok)
{
	if (!ok)
		abort();
}

static void try_index(const char *json, size_t len)
{
	static const char *const tags[] = { NULL, "latest", "busybox" };
	const struct oci_descriptor *d;
	struct oci_index index;
	struct err e = ERR_INIT;
	size_t i;

	if (oci_index_parse(json, len, &index, &e)) {
		must(e.code && e.msg[0]);
		return;
	}
	for (i = 0; i < ARRAY_SIZE(tags); i++)
		if (oci_index_by_tag(&index, tags[i], &d, &e) == 0)
			must(oci_digest_check(d->digest, NULL) == 0);
	if (oci_index_by_platform(&index, &d, &e) == 0)
		must(oci_digest_check(d->digest, NULL) == 0);
	oci_index_free(&index);
}

static void try_manifest(const char *json, size_t len)
{
	struct oci_manifest m;
	struct err e = ERR_INIT;
	size_t i;

	if (oci_manifest_parse(json, len, &m, &e)) {
		must(e.code && e.msg[0]);
		return;
	}
	must(m.n > 0 && oci_kind_of(m.config.media_type) == OCI_CONFIG);
	for (i = 0; i < m.n; i++)
		must(oci_kind_of(m.layers[i].media_type) == OCI_LAYER);
	oci_manifest_free(&m);
}

static void try_docker(const char *json, size_t len)
{
	const struct docker_image *image;
	struct docker_manifest m;
	struct err e = ERR_INIT;

	if (docker_manifest_parse(json, len, &m, &e))
		return;
	if (docker_manifest_by_tag(&m, "busybox", &image, &e) == 0)
		must(image->config && image->layers_n);
	docker_manifest_by_tag(&m, NULL, &image, &e);
	docker_manifest_free(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_index((const char *)data, size);
	try_manifest((const char *)data, size);
	try_docker((const char *)data, size);
	return 0;
}
