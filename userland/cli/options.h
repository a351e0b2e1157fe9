/* SPDX-License-Identifier: Apache-2.0 */
/* Options as a table of rows, for this front end and for those of engines: parsed, and printed as help. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum opt_kind {
	OPT_FLAG,     /* bool; --name, --name=true, --name=false */
	OPT_STRING,   /* char *, owned by the parser's caller (cli_options_free) */
	OPT_LIST,     /* struct strv, may be given again */
	OPT_SIZE,     /* uint64_t bytes, base/util.h's parse_size */
	OPT_DURATION, /* uint64_t nanoseconds, parse_duration */
	OPT_NUMBER,   /* int64_t, -1 or more */
	OPT_CPUS,     /* uint64_t billionths of a CPU, at most 9 digits behind the point */
	OPT_REFUSED,  /* docker has it, we don't: help is the reason */
};

/* What stands where an argument or a value is expected: completion's source. */
enum word_kind {
	WORD_ANY,
	WORD_IMAGE,
	WORD_CONTAINER,
	WORD_RUNNING,
	WORD_FILE,
	WORD_COMMAND,
	WORD_FORMAT,
	WORD_ROOT_DEVICE
};

struct opt {
	const char *name;    /* without dashes */
	char letter;	     /* 0: none */
	uint8_t kind;	     /* enum opt_kind */
	uint8_t word;	     /* enum word_kind of the value */
	const char *metavar; /* value's name in help texts */
	const char *help;
	size_t offset; /* of the value in the command's options */
};

/*
 * Parses options at argv[0..argc-1] into *options; stops as `stops_at_argument` says, always behind "--". Arguments are
 * moved to the front of argv; *rest is their number. *help is set when -h or --help was there (nothing is then checked).
 */
int cli_parse(const struct opt *opts, size_t opts_n, void *options, bool stops_at_argument, int argc, char **argv,
	      int *rest, bool *help, struct err *e);
void cli_options_free(const struct opt *opts, size_t opts_n, void *options);
void cli_print_options(const struct opt *opts, size_t n);

#endif
