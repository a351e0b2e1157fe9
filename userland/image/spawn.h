/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running microvm-import and hearing from it. It writes lines to the fd it is told of:
 *   P DONE TOTAL WHAT     progress in bytes, TOTAL 0 where it isn't known
 *   E ERRNO MESSAGE       why it ends without success
 */
#ifndef IMAGE_SPAWN_H
#define IMAGE_SPAWN_H

#include "base/err.h"
#include "image/image.h"

#define IMPORT_REPORT_FD 3
#define IMPORT_LINE_MAX (ERR_MSG_MAX + 64)

/* Imports the image of a canonical name into the store, or fails as microvm-import says. options may be NULL. */
int image_spawn_import(struct image_store *store, const char *name, const struct image_get_options *options,
		       struct err *e);

#endif
