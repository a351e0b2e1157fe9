/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run, from the image to the exit status. The stages are made in this order and undone in reverse, from wherever it
 * went wrong; their names are what errors and the timing split call them.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "sandbox/control.h"
#include "sandbox/sandbox_private.h"

static const struct stage stages[] = {
	{ "host", stage_host, undo_host },	       /* what must be there: root, state, /dev/kvm, options that fit */
	{ "image", stage_image, undo_image },	       /* reference to a root file system and a configuration */
	{ "background", stage_background, NULL },      /* -d: the rest is a supervisor's */
	{ "identity", stage_identity, undo_identity }, /* id, name, uid, folder, lock */
	{ "signals", stage_signals, undo_signals },    /* from here on a signal is an event, and everything is undone */
	{ "engine", stage_engine, undo_engine },    /* of a bundle: network namespace, terminal, who asks for a start */
	{ "hooks", stage_hooks, NULL },		    /* of a bundle: those of the host */
	{ "network", stage_network, undo_network }, /* taps for the interfaces that an engine made */
	{ "storage", stage_storage, undo_storage }, /* disks, volumes, the file server */
	{ "vmspec", stage_vmspec, undo_vmspec },    /* what the VMM is told, with all files opened */
	{ "spawn", stage_spawn, undo_spawn },	    /* microvm-vmm runs */
	{ "spec", stage_spec, undo_spec },	    /* what the agent is told, while the guest boots */
	{ "boot", stage_boot, undo_boot },	    /* the agent answers */
	{ "stdio", stage_stdio, undo_stdio },	    /* a stream for each of stdin, stdout and stderr */
	{ "create", stage_create, NULL },	    /* root, namespaces, cgroup */
	{ "hold", stage_hold, NULL },		    /* an engine's "create" returns, and its "start" is waited for */
	{ "start", stage_start, NULL },		    /* the command runs */
	{ "io", stage_io, NULL },		    /* until it ends and its output is delivered */
};

/* The same for a container that joins the VM of another one. */
static const struct stage join_stages[] = {
	{ "host", stage_host, undo_host },
	{ "image", stage_image, undo_image },
	{ "background", stage_background, NULL },
	{ "identity", stage_identity, undo_identity },
	{ "signals", stage_signals, undo_signals },
	{ "engine", stage_engine, undo_engine },
	{ "hooks", stage_hooks, NULL },
	{ "join", stage_join, undo_join }, /* the other's agent, and our files among its own */
	{ "spec", stage_spec, undo_spec },
	{ "stdio", stage_stdio, undo_stdio },
	{ "create", stage_create, NULL },
	{ "hold", stage_hold, NULL },
	{ "start", stage_start, NULL },
	{ "io", stage_io, NULL },
};

int sandbox_make(struct sandbox *s, const struct stage *list, size_t n, size_t *made, struct err *e)
{
	size_t i;
	int r = 0;

	for (i = 0; !r && i < n; i++) {
		r = list[i].make(s, e);
		timing_mark(&s->timing, list[i].name);
		log_debug("stage %s: %s", list[i].name, r ? e->msg : "done");
	}
	*made = i;
	return r;
}

void sandbox_undo(struct sandbox *s, const struct stage *list, size_t made)
{
	while (made--) {
		if (!list[made].undo)
			continue;
		list[made].undo(s);
		log_debug("stage %s: undone", list[made].name);
	}
	timing_mark(&s->timing, "undo");
}

/* What the caller exits with. A failed start says so; docker's numbers for a command that can't be run. */
static int exit_status(const struct sandbox *s, int r)
{
	if (s->exited)
		return s->exit_status;
	if (s->cancelled_by)
		return 128 + s->cancelled_by;
	if (s->timed_out)
		return 128 + SIGKILL;
	if (s->exec_failed)
		return sandbox_exec_status(r);
	/* It ended with a VM that is another one's. */
	if (s->options->join && s->started && s->vmm_gone)
		return 128 + SIGKILL;
	return r ? SANDBOX_EXIT_ERROR : 0;
}

void sandbox_init(struct sandbox *s, const struct sandbox_paths *paths, const struct run_options *o)
{
	*s = (struct sandbox){
		.paths = paths,
		.options = o,
		.kvm_fd = -1,
		.network = NETWORK_INIT,
		.ready_fd = -1,
		.cgroup = HOST_CGROUP_INIT,
		.host_netns_fd = -1,
		.control_listen_fd = -1,
		.control_conn = -1,
		.signal_fd = -1,
		.kernel_fd = -1,
		.initramfs_fd = -1,
		.listen_fd = -1,
		.seq_listen_fd = -1,
		.balloon_fd = -1,
		.module_fd = -1,
		.balloon_module_fd = -1,
		.fsd_fd = -1,
		.fsd = VMM_INIT,
		.fsd_log = CONSOLE_INIT,
		.self_fd = -1,
		.control_fd = -1,
		.control_guest_fd = -1,
		.call_fd = -1,
		.report_fd = -1,
		.report_vmm_fd = -1,
		.log_vmm_fd = -1,
		.vmm = VMM_INIT,
		.console = CONSOLE_INIT,
		.home = { .dirfd = -1, .lockfd = -1 },
	};
	slots_init(&s->slots);
}

int sandbox_run(const struct sandbox_paths *paths, const struct run_options *o, bool timings, struct err *e)
{
	const struct stage *list = o->join ? join_stages : stages;
	const size_t n = o->join ? ARRAY_SIZE(join_stages) : ARRAY_SIZE(stages);
	struct sandbox *s = xcalloc(1, sizeof(*s));
	size_t made;
	int r, status;

	signals_begin();
	sandbox_init(s, paths, o);
	timing_begin(&s->timing);
	r = sandbox_make(s, list, n, &made, e);
	status = exit_status(s, r);
	s->record.exit_status = status;
	/* Asked to end, it ends without a word, as any program does. */
	if (r && s->cancelled_by)
		*e = (struct err)ERR_INIT;
	sandbox_undo(s, list, made);
	if (r) {
		background_failed(s, status, e);
		control_answer(s, e);
	}
	if (timings)
		timing_print(&s->timing);
	free(s);
	return status;
}
