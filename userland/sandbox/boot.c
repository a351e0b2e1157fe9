/* SPDX-License-Identifier: Apache-2.0 */
/* Stages that make the VM: what it is told, its process, and the first answer of the agent in it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/guest.h"
#include "base/util.h"
#include "sandbox/module_path.h"
#include "sandbox/paths.h"
#include "sandbox/sandbox_private.h"
#include "sandbox/vhost.h"
#include "sandbox/vmspec_build.h"

#define ENTROPY_LEN 64u
#define BOOT_SHARE 50u /* of the time it was given, which a guest that gets on has used at least */

/* ---- vmspec ------------------------------------------------------------------------------------------------------- */

/* A file that the guest boots from: the caller's, or one of the installation. */
static int open_guest_file(const char *given, const char *flag, const char *name, int *fd, struct err *e)
{
	_cleanup_free_ char *path = given ? xstrdup(given) : paths_guest(name, e);

	if (!path)
		return -e->code;
	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (*fd < 0)
		return given ? err_errno(e, errno, "%s %s", flag, path) : err_errno(e, errno, "%s", path);
	return 0;
}

int sandbox_listen(struct sandbox *s, int type, const char *name, int *fd, struct err *e)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	*fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	/* The folder's own path may be longer than sun_path. */
	snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/%s", s->home.dirfd, name);
	if (*fd < 0 || bind(*fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(*fd, 64) < 0)
		return err_errno(e, errno, "cannot listen at %s/%s", s->home.path, name);
	return 0;
}

/* Where streams to the agent begin, and where its own first one arrives. */
static int open_streams(struct sandbox *s, uint32_t *control_port, struct err *e)
{
	int pair[2], r;

	if (str_eq(s->record.vsock, MODULE_PATH_VHOST)) {
		r = vhost_take_cid(s->module_fd, &s->vhost_cid, e);
		if (!r)
			r = vhost_publish(s->home.dirfd, "vsock", s->vhost_cid, e);
		return r ? r : vhost_listen(&s->call_fd, control_port, e);
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, errno, "socketpair");
	s->control_fd = pair[0];
	s->control_guest_fd = pair[1];
	r = sandbox_listen(s, SOCK_STREAM, "vsock", &s->listen_fd, e);
	return r ? r : sandbox_listen(s, SOCK_SEQPACKET, STATE_SEQPACKET_SOCKET, &s->seq_listen_fd, e);
}

static int open_channels(struct sandbox *s, struct err *e)
{
	int pair[2];

	if (pipe2(pair, O_CLOEXEC) < 0)
		return err_errno(e, errno, "pipe");
	s->report_fd = pair[0];
	s->report_vmm_fd = pair[1];
	if (pipe2(pair, O_CLOEXEC) < 0)
		return err_errno(e, errno, "pipe");
	s->console.fd = pair[0];
	s->log_vmm_fd = pair[1];
	s->console.file =
		openat(s->home.dirfd, "console.log", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->console.file < 0)
		return err_errno(e, errno, "cannot make %s/console.log", s->home.path);
	/* What a detached one says is in the file. */
	s->console.echo_fd = s->options->debug_console && s->ready_fd < 0 ? 2 : -1;
	s->self_fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	return s->self_fd < 0 ? err_errno(e, errno, "pidfd_open") : 0;
}

static const char *choose_balloon(struct sandbox *s, struct err *e)
{
	const struct run_options *o = s->options;
	const char *path = module_path_choose(MODULE_BALLOON, o->balloon, o->mem_min_bytes ? MODULE_PATH_KERNEL : NULL,
					      &s->balloon_module_fd, e);

	if (!o->mem_min_bytes)
		return path;
	if (!path)
		err_wrap(e, "--memory-min");
	if (!str_eq(path, MODULE_PATH_USER))
		return path;
	err_set(e, EINVAL,
		"--memory-min: only the kernel module knows when the host is short of memory; use --balloon kernel, "
		"or leave it out");
	return NULL;
}

int stage_vmspec(struct sandbox *s, struct err *e)
{
	const struct run_options *o = s->options;
	const char *vsock = module_path_choose(MODULE_VSOCK, o->vsock, NULL, &s->module_fd, e), *balloon;
	uint32_t control_port = 0;
	struct vm_facts f;
	int r;

	if (!vsock)
		return -e->code;
	s->record.vsock = xstrdup(vsock);
	balloon = choose_balloon(s, e);
	if (!balloon)
		return -e->code;
	s->record.balloon = xstrdup(balloon);
	r = open_guest_file(o->kernel, "--kernel", "vmlinux", &s->kernel_fd, e);
	if (!r)
		r = open_guest_file(o->initramfs, "--initramfs", "initramfs.cpio", &s->initramfs_fd, e);
	if (!r)
		r = open_streams(s, &control_port, e);
	if (!r)
		r = sandbox_listen(s, SOCK_SEQPACKET, STATE_BALLOON_SOCKET, &s->balloon_fd, e);
	if (!r)
		r = open_channels(s, e);
	if (!r && s->grows)
		r = slots_open(&s->slots, e);
	if (!r)
		r = engine_enter_cgroup(s, e);
	if (!r)
		r = fileserver_start(s, e);
	if (r)
		return r;
	f = (struct vm_facts){
		.kvm_fd = s->kvm_fd,
		.kernel_fd = s->kernel_fd,
		.initramfs_fd = s->initramfs_fd,
		.report_fd = s->report_vmm_fd,
		.log_fd = s->log_vmm_fd,
		.parent_fd = s->self_fd,
		.rootfs_fd = s->image->rootfs_fd,
		.listen_fd = s->listen_fd,
		.seq_listen_fd = s->seq_listen_fd,
		.balloon_fd = s->balloon_fd,
		.module_fd = s->module_fd,
		.balloon_module_fd = s->balloon_module_fd,
		.control_fd = s->control_guest_fd,
		.vhost_cid = s->vhost_cid,
		.control_port = control_port,
		.disks = s->shares.disks,
		.disk_fds = s->disk_fds,
		.disks_n = s->disks_n,
		.slots = s->grows ? &s->slots : NULL,
		.network = &s->network,
		.fs_fd = s->fsd_fd,
		.uid = s->home.uid,
		.host_mem_bytes = s->host_mem_bytes,
	};
	s->vmspec = xcalloc(1, sizeof(*s->vmspec));
	r = vmspec_build(o, &f, s->vmspec, e);
	s->record.vcpus = s->vmspec->vcpus;
	s->record.mem_bytes = s->vmspec->mem_bytes;
	return r;
}

/* What only the VMM has to hold. */
static void close_vmm_ends(struct sandbox *s)
{
	storage_close_vmm_ends(s);
	network_close_taps(&s->network);
	slots_close_vmm_ends(&s->slots);
	cleanup_closep(&s->kernel_fd);
	cleanup_closep(&s->initramfs_fd);
	cleanup_closep(&s->listen_fd);
	cleanup_closep(&s->seq_listen_fd);
	cleanup_closep(&s->balloon_fd);
	cleanup_closep(&s->module_fd);
	cleanup_closep(&s->balloon_module_fd);
	cleanup_closep(&s->self_fd);
	cleanup_closep(&s->control_guest_fd);
	cleanup_closep(&s->report_vmm_fd);
	cleanup_closep(&s->log_vmm_fd);
}

void undo_vmspec(struct sandbox *s)
{
	close_vmm_ends(s);
	slots_end(&s->slots);
	cleanup_closep(&s->control_fd);
	cleanup_closep(&s->call_fd);
	cleanup_closep(&s->report_fd);
	console_close(&s->console);
	free(s->vmspec);
	s->vmspec = NULL;
}

/* ---- spawn -------------------------------------------------------------------------------------------------------- */

/* The report, or the end of the pipe without one: either way the VM is over. */
static void on_report(struct loop_op *op, int res)
{
	struct sandbox *s = container_of(op, struct sandbox, report_op);

	if (res == -ECANCELED)
		return;
	if (res > 0)
		s->report_len += res;
	if (res <= 0 || s->report_len == sizeof(s->report)) {
		s->vmm_gone = true;
		if (s->vmm_ended)
			s->vmm_ended(s);
		return;
	}
	loop_read(s->loop, op, s->report_fd, (char *)&s->report + s->report_len, sizeof(s->report) - s->report_len, -1);
}

int stage_spawn(struct sandbox *s, struct err *e)
{
	int r = vmm_spawn(s->vmm_program, s->vmspec, s->log_vmm_fd, &s->vmm, e);
	close_vmm_ends(s);
	if (r)
		return r;
	s->record.vmm_pid = s->vmm.pid;
	s->record.fsd_pid = s->fsd.pid;
	console_start(&s->console, s->loop);
	fileserver_watch(s);
	loop_op_init(&s->report_op, on_report);
	loop_read(s->loop, &s->report_op, s->report_fd, &s->report, sizeof(s->report), -1);
	return 0;
}

void undo_spawn(struct sandbox *s)
{
	int i;

	if (!s->console.loop)
		return;
	vmm_kill(&s->vmm);
	/* Both pipes have lost their writer, so what reads them ends by itself. */
	console_drain(&s->console);
	for (i = 0; i < 64 && loop_op_busy(&s->report_op); i++)
		if (loop_run_once(s->loop, true) < 0)
			break;
}

int sandbox_vm_error(struct sandbox *s, struct err *e)
{
	char line[256];

	if (s->options->join)
		return err_set(e, EIO, "the VM of container %s, which it had joined, has ended",
			       s->options->join->record.name);
	vmm_reap(&s->vmm);
	console_drain(&s->console);
	console_last_line(&s->console, line, sizeof(line));
	if ((s->fsd_gone || s->report.end == VM_END_ERROR) && fileserver_error(s, e))
		return -e->code;
	if (s->report_len == sizeof(s->report)) {
		s->report.msg[sizeof(s->report.msg) - 1] = '\0';
		/* The VMM has files, not names. */
		if (s->report.end == VM_END_ERROR && s->options->kernel && str_starts(s->report.msg, "kernel:"))
			return err_set(e, EIO, "--kernel %s: %s", s->options->kernel, s->report.msg);
		if (s->report.end == VM_END_ERROR && s->report.msg[0])
			return err_set(e, EIO, "the VM did not run: %s", s->report.msg);
		return err_set(e, EIO, "the VM ended: %s%s%s", vm_end_name(s->report.end), s->report.msg[0] ? ": " : "",
			       s->report.msg);
	}
	if (s->vmm.status == 128 + SIGKILL)
		return err_set(e, EIO, "the VM ended: somebody killed microvm-vmm, or the host had no memory left");
	if (s->vmm.status > 128)
		return err_set(e, EIO, "the VM ended: microvm-vmm was killed by signal %d (%s)%s%s",
			       s->vmm.status - 128, strsignal(s->vmm.status - 128), line[0] ? "; its last words: " : "",
			       line);
	return err_set(e, EIO, "the VM ended: microvm-vmm exited with status %d%s%s", s->vmm.status,
		       line[0] ? "; its last words: " : " and no word", line);
}

int sandbox_call_error(struct sandbox *s, struct err *e)
{
	const bool broke = e->code == EPIPE || e->code == ECANCELED || e->code == ECONNRESET || e->code == ECONNREFUSED;
	int i;

	/* Another one's VM sends us no report. */
	if (s->options->join && broke)
		s->vmm_gone = true;
	/* The stream's end and the report come by different ways: what killed the call may be told a moment later. */
	for (i = 0; i < 1000 && broke && !s->vmm_gone && !s->cancelled_by && !s->timed_out; i++) {
		struct pollfd p = { .fd = s->vmm.pidfd, .events = POLLIN };

		if (poll(&p, 1, 10) > 0)
			s->vmm_gone = true;
		if (s->vmm_gone)
			while (loop_op_busy(&s->report_op) && loop_run_once(s->loop, true) >= 0)
				;
	}
	if (s->timed_out)
		return err_set(e, ETIMEDOUT, "--timeout: it was killed after %llu ms",
			       (unsigned long long)(s->options->timeout_ns / 1000000));
	if (s->cancelled_by)
		return err_set(e, EINTR, "ended by a signal");
	if (s->vmm_gone)
		return sandbox_vm_error(s, e);
	return -e->code;
}

int sandbox_run_until(struct sandbox *s, const bool *flag, struct err *e)
{
	while (!*flag) {
		int r;

		if (s->vmm_gone || s->cancelled_by || s->timed_out) {
			err_set(e, EPIPE, "the VM is gone");
			return sandbox_call_error(s, e);
		}
		r = loop_run_once(s->loop, true);
		if (r < 0)
			return err_errno(e, r, "waiting for events");
	}
	return 0;
}

/* ---- boot --------------------------------------------------------------------------------------------------------- */

static void on_answer(const ProtobufCMessage *reply, const struct err *e, void *arg)
{
	struct sandbox *s = arg;

	s->boot.answered = true;
	if (!reply)
		s->boot.e = *e;
	if (loop_op_busy(&s->boot.limit_op))
		loop_cancel(s->loop, &s->boot.limit_op);
	if (s->boot.done)
		s->boot.done(s);
}

/* CPU time that the VMM's process has had, its guest's included; 0: not to be known. */
static uint64_t vmm_cpu_ns(const struct sandbox *s)
{
	struct timespec t;
	clockid_t clock;

	if (clock_getcpuclockid(s->vmm.pid, &clock) || clock_gettime(clock, &t))
		return 0;
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/*
 * A host with more guests than CPUs boots each of them later. One that has had little of a CPU, and used that, has its time again:
 * a guest that waits for nothing uses none, and one that spins has soon had enough.
 */
static bool is_starved(struct sandbox *s)
{
	const uint64_t limit = s->options->boot_timeout_ns, had = vmm_cpu_ns(s), before = s->boot.cpu_ns;

	s->boot.cpu_ns = had;
	return had < limit / 2 && had >= before + limit / BOOT_SHARE;
}

static void on_boot_limit(struct loop_op *op, int res)
{
	struct sandbox *s = container_of(op, struct sandbox, boot.limit_op);

	if (res == -ECANCELED)
		return;
	if (is_starved(s)) {
		loop_timer(s->loop, op, s->options->boot_timeout_ns);
		return;
	}
	s->boot.late = true;
	vmm_signal(&s->vmm, SIGKILL);
}

static int boot_limit_error(struct sandbox *s, struct err *e)
{
	char line[256];

	vmm_reap(&s->vmm);
	console_drain(&s->console);
	console_last_line(&s->console, line, sizeof(line));
	return err_set(e, ETIMEDOUT,
		       "the guest did not boot within %llu s; its console's last line: %s; --debug-console shows "
		       "all of it",
		       (unsigned long long)(s->options->boot_timeout_ns / 1000000000), line[0] ? line : "(none)");
}

static void on_call(struct loop_op *op, int res) {}

/* By vhost-vsock the agent's stream is there when it has called. Others can call, too: any guest of this host's. */
static int await_call(struct sandbox *s, struct err *e)
{
	struct loop_op op;
	int r = -EAGAIN;

	loop_op_init(&op, on_call);
	while (r == -EAGAIN) {
		loop_poll(s->loop, &op, s->call_fd, POLLIN);
		while (loop_op_busy(&op) && !s->vmm_gone && !s->cancelled_by && !s->timed_out)
			if (loop_run_once(s->loop, true) < 0)
				break;
		if (loop_op_busy(&op)) {
			loop_cancel(s->loop, &op);
			while (loop_op_busy(&op) && loop_run_once(s->loop, true) >= 0)
				;
			err_set(e, EPIPE, "the agent did not call");
			return sandbox_call_error(s, e);
		}
		r = vhost_accept(s->call_fd, s->vhost_cid);
	}
	if (r < 0)
		return err_errno(e, r, "the agent's call");
	s->control_fd = r;
	cleanup_closep(&s->call_fd);
	return 0;
}

static void limit_boot(struct sandbox *s)
{
	loop_op_init(&s->boot.limit_op, on_boot_limit);
	loop_timer(s->loop, &s->boot.limit_op, s->options->boot_timeout_ns);
}

int boot_ask(struct sandbox *s, struct err *e)
{
	Microvm__CreateSandboxRequest req;
	uint8_t entropy[ENTROPY_LEN];
	int r;

	if (s->control_fd < 0)
		return err_set(e, EINVAL, "--vsock vhost is not for pods; use user or kernel");
	if (!loop_op_busy(&s->boot.limit_op))
		limit_boot(s);
	r = agent_new(&s->agent, s->loop, s->control_fd, &(struct agent_config){ 0 });
	if (r)
		return err_errno(e, r, "cannot speak to the agent");
	s->control_fd = -1;
	if (getrandom(entropy, sizeof(entropy), 0) != sizeof(entropy))
		return err_set(e, EIO, "no random numbers");
	microvm__create_sandbox_request__init(&req);
	req.hostname = s->record.hostname;
	req.share_tag = (char *)(s->fsd.pid ? GUEST_SHARE_TAG : "");
	req.time_ns = realtime_ns();
	req.entropy.data = entropy;
	req.entropy.len = sizeof(entropy);
	req.network = s->network.network;
	if (s->pod_linux) {
		req.sysctl = s->pod_linux->sysctl;
		req.n_sysctl = s->pod_linux->n_sysctl;
	}
	s->boot.asked = true;
	agent_create_sandbox_async(s->agent, &req, on_answer, s);
	return 0;
}

int boot_result(struct sandbox *s, struct err *e)
{
	if (s->boot.late)
		return boot_limit_error(s, e);
	if (!s->boot.e.code) {
		s->boot_over = true;
		return 0;
	}
	*e = s->boot.e;
	return sandbox_call_error(s, e);
}

int stage_boot(struct sandbox *s, struct err *e)
{
	int r;

	limit_boot(s);
	r = s->call_fd >= 0 ? await_call(s, e) : 0;
	if (!r)
		r = boot_ask(s, e);
	if (!r)
		r = sandbox_run_until(s, &s->boot.answered, e);
	if (s->boot.late)
		return boot_limit_error(s, e);
	return r ? r : boot_result(s, e);
}

void undo_boot(struct sandbox *s)
{
	if (s->agent)
		agent_free(s->agent);
	s->agent = NULL;
	if (loop_op_busy(&s->boot.limit_op))
		loop_cancel(s->loop, &s->boot.limit_op);
	/* Both end by themselves now; what they know of is gone after this. */
	while ((loop_op_busy(&s->boot.limit_op) || (s->boot.asked && !s->boot.answered)) &&
	       loop_run_once(s->loop, true) >= 0)
		;
	cleanup_closep(&s->control_fd);
}
