/* SPDX-License-Identifier: Apache-2.0 */
/* What a user calls an image: `oci:DIR[:TAG]` and its like, or the name or id of one that is stored already. */
#ifndef IMAGE_REFERENCE_H
#define IMAGE_REFERENCE_H

#include "base/err.h"

#define IMAGE_NAME_MAX 4096u

enum image_transport {
	IMAGE_STORED, /* no transport: a name or an id in the store */
	IMAGE_OCI,
	IMAGE_OCI_ARCHIVE,
	IMAGE_DOCKER_ARCHIVE,
	IMAGE_TRANSPORTS
};

struct image_transport_row {
	const char *name;   /* before the colon */
	const char *syntax; /* "oci:DIR[:TAG]" */
	const char *help;   /* one line */
};

/* Indexed by enum image_transport; help texts are made from it. A registry's client would be one more row. */
extern const struct image_transport_row image_transports[IMAGE_TRANSPORTS];

struct image_reference {
	enum image_transport transport;
	char *path; /* of the folder or archive, absolute; NULL for IMAGE_STORED */
	char *tag;  /* NULL: none given */
	char *name; /* canonical: "oci:/abs/dir:tag", or as it was given for IMAGE_STORED; never NULL */
};

/*
 * text is split at its first colons, so a path that has a colon in it can't be named. A relative path is taken from the
 * working directory; nothing is opened. -EINVAL: malformed, -EPROTONOSUPPORT: a transport that isn't there.
 */
int image_reference_parse(const char *text, struct image_reference *ref, struct err *e);
/* The same file from any working directory, malloced; no symlink is followed, as the file may not be there. */
char *image_absolute_path(const char *path);
void image_reference_free(struct image_reference *ref);

#endif
