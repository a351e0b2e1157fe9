/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `delete`: containerd lost its connection to the shim, or never had one. A shim that is there is asked to end the container,
 * and killed if it doesn't answer: its VM and its mounts end with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "sandbox/bundle.h"
#include "sandbox/host_cgroup.h"
#include "sandbox/state.h"
#include "shim/api.h"
#include "shim/commands.h"
#include "shim/service.h"

#define CALL_NS 1000000000ull
#define TRIES 15
#define PAUSE_NS 100000000
#define ENDING_TRIES 600
#define ENDING_PAUSE_NS 5000000

static int call(struct ttrpc_peer *peer, const char *name, const ProtobufCMessage *req, struct err *e)
{
	*e = (struct err)ERR_INIT;
	return ttrpc_call_sync(peer, TASK_SERVICE, task_method(name), req, CALL_NS, NULL, e);
}

static void pause_for(long ns)
{
	const struct timespec t = { .tv_nsec = ns };

	nanosleep(&t, NULL);
}

enum outcome { ENDED, SLOW, SILENT };

/* A container that is still being made can't be killed before it is there, so that is said again. */
static enum outcome ask(struct ttrpc_peer *peer, const char *id)
{
	TASK(KillRequest) kill;
	TASK(DeleteRequest) delete;
	TASK(ShutdownRequest) shutdown;
	struct err e;
	int i, r = -EBUSY;

	containerd__task__v2__kill_request__init(&kill);
	containerd__task__v2__delete_request__init(&delete);
	containerd__task__v2__shutdown_request__init(&shutdown);
	kill.id = delete.id = shutdown.id = (char *)(uintptr_t)id;
	kill.signal = SIGKILL;
	kill.all = true;
	for (i = 0; i < TRIES && r == -EBUSY; i++) {
		if (i)
			pause_for(PAUSE_NS);
		if (call(peer, "Kill", &kill.base, &e) == -ETIMEDOUT)
			return SILENT;
		r = call(peer, "Delete", &delete.base, &e);
	}
	/* Output that nobody takes makes it last. */
	if (r == -EBUSY || r == -ETIMEDOUT)
		return SLOW;
	call(peer, "Shutdown", &shutdown.base, &e);
	return ENDED;
}

static enum outcome ask_shim(int fd, const char *id)
{
	struct ttrpc_peer *peer;
	struct loop *loop;
	enum outcome outcome = SILENT;

	if (loop_new(&loop, 16, 0)) {
		close(fd);
		return SILENT;
	}
	if (ttrpc_peer_new(&peer, loop, fd, &(struct ttrpc_peer_config){ 0 }) < 0) {
		close(fd);
	} else {
		outcome = ask(peer, id);
		ttrpc_peer_free(peer);
	}
	loop_free(loop);
	return outcome;
}

static bool is_locked(int fd)
{
	return flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

/*
 * Its file in the bundle is locked as long as it lives, so the number in it is still its own. ending: it has said that it ends, and
 * gets the time for that.
 */
static void kill_shim(const char *bundle, bool ending)
{
	_cleanup_free_ char *path = xasprintf("%s/" SHIM_PID_FILE, bundle);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int i;

	for (i = 0; ending && fd >= 0 && i < ENDING_TRIES && is_locked(fd); i++)
		pause_for(ENDING_PAUSE_NS);
	for (i = 0; fd >= 0 && i < TRIES && is_locked(fd); i++) {
		char text[16] = "";
		uint64_t pid;

		if (pread(fd, text, sizeof(text) - 1, 0) > 0 && !parse_u64(text, 2, INT32_MAX, &pid))
			kill((pid_t)pid, SIGKILL);
		pause_for(PAUSE_NS);
	}
}

/* The folder of a sandbox whose supervisor died goes with who looks next. */
static void sweep(void)
{
	struct err e = ERR_INIT;
	struct state *state;

	if (state_open(NULL, &state, &e))
		log_warn("%s", e.msg);
	else
		state_close(state);
}

/* False: it goes on, with other containers, or is about to end as it should. */
static bool end_shim(const char *id, const char *pod)
{
	_cleanup_free_ char *path = NULL, *bundle = pod ? xasprintf("../%s", pod) : xstrdup(".");
	struct err e = ERR_INIT;
	enum outcome outcome = SILENT;
	int fd = -ENOENT;

	/* Without an address it died before that was written, or never was; a pod's has others. */
	if (!shim_read_address(".", &path, &e) && path)
		fd = shim_connect(path, 0);
	else if (pod)
		return false;
	if (fd >= 0)
		outcome = ask_shim(fd, id);
	if (outcome == ENDED || (outcome == SLOW && pod))
		return false;
	kill_shim(bundle, path && fd == -ENOENT);
	if (path)
		unlink(path);
	sweep();
	return true;
}

static int print_response(struct err *e)
{
	TASK(DeleteResponse) answer;
	Google__Protobuf__Timestamp at;
	uint8_t packed[128];
	int r;

	containerd__task__v2__delete_response__init(&answer);
	timestamp_fill(&at, realtime_ns());
	answer.exit_status = 128 + SIGKILL;
	answer.exited_at = &at;
	r = write_full(1, packed, containerd__task__v2__delete_response__pack(&answer, packed));
	return r ? err_errno(e, r, "cannot answer") : 0;
}

int shim_delete(const struct shim_options *o, struct err *e)
{
	struct err none = ERR_INIT;
	struct bundle b = { 0 };
	const char *pod;

	if (!o->id || !state_name_valid(o->id))
		return err_set(e, EINVAL, "-id: which container?");
	if (o->bundle && chdir(o->bundle) < 0)
		return errno == ENOENT ? print_response(e) : err_errno(e, errno, "-bundle %s", o->bundle);
	/* One without a config.json that can be read was never more than a folder. */
	pod = bundle_load_config(".", &b, &none) ? NULL : bundle_annotation(&b, BUNDLE_POD_ID);
	if (pod && (str_eq(pod, o->id) || !state_name_valid(pod)))
		pod = NULL;
	/* The first container of a pod has the cgroup: of any other there is none. */
	if (end_shim(o->id, pod))
		host_cgroup_remove(b.cgroup);
	bundle_free(&b);
	return print_response(e);
}
