/* SPDX-License-Identifier: Apache-2.0 */
#include "image/import/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "image/import/cancel.h"

#define CHUNK (256u << 10)

/* Reads in to its end, or one byte past limit; its digest, and a copy in out unless that is -1. */
static int pump(const struct import *imp, int in, int out, const char *what, uint64_t limit, struct digest *d,
		uint64_t *total, struct err *e)
{
	_cleanup_free_ char *buf = xcalloc(1, CHUNK);
	uint64_t done = 0;
	int r;

	while (done <= limit) {
		ssize_t n = read(in, buf, CHUNK);

		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n < 0)
			return err_errno(e, errno, "%s: reading", what);
		else if (!n)
			break;
		digest_add(d, buf, (size_t)n);
		r = out < 0 ? 0 : write_full(out, buf, (size_t)n);
		if (r)
			return err_errno(e, r, "%s: writing", what);
		r = import_cancelled(e);
		if (r)
			return r;
		done += (uint64_t)n;
		import_report(imp, out < 0 ? "check" : "copy", what, done, limit);
	}
	*total = done;
	return 0;
}

int blob_measure(const struct import *imp, const struct source *src, struct plan_blob *b, struct err *e)
{
	_cleanup_(digest_freep) struct digest *d = digest_new("sha256:");
	struct stat st;
	_cleanup_close_ int fd = source_open_file(src, b->path, &st, e);
	int r;

	if (fd < 0)
		return fd;
	r = pump(imp, fd, -1, b->path, UINT64_MAX - 1, d, &b->size, e);
	if (r)
		return r;
	digest_text(d, b->digest);
	b->checked = true;
	return 0;
}

static int check(const struct plan_blob *b, uint64_t size, struct digest *d, struct err *e)
{
	char actual[DIGEST_TEXT_MAX];

	if (size != b->size)
		return err_set(e, EBADMSG,
			       "blob %s: %s %llu bytes where %llu were announced; the image is damaged, copy it again",
			       b->digest, size > b->size ? "more than" : "only",
			       (unsigned long long)(size > b->size ? b->size : size), (unsigned long long)b->size);
	digest_text(d, actual);
	if (strcmp(actual, b->digest) != 0)
		return err_set(e, EBADMSG, "blob %s: its digest is %s; the image is damaged, copy it again", b->digest,
			       actual);
	return 0;
}

/* A file of ours becomes the blob without a copy. 1: it can't (another file system). */
static int link_blob(const struct import *imp, int in, const char *path, struct err *e)
{
	if (fsync(in) < 0)
		return err_errno(e, errno, "image store %s: %s", imp->store->root, path);
	if (linkat(in, "", imp->store->fd, path, AT_EMPTY_PATH) == 0 || errno == EEXIST)
		return 0;
	return 1;
}

/* The copy at tmp/…/blob: on disk, then in its place in one step. */
static int place(const struct import *imp, const struct store_tmp *tmp, int out, const char *path, struct err *e)
{
	if (fchmod(out, 0400) < 0 || fsync(out) < 0 || renameat(tmp->fd, "blob", imp->store->fd, path) < 0)
		return err_errno(e, errno, "image store %s: %s", imp->store->root, path);
	return 0;
}

static int copy_blob(const struct import *imp, const struct source *src, const struct store_tmp *tmp,
		     const struct plan_blob *b, const char *path, struct err *e)
{
	_cleanup_(digest_freep) struct digest *d = digest_new(b->digest);
	_cleanup_close_ int in = -1, out = -1;
	struct stat st;
	uint64_t size;
	int r;

	in = source_open_file(src, b->path, &st, e);
	if (in == -ENOENT)
		return err_set(e, ENOENT, "blob %s is missing; the image is incomplete, copy it again", b->digest);
	if (in < 0)
		return in;
	if (b->checked && src->ours) {
		r = link_blob(imp, in, path, e);
		if (r <= 0)
			return r;
	}
	/* Before the bytes: a wrong length needs no reading of a huge file. */
	if ((uint64_t)st.st_size != b->size)
		return check(b, (uint64_t)st.st_size, d, e);
	out = openat(tmp->fd, "blob", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (out < 0)
		return err_errno(e, errno, "image store %s: %s", imp->store->root, tmp->path);
	r = pump(imp, in, out, b->digest, b->size, d, &size, e);
	if (!r)
		r = check(b, size, d, e);
	return r ? r : place(imp, tmp, out, path, e);
}

static int write_document(const struct import *imp, const struct store_tmp *tmp, const struct plan_blob *b,
			  const char *path, struct err *e)
{
	_cleanup_close_ int out = openat(tmp->fd, "blob", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int r = out < 0 ? -errno : write_full(out, b->data, b->size);

	return r ? err_errno(e, r, "image store %s: %s", imp->store->root, path) : place(imp, tmp, out, path, e);
}

int blob_store(const struct import *imp, const struct source *src, const struct store_tmp *tmp,
	       const struct plan_blob *b, struct err *e)
{
	char path[STORE_PATH_MAX];
	struct stat st;

	store_blob_path(b->digest, path);
	/* A crash leaves either none or all of it; a length that differs is another's damage, and mended. */
	if (fstatat(imp->store->fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if (S_ISREG(st.st_mode) && (uint64_t)st.st_size == b->size)
			return 0;
		unlinkat(imp->store->fd, path, 0);
	}
	return b->data ? write_document(imp, tmp, b, path, e) : copy_blob(imp, src, tmp, b, path, e);
}

int blob_open(const struct import *imp, const char *digest, struct err *e)
{
	char path[STORE_PATH_MAX];
	int fd;

	store_blob_path(digest, path);
	fd = openat(imp->store->fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? err_errno(e, errno, "image store %s: %s", imp->store->root, path) : fd;
}
