/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/util.h"
#include "runtime/runtime.h"
#include "sandbox/oci_state.h"

struct exec_options {
	struct process_options process;
	bool ignore_paused;
	int64_t preserve_fds;
	struct strv refused; /* a place for what is only named */
};

#define AT(member) offsetof(struct exec_options, member)
#define IN_PROCESS "say so in a --process file"

static const struct opt opts[] = {
	{ "process", 'p', OPT_STRING, WORD_FILE, "FILE", "the process, as config.json has it",
	  AT(process.process_file) },
	{ "detach", 'd', OPT_FLAG, 0, NULL, "leave it in the background", AT(process.detach) },
	{ "tty", 't', OPT_FLAG, 0, NULL, "give it a terminal", AT(process.tty) },
	{ "env", 'e', OPT_LIST, 0, "K=V", "set a variable", AT(process.env) },
	{ "cwd", 0, OPT_STRING, 0, "DIR", "working directory", AT(process.workdir) },
	{ "user", 'u', OPT_STRING, 0, "USER", "UID[:GID]", AT(process.user) },
	{ "console-socket", 0, OPT_STRING, WORD_FILE, "FILE", "the terminal's master goes there",
	  AT(process.console_socket) },
	{ "pid-file", 0, OPT_STRING, WORD_FILE, "FILE", "gets the pid of the process here", AT(process.pid_file) },
	{ "preserve-fds", 0, OPT_NUMBER, 0, "N", "0: a guest has no open files of the host", AT(preserve_fds) },
	{ "ignore-paused", 0, OPT_FLAG, 0, NULL, "taken; in a paused container nothing starts", AT(ignore_paused) },
	{ "additional-gids", 'g', OPT_REFUSED, 0, NULL, IN_PROCESS, 0 },
	{ "cap", 'c', OPT_REFUSED, 0, NULL, IN_PROCESS, 0 },
	{ "no-new-privs", 0, OPT_REFUSED, 0, NULL, IN_PROCESS, 0 },
	{ "process-label", 0, OPT_REFUSED, 0, NULL, "the guest's kernel has no SELinux", 0 },
	{ "apparmor", 0, OPT_REFUSED, 0, NULL, "the guest's kernel has no AppArmor", 0 },
	{ "cgroup", 0, OPT_REFUSED, 0, NULL, "a container has one cgroup, in its guest", 0 },
};

struct request {
	struct process_options *o;
	char **command;
};

static int exec_one(struct state *state, struct state_ref *ref, void *arg, struct err *e)
{
	struct request *q = arg;

	if (oci_status_of(ref) != OCI_RUNNING)
		return err_set(e, ESRCH, "container not running: %s is %s", ref->record.name,
			       oci_status_names[oci_status_of(ref)]);
	return sandbox_exec(ref, q->o, q->command, e);
}

static int run(const struct runtime_global *g, void *options, int argc, char **argv, struct err *e)
{
	struct exec_options *o = options;
	struct request q = { .o = &o->process, .command = argv + 1 };
	int r = runtime_check_preserve_fds(o->preserve_fds, e);

	if (r)
		return r;
	if (!o->process.process_file && argc < 2)
		return err_set(e, EINVAL, "exec wants a command behind the id, or --process FILE");
	o->process.interactive = true;
	o->process.inherit = o->process.detach;
	return runtime_with(g, argv[0], exec_one, &q, e);
}

const struct runtime_command runtime_exec = {
	.name = "exec",
	.synopsis = "ID [COMMAND [ARG…]]",
	.help = "run a further process in a running container",
	.opts = opts,
	.opts_n = ARRAY_SIZE(opts),
	.options_size = sizeof(struct exec_options),
	.min_args = 1,
	.max_args = -1,
	.stops_at_argument = true,
	.run = run,
};
