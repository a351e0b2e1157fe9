/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 and SHA-512 as they are fed, named as OCI names them: "sha256:HEX". */
#ifndef IMAGE_IMPORT_DIGEST_H
#define IMAGE_IMPORT_DIGEST_H

#include <stddef.h>

#include "base/err.h"

#define DIGEST_TEXT_MAX 136 /* "sha512:", 128 digits, NUL */

struct digest;

/* like is a digest whose algorithm is to be used, checked already (oci_digest_check). Never NULL. */
struct digest *digest_new(const char *like);
void digest_add(struct digest *d, const void *data, size_t len);
/* Ends it and writes "sha256:…"; after that only digest_free. */
void digest_text(struct digest *d, char text[DIGEST_TEXT_MAX]);
void digest_free(struct digest *d);

static inline void digest_freep(struct digest **d)
{
	digest_free(*d);
}

/* All at once. */
void digest_buffer(const char *like, const void *data, size_t len, char text[DIGEST_TEXT_MAX]);

#endif
