/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two libarchive readers in a row: the first only decompresses, the second reads tar from what the first gives. Between
 * them is the uncompressed stream, which is what a diff_id is the digest of and what a bomb makes too much of.
 */
#include "image/import/layer.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "image/import/cancel.h"
#include "image/import/digest.h"
#include "image/import/entry.h"

struct stream {
	const struct layer *l;
	struct layer_budget *budget;
	struct archive *unpacker; /* the first reader */
	struct digest *digest;	  /* NULL: not asked for */
	uint64_t bytes;		  /* uncompressed so far */
	bool ended;
	struct err err; /* why it ended early; code 0: it didn't */
};

static void archive_freep(struct archive **a)
{
	if (*a)
		archive_read_free(*a);
}

int layer_over_limit(struct err *e, uint64_t limit, const char *what, const char *variable)
{
	return err_set(e, E2BIG, "more than %llu %s, the limit; if you trust the image, raise it with %s=N",
		       (unsigned long long)limit, what, variable);
}

int layer_over_ratio(const struct layer *l, const struct image_limits *lim, uint64_t bytes, struct err *e)
{
	if (bytes <= lim->ratio_from_bytes || bytes / lim->ratio <= l->packed_bytes)
		return 0;
	return layer_over_limit(e, lim->ratio, "times the compressed size", IMAGE_ENV_MAX_RATIO);
}

static int check_limits(struct stream *s)
{
	const struct image_limits *lim = &s->budget->limits;

	if (s->bytes > lim->unpacked_bytes)
		return layer_over_limit(&s->err, lim->unpacked_bytes, "bytes unpacked", IMAGE_ENV_MAX_BYTES);
	if (layer_over_ratio(s->l, lim, s->bytes, &s->err))
		return -E2BIG;
	return import_cancelled(&s->err);
}

/* The next uncompressed bytes; 0 at the end, -1 with s->err set. */
static ssize_t stream_read(struct stream *s, const void **data)
{
	la_int64_t off;
	size_t len = 0;
	int r;

	if (s->ended)
		return 0;
	do {
		r = archive_read_data_block(s->unpacker, data, &len, &off);
	} while (r == ARCHIVE_RETRY || (r == ARCHIVE_OK && !len));
	if (r == ARCHIVE_EOF) {
		s->ended = true;
		return 0;
	}
	if (r < ARCHIVE_WARN) {
		const char *why = archive_error_string(s->unpacker);

		s->ended = true;
		err_set(&s->err, EBADMSG, "cannot be decompressed: %s", why ? why : "damaged");
		return -1;
	}
	s->bytes += len;
	if (s->digest)
		digest_add(s->digest, *data, len);
	if (check_limits(s)) {
		s->ended = true;
		return -1;
	}
	if (s->l->progress)
		s->l->progress(s->l->opaque, (uint64_t)archive_filter_bytes(s->unpacker, -1), s->l->packed_bytes);
	return (ssize_t)len;
}

static la_ssize_t stream_read_cb(struct archive *a, void *opaque, const void **data)
{
	struct stream *s = opaque;
	ssize_t n = stream_read(s, data);

	if (n < 0)
		archive_set_error(a, s->err.code, "%s", s->err.msg);
	return n;
}

static int open_unpacker(struct stream *s, struct err *e)
{
	struct archive *a = archive_read_new();
	struct archive_entry *ent;
	int r;

	s->unpacker = a;
	if (!a)
		return err_set(e, ENOMEM, "out of memory");
	if (archive_read_support_filter_gzip(a) != ARCHIVE_OK || archive_read_support_filter_zstd(a) != ARCHIVE_OK ||
	    archive_read_support_format_raw(a) != ARCHIVE_OK || archive_read_support_format_empty(a) != ARCHIVE_OK)
		return err_set(e, ENOTSUP, "libarchive without gzip or zstd; install Debian's libarchive13");
	r = archive_read_open_fd(a, s->l->fd, 128 << 10);
	if (r == ARCHIVE_OK)
		r = archive_read_next_header(a, &ent);
	if (r == ARCHIVE_EOF)
		s->ended = true; /* an empty stream: no entries */
	else if (r < ARCHIVE_WARN)
		return err_set(e, EBADMSG, "cannot be read: %s", archive_error_string(a) ?: "damaged");
	return 0;
}

static int read_entries(struct tree *t, struct stream *s, struct archive *a, struct err *e)
{
	for (;;) {
		struct archive_entry *ent;
		int r = archive_read_next_header(a, &ent);

		if (r == ARCHIVE_EOF)
			return 0;
		if (r == ARCHIVE_RETRY)
			continue;
		if (r < ARCHIVE_WARN)
			return err_set(e, s->err.code ? s->err.code : EBADMSG, "%s%s",
				       s->err.code ? "" : "bad tar archive: ", archive_error_string(a) ?: "damaged");
		if (s->budget->entries++ >= s->budget->limits.entries)
			return layer_over_limit(e, s->budget->limits.entries, "entries", IMAGE_ENV_MAX_ENTRIES);
		r = entry_unpack(t, s->l, s->budget, a, ent, e);
		if (r) {
			/* Reading failed below the entry: that is the cause, not what libarchive made of it. */
			if (s->err.code)
				return err_set(e, s->err.code, "%s", s->err.msg);
			return r;
		}
	}
}

static int check_digest(struct stream *s, struct err *e)
{
	char text[DIGEST_TEXT_MAX];
	const void *data;
	ssize_t n;

	/* What follows the end-of-archive mark counts for the digest, too. */
	while ((n = stream_read(s, &data)) > 0)
		continue;
	if (n < 0)
		return err_set(e, s->err.code, "%s", s->err.msg);
	if (!s->digest)
		return 0;
	digest_text(s->digest, text);
	if (strcmp(text, s->l->diff_id) != 0)
		return err_set(
			e, EBADMSG,
			"unpacked, its digest is %s, but the configuration's diff_id is %s; the image is damaged", text,
			s->l->diff_id);
	return 0;
}

static int unpack(struct tree *t, struct stream *s, struct err *e)
{
	_cleanup_(archive_freep) struct archive *a = archive_read_new();
	int r = open_unpacker(s, e);

	if (r)
		return r;
	if (!a || archive_read_support_format_tar(a) != ARCHIVE_OK)
		return err_set(e, ENOMEM, "out of memory");
	if (!s->ended) {
		if (archive_read_open(a, s, NULL, stream_read_cb, NULL) != ARCHIVE_OK)
			return err_set(e, s->err.code ? s->err.code : EBADMSG, "%s",
				       s->err.code ? s->err.msg : "not a tar archive");
		r = read_entries(t, s, a, e);
		if (r)
			return r;
	}
	return check_digest(s, e);
}

int layer_unpack(struct tree *t, struct layer *l, struct layer_budget *budget, struct err *e)
{
	struct stream s = { .l = l, .budget = budget, .err = ERR_INIT };
	/* libarchive turns names from UTF-8 to the locale's characters, and gives up where "C" has none. */
	locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0), before = (locale_t)0;
	int r;

	if (utf8)
		before = uselocale(utf8);
	if (l->diff_id)
		s.digest = digest_new(l->diff_id);
	tree_next_layer(t);
	r = unpack(t, &s, e);
	if (s.unpacker)
		archive_read_free(s.unpacker);
	digest_free(s.digest);
	if (utf8) {
		uselocale(before);
		freelocale(utf8);
	}
	if (r)
		return err_wrap(e, "%s %.160s", l->plain ? "archive" : "layer", l->name);
	return 0;
}
