/* SPDX-License-Identifier: Apache-2.0 */
/* A sandbox's record as JSON. */
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/util.h"
#include "sandbox/state.h"

#define RECORD_STRINGS_MAX 65536u

const char *const sandbox_status_names[SANDBOX_STATUS_N] = {
	[SANDBOX_CREATED] = "created",
	[SANDBOX_RUNNING] = "running",
	[SANDBOX_PAUSED] = "paused",
	[SANDBOX_EXITED] = "exited",
};

void sandbox_record_free(struct sandbox_record *r)
{
	free(r->name);
	free(r->image);
	free(r->image_id);
	free(r->hostname);
	free(r->error);
	free(r->stop_signal);
	free(r->vsock);
	free(r->balloon);
	free(r->bundle);
	free(r->oci_version);
	free(r->vm);
	strv_clear(&r->command);
	strv_clear(&r->labels);
	strv_clear(&r->volumes);
	strv_clear(&r->anonymous);
	strv_clear(&r->annotations);
	memset(r, 0, sizeof(*r));
}

/* The members, once for both directions. */
enum field_kind { STRING, LIST, I64, U64, INT, U32, BOOL };
struct field {
	const char *key;
	enum field_kind kind;
	size_t offset;
};
#define FIELD(kind, member)                                            \
	{                                                              \
#member, kind, offsetof(struct sandbox_record, member) \
	}

static const struct field fields[] = {
	FIELD(STRING, name),	  FIELD(STRING, image),	      FIELD(STRING, image_id),
	FIELD(LIST, command),	  FIELD(LIST, labels),	      FIELD(STRING, hostname),
	FIELD(I64, created_ns),	  FIELD(I64, started_ns),     FIELD(I64, finished_ns),
	FIELD(INT, exit_status),  FIELD(BOOL, oom_killed),    FIELD(STRING, error),
	FIELD(BOOL, remove),	  FIELD(BOOL, tty),	      FIELD(BOOL, detached),
	FIELD(U64, mem_bytes),	  FIELD(U64, nano_cpus),      FIELD(U32, vcpus),
	FIELD(U32, uid),	  FIELD(INT, supervisor_pid), FIELD(INT, vmm_pid),
	FIELD(INT, init_pid),	  FIELD(STRING, stop_signal), FIELD(U64, stop_timeout_ns),
	FIELD(LIST, volumes),	  FIELD(LIST, anonymous),     FIELD(STRING, vsock),
	FIELD(STRING, balloon),	  FIELD(STRING, bundle),      FIELD(STRING, oci_version),
	FIELD(LIST, annotations), FIELD(INT, fsd_pid),	      FIELD(STRING, vm),
};

static struct json_object *list_to_json(const struct strv *list)
{
	struct json_object *array = json_object_new_array_ext(list->n ? list->n : 1);
	size_t i;

	for (i = 0; i < list->n; i++)
		json_object_array_add(array, json_object_new_string(list->v[i]));
	return array;
}

static struct json_object *field_to_json(const struct field *f, const struct sandbox_record *r)
{
	const void *at = (const char *)r + f->offset;

	switch (f->kind) {
	case STRING: return *(char *const *)at ? json_object_new_string(*(char *const *)at) : NULL;
	case LIST: return list_to_json(at);
	case I64: return json_object_new_int64(*(const int64_t *)at);
	case U64: return json_object_new_uint64(*(const uint64_t *)at);
	case INT: return json_object_new_int(*(const int *)at);
	case U32: return json_object_new_int64(*(const uint32_t *)at);
	case BOOL: return json_object_new_boolean(*(const bool *)at);
	}
	return NULL;
}

char *sandbox_record_to_json(const struct sandbox_record *r)
{
	struct json_object *o = json_object_new_object();
	char *text;
	size_t i;

	json_object_object_add(o, "id", json_object_new_string(r->id));
	json_object_object_add(o, "status", json_object_new_string(sandbox_status_names[r->status]));
	for (i = 0; i < ARRAY_SIZE(fields); i++)
		json_object_object_add(o, fields[i].key, field_to_json(&fields[i], r));
	text = xstrdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
	return text;
}

static int field_from_json(const struct field *f, const struct json_node *root, struct sandbox_record *r, struct err *e)
{
	void *at = (char *)r + f->offset;
	char **list = NULL;
	uint64_t u = 0;
	int64_t i = 0;
	size_t n;
	int q;

	switch (f->kind) {
	case STRING: return json_get_string(root, f->key, at, e);
	case BOOL: return json_get_bool(root, f->key, at, NULL, e);
	case I64: return json_get_i64(root, f->key, INT64_MIN, INT64_MAX, at, NULL, e);
	case U64: return json_get_u64(root, f->key, 0, UINT64_MAX, at, NULL, e);
	case INT:
		q = json_get_i64(root, f->key, INT32_MIN, INT32_MAX, &i, NULL, e);
		*(int *)at = (int)i;
		return q;
	case U32:
		q = json_get_u64(root, f->key, 0, UINT32_MAX, &u, NULL, e);
		*(uint32_t *)at = (uint32_t)u;
		return q;
	case LIST:
		q = json_get_strings(root, f->key, RECORD_STRINGS_MAX, &list, &n, e);
		strv_push_all(at, list);
		json_free_strings(list);
		return q;
	}
	return 0;
}

static int status_from_json(const struct json_node *root, struct sandbox_record *r, struct err *e)
{
	char *status = NULL;
	int q = json_get_string(root, "status", &status, e);
	size_t i;

	for (i = 0; !q && i < SANDBOX_STATUS_N; i++)
		if (str_eq(status, sandbox_status_names[i]))
			break;
	if (!q && i == SANDBOX_STATUS_N)
		q = err_set(e, EINVAL, "status '%s' is none of ours", status ? status : "");
	if (!q)
		r->status = i;
	free(status);
	return q;
}

int sandbox_record_from_json(const char *text, size_t len, struct sandbox_record *r, struct err *e)
{
	struct json_node root = { 0 };
	char *id = NULL;
	size_t i;
	int q;

	memset(r, 0, sizeof(*r));
	q = json_parse(text, len, 16 << 20, &root, e);
	if (!q)
		q = json_as_object(&root, e);
	if (!q)
		q = json_get_string(&root, "id", &id, e);
	if (!q && id && strlen(id) == STATE_ID_LEN)
		memcpy(r->id, id, STATE_ID_LEN);
	else if (!q)
		q = err_set(e, EINVAL, "no id");
	if (!q)
		q = status_from_json(&root, r, e);
	for (i = 0; !q && i < ARRAY_SIZE(fields); i++)
		q = field_from_json(&fields[i], &root, r, e);
	free(id);
	json_done(&root);
	if (q)
		sandbox_record_free(r);
	return q;
}
