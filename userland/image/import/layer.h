/* SPDX-License-Identifier: Apache-2.0 */
/* Archives (tar; plain, gzip or zstd) into a tree. */
#ifndef IMAGE_IMPORT_LAYER_H
#define IMAGE_IMPORT_LAYER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "image/import/tree.h"
#include "image/limits.h"

/* What unpacking has used of its limits so far; one for all layers of an image. */
struct layer_budget {
	struct image_limits limits;
	uint64_t bytes, entries;
};

typedef void layer_progress_fn(void *opaque, uint64_t done_bytes, uint64_t total_bytes);

struct layer {
	const char *name;      /* in messages: its digest, or a file's name */
	int fd;		       /* read from its offset on, to the end */
	uint64_t packed_bytes; /* what is to be read, for progress and the ratio */
	const char *diff_id;   /* digest of what is unpacked; NULL: not asked for */
	/*
	 * A container for other files, not a layer: only files, folders and links, all root's, no extended attributes, no
	 * whiteouts; entries of other kinds are passed over.
	 */
	bool plain;
	layer_progress_fn *progress; /* may be NULL */
	void *opaque;
};

/*
 * Unpacks one layer on top of what the tree has. -EBADMSG: not a tar archive, cut short, or not diff_id's; -E2BIG: over
 * a limit; -EINVAL, -ELOOP, -ENAMETOOLONG: an entry that is refused; -EINTR: import_cancel() was called; or what writing
 * met. The message names layer and entry. The tree is of no use after an error.
 */
int layer_unpack(struct tree *t, struct layer *l, struct layer_budget *budget, struct err *e);

#endif
