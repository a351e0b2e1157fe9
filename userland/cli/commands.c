/* SPDX-License-Identifier: Apache-2.0 */
/* The table of all commands, and what the program does with it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "cli/cli.h"

static const struct command *const table[] = {
	&cmd_run,  &cmd_exec, &cmd_ps,	   &cmd_logs, &cmd_inspect, &cmd_stats, &cmd_update,  &cmd_kill,     &cmd_stop,
	&cmd_wait, &cmd_rm,   &cmd_images, &cmd_rmi,  &cmd_volume,  &cmd_check, &cmd_version, &cmd_complete,
};

const struct command *const *const cli_commands = table;
const size_t cli_commands_n = ARRAY_SIZE(table);

const struct opt cli_global_opts[] = {
	{ "state", 0, OPT_STRING, WORD_FILE, "DIR", "what runs is kept there (MICROVM_STATE, /run/microvm)",
	  offsetof(struct cli_global, state) },
	{ "store", 0, OPT_STRING, WORD_FILE, "DIR", "images are kept there (MICROVM_STORE, /var/lib/microvm)",
	  offsetof(struct cli_global, store) },
	{ "timings", 0, OPT_FLAG, 0, NULL, "say how long each stage of a run took (MICROVM_TIMINGS)",
	  offsetof(struct cli_global, timings) },
	{ "debug", 'D', OPT_FLAG, 0, NULL, "say more on stderr", offsetof(struct cli_global, debug) },
	{ "version", 'v', OPT_FLAG, 0, NULL, "print the version", offsetof(struct cli_global, version) },
};
const size_t cli_global_opts_n = ARRAY_SIZE(cli_global_opts);

const struct command *cli_command_find(const char *name)
{
	size_t i;

	for (i = 0; i < cli_commands_n; i++)
		if (str_eq(cli_commands[i]->name, name))
			return cli_commands[i];
	return NULL;
}

static int check_args(const struct command *c, int argc, struct err *e)
{
	if (argc < c->min_args)
		return err_set(e, EINVAL, "%s wants %s; see microvm %s --help", c->name, c->synopsis, c->name);
	if (c->max_args >= 0 && argc > c->max_args)
		return err_set(e, EINVAL, "%s takes %s; see microvm %s --help", c->name,
			       c->max_args ? c->synopsis : "no arguments", c->name);
	return 0;
}

static int run_command(const struct cli_global *global, const struct command *c, int argc, char **argv, struct err *e)
{
	void *options = xcalloc(1, c->options_size);
	bool help = false;
	int rest = argc, r = 0;

	if (c->defaults)
		memcpy(options, c->defaults, c->options_size);
	if (!c->hidden)
		r = cli_parse(c->opts, c->opts_n, options, c->stops_at_argument, argc, argv, &rest, &help, e);
	if (!r && help)
		cli_print_help(c);
	else if (!r && !(r = check_args(c, rest, e)))
		r = c->run(global, options, rest, argv, e);
	cli_options_free(c->opts, c->opts_n, options);
	free(options);
	/* A status of ours with a reason is said; a container's own has none. */
	if (e->code)
		log_error("%s", e->msg);
	return r < 0 ? c->fail_status : r;
}

/* Whoever closed one of the first three would find our files under its number. */
static void open_standard_fds(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
}

int cli_main(int argc, char **argv)
{
	struct cli_global global = { 0 };
	struct err e = ERR_INIT;
	const struct command *c;
	const char *timings = getenv("MICROVM_TIMINGS");
	bool help = false;
	int rest, status;

	open_standard_fds();
	log_init("microvm", LOG_WARN);
	/* A reader that went away is an error of that write, not our end. */
	signal(SIGPIPE, SIG_IGN);
	if (cli_parse(cli_global_opts, cli_global_opts_n, &global, true, argc - 1, argv + 1, &rest, &help, &e)) {
		log_error("%s", e.msg);
		return 125;
	}
	argv++;
	if (global.debug)
		log_init("microvm", LOG_DEBUG);
	if (timings && *timings && !str_eq(timings, "0"))
		global.timings = true;
	if (global.version) {
		puts("microvm " MICROVM_VERSION);
		status = 0;
	} else if (help || !rest || str_eq(argv[0], "help")) {
		c = rest > 1 ? cli_command_find(argv[1]) : NULL;
		cli_print_help(c);
		status = help || rest ? 0 : 1;
	} else if (!(c = cli_command_find(argv[0]))) {
		log_error("'%s' is no command; microvm --help lists them", argv[0]);
		status = 125;
	} else {
		status = run_command(&global, c, rest - 1, argv + 1, &e);
	}
	cli_options_free(cli_global_opts, cli_global_opts_n, &global);
	if (fflush(stdout) && !status)
		status = 1;
	return status;
}
