/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs into the store. None is there under its digest before all of its bytes were found to have it. */
#ifndef IMAGE_IMPORT_BLOB_H
#define IMAGE_IMPORT_BLOB_H

#include "base/err.h"
#include "image/import/plan.h"

/* Fills in digest and size of the file at b->path. */
int blob_measure(const struct import *imp, const struct source *src, struct plan_blob *b, struct err *e);

/* Puts a blob there, unless it is. tmp is where it's made. -ENOENT, -EBADMSG (wrong length or digest), -ENOSPC … */
int blob_store(const struct import *imp, const struct source *src, const struct store_tmp *tmp,
	       const struct plan_blob *b, struct err *e);

/* Opens a stored blob to read. */
int blob_open(const struct import *imp, const char *digest, struct err *e);

#endif
