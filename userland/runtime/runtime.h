/* SPDX-License-Identifier: Apache-2.0 */
/*
 * microvm-runtime: the command line that engines know from runc, over the sandbox library. A row of the table is a command: the
 * parser and the help text are made from it.
 */
#ifndef RUNTIME_RUNTIME_H
#define RUNTIME_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "cli/options.h"
#include "sandbox/sandbox.h"

#define RUNTIME_ROOT "/run/microvm-runtime"

/* What stands before the command. */
struct runtime_global {
	char *root;
	char *log, *log_format;
	char *rootless; /* taken, as engines give it */
	bool debug, systemd_cgroup, version;
};

struct runtime_command {
	const char *name;
	const char *synopsis;
	const char *help;
	const struct opt *opts;
	size_t opts_n, options_size;
	int min_args, max_args; /* max_args -1: any number */
	bool stops_at_argument;
	/* Exit status, or negative errno with e set. */
	int (*run)(const struct runtime_global *g, void *options, int argc, char **argv, struct err *e);
};

extern const struct runtime_command *const runtime_commands[];
extern const size_t runtime_commands_n;
int runtime_main(int argc, char **argv);

/* The container of that id, exactly, with the state that it is in. Both are the caller's. -ENOENT. */
int runtime_open(const struct runtime_global *g, const char *id, struct state **state, struct state_ref *ref,
		 struct err *e);
/* Calls fn with it. */
int runtime_with(const struct runtime_global *g, const char *id,
		 int (*fn)(struct state *state, struct state_ref *ref, void *arg, struct err *e), void *arg,
		 struct err *e);
/* The root's folder, as --root or the default has it. */
const char *runtime_root(const struct runtime_global *g);
/* -ENOTSUP if n is more than 0. */
int runtime_check_preserve_fds(int64_t n, struct err *e);
/* Prints, and frees, with a line's end. */
struct json_object;
int runtime_print_json(struct json_object *o, bool pretty, struct err *e);

/* One per file, or a few that go together. */
extern const struct runtime_command runtime_create, runtime_run, runtime_start, runtime_state, runtime_kill,
	runtime_delete, runtime_exec, runtime_list, runtime_ps, runtime_pause, runtime_resume, runtime_update,
	runtime_events, runtime_features, runtime_spec;

#endif
