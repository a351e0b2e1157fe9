/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the OCI room: reading config.json, one file per section. */
#ifndef OCI_PARSE_H
#define OCI_PARSE_H

#include <errno.h>

#include "base/json.h"
#include "oci/pb.h"
#include "oci/spec.h"

#define LIST_MAX 65536u /* entries of a list that a person may write long: args, env, mounts, rules */
#define SHORT_MAX 1024u /* of the others */

/* Sections, each from its own node. The message is there and initialised; what is missing stays as it is. */
int oci_parse_process(const struct json_node *n, Microvm__Process *p, struct err *e);
int oci_parse_mounts(const struct json_node *config, Microvm__Spec *spec, struct err *e);
int oci_parse_hooks(const struct json_node *config, bool host_hooks, Microvm__Spec *spec, struct err *e);
int oci_parse_linux(const struct json_node *n, Microvm__Linux *l, uint64_t caps, struct err *e);
int oci_parse_resources(const struct json_node *n, Microvm__Resources *res, struct err *e);

/* ---- readers that fill protobuf fields ---- */

/* A string field; *present (may be NULL) says whether it was there. */
int oci_get_string(const struct json_node *n, const char *key, char **field, bool *present, struct err *e);
/* The same for one that has to be there, and not be empty. */
int oci_need_string(const struct json_node *n, const char *key, char **field, struct err *e);
/* An absolute path that may be absent. */
int oci_get_path(const struct json_node *n, const char *key, char **field, struct err *e);
/* A repeated string field. */
int oci_get_strings(const struct json_node *n, const char *key, char ***list, size_t *count, struct err *e);
/* The same, all of them absolute paths. */
int oci_get_paths(const struct json_node *n, const char *key, char ***list, size_t *count, struct err *e);
int oci_get_u32(const struct json_node *n, const char *key, uint32_t *v, bool *present, struct err *e);
/* Numbers that may be unset: a message, or NULL. */
int oci_get_u64_value(const struct json_node *n, const char *key, uint64_t hi, Microvm__UInt64Value **v, struct err *e);
int oci_get_i64_value(const struct json_node *n, const char *key, Microvm__Int64Value **v, struct err *e);
/* An object of strings, as name and value. */
int oci_get_map(const struct json_node *n, const char *key, Microvm__NameValue ***list, size_t *count, struct err *e);
/* Calls fn for each entry of an array of objects, if it's there. */
int oci_each_object(const struct json_node *n, const char *key, size_t max,
		    int (*fn)(const struct json_node *entry, void *opaque, struct err *e), void *opaque, struct err *e);
/* Fails with -ENOTSUP if key is there and says anything: not null, false, 0, "" nor empty. */
int oci_refuse(const struct json_node *n, const char *key, const char *why, struct err *e);
int oci_parse_mappings(const struct json_node *n, const char *key, Microvm__IDMapping ***list, size_t *count,
		       struct err *e);
/* Is s one of the n names? */
bool oci_one_of(const char *s, const char *const *names, size_t n);

#endif
