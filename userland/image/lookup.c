/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "image/store.h"

/* "debian" is also "debian:latest", as docker has it. */
static bool tag_matches(const char *have, const char *want)
{
	size_t len = strlen(want);

	return have && (str_eq(have, want) || (strncmp(have, want, len) == 0 && str_eq(have + len, ":latest")));
}

/* "oci:/dir:latest" as `microvm images` shows it, of an image that was named "oci:/dir". */
static bool shown_as(const struct store_name *name, const char *text)
{
	size_t len = strlen(name->name);

	return name->tag && strncmp(text, name->name, len) == 0 && text[len] == ':' &&
	       str_eq(text + len + 1, name->tag);
}

static int several(const char *text, const char *a, const char *b, struct err *e)
{
	return err_set(e, EINVAL, "image '%.256s' could be %.256s or %.256s; give its whole name or more of its id",
		       text, a, b);
}

static int by_tag(const struct store_name *names, size_t n, const char *text, const struct store_name **found,
		  struct err *e)
{
	size_t i;

	*found = NULL;
	for (i = 0; i < n; i++) {
		if (!tag_matches(names[i].tag, text) && !shown_as(&names[i], text))
			continue;
		if (*found && !str_eq((*found)->id, names[i].id))
			return several(text, (*found)->name, names[i].name, e);
		*found = &names[i];
	}
	return *found ? 0 : -ENOENT;
}

static int by_id(struct image_store *s, const char *text, char id[IMAGE_ID_MAX], struct err *e)
{
	const char *hex = str_starts(text, "sha256:") ? text + 7 : text;
	size_t len = strlen(hex), n = 0, i;
	struct store_image *images = NULL;
	int r;

	if (!len || len > 64 || strspn(hex, "0123456789abcdef") != len)
		return -ENOENT;
	id[0] = '\0';
	r = store_image_list(s, &images, &n, e);
	for (i = 0; !r && i < n; i++) {
		if (strncmp(images[i].id + 7, hex, len) != 0)
			continue;
		if (id[0])
			r = several(text, id, images[i].id, e);
		else
			snprintf(id, IMAGE_ID_MAX, "%s", images[i].id);
	}
	store_image_list_free(images, n);
	return r ? r : id[0] ? 0 : -ENOENT;
}

static int not_found(const char *text, const struct store_name *names, size_t n, struct err *e)
{
	if (n)
		return err_set(e, ENOENT,
			       "no image '%.256s' in the store; `microvm images` shows what there is. Registries "
			       "aren't supported yet: "
			       "make a local copy (skopeo copy docker://%.128s oci:DIR:TAG) and name that, oci:DIR:TAG",
			       text, text);
	return err_set(e, ENOENT,
		       "no image '%.256s': the store is empty. Registries aren't supported yet: "
		       "make a local copy (skopeo copy docker://%.128s oci:DIR:TAG) and name that, oci:DIR:TAG",
		       text, text);
}

int store_lookup(struct image_store *s, const char *text, char id[IMAGE_ID_MAX], char **name, struct err *e)
{
	struct store_name *names = NULL, exact;
	const struct store_name *found;
	size_t n = 0;
	int r;

	*name = NULL;
	if (store_name_read(s, text, &exact) == 0) {
		snprintf(id, IMAGE_ID_MAX, "%s", exact.id);
		*name = xstrdup(exact.name);
		store_name_free(&exact);
		return 0;
	}
	r = store_name_list(s, &names, &n, e);
	if (!r) {
		r = by_tag(names, n, text, &found, e);
		if (!r) {
			snprintf(id, IMAGE_ID_MAX, "%s", found->id);
			*name = xstrdup(found->name);
		}
	}
	if (r == -ENOENT) {
		r = by_id(s, text, id, e);
		if (r == -ENOENT)
			not_found(text, names, n, e);
	}
	store_name_list_free(names, n);
	return r;
}
