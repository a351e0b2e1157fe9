/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stages of a sandbox that an engine made from a bundle: its cgroup, network namespace, terminal and hooks, and the time between
 * "create" and "start". Without a bundle they do nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "sandbox/background.h"
#include "sandbox/bundle.h"
#include "sandbox/control.h"
#include "sandbox/hooks.h"
#include "sandbox/oci_state.h"
#include "sandbox/sandbox_private.h"
#include "sandbox/terminal.h"
#include "sandbox/vmspec_build.h"

/* ---- network namespace ----------------------------------------------------------------------------------------------- */

/*
 * Engines set the network up in the namespace of the pid that they are told, which is ours. So we are in the container's; the
 * host's is kept for hooks that run there.
 */
static int enter_netns(struct sandbox *s, struct err *e)
{
	const char *path = s->options->bundle->netns;
	_cleanup_close_ int fd = -1;

	s->host_netns_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (s->host_netns_fd < 0)
		return err_errno(e, errno, "/proc/self/ns/net");
	if (!path)
		return unshare(CLONE_NEWNET) < 0 ? err_errno(e, errno, "a network namespace") : 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		return err_errno(e, errno, "config.json: linux.namespaces: network namespace %s", path);
	return 0;
}

/* ---- config.json ------------------------------------------------------------------------------------------------------ */

static int keep_config(struct sandbox *s, struct err *e)
{
	const char *text = s->options->bundle->config;
	_cleanup_close_ int fd =
		openat(s->home.dirfd, STATE_CONFIG, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r = fd < 0 ? -errno : write_full(fd, text, strlen(text));

	return r ? err_errno(e, r, "cannot write %s/" STATE_CONFIG, s->home.path) : 0;
}

int stage_engine(struct sandbox *s, struct err *e)
{
	const struct run_options *o = s->options;
	int r;

	if (!o->bundle)
		return 0;
	r = keep_config(s, e);
	if (!r)
		r = enter_netns(s, e);
	if (!r && o->process.console_socket)
		r = terminal_to_engine(o->process.console_socket, e);
	return r ? r : control_listen(s, e);
}

int engine_enter_cgroup(struct sandbox *s, struct err *e)
{
	const struct bundle *b = s->options->bundle;

	return b && b->cgroup ? host_cgroup_enter(&s->cgroup, b->cgroup, e) : 0;
}

void undo_engine(struct sandbox *s)
{
	control_stop(s);
	cleanup_closep(&s->host_netns_fd);
	host_cgroup_leave(&s->cgroup);
}

/* ---- hooks ------------------------------------------------------------------------------------------------------------ */

struct wait {
	struct loop_op end, limit;
	bool over, late;
};

static void on_end(struct loop_op *op, int res)
{
	container_of(op, struct wait, end)->over = true;
}

static void on_limit(struct loop_op *op, int res)
{
	struct wait *w = container_of(op, struct wait, limit);

	if (res != -ECANCELED)
		w->late = w->over = true;
}

static int run_hook(struct sandbox *s, const Microvm__Hook *h, const char *state, int netns_fd, struct err *e)
{
	const uint64_t limit_s = h->timeout_s ? h->timeout_s->value : 0;
	struct hook_child c;
	struct wait w = { .over = false };
	int r = hook_start(h, state, s->record.bundle, netns_fd, &c, e);

	loop_op_init(&w.end, on_end);
	loop_op_init(&w.limit, on_limit);
	if (!r) {
		loop_poll(s->loop, &w.end, c.pidfd, POLLIN);
		if (limit_s)
			loop_timer(s->loop, &w.limit, limit_s * 1000000000ull);
		r = sandbox_run_until(s, &w.over, e);
	}
	if (loop_op_busy(&w.limit))
		loop_cancel(s->loop, &w.limit);
	if (loop_op_busy(&w.end))
		loop_cancel(s->loop, &w.end);
	while ((loop_op_busy(&w.limit) || loop_op_busy(&w.end)) && loop_run_once(s->loop, true) >= 0)
		;
	if (r || w.late)
		hook_end(h, &c, true, NULL);
	if (!r && w.late)
		return err_set(e, ETIMEDOUT, "hook %s did not end within %llu s", h->path, (unsigned long long)limit_s);
	return r || w.late ? r : hook_end(h, &c, false, e);
}

static int run_hooks(struct sandbox *s, const char *kind, Microvm__Hook *const *list, size_t n, enum oci_status status,
		     int netns_fd, struct err *e)
{
	_cleanup_free_ char *state = n ? oci_state_text(&s->record, status) : NULL;
	size_t i;
	int r = 0;

	for (i = 0; !r && i < n; i++)
		r = run_hook(s, list[i], state, netns_fd, e);
	return r ? err_wrap(e, "hooks.%s", kind) : 0;
}

/*
 * createContainer hooks are programs of the host for the container's namespaces. The only one of these that the host has is
 * the network's.
 */
int stage_hooks(struct sandbox *s, struct err *e)
{
	const struct bundle *b = s->options->bundle;
	const Microvm__Hooks *h = b ? b->hooks : NULL;
	int r = 0;

	if (!b)
		return 0;
	if (h)
		r = run_hooks(s, "prestart", h->prestart, h->n_prestart, OCI_CREATING, s->host_netns_fd, e);
	if (!r && h)
		r = run_hooks(s, "createRuntime", h->create_runtime, h->n_create_runtime, OCI_CREATING,
			      s->host_netns_fd, e);
	if (!r && h)
		r = run_hooks(s, "createContainer", h->create_container, h->n_create_container, OCI_CREATING, -1, e);
	return r;
}

int stage_network(struct sandbox *s, struct err *e)
{
	const struct run_options *o = s->options;
	int r;

	if (!o->bundle)
		return 0;
	r = network_begin(&s->network, NULL, s->host_netns_fd, vmspec_build_vcpus(o->nano_cpus), e);
	/* They are the guest's, and in none of its namespaces but its own. */
	if (!r && s->network.network)
		bundle_share_network(o->bundle);
	return r;
}

void undo_network(struct sandbox *s)
{
	network_end(&s->network);
}

/* "If any poststart hook fails, the runtime MUST log a warning, but … continue". */
void engine_started(struct sandbox *s)
{
	const struct bundle *b = s->options->bundle;
	struct err e = ERR_INIT;

	if (b && b->hooks &&
	    run_hooks(s, "poststart", b->hooks->poststart, b->hooks->n_poststart, OCI_RUNNING, s->host_netns_fd, &e))
		log_warn("%s", e.msg);
}

/* ---- created, not started ------------------------------------------------------------------------------------------------ */

int stage_hold(struct sandbox *s, struct err *e)
{
	const struct run_options *o = s->options;
	int r;

	if (!o->bundle)
		return 0;
	r = state_save(&s->home, &s->record, e);
	if (!r && o->process.pid_file)
		r = background_pid_file(o->process.pid_file, e);
	if (r || !o->hold)
		return r;
	/* From here on it is the engine's to delete. */
	s->created = true;
	s->holding = true;
	background_ready(s);
	r = sandbox_run_until(s, &s->start_wanted, e);
	s->holding = false;
	return r;
}
