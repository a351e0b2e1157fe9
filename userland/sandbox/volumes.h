/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Named volumes: STORE/volumes/NAME/_data. Who uses one holds a shared flock(2) on volumes/NAME, so that it isn't removed
 * meanwhile, and nothing is in use by who has died.
 */
#ifndef SANDBOX_VOLUMES_H
#define SANDBOX_VOLUMES_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct volume_info {
	char *name, *path; /* path: of its _data */
	int64_t created_s;
};

/* Makes it unless it is there. *lock_fd (may be NULL) keeps it in use until it is closed. *path is malloc'd, may be NULL. */
int volume_use(const char *store, const char *name, int *lock_fd, char **path, struct err *e);
/* -ENOENT. */
int volume_find(const char *store, const char *name, struct volume_info *out, struct err *e);
void volume_info_free(struct volume_info *v);
/* All, by name. */
int volume_list(const char *store, struct volume_info **list, size_t *n, struct err *e);
void volume_list_free(struct volume_info *list, size_t n);
/* -ENOENT; -EBUSY: it is in use. */
int volume_remove(const char *store, const char *name, struct err *e);

#endif
