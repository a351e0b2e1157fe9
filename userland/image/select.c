/* SPDX-License-Identifier: Apache-2.0 */
/* Which of several: by tag, by platform. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "image/manifest.h"

/* "a, b, c", as far as it fits; for messages. */
struct listing {
	char text[400];
	size_t used, left_out;
};

static void listing_add(struct listing *l, const char *a, const char *between, const char *b)
{
	char item[160];

	snprintf(item, sizeof(item), "%.70s%s%.70s", a, between, b);
	if (l->used + strlen(item) + 8 > sizeof(l->text)) {
		l->left_out++;
		return;
	}
	l->used += (size_t)snprintf(l->text + l->used, sizeof(l->text) - l->used, "%s%s", l->used ? ", " : "", item);
}

static const char *listing_text(struct listing *l)
{
	if (l->left_out)
		snprintf(l->text + l->used, sizeof(l->text) - l->used, " …");
	return l->used ? l->text : "nothing";
}

static bool has_tag(const struct oci_descriptor *d, const char *tag)
{
	return str_eq(d->name, tag) || str_eq(d->full_name, tag);
}

/* How well it fits this host, 0: not at all. An entry that doesn't say may fit. */
static int platform_fit(const struct oci_descriptor *d)
{
	if (!d->architecture)
		return 1;
	if (!str_eq(d->architecture, OCI_HOST_ARCHITECTURE) || (d->os && !str_eq(d->os, OCI_HOST_OS)))
		return 0;
	if (!d->variant || !*d->variant)
		return 4;
	return str_eq(d->variant, "v1") ? 3 : 2;
}

static int list_tags(const struct oci_index *index, const char *tag, struct err *e)
{
	struct listing l = { 0 };
	size_t i;

	for (i = 0; i < index->n; i++)
		if (index->entries[i].name)
			listing_add(&l, index->entries[i].name, "", "");
	if (!index->n)
		return err_set(e, ENOENT, "there is no image in it");
	if (!tag)
		return err_set(e, ENOENT,
			       "several images in it, say which: one of its tags is to follow after a colon (%s)",
			       listing_text(&l));
	return err_set(e, ENOENT, "no tag '%.128s'; there is: %s", tag, listing_text(&l));
}

int oci_index_by_tag(const struct oci_index *index, const char *tag, const struct oci_descriptor **found, struct err *e)
{
	const struct oci_descriptor *best = NULL;
	const char *wanted = tag ? tag : "latest";
	int best_fit = -1;
	size_t i;

	if (!tag && index->n == 1) {
		*found = &index->entries[0];
		return 0;
	}
	for (i = 0; i < index->n; i++) {
		const struct oci_descriptor *d = &index->entries[i];

		if (!has_tag(d, wanted) || platform_fit(d) < best_fit)
			continue;
		if (best && platform_fit(d) == best_fit && !str_eq(best->digest, d->digest))
			return err_set(e, EINVAL, "tag '%.128s' is there twice, for different images; remove one",
				       wanted);
		best = d;
		best_fit = platform_fit(d);
	}
	*found = best;
	return best ? 0 : list_tags(index, tag, e);
}

int oci_index_by_platform(const struct oci_index *index, const struct oci_descriptor **found, struct err *e)
{
	struct listing l = { 0 };
	int best_fit = 0;
	size_t i;

	*found = NULL;
	for (i = 0; i < index->n; i++) {
		const struct oci_descriptor *d = &index->entries[i];
		int fit = platform_fit(d);

		if (fit > best_fit) {
			*found = d;
			best_fit = fit;
		}
		listing_add(&l, d->os ? d->os : "?", "/", d->architecture ? d->architecture : "?");
	}
	if (*found)
		return 0;
	return err_set(e, ENOTSUP, "no image for %s/%s in it; it has %s", OCI_HOST_OS, OCI_HOST_ARCHITECTURE,
		       listing_text(&l));
}

/* "busybox" means "busybox:latest": is there a tag behind the last slash? */
static bool docker_tag_matches(const char *have, const char *want)
{
	const char *slash = strrchr(want, '/');
	size_t len = strlen(want);

	if (str_eq(have, want))
		return true;
	return !strchr(slash ? slash : want, ':') && strncmp(have, want, len) == 0 && str_eq(have + len, ":latest");
}

int docker_manifest_by_tag(const struct docker_manifest *m, const char *tag, const struct docker_image **found,
			   struct err *e)
{
	struct listing l = { 0 };
	size_t i, j;

	if (!tag && m->n == 1) {
		*found = &m->images[0];
		return 0;
	}
	for (i = 0; i < m->n; i++) {
		for (j = 0; j < m->images[i].tags_n; j++) {
			if (tag && docker_tag_matches(m->images[i].tags[j], tag)) {
				*found = &m->images[i];
				return 0;
			}
			listing_add(&l, m->images[i].tags[j], "", "");
		}
	}
	if (!m->n)
		return err_set(e, ENOENT, "there is no image in it");
	if (!tag)
		return err_set(e, ENOENT, "several images in it, say which: a name is to follow after a colon (%s)",
			       listing_text(&l));
	return err_set(e, ENOENT, "no image '%.128s'; there is: %s", tag, listing_text(&l));
}
