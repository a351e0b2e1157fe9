/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stddef.h>

#include "base/util.h"
#include "cli/cli.h"
#include "sandbox/sandbox.h"

#define AT(member) offsetof(struct process_options, member)

static const struct opt opts[] = {
	{ "interactive", 'i', OPT_FLAG, 0, NULL, "connect its stdin to ours", AT(interactive) },
	{ "tty", 't', OPT_FLAG, 0, NULL, "give it a terminal", AT(tty) },
	{ "detach", 'd', OPT_FLAG, 0, NULL, "leave it in the background", AT(detach) },
	{ "env", 'e', OPT_LIST, 0, "K=V", "set a variable; K alone passes ours on", AT(env) },
	{ "env-file", 0, OPT_LIST, WORD_FILE, "FILE", "variables from a file, one a line", AT(env_file) },
	{ "workdir", 'w', OPT_STRING, 0, "DIR", "working directory", AT(workdir) },
	{ "user", 'u', OPT_STRING, 0, "USER", "NAME|UID[:GROUP|GID]", AT(user) },
	{ "privileged", 0, OPT_FLAG, 0, NULL, "all capabilities", AT(privileged) },
};

static int run(const struct cli_global *global, void *options, int argc, char **argv, struct err *e)
{
	struct state_ref ref;
	struct state *state;
	int r;

	r = state_open(global->state, &state, e);
	if (r)
		return r;
	r = state_find(state, argv[0], &ref, e);
	if (!r) {
		r = sandbox_exec(&ref, options, argv + 1, e);
		state_ref_free(&ref);
	}
	state_close(state);
	return r;
}

const struct command cmd_exec = {
	.name = "exec",
	.synopsis = "SANDBOX COMMAND [ARG…]",
	.help = "run a further command in a running container",
	.opts = opts,
	.opts_n = ARRAY_SIZE(opts),
	.options_size = sizeof(struct process_options),
	.word = WORD_RUNNING,
	.min_args = 2,
	.max_args = -1,
	.stops_at_argument = true,
	.fail_status = 1,
	.run = run,
};
