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

static int call(struct ttrpc_peer *peer, const char *name, const ProtobufCMessage *req, struct err *e)
{
	*e = (struct err)ERR_INIT;
	return ttrpc_call_sync(peer, TASK_SERVICE, task_method(name), req, CALL_NS, NULL, e);
}

static void pause_once(void)
{
	const struct timespec t = { .tv_nsec = PAUSE_NS };

	nanosleep(&t, NULL);
}

/* False: it does not answer. */
static bool ask(struct ttrpc_peer *peer, const char *id)
{
	TASK(KillRequest) kill;
	TASK(DeleteRequest) delete;
	TASK(ShutdownRequest) shutdown;
	struct err e;
	int i, r;

	containerd__task__v2__kill_request__init(&kill);
	containerd__task__v2__delete_request__init(&delete);
	containerd__task__v2__shutdown_request__init(&shutdown);
	kill.id = delete.id = shutdown.id = (char *)(uintptr_t)id;
	kill.signal = SIGKILL;
	kill.all = true;
	r = call(peer, "Kill", &kill.base, &e);
	if (r == -ETIMEDOUT)
		return false;
	for (i = 0; i < TRIES; i++) {
		r = call(peer, "Delete", &delete.base, &e);
		if (r != -EBUSY)
			break;
		pause_once();
	}
	if (r == -EBUSY || r == -ETIMEDOUT)
		return false;
	call(peer, "Shutdown", &shutdown.base, &e);
	return true;
}

static bool ask_shim(int fd, const char *id)
{
	struct ttrpc_peer *peer;
	struct loop *loop;
	bool answered = false;

	if (loop_new(&loop, 16, 0)) {
		close(fd);
		return false;
	}
	if (ttrpc_peer_new(&peer, loop, fd, &(struct ttrpc_peer_config){ 0 }) < 0) {
		close(fd);
	} else {
		answered = ask(peer, id);
		ttrpc_peer_free(peer);
	}
	loop_free(loop);
	return answered;
}

/* Its own file in the bundle is locked as long as it lives, so the number is still its own. */
static void kill_shim(void)
{
	_cleanup_close_ int fd = open(SHIM_PID_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char text[16] = "";
	uint64_t pid;
	int i;

	if (fd < 0 || pread(fd, text, sizeof(text) - 1, 0) <= 0 || parse_u64(text, 2, INT32_MAX, &pid))
		return;
	for (i = 0; i < TRIES && flock(fd, LOCK_SH | LOCK_NB) < 0; i++) {
		kill((pid_t)pid, SIGKILL);
		pause_once();
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

/* The first container of a pod has the cgroup: of any other this finds none. */
static void remove_cgroup(void)
{
	struct err e = ERR_INIT;
	struct bundle b;

	if (bundle_load_config(".", &b, &e))
		return;
	host_cgroup_remove(b.cgroup);
	bundle_free(&b);
}

/* False: it goes on, with other containers, or is about to end as it should. */
static bool end_shim(const char *id)
{
	_cleanup_free_ char *path = NULL;
	struct err e = ERR_INIT;
	int fd;

	if (shim_read_address(".", &path, &e) || !path) {
		kill_shim(); /* it died between its start and that file, or never was */
		return true;
	}
	fd = shim_connect(path, 0);
	/* A shim that has come to its end has left nothing, unless it was killed right there. */
	if (fd == -ENOENT)
		return true;
	if (fd >= 0 && ask_shim(fd, id))
		return false;
	kill_shim();
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
	if (!o->id || !state_name_valid(o->id))
		return err_set(e, EINVAL, "-id: which container?");
	if (o->bundle && chdir(o->bundle) < 0)
		return errno == ENOENT ? print_response(e) : err_errno(e, errno, "-bundle %s", o->bundle);
	if (end_shim(o->id))
		remove_cgroup();
	return print_response(e);
}
