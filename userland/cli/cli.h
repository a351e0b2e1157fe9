/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line as tables: one row per command, one row per option. A row is what the parser, the help text and the
 * shell's completion are made from, so that none of them knows an option that the others don't.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "cli/options.h"

/* What stands before the command. */
struct cli_global {
	char *state, *store;
	bool debug, timings, version, help;
};

struct command {
	const char *name;
	const char *synopsis; /* of the arguments behind the options */
	const char *help;
	const struct opt *opts;
	size_t opts_n;
	size_t options_size;	/* of the struct that opts fill */
	const void *defaults;	/* of that size; NULL: zeros */
	uint8_t word;		/* enum word_kind of its arguments */
	int min_args, max_args; /* max_args -1: any number */
	bool stops_at_argument; /* options behind the first argument belong to it (run, exec) */
	bool hidden;
	int fail_status; /* exit status when run() fails with an error of ours */
	/* Exit status, or negative errno with e set. argv is NULL-terminated. */
	int (*run)(const struct cli_global *global, void *options, int argc, char **argv, struct err *e);
};

extern const struct command *const *const cli_commands; /* in the help text's order */
extern const size_t cli_commands_n;
const struct command *cli_command_find(const char *name);

extern const struct opt cli_global_opts[];
extern const size_t cli_global_opts_n;

void cli_print_help(const struct command *command); /* NULL: of the program */
void cli_complete(int argc, char **argv);

/* The whole program; returns the exit status. */
int cli_main(int argc, char **argv);

/* Tables of fields for people (aligned columns, header) or one JSON object a line, as docker's --format has them. */
enum format { FORMAT_TABLE, FORMAT_JSON };
/* NULL is the table. */
int format_parse(const char *text, enum format *format, struct err *e);
struct table;
struct table *table_new(enum format format, const char *const *columns, size_t columns_n);
/* The next field of the row, copied; a row is full after columns_n fields. NULL is "". */
void table_add(struct table *t, const char *value);
void table_addf(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints to stdout and frees. Negative errno when stdout does not take it. */
int table_print(struct table *t, struct err *e);
void table_free(struct table *t);
/* "3 minutes ago", "12.3MB": as docker says them. */
void format_ago(int64_t since_s, char *buf, size_t size);
void format_span(int64_t seconds, char *buf, size_t size);
void format_time(int64_t since_s, char *buf, size_t size); /* "2024-05-01 12:00:00 +0000 UTC" */
void format_bytes(uint64_t bytes, char *buf, size_t size);

/* One per file. */
extern const struct command cmd_run, cmd_exec, cmd_ps, cmd_inspect, cmd_logs, cmd_stats, cmd_update, cmd_kill, cmd_stop,
	cmd_wait, cmd_rm, cmd_images, cmd_rmi, cmd_volume, cmd_check, cmd_version, cmd_complete;

#endif
