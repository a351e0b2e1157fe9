/* SPDX-License-Identifier: Apache-2.0 */
/* kill, stop, wait, rm, update: what is done to one sandbox after the other, each named on stdout when it is done. */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "cli/cli.h"
#include "oci/defaults.h"
#include "sandbox/resources.h"
#include "sandbox/sandbox.h"
#include "sandbox/volumes.h"

typedef int each_fn(struct state *state, struct state_ref *ref, const void *options, struct err *e);

/* Goes on after a failure, as docker does; 1 if there was one. missing_ok: one that isn't there is no failure. */
static int for_each(const struct cli_global *global, int argc, char **argv, each_fn *fn, const void *options,
		    bool print_name, bool missing_ok, struct err *e)
{
	struct state *state;
	int i, r, failed = 0;

	r = state_open(global->state, &state, e);
	if (r)
		return r;
	for (i = 0; i < argc; i++) {
		struct err why = ERR_INIT;
		struct state_ref ref;

		r = state_find(state, argv[i], &ref, &why);
		if (!r) {
			r = fn(state, &ref, options, &why);
			state_ref_free(&ref);
		} else if (r == -ENOENT && missing_ok) {
			continue;
		}
		if (r) {
			log_error("%s", why.msg);
			failed = 1;
		} else if (print_name) {
			puts(argv[i]);
		}
	}
	state_close(state);
	return failed;
}

struct kill_options {
	char *signal;
};

static const struct opt kill_opts[] = {
	{ "signal", 's', OPT_STRING, 0, "SIGNAL", "name or number (SIGKILL)", offsetof(struct kill_options, signal) },
};

static int kill_one(struct state *state, struct state_ref *ref, const void *options, struct err *e)
{
	const struct kill_options *o = options;
	int number = SIGKILL;

	if (o->signal && oci_signal_parse(o->signal, &number, e))
		return -e->code;
	return sandbox_signal(ref, number, e);
}

static int kill_run(const struct cli_global *global, void *options, int argc, char **argv, struct err *e)
{
	return for_each(global, argc, argv, kill_one, options, true, false, e);
}

const struct command cmd_kill = {
	.name = "kill",
	.synopsis = "SANDBOX…",
	.help = "send a signal to the container",
	.opts = kill_opts,
	.opts_n = ARRAY_SIZE(kill_opts),
	.options_size = sizeof(struct kill_options),
	.word = WORD_RUNNING,
	.min_args = 1,
	.max_args = -1,
	.fail_status = 1,
	.run = kill_run,
};

struct stop_options {
	uint64_t timeout_ns;
};

static const struct opt stop_opts[] = {
	{ "time", 't', OPT_DURATION, 0, "TIME", "how long it may take before it is killed (10s)",
	  offsetof(struct stop_options, timeout_ns) },
	{ "timeout", 0, OPT_DURATION, 0, "TIME", "the same", offsetof(struct stop_options, timeout_ns) },
};

static const struct stop_options stop_defaults = { .timeout_ns = UINT64_MAX };

static int stop_one(struct state *state, struct state_ref *ref, const void *options, struct err *e)
{
	const struct stop_options *o = options;

	return sandbox_stop(ref, o->timeout_ns, e);
}

static int stop_run(const struct cli_global *global, void *options, int argc, char **argv, struct err *e)
{
	return for_each(global, argc, argv, stop_one, options, true, false, e);
}

const struct command cmd_stop = {
	.name = "stop",
	.synopsis = "SANDBOX…",
	.help = "ask containers to stop, then kill them",
	.opts = stop_opts,
	.opts_n = ARRAY_SIZE(stop_opts),
	.options_size = sizeof(struct stop_options),
	.defaults = &stop_defaults,
	.word = WORD_RUNNING,
	.min_args = 1,
	.max_args = -1,
	.fail_status = 1,
	.run = stop_run,
};

static int wait_one(struct state *state, struct state_ref *ref, const void *options, struct err *e)
{
	int status = state_wait(ref, e);

	if (status < 0)
		return status;
	printf("%d\n", status);
	fflush(stdout);
	return 0;
}

static int wait_run(const struct cli_global *global, void *options, int argc, char **argv, struct err *e)
{
	return for_each(global, argc, argv, wait_one, NULL, false, false, e);
}

const struct command cmd_wait = {
	.name = "wait",
	.synopsis = "SANDBOX…",
	.help = "wait until containers end, print their exit statuses",
	.word = WORD_CONTAINER,
	.min_args = 1,
	.max_args = -1,
	.fail_status = 1,
	.run = wait_run,
};

struct rm_options {
	bool force, volumes;
	const char *store;
};

static const struct opt rm_opts[] = {
	{ "force", 'f', OPT_FLAG, 0, NULL, "end it first if it runs", offsetof(struct rm_options, force) },
	{ "volumes", 'v', OPT_FLAG, 0, NULL, "with the volumes that were made for it without a name",
	  offsetof(struct rm_options, volumes) },
};

static int rm_one(struct state *state, struct state_ref *ref, const void *options, struct err *e)
{
	const struct rm_options *o = options;
	size_t i;
	int r;

	if (o->force && ref->alive) {
		r = sandbox_kill_vm(ref, e);
		/* With --rm its supervisor has removed it already. */
		if (r || ref->record.remove)
			return r;
	}
	r = state_remove(state, ref, e);
	for (i = 0; !r && o->volumes && i < ref->record.anonymous.n; i++) {
		r = volume_remove(o->store, ref->record.anonymous.v[i], e);
		/* Gone is gone; one that somebody else has begun to use is theirs. */
		if (r == -ENOENT || r == -EBUSY)
			r = 0;
	}
	return r;
}

static int rm_run(const struct cli_global *global, void *options, int argc, char **argv, struct err *e)
{
	const struct sandbox_paths paths = { .state = global->state, .store = global->store };
	struct rm_options *o = options;

	o->store = sandbox_store_path(&paths);
	return for_each(global, argc, argv, rm_one, options, true, o->force, e);
}

const struct command cmd_rm = {
	.name = "rm",
	.synopsis = "SANDBOX…",
	.help = "remove sandboxes that have ended",
	.opts = rm_opts,
	.opts_n = ARRAY_SIZE(rm_opts),
	.options_size = sizeof(struct rm_options),
	.word = WORD_CONTAINER,
	.min_args = 1,
	.max_args = -1,
	.fail_status = 1,
	.run = rm_run,
};

static const struct opt update_opts[] = {
	{ "memory", 'm', OPT_SIZE, 0, "SIZE", "what the VM is to do with, of what it was made with",
	  offsetof(struct resource_update, mem_bytes) },
	{ "cpus", 0, OPT_CPUS, 0, "N", "of those that its VM has", offsetof(struct resource_update, nano_cpus) },
	{ "pids-limit", 0, OPT_NUMBER, 0, "N", "most processes in the container; -1: any number",
	  offsetof(struct resource_update, pids_limit) },
};

static int update_one(struct state *state, struct state_ref *ref, const void *options, struct err *e)
{
	return sandbox_update(ref, options, e);
}

static int update_run(const struct cli_global *global, void *options, int argc, char **argv, struct err *e)
{
	const struct resource_update *u = options;

	if (!u->mem_bytes && !u->nano_cpus && !u->pids_limit)
		return err_set(e, EINVAL, "what is to change? --memory, --cpus or --pids-limit says so");
	return for_each(global, argc, argv, update_one, u, true, false, e);
}

const struct command cmd_update = {
	.name = "update",
	.synopsis = "SANDBOX…",
	.help = "change what running sandboxes may use",
	.opts = update_opts,
	.opts_n = ARRAY_SIZE(update_opts),
	.options_size = sizeof(struct resource_update),
	.word = WORD_RUNNING,
	.min_args = 1,
	.max_args = -1,
	.fail_status = 1,
	.run = update_run,
};
