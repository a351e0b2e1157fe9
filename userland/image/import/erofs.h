/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_IMPORT_EROFS_H
#define IMAGE_IMPORT_EROFS_H

#include <stdint.h>

#include "base/err.h"

/*
 * Runs mkfs.erofs (Debian's erofs-utils) on the folder dirfd and leaves the image in file, absolute and not there yet.
 * id ("sha256:…") becomes its UUID and created_s its time, so that the same image makes the same file again.
 * -ENOENT: not installed, -ENOSPC, -EINTR, or -EIO with mkfs.erofs's own words.
 */
int erofs_build(int dirfd, const char *file, const char *id, int64_t created_s, struct err *e);

#endif
