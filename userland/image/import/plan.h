/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is to be imported: found and checked, nothing written to the store yet. Transports differ up to here and no
 * further: a registry's client would be another function that fills in a plan.
 */
#ifndef IMAGE_IMPORT_PLAN_H
#define IMAGE_IMPORT_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "image/config.h"
#include "image/import/digest.h"
#include "image/limits.h"
#include "image/reference.h"
#include "image/store.h"

/* Says how far an import is; what is "copy sha256:…" and the like. */
typedef void import_report_fn(void *opaque, const char *what, uint64_t done_bytes, uint64_t total_bytes);

struct import {
	struct image_store *store;
	const struct image_reference *ref;
	struct image_limits limits;
	import_report_fn *report; /* may be NULL */
	void *opaque;
};

void import_report(const struct import *imp, const char *verb, const char *object, uint64_t done, uint64_t total);

/* A folder that holds an image's files: the user's own, or an archive's contents in a temporary folder of the store. */
struct source {
	int fd;
	bool ours; /* nobody else writes to it; its files may be linked into the store */
	struct store_tmp tmp;
	struct store_stamp stamp; /* of the archive, once it's old enough to be told from a later version */
};

int source_open(const struct import *imp, struct source *src, struct err *e);
void source_close(struct image_store *store, struct source *src);

/* Opens a regular file of the source; symlinks may not leave it. */
int source_open_file(const struct source *src, const char *path, struct stat *st, struct err *e);
/* Reads one of at most max bytes whole. */
int source_read(const struct source *src, const char *path, size_t max, char **data, size_t *len, struct err *e);

struct plan_blob {
	char digest[DIGEST_TEXT_MAX];
	uint64_t size;
	char *path;   /* in the source; NULL: data has it */
	char *data;   /* size bytes, checked */
	bool checked; /* the file was read, and digest is what came out */
};

struct plan {
	char target[DIGEST_TEXT_MAX]; /* what the source's name led to */
	char *tag;		      /* as the source has it; NULL: none */
	struct plan_blob *documents;  /* indexes, manifest, configuration (the last) */
	struct plan_blob *layers;     /* lowest first */
	size_t documents_n, layers_n;
	struct image_config config;
	char id[IMAGE_ID_MAX];
};

int plan_oci(const struct import *imp, const struct source *src, struct plan *plan, struct err *e);
int plan_docker(const struct import *imp, const struct source *src, struct plan *plan, struct err *e);
void plan_free(struct plan *plan);

/* For those who fill plans in: takes data over. */
void plan_add_document(struct plan *plan, const char *digest, char *data, size_t len);
/* Parses and checks the configuration, whose digest was checked, against host and layers, and takes data over. */
int plan_set_config(struct plan *plan, const char *digest, char *data, size_t len, struct err *e);

#endif
