/* SPDX-License-Identifier: Apache-2.0 */
/* An engine's container as the OCI runtime spec's "State" has it. */
#ifndef SANDBOX_OCI_STATE_H
#define SANDBOX_OCI_STATE_H

#include <json-c/json_object.h>

#include "sandbox/state.h"

/* "paused" is runc's, and what engines look for. */
enum oci_status { OCI_CREATING, OCI_CREATED, OCI_RUNNING, OCI_PAUSED, OCI_STOPPED, OCI_STATUS_N };
extern const char *const oci_status_names[OCI_STATUS_N];

enum oci_status oci_status_of(const struct state_ref *ref);
/* ociVersion, id, status, pid (of the supervisor; 0 when stopped), bundle, annotations. The caller's. */
struct json_object *oci_state_json(const struct sandbox_record *r, enum oci_status status);
/* The same as text (malloc). */
char *oci_state_text(const struct sandbox_record *r, enum oci_status status);

#endif
