/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The documents of image-spec v1 (index, manifest, descriptor) and docker's (manifest list, manifest v2 schema 2, and
 * the manifest.json of `docker save`), checked while they are read.
 */
#ifndef IMAGE_MANIFEST_H
#define IMAGE_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define OCI_HOST_OS "linux"
#define OCI_HOST_ARCHITECTURE "amd64"

enum oci_kind {
	OCI_UNKNOWN,
	OCI_INDEX,
	OCI_MANIFEST,
	OCI_CONFIG,
	OCI_LAYER,
	OCI_REFUSED, /* known, but nothing for us: oci_refusal says why */
};

/* What a media type stands for. */
enum oci_kind oci_kind_of(const char *media_type);
/* Fails with -ENOTSUP and a message that says why media_type can't be used where `wanted` is. */
int media_type_refuse(const char *media_type, const char *wanted, struct err *e);

/* "sha256:" and 64, or "sha512:" and 128 lower-case hex digits. -EINVAL, -ENOTSUP (another algorithm). */
int oci_digest_check(const char *digest, struct err *e);

struct oci_descriptor {
	char *media_type; /* never NULL; "" when the document has none */
	char *digest;	  /* checked */
	uint64_t size;
	char *name;			   /* annotation org.opencontainers.image.ref.name; may be NULL */
	char *full_name;		   /* annotation io.containerd.image.name; may be NULL */
	char *os, *architecture, *variant; /* platform; NULL where there is none */
};

struct oci_index {
	struct oci_descriptor *entries;
	size_t n;
};

struct oci_manifest {
	struct oci_descriptor config;
	struct oci_descriptor *layers;
	size_t n;
};

/* All free what they have filled in when they fail; _free may be called twice. */
int oci_index_parse(const char *json, size_t len, struct oci_index *index, struct err *e);
void oci_index_free(struct oci_index *index);
int oci_manifest_parse(const char *json, size_t len, struct oci_manifest *m, struct err *e);
void oci_manifest_free(struct oci_manifest *m);

/*
 * The entry with that tag, or without one (NULL) the only one, or the one called latest. Of several with the same tag
 * the one for this host. -ENOENT: none, and the message lists the tags there are.
 */
int oci_index_by_tag(const struct oci_index *index, const char *tag, const struct oci_descriptor **found,
		     struct err *e);
/* The entry for this host's platform. -ENOTSUP: none, and the message lists the platforms there are. */
int oci_index_by_platform(const struct oci_index *index, const struct oci_descriptor **found, struct err *e);

/* One image of docker save's manifest.json. */
struct docker_image {
	char *config;  /* path in the archive */
	char **tags;   /* "busybox:latest", NULL-terminated */
	char **layers; /* paths in the archive, lowest first */
	size_t tags_n, layers_n;
};

struct docker_manifest {
	struct docker_image *images;
	size_t n;
};

int docker_manifest_parse(const char *json, size_t len, struct docker_manifest *m, struct err *e);
void docker_manifest_free(struct docker_manifest *m);
/* By tag ("busybox" means "busybox:latest"), or the only one. -ENOENT as above. */
int docker_manifest_by_tag(const struct docker_manifest *m, const char *tag, const struct docker_image **found,
			   struct err *e);

#endif
