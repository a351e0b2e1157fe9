/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OCI runtime spec 1.x, Linux, checked: config.json in, the agent's Spec message out. The message is the only definition
 * of a checked spec; what can't be honoured in a guest is refused here, by the name it has in config.json.
 */
#ifndef OCI_SPEC_H
#define OCI_SPEC_H

#include <stddef.h>

#include "base/err.h"
#include "guest-agent/agent.pb-c.h"

#define OCI_SPEC_MAX (4u << 20) /* bytes of config.json */

/*
 * Parses len bytes of config.json. On success *out is the caller's (oci_spec_free). Names the place by its JSON path:
 * "process.args[2]: expected string, got integer". -EINVAL: malformed, -ERANGE, -E2BIG: over a limit,
 * -ENOTSUP: valid, but nothing that a guest can do. Unknown members are ignored, as the spec demands.
 */
int oci_spec_parse(const char *json, size_t len, Microvm__Spec **out, struct err *e);
/*
 * The same for a caller that has an engine's bundle: prestart and createRuntime hooks are taken, too, as they are the caller's to
 * run, and so is a host name without a uts namespace, as it looks at what is missing itself.
 */
int oci_spec_parse_hooked(const char *json, size_t len, Microvm__Spec **out, struct err *e);

/* The same for a `process` object on its own, as `exec --process FILE` and containerd's Exec have it. */
int oci_process_parse(const char *json, size_t len, Microvm__Process **out, struct err *e);

/* The same for a `linux.resources` object on its own, as `update --resources FILE` has it. */
int oci_resources_parse(const char *json, size_t len, Microvm__Resources **out, struct err *e);

void oci_spec_free(Microvm__Spec *spec); /* NULL is fine, here and below */
void oci_process_free(Microvm__Process *process);
void oci_resources_free(Microvm__Resources *resources);

#endif
