/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/join.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "sandbox/remote.h"
#include "sandbox/sandbox_private.h"
#include "sandbox/share_tree.h"

#define CONNECT_TIMEOUT_MS 10000u
#define END_NS 10000000000ull /* for the guest to take the container down */
#define NUMBER_DIGITS 13      /* of an id, that make the number of a share: 52 bits of 58 */

/* ---- whose VM ------------------------------------------------------------------------------------------------------- */

static const struct state_ref *find_supervisor(const struct state_ref *list, size_t n, pid_t pid)
{
	size_t i;

	for (i = 0; pid && i < n; i++)
		if (list[i].alive && list[i].record.supervisor_pid == pid && list[i].record.init_pid > 0)
			return &list[i];
	return NULL;
}

int join_resolve(const struct state_ref *list, size_t n, struct bundle *b, const char **id, struct err *e)
{
	const Microvm__Linux *l = b->spec->linux;
	size_t i;

	*id = NULL;
	for (i = 0; i < l->n_namespaces; i++) {
		Microvm__Namespace *ns = l->namespaces[i];
		const struct state_ref *c = find_supervisor(list, n, bundle_namespace_pid(ns));
		const char *vm;

		if (!ns->path[0])
			continue;
		/* A network that is nobody's is the engine's own. */
		if (!c && str_eq(ns->type, "network")) {
			ns->path[0] = '\0';
			continue;
		}
		if (!c)
			return bundle_refuse_namespace(ns, e);
		vm = c->record.vm ? c->record.vm : c->record.id;
		if (*id && !str_eq(*id, vm))
			return err_set(e, ENOTSUP,
				       "linux.namespaces: %s of %s: container %s is in another VM than those of the "
				       "other namespaces; let all of them be of one pod",
				       ns->type, ns->path, c->record.name);
		*id = vm;
		bundle_join_namespace(ns, (uint32_t)c->record.init_pid);
	}
	return 0;
}

int join_find(const struct sandbox_paths *paths, struct bundle *b, struct state_ref *vm, struct err *e)
{
	const Microvm__Linux *l = b->spec->linux;
	struct state_ref *list;
	struct state *state;
	const char *id = NULL;
	size_t n, i;
	int r;

	*vm = (struct state_ref){ .dirfd = -1, .lockfd = -1 };
	for (i = 0; i < l->n_namespaces && !l->namespaces[i]->path[0]; i++)
		;
	if (i == l->n_namespaces)
		return 0;
	r = state_open(paths->state, &state, e);
	if (r)
		return r;
	r = state_list(state, &list, &n, e);
	if (!r) {
		r = join_resolve(list, n, b, &id, e);
		if (!r && id)
			r = state_find(state, id, vm, e);
		if (!r && id)
			r = vm->alive ? 1 : err_set(e, ESRCH, "container %s has ended", vm->record.name);
		state_list_free(list, n);
	}
	state_close(state);
	return r < 0 ? err_wrap(e, "config.json") : r;
}

/* ---- its files -------------------------------------------------------------------------------------------------------- */

/* Others join that VM, too, and its own shares are few: an id's digits are a range that nobody else has. */
static size_t first_share(const char *id)
{
	char digits[NUMBER_DIGITS + 1];

	snprintf(digits, sizeof(digits), "%s", id);
	return (strtoull(digits, NULL, 16) | 1) * SHARES_MAX;
}

/* The mount namespace of the file server; -ESRCH: it has ended. */
static int served_mounts(const struct sandbox_record *vm, struct err *e)
{
	_cleanup_close_ int fd = -1;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", vm->fsd_pid);
	fd = vm->fsd_pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	/* Now, as the number may have been another one's before. */
	if (fd < 0 || !remote_is_child_of(vm->fsd_pid, vm->supervisor_pid))
		return err_set(e, ESRCH, "container %s: its file server has ended", vm->name);
	return take_fd(&fd);
}

static int take_trees(struct sandbox *s, struct share_tree_item *items, size_t *n, struct err *e)
{
	int r = 0;

	for (*n = 0; !r && *n < s->shares.n; ++*n) {
		const struct share *share = &s->shares.v[*n];

		r = share->kind == SHARE_SPEC ? share_check_spec_source(share->source, share->mount, e) : 0;
		items[*n] = (struct share_tree_item){ .number = s->first_share + *n,
						      .tree = r ? -1 : share_tree_take(share->source, e),
						      .source = share->source,
						      .read_only = share->read_only };
		r = items[*n].tree < 0 ? -e->code : 0;
	}
	return r;
}

static int add_files(struct sandbox *s, struct err *e)
{
	_cleanup_free_ struct share_tree_item *items = xcalloc(s->shares.n + 1, sizeof(*items));
	_cleanup_close_ int mounts = served_mounts(&s->options->join->record, e);
	size_t n = 0;
	int r = mounts < 0 ? mounts : 0;

	s->first_share = first_share(s->record.id);
	if (!r)
		r = take_trees(s, items, &n, e);
	if (!r)
		r = share_tree_add_served(mounts, items, n, e);
	while (n--)
		cleanup_closep(&items[n].tree);
	return r;
}

static void remove_files(const struct sandbox_record *vm, const char *id)
{
	struct err e = ERR_INIT;
	_cleanup_close_ int mounts = served_mounts(vm, &e);

	/* With the server its mounts have gone. */
	if (mounts >= 0 && share_tree_remove_served(mounts, first_share(id), SHARES_MAX, &e))
		log_warn("shares of %.12s: %s", id, e.msg);
}

void join_sweep(struct state *state, const struct sandbox_record *r)
{
	struct err e = ERR_INIT;
	struct state_ref vm;

	if (!r->vm || state_find(state, r->vm, &vm, &e))
		return;
	if (vm.alive)
		remove_files(&vm.record, r->id);
	state_ref_free(&vm);
}

/* ---- its sockets, and the agent ----------------------------------------------------------------------------------------- */

/* Who looks for the guest in our folder finds it where the other one has it. */
static int link_sockets(struct sandbox *s, struct err *e)
{
	static const char *const names[] = { "vsock", STATE_SEQPACKET_SOCKET, STATE_BALLOON_SOCKET };
	const struct state_ref *vm = s->options->join;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_free_ char *socket = xasprintf("../%s/%s", vm->record.id, names[i]);
		char target[64];
		/* That of a guest behind vhost-vsock is a link itself, which is read as it is. */
		const ssize_t len = readlinkat(vm->dirfd, names[i], target, sizeof(target) - 1);

		target[len > 0 ? len : 0] = '\0';
		if (symlinkat(len > 0 ? target : socket, s->home.dirfd, names[i]) < 0)
			return err_errno(e, errno, "%s/%s", s->home.path, names[i]);
	}
	return 0;
}

static void on_closed(struct agent *a, int reason, void *arg)
{
	((struct sandbox *)arg)->vmm_gone = true;
}

static int call_agent(struct sandbox *s, struct err *e)
{
	const struct agent_config config = { .closed = on_closed, .arg = s };
	_cleanup_free_ char *socket = xasprintf("/proc/self/fd/%d/vsock", s->home.dirfd);
	_cleanup_close_ int fd = agent_connect_unix(socket, GUEST_RPC_PORT, CONNECT_TIMEOUT_MS, e);
	int r = fd < 0 ? fd : agent_new(&s->agent, s->loop, fd, &config);

	if (fd >= 0 && r)
		err_errno(e, r, "cannot speak to the agent");
	if (r)
		return err_wrap(e, "the VM of container %s", s->options->join->record.name);
	take_fd(&fd);
	return 0;
}

/* What an engine has set up in a network namespace that is not the other's can't be brought to a VM that runs. */
static int check_network(struct sandbox *s, struct err *e)
{
	const Microvm__Linux *l = s->options->bundle->spec->linux;
	struct if_nameindex *all, *one;
	char name[IF_NAMESIZE] = "";
	size_t i;

	for (i = 0; i < l->n_namespaces; i++)
		if (str_eq(l->namespaces[i]->type, "network") && l->namespaces[i]->path[0])
			return 0;
	all = if_nameindex();
	for (one = all; one && one->if_index; one++)
		if (!str_eq(one->if_name, "lo"))
			snprintf(name, sizeof(name), "%s", one->if_name);
	if (all)
		if_freenameindex(all);
	return name[0] ? err_set(e, ENOTSUP,
				 "linux.namespaces: network: %s can't be brought into the VM of container %s, which "
				 "runs; join its network, too, or do without one",
				 name, s->options->join->record.name)
		       : 0;
}

int stage_join(struct sandbox *s, struct err *e)
{
	const struct sandbox_record *vm = &s->options->join->record;
	int r = check_network(s, e);

	s->record.vm = xstrdup(vm->id);
	s->record.mem_bytes = vm->mem_bytes;
	s->record.vcpus = vm->vcpus;
	if (!r)
		r = engine_enter_cgroup(s, e);
	if (!r)
		r = link_sockets(s, e);
	if (!r)
		r = call_agent(s, e);
	/* The record says before whose they are: who is killed now has left them there. */
	if (!r)
		r = state_save(&s->home, &s->record, e);
	return r ? r : add_files(s, e);
}

/* ---- the end ------------------------------------------------------------------------------------------------------------ */

struct end {
	struct loop_op limit;
	bool late, removed;
};

static void on_late(struct loop_op *op, int res)
{
	if (res != -ECANCELED)
		container_of(op, struct end, limit)->late = true;
}

static void on_killed(const ProtobufCMessage *reply, const struct err *e, void *arg)
{
	/* A failure means that it has just ended. */
}

static void on_removed(const ProtobufCMessage *reply, const struct err *e, void *arg)
{
	((struct end *)arg)->removed = true;
}

static void run_until(struct sandbox *s, const struct end *end, const bool *flag)
{
	while (!*flag && !end->late && !s->vmm_gone)
		if (loop_run_once(s->loop, true) < 0)
			return;
}

/* Who waits for our end takes the container's files away next. What the guest doesn't do in time it does when we are gone. */
static void take_down(struct sandbox *s, struct end *end)
{
	Microvm__SignalRequest kill;
	Microvm__ContainerRequest remove;

	loop_op_init(&end->limit, on_late);
	loop_timer(s->loop, &end->limit, END_NS);
	if (s->started && !s->wait_over) {
		microvm__signal_request__init(&kill);
		kill.id = s->record.id;
		kill.signal = SIGKILL;
		kill.all = true;
		agent_signal_process_async(s->agent, &kill, on_killed, NULL);
		run_until(s, end, &s->wait_over);
	}
	microvm__container_request__init(&remove);
	remove.id = s->record.id;
	agent_remove_container_async(s->agent, &remove, on_removed, end);
	run_until(s, end, &end->removed);
}

void undo_join(struct sandbox *s)
{
	struct end end = { .late = false };

	if (s->agent && s->record.init_pid && !s->vmm_gone)
		take_down(s, &end);
	if (s->agent)
		agent_free(s->agent);
	s->agent = NULL;
	if (loop_op_busy(&end.limit))
		loop_cancel(s->loop, &end.limit);
	while (loop_op_busy(&end.limit) && loop_run_once(s->loop, true) >= 0)
		;
	if (s->first_share)
		remove_files(&s->options->join->record, s->record.id);
}
