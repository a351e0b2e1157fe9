/* SPDX-License-Identifier: Apache-2.0 */
#include "image/import/import.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "image/import/blob.h"
#include "image/import/cancel.h"
#include "image/import/erofs.h"
#include "image/import/layer.h"
#include "image/import/tree.h"

static int make_plan(const struct import *imp, const struct source *src, struct plan *plan, struct err *e)
{
	static int (*const planners[IMAGE_TRANSPORTS])(const struct import *, const struct source *, struct plan *,
						       struct err *) = {
		[IMAGE_OCI] = plan_oci,
		[IMAGE_OCI_ARCHIVE] = plan_oci,
		[IMAGE_DOCKER_ARCHIVE] = plan_docker,
	};

	return planners[imp->ref->transport](imp, src, plan, e);
}

static int store_blobs(const struct import *imp, const struct source *src, const struct plan *plan,
		       const struct store_tmp *tmp, struct err *e)
{
	size_t i;
	int r = 0;

	for (i = 0; !r && i < plan->documents_n; i++)
		r = blob_store(imp, src, tmp, &plan->documents[i], e);
	for (i = 0; !r && i < plan->layers_n; i++)
		r = blob_store(imp, src, tmp, &plan->layers[i], e);
	if (r)
		return r;
	if (store_sync_folder(imp->store, "blobs/sha256") || store_sync_folder(imp->store, "blobs/sha512"))
		return err_errno(e, errno, "image store %s: blobs", imp->store->root);
	return 0;
}

struct layer_report {
	const struct import *imp;
	const char *digest;
};

static void layer_progress(void *opaque, uint64_t done, uint64_t total)
{
	struct layer_report *report = opaque;

	import_report(report->imp, "unpack", report->digest, done, total);
}

static int unpack_layers(const struct import *imp, const struct plan *plan, int rootfd, struct err *e)
{
	struct layer_budget budget = { .limits = imp->limits };
	struct tree *tree = tree_new(rootfd);
	size_t i;
	int r = 0;

	for (i = 0; !r && i < plan->layers_n; i++) {
		struct layer_report report = { .imp = imp, .digest = plan->layers[i].digest };
		_cleanup_close_ int fd = blob_open(imp, plan->layers[i].digest, e);
		struct layer l = {
			.name = plan->layers[i].digest,
			.fd = fd,
			.packed_bytes = plan->layers[i].size,
			.diff_id = plan->config.diff_ids[i],
			.progress = layer_progress,
			.opaque = &report,
		};

		r = fd < 0 ? fd : layer_unpack(tree, &l, &budget, e);
	}
	if (!r)
		r = tree_finish(tree, e);
	tree_free(tree);
	return r;
}

/* tmp/HEX/tree becomes tmp/HEX/image/rootfs.erofs. */
static int build_rootfs(const struct import *imp, const struct plan *plan, const struct store_tmp *tmp, struct err *e)
{
	_cleanup_free_ char *file = xasprintf("%s/%s/image/rootfs.erofs", imp->store->root, tmp->path);
	_cleanup_close_ int tree = -1;
	int r;

	if (mkdirat(tmp->fd, "tree", 0755) < 0 || mkdirat(tmp->fd, "image", 0700) < 0)
		return err_errno(e, errno, "image store %s: %s", imp->store->root, tmp->path);
	tree = openat(tmp->fd, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (tree < 0 || fchmod(tree, 0755) < 0)
		return err_errno(e, errno, "image store %s: %s/tree", imp->store->root, tmp->path);
	r = unpack_layers(imp, plan, tree, e);
	if (r)
		return r;
	r = import_cancelled(e);
	if (r)
		return r;
	import_report(imp, "build", "rootfs.erofs", 0, 0);
	r = erofs_build(tree, file, plan->id, plan->config.created_s, e);
	if (r)
		return r;
	cleanup_closep(&tree);
	r = remove_tree(tmp->fd, "tree");
	return r ? err_errno(e, r, "image store %s: removing %s/tree", imp->store->root, tmp->path) : 0;
}

static int write_files(const struct import *imp, const struct plan *plan, const struct store_tmp *tmp, struct err *e)
{
	const struct plan_blob *config = &plan->documents[plan->documents_n - 1];
	struct store_image rec = { .created_s = plan->config.created_s };
	_cleanup_free_ char *json = NULL;
	size_t i;
	int r;

	snprintf(rec.id, sizeof(rec.id), "%s", plan->id);
	rec.blobs = xcalloc(plan->documents_n + plan->layers_n, sizeof(*rec.blobs));
	for (i = 0; i < plan->documents_n; i++) {
		rec.blobs[rec.blobs_n++] = plan->documents[i].digest;
		rec.size_bytes += plan->documents[i].size;
	}
	for (i = 0; i < plan->layers_n; i++) {
		rec.blobs[rec.blobs_n++] = plan->layers[i].digest;
		rec.size_bytes += plan->layers[i].size;
	}
	json = store_image_json(&rec);
	free(rec.blobs);
	r = write_file_atomic(tmp->fd, "image/config.json", config->data, config->size, 0400);
	if (!r)
		r = write_file_atomic(tmp->fd, "image/record.json", json, strlen(json), 0400);
	return r ? err_errno(e, r, "image store %s: writing %s/image", imp->store->root, tmp->path) : 0;
}

/* tmp/HEX/image becomes rootfs/HEX. One of another format that is there makes way. */
static int publish(const struct import *imp, const struct plan *plan, const struct store_tmp *tmp, struct err *e)
{
	char path[STORE_PATH_MAX];
	int r;

	store_rootfs_path(plan->id, path);
	r = renameat(tmp->fd, "image", imp->store->fd, path);
	if (r < 0 && (errno == EEXIST || errno == ENOTEMPTY)) {
		r = renameat(imp->store->fd, path, tmp->fd, "old");
		if (!r)
			r = renameat(tmp->fd, "image", imp->store->fd, path);
	}
	if (r < 0 || store_sync_folder(imp->store, "rootfs"))
		return err_errno(e, errno, "image store %s: %s", imp->store->root, path);
	return 0;
}

static bool is_stored(const struct import *imp, const char *id)
{
	struct store_image rec;

	if (store_image_read(imp->store, id, &rec))
		return false;
	store_image_free(&rec);
	return true;
}

static int build(const struct import *imp, const struct source *src, const struct plan *plan, struct err *e)
{
	struct store_tmp tmp;
	int r;

	if (is_stored(imp, plan->id))
		return 0;
	import_report(imp, "wait", "for another import of this image", 0, 0);
	r = store_tmp_take(imp->store, plan->id + 7, &tmp, e);
	if (r)
		return r;
	if (!is_stored(imp, plan->id)) {
		r = store_blobs(imp, src, plan, &tmp, e);
		if (!r)
			r = build_rootfs(imp, plan, &tmp, e);
		if (!r)
			r = write_files(imp, plan, &tmp, e);
		if (!r)
			r = publish(imp, plan, &tmp, e);
	}
	store_tmp_drop(imp->store, &tmp);
	return r;
}

static int write_name(const struct import *imp, const struct source *src, const struct plan *plan, struct err *e)
{
	struct store_name rec = {
		.name = imp->ref->name, .tag = plan->tag, .target = (char *)plan->target, .source = src->stamp
	};
	_cleanup_free_ char *json = NULL;
	char path[STORE_PATH_MAX];
	struct store_tmp tmp;
	int r;

	snprintf(rec.id, sizeof(rec.id), "%s", plan->id);
	json = store_name_json(&rec);
	store_name_path(imp->ref->name, path);
	r = store_tmp_take(imp->store, NULL, &tmp, e);
	if (r)
		return r;
	r = write_file_atomic(tmp.fd, "name", json, strlen(json), 0600);
	if (!r && renameat(tmp.fd, "name", imp->store->fd, path) < 0)
		r = -errno;
	if (!r)
		r = store_sync_folder(imp->store, "images");
	store_tmp_drop(imp->store, &tmp);
	return r ? err_errno(e, r, "image store %s: %s", imp->store->root, path) : 0;
}

int image_import(const struct import *imp, struct err *e)
{
	_cleanup_close_ int lock = store_lock(imp->store, LOCK_SH, true);
	struct source src;
	struct plan plan = { 0 };
	int r;

	if (lock < 0)
		return err_errno(e, lock, "image store %s: locking it", imp->store->root);
	r = source_open(imp, &src, e);
	if (!r)
		r = make_plan(imp, &src, &plan, e);
	if (!r)
		r = build(imp, &src, &plan, e);
	if (!r)
		r = write_name(imp, &src, &plan, e);
	plan_free(&plan);
	source_close(imp->store, &src);
	cleanup_closep(&lock);
	/* Blobs of an import that failed, or of one that was killed. */
	store_collect(imp->store);
	if (!r)
		return 0;
	r = store_explain(imp->store, e);
	/* A path in the message names the source already. */
	return strstr(e->msg, imp->ref->path) ? r : err_wrap(e, "%s", imp->ref->name);
}
