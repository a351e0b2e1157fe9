/* SPDX-License-Identifier: Apache-2.0 */
/* Calls and signals to, and the end of, a sandbox that another process supervises. */
#include "sandbox/remote.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "oci/defaults.h"
#include "sandbox/sandbox.h"

#define CONNECT_TIMEOUT_MS 3000u
#define END_TIMEOUT_NS 30000000000ull
#define JOINED_END_NS 5000000000ull
#define POLL_NS 20000000ull

int remote_check_running(const struct state_ref *ref, struct err *e)
{
	if (!ref->alive || ref->record.status == SANDBOX_EXITED)
		return err_set(e, ESRCH, "%s does not run", ref->record.name);
	if (ref->record.status == SANDBOX_CREATED)
		return err_set(e, ESRCH, "%s does not run yet; 'microvm rm -f %s' takes its start back",
			       ref->record.name, ref->record.name);
	return 0;
}

ssize_t remote_ask(const struct state_ref *ref, const char *socket_name, unsigned int timeout_s, const void *req,
		   size_t req_bytes, void *answer, size_t answer_bytes)
{
	const struct timeval limit = { .tv_sec = timeout_s };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	ssize_t n;

	/* The folder's own path may be longer than sun_path. */
	snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/%s", ref->dirfd, socket_name);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) ||
	    connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return -errno;
	/* With a time limit, a signal ends these even where it is handled with SA_RESTART (signal(7)). */
	n = TEMP_FAILURE_RETRY(send(fd, req, req_bytes, MSG_NOSIGNAL));
	if (n >= 0)
		n = TEMP_FAILURE_RETRY(recv(fd, answer, answer_bytes, 0));
	return n < 0 ? -errno : n;
}

int remote_call(const struct state_ref *ref, int (*fn)(struct agent *agent, const char *id, void *arg, struct err *e),
		void *arg, struct err *e)
{
	_cleanup_free_ char *socket = xasprintf("%s/vsock", ref->path);
	_cleanup_close_ int fd = -1;
	struct agent *agent;
	struct loop *loop;
	int r = remote_check_running(ref, e);

	if (r)
		return r;
	fd = agent_connect_unix(socket, GUEST_RPC_PORT, CONNECT_TIMEOUT_MS, e);
	if (fd < 0)
		return err_wrap(e, "%s", ref->record.name);
	r = loop_new(&loop, 16, 0);
	if (r)
		return err_errno(e, r, "cannot make an io_uring");
	r = agent_new(&agent, loop, fd, NULL);
	if (r) {
		err_errno(e, r, "cannot speak to the agent");
	} else {
		take_fd(&fd);
		r = fn(agent, ref->record.id, arg, e);
		agent_free(agent);
	}
	loop_free(loop);
	return r ? err_wrap(e, "%s", ref->record.name) : 0;
}

struct signal_call {
	int number;
	bool all;
};

static int send_signal(struct agent *agent, const char *id, void *arg, struct err *e)
{
	const struct signal_call *call = arg;
	Microvm__SignalRequest req;

	microvm__signal_request__init(&req);
	req.id = (char *)(uintptr_t)id;
	req.signal = (uint32_t)call->number;
	req.all = call->all;
	return agent_signal_process(agent, &req, NULL, e);
}

static bool guest_is_silent(int r)
{
	return r == -ETIMEDOUT || r == -ECONNREFUSED || r == -ECONNRESET || r == -EPIPE;
}

/* SIGKILL is not the guest's to refuse: one that does not answer loses its VM. */
static int signal_or_end(struct state_ref *ref, struct signal_call call, struct err *e)
{
	int r = remote_call(ref, send_signal, &call, e);

	if (call.number != SIGKILL || !guest_is_silent(r))
		return r;
	log_warn("%s: the guest does not answer, so its VM is ended", ref->record.name);
	*e = (struct err)ERR_INIT;
	return sandbox_kill_vm(ref, e);
}

int sandbox_signal(struct state_ref *ref, int number, struct err *e)
{
	return signal_or_end(ref, (struct signal_call){ .number = number }, e);
}

int sandbox_signal_all(struct state_ref *ref, int number, struct err *e)
{
	return signal_or_end(ref, (struct signal_call){ .number = number, .all = true }, e);
}

static bool has_ended(struct state_ref *ref)
{
	if (flock(ref->lockfd, LOCK_SH | LOCK_NB) < 0)
		return false;
	flock(ref->lockfd, LOCK_UN);
	return true;
}

/* flock has no time limit of its own. */
bool sandbox_wait_ended(struct state_ref *ref, uint64_t timeout_ns)
{
	uint64_t begin = monotonic_ns(), slept = POLL_NS / 20;

	while (!has_ended(ref)) {
		if (monotonic_ns() - begin >= timeout_ns)
			return false;
		usleep((useconds_t)(slept / 1000));
		slept = min_t(uint64_t, slept * 2, POLL_NS);
	}
	return true;
}

bool remote_is_child_of(pid_t pid, pid_t parent)
{
	char path[64], *text = NULL;
	const char *line;
	bool is = false;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (read_file(-1, path, 65536, &text, NULL))
		return false;
	line = strstr(text, "\nPPid:");
	if (line)
		is = atoi(line + 6) == parent;
	free(text);
	return is;
}

/* Of one in another's VM, which stays: its processes, then its supervisor, whose end the agent takes for the container's. */
static void kill_joined(struct state_ref *ref, int supervisor)
{
	struct signal_call call = { .number = SIGKILL, .all = true };
	struct err e = ERR_INIT;

	if (remote_call(ref, send_signal, &call, &e) || !sandbox_wait_ended(ref, JOINED_END_NS))
		syscall(SYS_pidfd_send_signal, supervisor, SIGKILL, NULL, 0);
}

int sandbox_kill_vm(struct state_ref *ref, struct err *e)
{
	_cleanup_close_ int vmm = (int)syscall(SYS_pidfd_open, ref->record.vmm_pid, 0);
	_cleanup_close_ int supervisor = -1;

	if (vmm >= 0 && remote_is_child_of(ref->record.vmm_pid, ref->record.supervisor_pid)) {
		/* The supervisor sees its VM end, and cleans up. */
		syscall(SYS_pidfd_send_signal, vmm, SIGKILL, NULL, 0);
	} else if (!has_ended(ref)) {
		/* It has no VM, or none yet: it takes its start back. */
		supervisor = (int)syscall(SYS_pidfd_open, ref->record.supervisor_pid, 0);
		if (supervisor >= 0 && !has_ended(ref) && ref->record.vm && ref->record.status != SANDBOX_CREATED)
			kill_joined(ref, supervisor);
		else if (supervisor >= 0 && !has_ended(ref))
			syscall(SYS_pidfd_send_signal, supervisor, SIGTERM, NULL, 0);
	}
	if (!sandbox_wait_ended(ref, END_TIMEOUT_NS))
		return err_set(e, ETIMEDOUT, "%s: its supervisor (pid %d) does not end", ref->record.name,
			       ref->record.supervisor_pid);
	ref->alive = false;
	return 0;
}

int sandbox_stop(struct state_ref *ref, uint64_t timeout_ns, struct err *e)
{
	int number = SIGTERM, r;

	if (!ref->alive || ref->record.status == SANDBOX_EXITED)
		return 0;
	if (ref->record.status == SANDBOX_CREATED)
		return sandbox_kill_vm(ref, e);
	if (timeout_ns == UINT64_MAX)
		timeout_ns = ref->record.stop_timeout_ns;
	if (ref->record.stop_signal && oci_signal_parse(ref->record.stop_signal, &number, e))
		number = SIGTERM;
	r = sandbox_signal(ref, number, e);
	if (!r && sandbox_wait_ended(ref, timeout_ns))
		return 0;
	if (!r)
		r = sandbox_signal(ref, SIGKILL, e);
	if (!r && sandbox_wait_ended(ref, 5000000000ull))
		return 0;
	/* The guest does not answer. */
	if (has_ended(ref))
		return 0;
	*e = (struct err)ERR_INIT;
	return sandbox_kill_vm(ref, e);
}
