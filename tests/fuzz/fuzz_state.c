/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the front end reads as text: a sandbox's record, an --env-file, a command line. The first byte chooses. A record
 * that was taken must come back the same from its own JSON.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/util.h"
#include "cli/cli.h"
#include "sandbox/options.h"
#include "sandbox/process_env.h"
#include "sandbox/state.h"

#define WORDS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void record(const char *text, size_t len)
{
	struct sandbox_record r, back;
	struct err e = ERR_INIT;
	char *once, *twice;

	if (sandbox_record_from_json(text, len, &r, &e))
		return;
	once = sandbox_record_to_json(&r);
	if (sandbox_record_from_json(once, strlen(once), &back, &e))
		abort();
	twice = sandbox_record_to_json(&back);
	if (!str_eq(once, twice))
		abort();
	free(once);
	free(twice);
	sandbox_record_free(&r);
	sandbox_record_free(&back);
}

static void command_line(char *text, size_t len)
{
	struct run_options o = RUN_OPTIONS_INIT;
	struct err e = ERR_INIT;
	char *words[WORDS_MAX + 1];
	int n = 0, rest = 0;
	bool help = false;
	size_t at;

	/* Words end with a NUL, as those of a process do. */
	for (at = 0; at < len && n < WORDS_MAX; at += strlen(text + at) + 1)
		words[n++] = text + at;
	words[n] = NULL;
	if (!cli_parse(cmd_run.opts, cmd_run.opts_n, &o, true, n, words, &rest, &help, &e) && (rest < 0 || rest > n))
		abort();
	cli_options_free(cmd_run.opts, cmd_run.opts_n, &o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct strv env = { 0 };
	struct err e = ERR_INIT;
	char *text;

	if (!size)
		return 0;
	text = xcalloc(size, 1);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	switch (data[0]) {
	case 'r': record(text, size - 1); break;
	case 'e':
		process_env_file("file", text, size - 1, &env, &e);
		strv_clear(&env);
		break;
	default: command_line(text, size - 1); break;
	}
	free(text);
	return 0;
}
