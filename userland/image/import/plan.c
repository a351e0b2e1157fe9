/* SPDX-License-Identifier: Apache-2.0 */
#include "image/import/plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "image/manifest.h"

void import_report(const struct import *imp, const char *verb, const char *object, uint64_t done, uint64_t total)
{
	char what[200];

	if (!imp->report)
		return;
	snprintf(what, sizeof(what), "%s%s%.150s", verb, *object ? " " : "", object);
	imp->report(imp->opaque, what, done, total);
}

void plan_add_document(struct plan *plan, const char *digest, char *data, size_t len)
{
	struct plan_blob *b;

	plan->documents = xreallocarray(plan->documents, plan->documents_n + 1, sizeof(*plan->documents));
	b = &plan->documents[plan->documents_n++];
	*b = (struct plan_blob){ .size = len, .data = data, .checked = true };
	snprintf(b->digest, sizeof(b->digest), "%s", digest);
}

static int check_config(const struct plan *plan, struct err *e)
{
	const struct image_config *c = &plan->config;

	if (!str_eq(c->os, OCI_HOST_OS) || !str_eq(c->architecture, OCI_HOST_ARCHITECTURE))
		return err_set(e, ENOTSUP,
			       "the image is for %.32s/%.32s, this host runs %s/%s; get the image for that (skopeo "
			       "copy --override-arch %s)",
			       c->os, c->architecture, OCI_HOST_OS, OCI_HOST_ARCHITECTURE, OCI_HOST_ARCHITECTURE);
	if (c->diff_ids_n != plan->layers_n)
		return err_set(e, EBADMSG, "the manifest has %zu layers, the configuration %zu; the image is damaged",
			       plan->layers_n, c->diff_ids_n);
	return 0;
}

int plan_set_config(struct plan *plan, const char *digest, char *data, size_t len, struct err *e)
{
	char id[DIGEST_TEXT_MAX];

	plan_add_document(plan, digest, data, len);
	if (image_config_parse(data, len, &plan->config, e))
		return err_wrap(e, "configuration %s", digest);
	/* Also where the manifest names it by another algorithm: ids are of one kind. */
	digest_buffer("sha256:", data, len, id);
	snprintf(plan->id, sizeof(plan->id), "%.71s", id);
	return check_config(plan, e);
}

static void free_blobs(struct plan_blob *blobs, size_t n)
{
	while (n--) {
		free(blobs[n].path);
		free(blobs[n].data);
	}
	free(blobs);
}

void plan_free(struct plan *plan)
{
	free_blobs(plan->documents, plan->documents_n);
	free_blobs(plan->layers, plan->layers_n);
	free(plan->tag);
	image_config_free(&plan->config);
	*plan = (struct plan){ 0 };
}
