/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image's configuration: the parts of the OCI image config (image-spec, config.md; docker's v2s2 config is the same)
 * that decide how a container starts. Every string was checked: no NUL inside, bounded in number and length.
 */
#ifndef IMAGE_CONFIG_H
#define IMAGE_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define IMAGE_CONFIG_MAX (8u << 20) /* bytes of JSON; image-spec wants readers to take 4 MiB */
#define IMAGE_LAYERS_MAX 512u	    /* docker stops at 127 */
#define IMAGE_STRINGS_MAX 16384u    /* entries in one list */

struct image_label {
	char *key, *value;
};

/* Lists are NULL-terminated and never NULL themselves; strings are NULL where the image says nothing, unless noted. */
struct image_config {
	char *architecture, *os; /* GOARCH and GOOS: "amd64", "linux"; never NULL */
	char *variant;
	char *created;	   /* RFC 3339, as it stands there */
	int64_t created_s; /* the same in seconds since 1970; 0: not known */
	char **env;	   /* "NAME=VALUE" */
	char **entrypoint;
	char **cmd;
	char *user;	      /* "user", "uid", "user:group", "uid:gid" …; names are looked up in the rootfs */
	char *working_dir;    /* absolute */
	char *stop_signal;    /* "SIGTERM", "TERM" or "15" */
	char **exposed_ports; /* "80/tcp" */
	char **volumes;	      /* absolute paths */
	struct image_label *labels;
	size_t labels_n;
	char **diff_ids; /* "sha256:…" of each uncompressed layer, lowest first */
	size_t diff_ids_n;
};

/* Parses len bytes of JSON. On success the caller frees with image_config_free, which may be called twice. */
int image_config_parse(const char *json, size_t len, struct image_config *c, struct err *e);
void image_config_free(struct image_config *c);

#endif
