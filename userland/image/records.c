/* SPDX-License-Identifier: Apache-2.0 */
/* The store's own small JSON files. One that can't be read counts as missing: everything in them can be made anew. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/util.h"
#include "image/limits.h"
#include "image/manifest.h"
#include "image/store.h"

#define NAME_FILE_MAX 200u /* longer ones end in a hash */

void store_stamp_of(const struct stat *st, struct store_stamp *stamp)
{
	*stamp = (struct store_stamp){
		.dev = st->st_dev,
		.ino = st->st_ino,
		.size = (uint64_t)st->st_size,
		.mtime_ns = (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec,
		.ctime_ns = (uint64_t)st->st_ctim.tv_sec * 1000000000u + (uint64_t)st->st_ctim.tv_nsec,
	};
}

bool store_stamp_equal(const struct store_stamp *a, const struct store_stamp *b)
{
	return a->ctime_ns && memcmp(a, b, sizeof(*a)) == 0;
}

void store_name_path(const char *name, char path[STORE_PATH_MAX])
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.,@+=:";
	uint64_t hash = 0xcbf29ce484222325ull;
	size_t used = 0;
	char *out = path + strlen("images/");
	const char *s;

	strcpy(path, "images/");
	for (s = name; *s; s++) {
		hash = (hash ^ (unsigned char)*s) * 0x100000001b3ull;
		if (used > NAME_FILE_MAX)
			continue;
		if (strchr(plain, *s) && !(s == name && *s == '.'))
			out[used++] = *s;
		else
			used += (size_t)sprintf(out + used, "%%%02x", (unsigned char)*s);
	}
	out[used] = '\0';
	if (used > NAME_FILE_MAX)
		sprintf(out + NAME_FILE_MAX, "%%%016" PRIx64, hash);
}

static int read_json(struct image_store *s, const char *path, struct json_node *doc)
{
	_cleanup_free_ char *text = NULL;
	struct err ignored = ERR_INIT;
	size_t len;
	int r = read_file(s->fd, path, STORE_RECORD_MAX, &text, &len);

	*doc = (struct json_node){ 0 };
	if (!r)
		r = json_parse(text, len, STORE_RECORD_MAX, doc, &ignored);
	return r ? -ENOENT : 0;
}

static int get_id(const struct json_node *doc, char id[IMAGE_ID_MAX])
{
	_cleanup_free_ char *text = NULL;
	int r = json_get_string(doc, "id", &text, NULL);

	if (r || !text || oci_digest_check(text, NULL) || !str_starts(text, "sha256:"))
		return -ENOENT;
	snprintf(id, IMAGE_ID_MAX, "%s", text);
	return 0;
}

static int name_parse(const struct json_node *doc, struct store_name *rec)
{
	const struct {
		const char *key;
		uint64_t *value;
	} stamp[] = {
		{ "dev", &rec->source.dev },	    { "ino", &rec->source.ino },	{ "size", &rec->source.size },
		{ "mtime", &rec->source.mtime_ns }, { "ctime", &rec->source.ctime_ns },
	};
	size_t i;
	int r = get_id(doc, rec->id);

	if (!r)
		r = json_get_string(doc, "name", &rec->name, NULL);
	if (!r)
		r = json_get_string(doc, "tag", &rec->tag, NULL);
	if (!r)
		r = json_get_string(doc, "target", &rec->target, NULL);
	for (i = 0; !r && i < ARRAY_SIZE(stamp); i++)
		r = json_get_u64(doc, stamp[i].key, 0, UINT64_MAX, stamp[i].value, NULL, NULL);
	return r || !rec->name || !rec->target ? -ENOENT : 0;
}

static int name_read_file(struct image_store *s, const char *path, struct store_name *rec)
{
	struct json_node doc;
	int r;

	*rec = (struct store_name){ 0 };
	r = read_json(s, path, &doc);
	if (!r)
		r = name_parse(&doc, rec);
	json_done(&doc);
	if (r)
		store_name_free(rec);
	return r;
}

int store_name_read(struct image_store *s, const char *name, struct store_name *rec)
{
	char path[STORE_PATH_MAX];
	int r;

	store_name_path(name, path);
	r = name_read_file(s, path, rec);
	if (!r && !str_eq(rec->name, name)) {
		store_name_free(rec);
		return -ENOENT;
	}
	return r;
}

void store_name_free(struct store_name *rec)
{
	free(rec->name);
	free(rec->tag);
	free(rec->target);
	*rec = (struct store_name){ 0 };
}

static char *print_json(struct json_object *o)
{
	char *text = xasprintf(
		"%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));

	json_object_put(o);
	return text;
}

char *store_name_json(const struct store_name *rec)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "name", json_object_new_string(rec->name));
	if (rec->tag)
		json_object_object_add(o, "tag", json_object_new_string(rec->tag));
	json_object_object_add(o, "id", json_object_new_string(rec->id));
	json_object_object_add(o, "target", json_object_new_string(rec->target));
	if (rec->source.ctime_ns) {
		json_object_object_add(o, "dev", json_object_new_uint64(rec->source.dev));
		json_object_object_add(o, "ino", json_object_new_uint64(rec->source.ino));
		json_object_object_add(o, "size", json_object_new_uint64(rec->source.size));
		json_object_object_add(o, "mtime", json_object_new_uint64(rec->source.mtime_ns));
		json_object_object_add(o, "ctime", json_object_new_uint64(rec->source.ctime_ns));
	}
	return print_json(o);
}

/* Calls row for each entry of a folder that isn't hidden. */
static int each_entry(struct image_store *s, const char *folder,
		      void (*row)(struct image_store *, const char *, void *), void *opaque, struct err *e)
{
	_cleanup_closedir_ DIR *d = open_dir(s->fd, folder, 0);
	struct dirent *ent;

	if (!d)
		return err_errno(e, errno, "image store %s: reading %s", s->root, folder);
	while ((ent = readdir(d)))
		if (ent->d_name[0] != '.')
			row(s, ent->d_name, opaque);
	return 0;
}

struct name_list {
	struct store_name *list;
	size_t n;
};

static void add_name(struct image_store *s, const char *file, void *opaque)
{
	struct name_list *l = opaque;
	struct store_name rec;
	char path[STORE_PATH_MAX];

	snprintf(path, sizeof(path), "images/%.255s", file);
	if (name_read_file(s, path, &rec))
		return;
	l->list = xreallocarray(l->list, l->n + 1, sizeof(*l->list));
	l->list[l->n++] = rec;
}

int store_name_list(struct image_store *s, struct store_name **list, size_t *n, struct err *e)
{
	struct name_list l = { 0 };
	int r = each_entry(s, "images", add_name, &l, e);

	*list = l.list;
	*n = l.n;
	return r;
}

void store_name_list_free(struct store_name *list, size_t n)
{
	while (n)
		store_name_free(&list[--n]);
	free(list);
}

static int image_parse(const struct json_node *doc, const char *id, struct store_image *rec)
{
	uint64_t format = 0;
	int r = json_get_u64(doc, "format", 0, UINT64_MAX, &format, NULL, NULL);

	if (r || format != STORE_FORMAT || get_id(doc, rec->id) || !str_eq(rec->id, id))
		return -ENOENT;
	r = json_get_strings(doc, "blobs", IMAGE_LAYERS_MAX + 8, &rec->blobs, &rec->blobs_n, NULL);
	if (!r)
		r = json_get_u64(doc, "size", 0, UINT64_MAX, &rec->size_bytes, NULL, NULL);
	if (!r)
		r = json_get_i64(doc, "created", INT64_MIN, INT64_MAX, &rec->created_s, NULL, NULL);
	return r || !rec->blobs ? -ENOENT : 0;
}

int store_image_read(struct image_store *s, const char *id, struct store_image *rec)
{
	char path[STORE_PATH_MAX];
	struct json_node doc;
	int r;

	*rec = (struct store_image){ 0 };
	snprintf(path, sizeof(path), "rootfs/%.64s/record.json", id + 7);
	r = read_json(s, path, &doc);
	if (!r)
		r = image_parse(&doc, id, rec);
	json_done(&doc);
	if (r)
		store_image_free(rec);
	return r;
}

void store_image_free(struct store_image *rec)
{
	json_free_strings(rec->blobs);
	*rec = (struct store_image){ 0 };
}

char *store_image_json(const struct store_image *rec)
{
	struct json_object *o = json_object_new_object(), *blobs = json_object_new_array();
	size_t i;

	json_object_object_add(o, "format", json_object_new_uint64(STORE_FORMAT));
	json_object_object_add(o, "id", json_object_new_string(rec->id));
	json_object_object_add(o, "size", json_object_new_uint64(rec->size_bytes));
	json_object_object_add(o, "created", json_object_new_int64(rec->created_s));
	for (i = 0; i < rec->blobs_n; i++)
		json_object_array_add(blobs, json_object_new_string(rec->blobs[i]));
	json_object_object_add(o, "blobs", blobs);
	return print_json(o);
}

struct image_rows {
	struct store_image *list;
	size_t n;
};

static void add_image(struct image_store *s, const char *file, void *opaque)
{
	struct image_rows *l = opaque;
	struct store_image rec;
	char id[IMAGE_ID_MAX];

	snprintf(id, sizeof(id), "sha256:%.64s", file);
	if (oci_digest_check(id, NULL) || store_image_read(s, id, &rec))
		return;
	l->list = xreallocarray(l->list, l->n + 1, sizeof(*l->list));
	l->list[l->n++] = rec;
}

int store_image_list(struct image_store *s, struct store_image **list, size_t *n, struct err *e)
{
	struct image_rows l = { 0 };
	int r = each_entry(s, "rootfs", add_image, &l, e);

	*list = l.list;
	*n = l.n;
	return r;
}

void store_image_list_free(struct store_image *list, size_t n)
{
	while (n)
		store_image_free(&list[--n]);
	free(list);
}
