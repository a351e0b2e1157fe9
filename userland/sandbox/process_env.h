/* SPDX-License-Identifier: Apache-2.0 */
/* --env and --env-file to a list for the OCI room: "K=V" sets, "K" alone takes away. */
#ifndef SANDBOX_PROCESS_ENV_H
#define SANDBOX_PROCESS_ENV_H

#include "base/err.h"
#include "sandbox/options.h"

#define ENV_FILE_MAX (1u << 20)

/* Reads the files (later ones win), then the options; names without a value take ours. out is empty before. */
int process_env(const struct process_options *o, struct strv *out, struct err *e);
/* The lines of one file, len bytes of text; `path` is for complaints. Pure. */
int process_env_file(const char *path, char *text, size_t len, struct strv *out, struct err *e);

#endif
