/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "image/import/layer.h"
#include "image/import/plan.h"

/* File times move in ticks of some milliseconds; what is younger than this may change and look the same. */
#define STAMP_AGE_MIN_S 2

static void progress(void *opaque, uint64_t done, uint64_t total)
{
	import_report(opaque, "read", "archive", done, total);
}

static int no_source(const struct import *imp, int code, struct err *e)
{
	const char *path = imp->ref->path, *syntax = image_transports[imp->ref->transport].syntax;

	if (code == ENOENT)
		return err_set(e, ENOENT, "%s: there is no such path; check what is between the colons of %s", path,
			       syntax);
	if (code == ENOTDIR)
		return err_set(e, ENOTDIR,
			       "%s: not a folder; a file is named with oci-archive: or docker-archive:", path);
	if (code == EISDIR)
		return err_set(e, EISDIR,
			       "%s: a folder where a file is needed; a folder in OCI layout is named with oci:", path);
	return err_errno(e, code, "%s", path);
}

/* An archive's files, taken out below tmp/, and then it's as good as a folder. */
static int open_archive(const struct import *imp, struct source *src, struct err *e)
{
	_cleanup_close_ int fd = open(imp->ref->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct layer l = {
		.name = imp->ref->path, .fd = fd, .plain = true, .progress = progress, .opaque = (void *)imp
	};
	struct layer_budget budget = { .limits = imp->limits };
	struct tree *tree;
	struct stat st, after;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return no_source(imp, errno, e);
	if (!S_ISREG(st.st_mode))
		return no_source(imp, S_ISDIR(st.st_mode) ? EISDIR : EINVAL, e);
	r = store_tmp_take(imp->store, NULL, &src->tmp, e);
	if (r)
		return r;
	src->fd = openat(src->tmp.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (src->fd < 0)
		return err_errno(e, errno, "image store %s: %s", imp->store->root, src->tmp.path);
	src->ours = true;
	l.packed_bytes = (uint64_t)st.st_size;
	tree = tree_new(src->fd);
	r = layer_unpack(tree, &l, &budget, e);
	tree_free(tree);
	if (!r && fstat(fd, &after) == 0 && st.st_ctim.tv_sec + STAMP_AGE_MIN_S <= time(NULL)) {
		struct store_stamp now;

		store_stamp_of(&st, &src->stamp);
		store_stamp_of(&after, &now);
		if (!store_stamp_equal(&src->stamp, &now))
			src->stamp = (struct store_stamp){ 0 };
	}
	return r;
}

int source_open(const struct import *imp, struct source *src, struct err *e)
{
	*src = (struct source){ .fd = -1, .tmp.fd = -1 };
	if (imp->ref->transport != IMAGE_OCI)
		return open_archive(imp, src, e);
	src->fd = open(imp->ref->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (src->fd < 0)
		return no_source(imp, errno, e);
	return 0;
}

void source_close(struct image_store *store, struct source *src)
{
	cleanup_closep(&src->fd);
	store_tmp_drop(store, &src->tmp);
}

int source_open_file(const struct source *src, const char *path, struct stat *st, struct err *e)
{
	/* O_NONBLOCK: a fifo in the place of a file must not hold us. */
	struct open_how how = {
		.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, src->fd, path, &how, sizeof(how));

	if (fd < 0)
		return err_errno(e, errno, "%.256s", path);
	if (fstat((int)fd, st) < 0 || !S_ISREG(st->st_mode)) {
		close((int)fd);
		return err_set(e, EINVAL, "%.256s: not a file", path);
	}
	return (int)fd;
}

int source_read(const struct source *src, const char *path, size_t max, char **data, size_t *len, struct err *e)
{
	_cleanup_free_ char *buf = NULL;
	struct stat st;
	_cleanup_close_ int fd = source_open_file(src, path, &st, e);
	int r;

	if (fd < 0)
		return fd;
	if ((uint64_t)st.st_size > max)
		return err_set(e, E2BIG, "%.256s: %lld bytes, %zu is the limit", path, (long long)st.st_size, max);
	buf = xcalloc(1, (size_t)st.st_size + 1);
	r = read_full(fd, buf, (size_t)st.st_size);
	if (r)
		return err_errno(e, r, "%.256s: reading", path);
	*data = take_ptr(buf);
	*len = (size_t)st.st_size;
	return 0;
}
