/* SPDX-License-Identifier: Apache-2.0 */
/* kill, pause, resume, delete: what happens to a container's processes, and its end. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "oci/defaults.h"
#include "oci/spec.h"
#include "runtime/runtime.h"
#include "sandbox/bundle.h"
#include "sandbox/control.h"
#include "sandbox/hooks.h"
#include "sandbox/host_cgroup.h"
#include "sandbox/join.h"
#include "sandbox/oci_state.h"

/* One whose process has just ended is gone in a moment; engines ask at once. */
#define END_NS 2000000000ull

struct kill_options {
	bool all;
	int number;
};

static int not_running(const struct state_ref *ref, struct err *e)
{
	/* Engines look for these words. */
	return err_set(e, ESRCH, "container not running: %s is %s", ref->record.name,
		       oci_status_names[oci_status_of(ref)]);
}

static int kill_one(struct state *state, struct state_ref *ref, void *arg, struct err *e)
{
	const struct kill_options *o = arg;
	const int number = o->number;

	switch (oci_status_of(ref)) {
	case OCI_STOPPED: return o->all ? 0 : not_running(ref, e); /* none of them is left */
	case OCI_CREATING:
	case OCI_CREATED:
		/* Its process is the runtime's own as yet, which has no use for others. */
		if (number == SIGKILL || number == SIGTERM || number == SIGINT || number == SIGHUP || number == SIGQUIT)
			return sandbox_control(ref, CONTROL_END, (uint32_t)number, e);
		return 0;
	default: return o->all ? sandbox_signal_all(ref, number, e) : sandbox_signal(ref, number, e);
	}
}

static int kill_run(const struct runtime_global *g, void *options, int argc, char **argv, struct err *e)
{
	struct kill_options *o = options;
	int r = 0;

	o->number = SIGTERM;
	if (argc > 1)
		r = oci_signal_parse(argv[1], &o->number, e);
	return r ? r : runtime_with(g, argv[0], kill_one, o, e);
}

static int pause_one(struct state *state, struct state_ref *ref, void *arg, struct err *e)
{
	return ref->alive ? sandbox_control(ref, *(enum control_op *)arg, 0, e) : not_running(ref, e);
}

static int pause_run(const struct runtime_global *g, void *options, int argc, char **argv, struct err *e)
{
	enum control_op op = CONTROL_PAUSE;

	return runtime_with(g, argv[0], pause_one, &op, e);
}

static int resume_run(const struct runtime_global *g, void *options, int argc, char **argv, struct err *e)
{
	enum control_op op = CONTROL_RESUME;

	return runtime_with(g, argv[0], pause_one, &op, e);
}

struct delete_options {
	bool force;
};

/* What is left when its processes have ended: its cgroup, if they were killed, and poststop hooks. */
static void end_saved(const struct state_ref *ref)
{
	_cleanup_free_ char *text = NULL, *cgroup = NULL;
	Microvm__Hooks *hooks = NULL;
	struct err e = ERR_INIT;
	size_t len;
	int r = read_file(ref->dirfd, STATE_CONFIG, OCI_SPEC_MAX, &text, &len);

	if (!r)
		r = bundle_saved(text, len, &hooks, &cgroup, &e);
	/* One that was killed before it had its config.json has no hooks that were run, either. */
	if (r && r != -ENOENT)
		log_warn("poststop hooks of %s: %s", ref->record.name, e.msg);
	host_cgroup_remove(cgroup);
	hooks_run_poststop(hooks, &ref->record);
	bundle_hooks_free(hooks);
}

static int delete_one(struct state *state, struct state_ref *ref, void *arg, struct err *e)
{
	const struct delete_options *o = arg;
	const enum oci_status status = oci_status_of(ref);
	int r = 0;

	if (status == OCI_CREATED || (o->force && status != OCI_STOPPED))
		r = sandbox_kill_vm(ref, e);
	else if (!sandbox_wait_ended(ref, END_NS))
		r = err_set(e, EBUSY,
			    "cannot delete container %s that is not stopped: %s; kill it first, or say --force",
			    ref->record.name, oci_status_names[status]);
	if (!r)
		r = state_claim(state, ref, e);
	if (r)
		return r;
	join_sweep(state, &ref->record);
	end_saved(ref);
	return state_remove(state, ref, e);
}

static int delete_run(const struct runtime_global *g, void *options, int argc, char **argv, struct err *e)
{
	const struct delete_options *o = options;
	int r = runtime_with(g, argv[0], delete_one, options, e);

	/* As with rm -f, one that is not there is no failure. */
	if (r == -ENOENT && o->force) {
		*e = (struct err)ERR_INIT;
		return 0;
	}
	return r;
}

static const struct opt kill_opts[] = {
	{ "all", 'a', OPT_FLAG, 0, NULL, "to all of its processes", offsetof(struct kill_options, all) },
};
static const struct opt delete_opts[] = {
	{ "force", 'f', OPT_FLAG, 0, NULL, "kill it first if it runs", offsetof(struct delete_options, force) },
};

const struct runtime_command runtime_kill = {
	.name = "kill",
	.synopsis = "ID [SIGNAL]",
	.help = "send a signal to a container's first process (SIGTERM)",
	.opts = kill_opts,
	.opts_n = ARRAY_SIZE(kill_opts),
	.options_size = sizeof(struct kill_options),
	.min_args = 1,
	.max_args = 2,
	.run = kill_run,
};

const struct runtime_command runtime_pause = {
	.name = "pause",
	.synopsis = "ID",
	.help = "stop a container's processes where they are",
	.min_args = 1,
	.max_args = 1,
	.run = pause_run,
};

const struct runtime_command runtime_resume = {
	.name = "resume",
	.synopsis = "ID",
	.help = "let them go on",
	.min_args = 1,
	.max_args = 1,
	.run = resume_run,
};

const struct runtime_command runtime_delete = {
	.name = "delete",
	.synopsis = "ID",
	.help = "forget a container that has stopped",
	.opts = delete_opts,
	.opts_n = ARRAY_SIZE(delete_opts),
	.options_size = sizeof(struct delete_options),
	.min_args = 1,
	.max_args = 1,
	.run = delete_run,
};
