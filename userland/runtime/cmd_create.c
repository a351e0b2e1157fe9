/* SPDX-License-Identifier: Apache-2.0 */
/* create, run, start: a bundle becomes a sandbox, and its process runs. */
#include <errno.h>
#include <stddef.h>

#include "base/log.h"
#include "base/util.h"
#include "runtime/runtime.h"
#include "sandbox/bundle.h"
#include "sandbox/control.h"
#include "sandbox/hooks.h"
#include "sandbox/join.h"

struct create_options {
	char *bundle, *console_socket, *pid_file;
	int64_t preserve_fds;
	bool no_pivot, no_new_keyring;
	/* of run */
	bool detach, keep;
};

#define AT(member) offsetof(struct create_options, member)
#define CREATE_OPTS                                                                                                      \
	{ "bundle", 'b', OPT_STRING, WORD_FILE, "DIR", "the folder with config.json (.)", AT(bundle) },                  \
		{ "console-socket",  0, OPT_STRING, WORD_FILE, "FILE", "the terminal's master goes there",               \
		  AT(console_socket) },                                                                                  \
		{ "pid-file",  0, OPT_STRING, WORD_FILE, "FILE", "gets the pid of the container's process here",         \
		  AT(pid_file) },                                                                                        \
		{ "preserve-fds", 0, OPT_NUMBER, 0, "N", "0: a guest has no open files of the host", AT(preserve_fds) }, \
		{ "no-pivot", 0, OPT_FLAG, 0, NULL, "taken; a guest's root is pivoted to", AT(no_pivot) },               \
	{                                                                                                                \
		"no-new-keyring", 0, OPT_FLAG, 0, NULL, "taken; a guest's keys are its own", AT(no_new_keyring)          \
	}

static const struct opt create_opts[] = { CREATE_OPTS };
static const struct opt run_opts[] = {
	CREATE_OPTS,
	{ "detach", 'd', OPT_FLAG, 0, NULL, "leave it in the background", AT(detach) },
	{ "keep", 0, OPT_FLAG, 0, NULL, "don't delete it when it has ended", AT(keep) },
};

static int check(const struct create_options *o, const char *id, bool detach, const struct bundle *b, struct err *e)
{
	const bool terminal = b->spec->process->terminal;

	if (!state_name_valid(id))
		return err_set(
			e, EINVAL,
			"container id '%s': letters, digits, '_', '.' and '-' make one, the first a letter or digit, "
			"at most %u",
			id, STATE_NAME_MAX);
	if (o->console_socket && !(terminal && detach))
		return err_set(e, EINVAL,
			       "--console-socket: it is for a detached container with a terminal (process.terminal)");
	if (detach && terminal && !o->console_socket)
		return err_set(e, EINVAL, "process.terminal: a detached container's terminal needs --console-socket");
	return runtime_check_preserve_fds(o->preserve_fds, e);
}

/* Known before anything is made; of two that come at once the library lets one have the name. */
static int check_free(const struct runtime_global *g, const char *id, struct err *e)
{
	struct err none = ERR_INIT;
	struct state_ref ref;
	struct state *state;

	if (runtime_open(g, id, &state, &ref, &none)) {
		if (none.code == ENOENT)
			return 0;
		*e = none;
		return -none.code;
	}
	state_ref_free(&ref);
	state_close(state);
	return err_set(e, EEXIST, "container id '%s' is in use; delete that one, or take another id", id);
}

static int make(const struct runtime_global *g, const struct create_options *o, const char *id, bool hold, bool detach,
		struct err *e)
{
	const struct sandbox_paths paths = { .state = runtime_root(g) };
	struct run_options run = RUN_OPTIONS_INIT;
	struct sandbox_record said = { .name = (char *)(uintptr_t)id };
	struct state_ref vm = { .dirfd = -1, .lockfd = -1 };
	struct bundle b;
	int r = bundle_load(o->bundle, &b, e);

	if (r)
		return r;
	r = check(o, id, detach, &b, e);
	if (!r)
		r = check_free(g, id, e);
	if (!r)
		r = join_find(&paths, &b, &vm, e);
	if (r >= 0) {
		bundle_options(&b, &run);
		run.join = r ? &vm : NULL;
		run.name = (char *)(uintptr_t)id;
		run.hold = hold;
		run.remove = !detach && !o->keep;
		run.process.interactive = true;
		run.process.tty = b.spec->process->terminal;
		run.process.detach = run.process.inherit = detach;
		run.process.console_socket = o->console_socket;
		run.process.pid_file = o->pid_file;
		said.bundle = b.path;
		said.oci_version = b.spec->oci_version;
		r = sandbox_run(&paths, &run, false, e);
		if (run.remove && !e->code)
			hooks_run_poststop(b.hooks, &said);
	}
	state_ref_free(&vm);
	bundle_free(&b);
	return r;
}

static int create(const struct runtime_global *g, void *options, int argc, char **argv, struct err *e)
{
	return make(g, options, argv[0], true, true, e);
}

static int run(const struct runtime_global *g, void *options, int argc, char **argv, struct err *e)
{
	const struct create_options *o = options;

	return make(g, o, argv[0], false, o->detach, e);
}

static int start_one(struct state *state, struct state_ref *ref, void *arg, struct err *e)
{
	if (!ref->alive)
		return err_set(e, ESRCH, "container %s has stopped; it can't be started again", ref->record.name);
	return sandbox_control(ref, CONTROL_START, 0, e);
}

static int start(const struct runtime_global *g, void *options, int argc, char **argv, struct err *e)
{
	return runtime_with(g, argv[0], start_one, NULL, e);
}

const struct runtime_command runtime_create = {
	.name = "create",
	.synopsis = "ID",
	.help = "boot a VM with the container of a bundle, whose process is not started",
	.opts = create_opts,
	.opts_n = ARRAY_SIZE(create_opts),
	.options_size = sizeof(struct create_options),
	.min_args = 1,
	.max_args = 1,
	.run = create,
};

const struct runtime_command runtime_run = {
	.name = "run",
	.synopsis = "ID",
	.help = "create and start; in the foreground, also wait and delete",
	.opts = run_opts,
	.opts_n = ARRAY_SIZE(run_opts),
	.options_size = sizeof(struct create_options),
	.min_args = 1,
	.max_args = 1,
	.run = run,
};

const struct runtime_command runtime_start = {
	.name = "start",
	.synopsis = "ID",
	.help = "start the process of a created container",
	.min_args = 1,
	.max_args = 1,
	.run = start,
};
