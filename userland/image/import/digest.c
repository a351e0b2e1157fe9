/* SPDX-License-Identifier: Apache-2.0 */
#include "image/import/digest.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/util.h"

struct digest {
	EVP_MD_CTX *ctx;
	const char *name;
};

/* libcrypto fails here for want of memory only. */
static void must(int ok)
{
	if (!ok) {
		fputs("libcrypto: out of memory\n", stderr);
		exit(125);
	}
}

struct digest *digest_new(const char *like)
{
	bool sha512 = str_starts(like, "sha512:");
	struct digest *d = xcalloc(1, sizeof(*d));

	d->name = sha512 ? "sha512" : "sha256";
	d->ctx = EVP_MD_CTX_new();
	must(d->ctx != NULL);
	must(EVP_DigestInit_ex(d->ctx, sha512 ? EVP_sha512() : EVP_sha256(), NULL));
	return d;
}

void digest_add(struct digest *d, const void *data, size_t len)
{
	must(EVP_DigestUpdate(d->ctx, data, len));
}

void digest_text(struct digest *d, char text[DIGEST_TEXT_MAX])
{
	unsigned char raw[EVP_MAX_MD_SIZE];
	unsigned int len = 0, i;
	size_t at;

	must(EVP_DigestFinal_ex(d->ctx, raw, &len));
	at = (size_t)snprintf(text, DIGEST_TEXT_MAX, "%s:", d->name);
	for (i = 0; i < len; i++)
		at += (size_t)snprintf(text + at, DIGEST_TEXT_MAX - at, "%02x", raw[i]);
}

void digest_free(struct digest *d)
{
	if (!d)
		return;
	EVP_MD_CTX_free(d->ctx);
	free(d);
}

void digest_buffer(const char *like, const void *data, size_t len, char text[DIGEST_TEXT_MAX])
{
	_cleanup_(digest_freep) struct digest *d = digest_new(like);

	digest_add(d, data, len);
	digest_text(d, text);
}
