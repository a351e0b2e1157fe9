/* SPDX-License-Identifier: Apache-2.0 */
/* One entry of an archive into a tree; part of layer_unpack. */
#ifndef IMAGE_IMPORT_ENTRY_H
#define IMAGE_IMPORT_ENTRY_H

#include "image/import/layer.h"

struct archive;
struct archive_entry;

int entry_unpack(struct tree *t, const struct layer *l, struct layer_budget *budget, struct archive *a,
		 struct archive_entry *ent, struct err *e);

/* Says that a limit was met and how to raise it. */
int layer_over_limit(struct err *e, uint64_t limit, const char *what, const char *variable);
/* -E2BIG when bytes, of a file or of all that was unpacked so far, are too many for what the layer's size is. */
int layer_over_ratio(const struct layer *l, const struct image_limits *lim, uint64_t bytes, struct err *e);

#endif
