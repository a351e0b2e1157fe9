/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes: STORE/volumes/NAME/_data. Who uses one holds a shared flock(2) on volumes/NAME, so that it isn't removed
 * meanwhile, and nothing is in use by who has died.
 *
 * A volume that is empty gets the files that the first image has at its place. Who does that holds volumes/NAME/copy
 * locked, and there is something in that file until all has been copied: then the next one goes on with it.
 */
#ifndef SANDBOX_VOLUMES_H
#define SANDBOX_VOLUMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct volume_info {
	char *name, *path; /* path: of its _data */
	int64_t created_s;
};

/* Makes it unless it is there. *lock_fd (may be NULL) keeps it in use until it is closed. *path is malloc'd, may be NULL. */
int volume_use(const char *store, const char *name, int *lock_fd, char **path, struct err *e);
/* One whose name was made up: 64 hex digits, as docker's anonymous ones. */
bool volume_is_anonymous(const char *name);
/*
 * Of a volume that is in use by the caller. *fd: -1 when nothing is to be copied into it, else for volume_fill_end(), or to
 * be closed when the copy has failed. -EAGAIN: somebody else is copying into it.
 */
int volume_fill_begin(const char *store, const char *name, int *fd, struct err *e);
/* All has been copied: it's on the disk when this returns. *fd is closed. */
int volume_fill_end(int *fd);
/* -ENOENT. */
int volume_find(const char *store, const char *name, struct volume_info *out, struct err *e);
void volume_info_free(struct volume_info *v);
/* All, by name. */
int volume_list(const char *store, struct volume_info **list, size_t *n, struct err *e);
void volume_list_free(struct volume_info *list, size_t n);
/* What it takes on the disk. */
uint64_t volume_bytes(const struct volume_info *v);
/* -ENOENT; -EBUSY: it is in use. */
int volume_remove(const char *store, const char *name, struct err *e);

#endif
