/* SPDX-License-Identifier: Apache-2.0 */
/* Help texts and completion: both read the tables. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "cli/cli.h"
#include "image/image.h"
#include "sandbox/state.h"

void cli_print_help(const struct command *c)
{
	size_t i;

	if (c) {
		printf("usage: microvm %s%s %s\n\n%s\n", c->name, c->opts_n ? " [OPTION…]" : "", c->synopsis, c->help);
		if (c->opts_n)
			printf("\noptions:\n");
		cli_print_options(c->opts, c->opts_n);
		return;
	}
	printf("usage: microvm [OPTION…] COMMAND [ARG…]\n\ncontainers, each in a microVM of its own\n\ncommands:\n");
	for (i = 0; i < cli_commands_n; i++)
		if (!cli_commands[i]->hidden)
			printf("  %-10s %s\n", cli_commands[i]->name, cli_commands[i]->help);
	printf("\noptions:\n");
	cli_print_options(cli_global_opts, cli_global_opts_n);
	printf("\nimages:\n");
	for (i = 0; i < IMAGE_TRANSPORTS; i++)
		printf("  %-30s %s\n", image_transports[i].syntax, image_transports[i].help);
	printf("\n'microvm COMMAND --help' tells more; so does microvm(1).\n");
}

/* ---- completion: `microvm __complete WORD…` prints what the last word may be, one a line ------------------------ */

static void offer(const char *word, const char *prefix)
{
	if (str_starts(word, prefix))
		puts(word);
}

static void offer_sandboxes(const char *prefix, bool running_only)
{
	struct err e = ERR_INIT;
	struct state_ref *list;
	struct state *state;
	size_t n, i;

	if (state_open(NULL, &state, &e))
		return;
	if (!state_list(state, &list, &n, &e)) {
		for (i = 0; i < n; i++)
			if (list[i].alive || !running_only)
				offer(list[i].record.name, prefix);
		state_list_free(list, n);
	}
	state_close(state);
}

static void offer_images(const char *prefix)
{
	struct image_store *store;
	struct image_info *list;
	struct err e = ERR_INIT;
	size_t n, i;

	for (i = 0; i < IMAGE_TRANSPORTS; i++) {
		char word[64];

		if (i == IMAGE_STORED)
			continue;
		snprintf(word, sizeof(word), "%s:", image_transports[i].name);
		offer(word, prefix);
	}
	if (geteuid() || access(IMAGE_STORE_DEFAULT, F_OK) || image_store_open(IMAGE_STORE_DEFAULT, &store, &e))
		return;
	if (!image_list(store, &list, &n, &e)) {
		for (i = 0; i < n; i++) {
			char word[4096];

			if (!list[i].repository)
				continue;
			snprintf(word, sizeof(word), "%s%s%s", list[i].repository, list[i].tag ? ":" : "",
				 list[i].tag ? list[i].tag : "");
			offer(word, prefix);
		}
		image_list_free(list, n);
	}
	image_store_close(store);
}

static void offer_word(enum word_kind kind, const char *prefix)
{
	size_t i;

	switch (kind) {
	case WORD_COMMAND:
		for (i = 0; i < cli_commands_n; i++)
			if (!cli_commands[i]->hidden)
				offer(cli_commands[i]->name, prefix);
		break;
	case WORD_CONTAINER: offer_sandboxes(prefix, false); break;
	case WORD_RUNNING: offer_sandboxes(prefix, true); break;
	case WORD_IMAGE: offer_images(prefix); break;
	case WORD_FORMAT:
		offer("json", prefix);
		offer("table", prefix);
		break;
	case WORD_ROOT_DEVICE:
		offer("blk", prefix);
		offer("pmem", prefix);
		break;
	case WORD_FILE:
	case WORD_ANY: break; /* the shell's own */
	}
}

static void offer_options(const struct opt *opts, size_t n, const char *prefix)
{
	size_t i;

	for (i = 0; i < n; i++) {
		char word[64];

		snprintf(word, sizeof(word), "--%s", opts[i].name);
		if (opts[i].kind != OPT_REFUSED)
			offer(word, prefix);
	}
	offer("--help", prefix);
}

/* The option that word is, if it takes its value from the next word. */
static const struct opt *option_with_value(const struct opt *opts, size_t n, const char *word)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (opts[i].kind == OPT_FLAG || opts[i].kind == OPT_REFUSED)
			continue;
		if (str_starts(word, "--")
			    ? str_eq(word + 2, opts[i].name)
			    : word[0] == '-' && opts[i].letter && word[strlen(word) - 1] == opts[i].letter)
			return &opts[i];
	}
	return NULL;
}

void cli_complete(int argc, char **argv)
{
	const struct command *c = NULL;
	const struct opt *opts = cli_global_opts, *o;
	size_t n = cli_global_opts_n;
	const char *last = argc ? argv[argc - 1] : "";
	int i, args = 0;

	for (i = 0; i < argc - 1; i++) {
		if (argv[i][0] == '-') {
			o = option_with_value(opts, n, argv[i]);
			if (o && i == argc - 2) {
				offer_word(o->word, last);
				return;
			}
			i += o != NULL;
		} else if (!c) {
			c = cli_command_find(argv[i]);
			if (!c)
				return;
			opts = c->opts;
			n = c->opts_n;
		} else {
			args++;
		}
	}
	if (last[0] == '-' && !(c && c->stops_at_argument && args))
		offer_options(opts, n, last);
	else if (!c)
		offer_word(WORD_COMMAND, last);
	else if (c->max_args < 0 && !c->stops_at_argument)
		offer_word(c->word, last);
	else if (!args)
		offer_word(c->word, last);
}

static int complete_run(const struct cli_global *global, void *options, int argc, char **argv, struct err *e)
{
	cli_complete(argc, argv);
	return 0;
}

const struct command cmd_complete = {
	.name = "__complete",
	.synopsis = "WORD…",
	.help = "what the last word may be",
	.max_args = -1,
	.hidden = true,
	.fail_status = 1,
	.run = complete_run,
};
