/* SPDX-License-Identifier: Apache-2.0 */
/* Small images made on the spot, right ones and wrong ones, for test_image*.c. */
#ifndef TESTS_UNIT_IMAGE_FIXTURE_H
#define TESTS_UNIT_IMAGE_FIXTURE_H

#include <archive.h>
#include <archive_entry.h>
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "image/import/digest.h"

/* Entries say what is special about them and leave the rest 0. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define FX_UNUSED __attribute__((unused))

/* One entry of a layer. type: f(ile), d(irectory), l(symlink), h(ard link), c(haracter device), p(ipe). */
struct fx_entry {
	char type;
	const char *path;
	const char *data;  /* contents, or the link's target */
	unsigned int mode; /* 0: 0644 or 0755 */
	unsigned int uid, gid;
	time_t mtime;
	const char *xattr, *value;
	unsigned int xattr_len; /* 0: strlen(value) */
	int64_t size;		/* of a file that is all hole; 0: strlen(data) */
};

struct fx_bytes {
	char *data;
	size_t len, room;
};

static la_ssize_t fx_write(struct archive *a, void *opaque, const void *data, size_t len)
{
	struct fx_bytes *b = opaque;

	if (b->len + len > b->room) {
		b->room = 2 * b->room + len;
		b->data = xreallocarray(b->data, b->room, 1);
	}
	memcpy(b->data + b->len, data, len);
	b->len += len;
	return (la_ssize_t)len;
}

static void fx_add(struct archive *a, const struct fx_entry *x)
{
	static const struct {
		char type;
		unsigned int filetype;
	} types[] = {
		{ 'f', AE_IFREG }, { 'd', AE_IFDIR }, { 'l', AE_IFLNK },
		{ 'h', AE_IFREG }, { 'c', AE_IFCHR }, { 'p', AE_IFIFO },
	};
	struct archive_entry *ent = archive_entry_new();
	size_t i, len = x->type == 'f' && x->data ? strlen(x->data) : 0;

	for (i = 0; i < ARRAY_SIZE(types); i++)
		if (types[i].type == x->type)
			archive_entry_set_filetype(ent, types[i].filetype);
	archive_entry_set_pathname(ent, x->path);
	archive_entry_set_perm(ent, x->mode ? x->mode : x->type == 'd' ? 0755 : 0644);
	archive_entry_set_uid(ent, x->uid);
	archive_entry_set_gid(ent, x->gid);
	archive_entry_set_mtime(ent, x->mtime, 0);
	if (x->type == 'l')
		archive_entry_set_symlink(ent, x->data);
	if (x->type == 'h')
		archive_entry_set_hardlink(ent, x->data);
	if (x->type == 'c')
		archive_entry_set_rdev(ent, (dev_t)0x103);
	if (x->xattr)
		archive_entry_xattr_add_entry(ent, x->xattr, x->value, x->xattr_len ? x->xattr_len : strlen(x->value));
	archive_entry_set_size(ent, x->size ? x->size : (int64_t)len);
	if (x->size) {
		archive_entry_sparse_add_entry(ent, x->size - 1, 1);
		ck_assert_int_eq(archive_write_header(a, ent), ARCHIVE_OK);
		/* The writer passes over what lies in the hole. */
		for (len = 0; (int64_t)len < x->size; len += 1 << 20) {
			static const char zeros[1 << 20];

			archive_write_data(a, zeros, (size_t)min_t(int64_t, x->size - (int64_t)len, 1 << 20));
		}
	} else {
		ck_assert_int_ge(archive_write_header(a, ent), ARCHIVE_WARN);
		if (len)
			ck_assert_int_eq(archive_write_data(a, x->data, len), len);
	}
	archive_entry_free(ent);
}

/* A pax archive of the entries up to one without a type; filter is "gzip", "zstd" or NULL. */
FX_UNUSED static struct fx_bytes fx_tar(const struct fx_entry *entries, const char *filter)
{
	struct archive *a = archive_write_new();
	struct fx_bytes b = { 0 };

	archive_write_set_format_pax(a);
	archive_write_set_options(a, "hdrcharset=BINARY");
	archive_write_set_bytes_in_last_block(a, 1);
	if (filter)
		ck_assert_int_eq(archive_write_add_filter_by_name(a, filter), ARCHIVE_OK);
	ck_assert_int_eq(archive_write_open(a, &b, NULL, fx_write, NULL), ARCHIVE_OK);
	for (; entries->type; entries++)
		fx_add(a, entries);
	ck_assert_int_eq(archive_write_close(a), ARCHIVE_OK);
	archive_write_free(a);
	return b;
}

FX_UNUSED static void fx_put(const char *dir, const char *name, const void *data, size_t len)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", dir, name);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write_full(fd, data, len), 0);
}

/* The contents of a file, NUL-terminated; "" for none. */
FX_UNUSED static char *fx_get(const char *dir, const char *name)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", dir, name);
	char *data;

	return read_file(AT_FDCWD, path, 16 << 20, &data, NULL) ? xstrdup("") : data;
}

/* ---- OCI layouts ---- */

struct fx_layer {
	struct fx_bytes tar; /* as it is stored */
	char digest[DIGEST_TEXT_MAX], diff_id[DIGEST_TEXT_MAX];
};

#define FX_LAYERS_MAX 8

/* What makes an image wrong, or other than most. NULL and 0 are what is right. */
struct fx_image {
	const char *dir, *tag;
	const struct fx_entry *layers[FX_LAYERS_MAX];
	const char *filter;				      /* of all layers */
	const char *layer_type, *config_type, *manifest_type; /* media types */
	const char *architecture, *os;
	const char *run_config;	  /* JSON of "config" */
	const char *diff_id;	  /* instead of the last one */
	const char *layer_digest; /* instead of the last one, in the manifest */
	int64_t layer_size;	  /* likewise */
	int schema;
	bool no_layer_blob, flip_layer_byte, cut_layer, no_layers, nested_index;
	char config_digest[DIGEST_TEXT_MAX]; /* out */
};

/* Puts data in dir/blobs/sha256. */
FX_UNUSED static void fx_blob(const char *dir, const void *data, size_t len, char digest[DIGEST_TEXT_MAX])
{
	char name[200];

	digest_buffer("sha256:", data, len, digest);
	snprintf(name, sizeof(name), "blobs/sha256/%s", digest + 7);
	fx_put(dir, name, data, len);
}

static char *fx_layers(const struct fx_image *image, char **diff_ids)
{
	const char *type = image->layer_type		   ? image->layer_type
			   : !image->filter		   ? "application/vnd.oci.image.layer.v1.tar"
			   : str_eq(image->filter, "zstd") ? "application/vnd.oci.image.layer.v1.tar+zstd"
							   : "application/vnd.oci.image.layer.v1.tar+gzip";
	char *layers = xstrdup("");
	size_t i;

	*diff_ids = xstrdup("");
	for (i = 0; image->layers[i]; i++) {
		struct fx_bytes plain = fx_tar(image->layers[i], NULL),
				packed = fx_tar(image->layers[i], image->filter);
		bool last = !image->layers[i + 1];
		char digest[DIGEST_TEXT_MAX], diff_id[DIGEST_TEXT_MAX], name[200], *more;
		size_t len = packed.len;

		digest_buffer("sha256:", plain.data, plain.len, diff_id);
		fx_blob(image->dir, packed.data, packed.len, digest);
		snprintf(name, sizeof(name), "blobs/sha256/%s", digest + 7);
		if (last && image->flip_layer_byte)
			packed.data[packed.len / 2] ^= 1;
		if (last && image->cut_layer)
			packed.len -= 10;
		fx_put(image->dir, name, packed.data, packed.len);
		if (last && image->no_layer_blob) {
			_cleanup_free_ char *path = xasprintf("%s/%s", image->dir, name);

			ck_assert_int_eq(unlink(path), 0);
		}
		more = xasprintf("%s%s{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%lld}", layers, i ? "," : "",
				 type, last && image->layer_digest ? image->layer_digest : digest,
				 last && image->layer_size ? (long long)image->layer_size : (long long)len);
		free(layers);
		layers = more;
		more = xasprintf("%s%s\"%s\"", *diff_ids, i ? "," : "",
				 last && image->diff_id ? image->diff_id : diff_id);
		free(*diff_ids);
		*diff_ids = more;
		free(plain.data);
		free(packed.data);
	}
	return layers;
}

/* Makes dir an OCI layout with this one image. */
FX_UNUSED static void fx_layout(struct fx_image *image)
{
	static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
	const char *type = image->manifest_type ? image->manifest_type : "application/vnd.oci.image.manifest.v1+json";
	_cleanup_free_ char *diff_ids = NULL, *layers = NULL, *config = NULL, *manifest = NULL, *index = NULL,
			    *blobs = NULL;
	char digest[DIGEST_TEXT_MAX];

	blobs = xasprintf("%s/blobs/sha256", image->dir);
	ck_assert_int_eq(mkdir_p(AT_FDCWD, blobs, 0755), 0);
	layers = fx_layers(image, &diff_ids);
	config = xasprintf("{\"architecture\":\"%s\",\"os\":\"%s\",\"created\":\"2023-11-14T22:13:20Z\",\"config\":%s,"
			   "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[%s]}}",
			   image->architecture ? image->architecture : "amd64", image->os ? image->os : "linux",
			   image->run_config ? image->run_config : "{\"Cmd\":[\"sh\"]}", diff_ids);
	fx_blob(image->dir, config, strlen(config), image->config_digest);
	manifest = xasprintf(
		"{\"schemaVersion\":%d,\"mediaType\":\"%s\",\"config\":{\"mediaType\":\"%s\",\"digest\":\"%s\","
		"\"size\":%zu},\"layers\":[%s]}",
		image->schema ? image->schema : 2, type,
		image->config_type ? image->config_type : "application/vnd.oci.image.config.v1+json",
		image->config_digest, strlen(config), image->no_layers ? "" : layers);
	fx_blob(image->dir, manifest, strlen(manifest), digest);
	if (image->nested_index) {
		char *inner = xasprintf(
			"{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu,"
			"\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}},"
			"{\"mediaType\":\"%s\",\"digest\":\"sha256:%064d\",\"size\":5,"
			"\"platform\":{\"os\":\"linux\",\"architecture\":\"arm64\"}}]}",
			type, digest, strlen(manifest), type, 0);

		free(manifest);
		manifest = inner;
		type = "application/vnd.oci.image.index.v1+json";
		fx_blob(image->dir, manifest, strlen(manifest), digest);
	}
	index = xasprintf("{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu,"
			  "\"annotations\":{\"org.opencontainers.image.ref.name\":\"%s\"}}]}",
			  type, digest, strlen(manifest), image->tag ? image->tag : "t");
	fx_put(image->dir, "index.json", index, strlen(index));
	fx_put(image->dir, "oci-layout", layout, strlen(layout));
}

#endif
