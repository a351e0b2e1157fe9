/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/oci_state.h"

#include <stdlib.h>
#include <string.h>

#include "base/util.h"

const char *const oci_status_names[OCI_STATUS_N] = {
	[OCI_CREATING] = "creating", [OCI_CREATED] = "created", [OCI_RUNNING] = "running",
	[OCI_PAUSED] = "paused",     [OCI_STOPPED] = "stopped",
};

enum oci_status oci_status_of(const struct state_ref *ref)
{
	if (!ref->alive)
		return OCI_STOPPED;
	switch (ref->record.status) {
	case SANDBOX_CREATED: return ref->record.init_pid ? OCI_CREATED : OCI_CREATING;
	case SANDBOX_RUNNING: return OCI_RUNNING;
	case SANDBOX_PAUSED: return OCI_PAUSED;
	default: return OCI_STOPPED;
	}
}

static struct json_object *annotations(const struct strv *list)
{
	struct json_object *o = json_object_new_object();
	size_t i;

	for (i = 0; i < list->n; i++) {
		const char *eq = strchr(list->v[i], '=');
		char *name = xstrndup(list->v[i], eq ? (size_t)(eq - list->v[i]) : strlen(list->v[i]));

		json_object_object_add(o, name, json_object_new_string(eq ? eq + 1 : ""));
		free(name);
	}
	return o;
}

struct json_object *oci_state_json(const struct sandbox_record *r, enum oci_status status)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "ociVersion", json_object_new_string(r->oci_version ? r->oci_version : "1.1.0"));
	json_object_object_add(o, "id", json_object_new_string(r->name));
	json_object_object_add(o, "status", json_object_new_string(oci_status_names[status]));
	json_object_object_add(o, "pid", json_object_new_int(status == OCI_STOPPED ? 0 : r->supervisor_pid));
	json_object_object_add(o, "bundle", json_object_new_string(r->bundle ? r->bundle : ""));
	json_object_object_add(o, "annotations", annotations(&r->annotations));
	return o;
}

char *oci_state_text(const struct sandbox_record *r, enum oci_status status)
{
	struct json_object *o = oci_state_json(r, status);
	char *text = xstrdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE));

	json_object_put(o);
	return text;
}
