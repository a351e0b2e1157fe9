/* SPDX-License-Identifier: Apache-2.0 */
/* The cold half of image_get; microvm-import is a shell around it. */
#ifndef IMAGE_IMPORT_IMPORT_H
#define IMAGE_IMPORT_IMPORT_H

#include "base/err.h"
#include "image/import/plan.h"

/*
 * Makes imp->ref's image in imp->store and records its name, or fails as image_get says and leaves nothing. An image
 * that is there already is only named.
 */
int image_import(const struct import *imp, struct err *e);

#endif
