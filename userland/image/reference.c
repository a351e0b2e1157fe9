/* SPDX-License-Identifier: Apache-2.0 */
#include "image/reference.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

const struct image_transport_row image_transports[IMAGE_TRANSPORTS] = {
	[IMAGE_STORED] = { NULL, "NAME|ID", "an image in the store (microvm images)" },
	[IMAGE_OCI] = { "oci", "oci:DIR[:TAG]", "a folder in OCI image layout (umoci, skopeo, buildah)" },
	[IMAGE_OCI_ARCHIVE] = { "oci-archive", "oci-archive:FILE[:TAG]", "the same as a tar archive" },
	[IMAGE_DOCKER_ARCHIVE] = { "docker-archive", "docker-archive:FILE[:NAME[:TAG]]", "what docker save writes" },
};

/* Transports of other tools, so that the message can say more than "no such image". */
static const char *const foreign_transports[] = {
	"docker://", "registry:", "docker-daemon:", "containers-storage:", "dir:", "ostree:", "http://", "https://",
};

char *image_absolute_path(const char *path)
{
	_cleanup_free_ char *cwd = NULL;
	_cleanup_free_ char *joined = NULL;
	char *out, *end;
	const char *s;

	if (*path != '/')
		cwd = getcwd(NULL, 0);
	joined = xasprintf("%s/%s", cwd ? cwd : "", path);
	out = xcalloc(1, strlen(joined) + 2);
	end = out;
	for (s = joined; *s;) {
		size_t n;

		s += strspn(s, "/");
		n = strcspn(s, "/");
		if (n && !(n == 1 && *s == '.')) {
			*end++ = '/';
			memcpy(end, s, n);
			end += n;
		}
		s += n;
	}
	if (end == out)
		*end = '/';
	return out;
}

static int parse_stored(const char *text, struct image_reference *ref, struct err *e)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(foreign_transports); i++)
		if (str_starts(text, foreign_transports[i]))
			return err_set(e, EPROTONOSUPPORT,
				       "%.256s: '%s' images can't be fetched; make a copy first, with: skopeo copy "
				       "%.256s oci:DIR:TAG",
				       text, foreign_transports[i], text);
	ref->transport = IMAGE_STORED;
	ref->name = xstrdup(text);
	return 0;
}

int image_reference_parse(const char *text, struct image_reference *ref, struct err *e)
{
	const char *colon, *rest;
	size_t i, len = strlen(text);

	*ref = (struct image_reference){ 0 };
	if (!len)
		return err_set(e, EINVAL, "an image's name is empty; give one such as oci:DIR:TAG");
	if (len > IMAGE_NAME_MAX)
		return err_set(e, EINVAL, "an image's name of %zu bytes; %u is the limit", len, IMAGE_NAME_MAX);
	for (i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return err_set(e, EINVAL, "an image's name has a control character in it");
	colon = strchr(text, ':');
	for (i = IMAGE_OCI; i < IMAGE_TRANSPORTS; i++)
		if (colon && strlen(image_transports[i].name) == (size_t)(colon - text) &&
		    str_starts(text, image_transports[i].name))
			break;
	if (i == IMAGE_TRANSPORTS)
		return parse_stored(text, ref, e);
	rest = colon + 1;
	colon = strchr(rest, ':');
	if (!*rest || colon == rest)
		return err_set(e, EINVAL, "%.256s: no path; the form is %s", text, image_transports[i].syntax);
	if (colon && !colon[1])
		return err_set(e, EINVAL, "%.256s: nothing after the last colon; the form is %s", text,
			       image_transports[i].syntax);
	ref->transport = (enum image_transport)i;
	{
		_cleanup_free_ char *path = colon ? xstrndup(rest, (size_t)(colon - rest)) : xstrdup(rest);

		ref->path = image_absolute_path(path);
	}
	ref->tag = colon ? xstrdup(colon + 1) : NULL;
	ref->name = xasprintf("%s:%s%s%s", image_transports[i].name, ref->path, ref->tag ? ":" : "",
			      ref->tag ? ref->tag : "");
	return 0;
}

void image_reference_free(struct image_reference *ref)
{
	free(ref->path);
	free(ref->tag);
	free(ref->name);
	*ref = (struct image_reference){ 0 };
}
