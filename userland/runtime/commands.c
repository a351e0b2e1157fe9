/* SPDX-License-Identifier: Apache-2.0 */
/* The table of all commands, and what the program does with it. */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json_object.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "runtime/runtime.h"
#include "sandbox/state.h"

const struct runtime_command *const runtime_commands[] = {
	&runtime_create, &runtime_start,  &runtime_run,	   &runtime_exec,     &runtime_kill,
	&runtime_delete, &runtime_list,	  &runtime_state,  &runtime_ps,	      &runtime_update,
	&runtime_pause,	 &runtime_resume, &runtime_events, &runtime_features, &runtime_spec,
};
const size_t runtime_commands_n = ARRAY_SIZE(runtime_commands);

#define AT(member) offsetof(struct runtime_global, member)

static const struct opt global_opts[] = {
	{ "root", 0, OPT_STRING, WORD_FILE, "DIR", "containers are kept there (" RUNTIME_ROOT ")", AT(root) },
	{ "log", 0, OPT_STRING, WORD_FILE, "FILE", "what is said on stderr goes there, too", AT(log) },
	{ "log-format", 0, OPT_STRING, 0, "FORMAT", "of the log: text or json", AT(log_format) },
	{ "systemd-cgroup", 0, OPT_FLAG, 0, NULL, "taken; linux.cgroupsPath says by its form what is meant",
	  AT(systemd_cgroup) },
	{ "rootless", 0, OPT_STRING, 0, "BOOL", "taken; root is needed in any case", AT(rootless) },
	{ "debug", 0, OPT_FLAG, 0, NULL, "say more", AT(debug) },
	{ "version", 'v', OPT_FLAG, 0, NULL, "print the version", AT(version) },
};

const char *runtime_root(const struct runtime_global *g)
{
	return g->root ? g->root : RUNTIME_ROOT;
}

int runtime_open(const struct runtime_global *g, const char *id, struct state **state, struct state_ref *ref,
		 struct err *e)
{
	int r;

	if (!state_name_valid(id))
		return err_set(e, EINVAL, "container id '%s': letters, digits, '_', '.' and '-' make one, at most %u",
			       id, STATE_NAME_MAX);
	r = state_open(runtime_root(g), state, e);
	if (r)
		return r;
	r = state_find(*state, id, ref, e);
	/* The library takes the beginning of its own ids, too. */
	if (!r && !str_eq(ref->record.name, id)) {
		state_ref_free(ref);
		r = -ENOENT;
	}
	if (r == -ENOENT || r == -EEXIST)
		r = err_set(e, ENOENT, "container %s does not exist", id);
	if (r)
		state_close(*state);
	return r;
}

int runtime_with(const struct runtime_global *g, const char *id,
		 int (*fn)(struct state *state, struct state_ref *ref, void *arg, struct err *e), void *arg,
		 struct err *e)
{
	struct state_ref ref;
	struct state *state;
	int r = runtime_open(g, id, &state, &ref, e);

	if (r)
		return r;
	r = fn(state, &ref, arg, e);
	state_ref_free(&ref);
	state_close(state);
	return r;
}

int runtime_check_preserve_fds(int64_t n, struct err *e)
{
	return n > 0 ? err_set(e, ENOTSUP, "--preserve-fds %lld: a guest can't have open files of the host",
			       (long long)n)
		     : 0;
}

int runtime_print_json(struct json_object *o, bool pretty, struct err *e)
{
	puts(json_object_to_json_string_ext(
		o, JSON_C_TO_STRING_NOSLASHESCAPE | (pretty ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED : 0)));
	json_object_put(o);
	return fflush(stdout) ? err_errno(e, errno, "stdout") : 0;
}

static void print_help(const struct runtime_command *c)
{
	size_t i;

	if (c) {
		printf("usage: microvm-runtime %s%s %s\n\n%s\n", c->name, c->opts_n ? " [OPTION…]" : "", c->synopsis,
		       c->help);
		if (c->opts_n)
			printf("\noptions:\n");
		cli_print_options(c->opts, c->opts_n);
		return;
	}
	printf("usage: microvm-runtime [OPTION…] COMMAND [ARG…]\n\nOCI containers for engines, each in a microVM of "
	       "its "
	       "own\n\ncommands:\n");
	for (i = 0; i < runtime_commands_n; i++)
		printf("  %-10s %s\n", runtime_commands[i]->name, runtime_commands[i]->help);
	printf("\noptions:\n");
	cli_print_options(global_opts, ARRAY_SIZE(global_opts));
	printf("\n'microvm-runtime COMMAND --help' tells more; so does microvm-runtime(1).\n");
}

static const struct runtime_command *find(const char *name)
{
	size_t i;

	for (i = 0; i < runtime_commands_n; i++)
		if (str_eq(runtime_commands[i]->name, name))
			return runtime_commands[i];
	return NULL;
}

static int run_command(const struct runtime_global *g, const struct runtime_command *c, int argc, char **argv,
		       struct err *e)
{
	void *options = xcalloc(1, c->options_size + 1);
	bool help = false;
	int rest, r = cli_parse(c->opts, c->opts_n, options, c->stops_at_argument, argc, argv, &rest, &help, e);

	if (!r && help)
		print_help(c);
	else if (!r && (rest < c->min_args || (c->max_args >= 0 && rest > c->max_args)))
		r = err_set(e, EINVAL, "%s takes %s; see microvm-runtime %s --help", c->name,
			    *c->synopsis ? c->synopsis : "no arguments", c->name);
	else if (!r)
		r = c->run(g, options, rest, argv, e);
	cli_options_free(c->opts, c->opts_n, options);
	free(options);
	if (e->code)
		log_error("%s", e->msg);
	return r < 0 ? 1 : r;
}

/* Whoever closed one of the first three would find our files under its number; what else was open is not ours. */
static void tidy_fds(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= 2);
	close_range(3, ~0u, 0);
}

static int open_log(const struct runtime_global *g, struct err *e)
{
	bool json = str_eq(g->log_format, "json");
	int fd;

	if (g->log_format && !json && !str_eq(g->log_format, "text"))
		return err_set(e, EINVAL, "--log-format '%s': there are text and json", g->log_format);
	if (!g->log)
		return 0;
	fd = open(g->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_errno(e, errno, "--log %s", g->log);
	log_copy_to_fd(fd, json);
	return 0;
}

int runtime_main(int argc, char **argv)
{
	struct runtime_global g = { 0 };
	const struct runtime_command *c = NULL;
	struct err e = ERR_INIT;
	bool help = false;
	int rest, status = 1;

	tidy_fds();
	log_init("microvm-runtime", LOG_WARN);
	/* A reader that went away is an error of that write, not our end. */
	signal(SIGPIPE, SIG_IGN);
	if (cli_parse(global_opts, ARRAY_SIZE(global_opts), &g, true, argc - 1, argv + 1, &rest, &help, &e) ||
	    open_log(&g, &e)) {
		log_error("%s", e.msg);
		return 1;
	}
	argv++;
	if (g.debug)
		log_init("microvm-runtime", LOG_DEBUG);
	if (g.version) {
		puts("microvm-runtime version " MICROVM_VERSION "\nspec: 1.1.0");
		status = 0;
	} else if (help || !rest || str_eq(argv[0], "help")) {
		print_help(rest > 1 ? find(argv[1]) : NULL);
		status = help || rest ? 0 : 1;
	} else if (!(c = find(argv[0]))) {
		log_error("'%s' is no command; microvm-runtime --help lists them", argv[0]);
	} else {
		status = run_command(&g, c, rest - 1, argv + 1, &e);
	}
	cli_options_free(global_opts, ARRAY_SIZE(global_opts), &g);
	if (fflush(stdout) && !status)
		status = 1;
	return status;
}
