/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Payload guests on this machine's /dev/kvm, each in a microvm-vmm of its own, jailed as in production. One line a test:
 * `ok NAME`, `not ok NAME: why` or `skip NAME: why`. Arguments pick tests whose names contain one of them.
 */
#include "boot.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

#define DISK_BYTES 65536
#define PMEM_BYTES ((2 << 20) + 100)

static char *bin_dir; /* build/ */

bool run_fail(struct run *run, const char *fmt, ...)
{
	va_list ap;

	if (run->why[0])
		return false;
	va_start(ap, fmt);
	vsnprintf(run->why, sizeof(run->why), fmt, ap);
	va_end(ap);
	return false;
}

static int open_file(struct run *run, const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		run_fail(run, "%s: %s", path, strerror(errno));
	return fd;
}

void run_init(struct run *run, const char *cmdline)
{
	_cleanup_free_ char *payload = xasprintf("%s/tests/payload", bin_dir);

	memset(run, 0, sizeof(*run));
	run->vmm.pidfd = run->log_fd = run->report_fd = run->console_fd = -1;
	vmspec_init(&run->spec);
	run->spec.mem_bytes = VMSPEC_MEM_MIN;
	run->spec.kvm_fd = open_file(run, "/dev/kvm", O_RDWR);
	run->spec.kernel_fd = open_file(run, payload, O_RDONLY);
	run->spec.parent_fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	run->spec.uid = run->spec.gid = 65533;
	run->spec.stop_grace_ms = 300;
	snprintf(run->spec.cmdline, sizeof(run->spec.cmdline), "%s", cmdline);
}

void run_add_disk(struct run *run, unsigned int flags)
{
	struct vmspec_device *dev = vmspec_add(&run->spec, VMSPEC_BLK);
	_cleanup_free_ char *bytes = xcalloc(1, DISK_BYTES);
	int fd = memfd_create("disk", MFD_CLOEXEC);
	size_t i;

	for (i = 0; i < DISK_BYTES; i++)
		bytes[i] = (char)('A' + i / 512 % 16);
	if (fd < 0 || write_full(fd, bytes, DISK_BYTES))
		run_fail(run, "disk: %s", strerror(errno));
	dev->flags = flags;
	dev->blk.fd = fd;
}

static void add_pmem(struct run *run)
{
	struct vmspec_device *dev = vmspec_add(&run->spec, VMSPEC_PMEM);
	int fd = memfd_create("pmem", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, PMEM_BYTES) || pwrite(fd, "pmem", 4, 0) != 4 || pwrite(fd, "z", 1, 2 << 20) != 1)
		run_fail(run, "pmem: %s", strerror(errno));
	dev->flags = VMSPEC_PMEM_READONLY;
	dev->pmem.fd = fd;
}

bool run_start(struct run *run)
{
	_cleanup_free_ char *program = xasprintf("%s/bin/microvm-vmm", bin_dir);
	int log[2], report[2];
	struct err e = ERR_INIT;

	if (run->why[0])
		return false;
	if (pipe2(log, O_CLOEXEC) || pipe2(report, O_CLOEXEC))
		return run_fail(run, "pipe: %s", strerror(errno));
	run->log_fd = log[0];
	run->report_fd = report[0];
	run->spec.log_fd = log[1];
	run->spec.report_fd = report[1];
	if (vmm_spawn(program, &run->spec, log[1], &run->vmm, &e))
		run_fail(run, "%s", e.msg);
	close(log[1]);
	close(report[1]);
	run->spec.log_fd = run->spec.report_fd = -1;
	return !run->why[0];
}

/* One read of the log. false: its end, or the time is up. */
static bool read_log(struct run *run)
{
	struct pollfd log = { .fd = run->log_fd, .events = POLLIN };
	char spill[4096];
	const size_t room = sizeof(run->log) - 1 - run->log_n;
	ssize_t n;

	if (poll(&log, 1, LIMIT_MS) != 1)
		return run_fail(run, "silent for %d s", LIMIT_MS / 1000);
	n = read(run->log_fd, room ? run->log + run->log_n : spill, room ? room : sizeof(spill));
	if (n <= 0)
		return false;
	if (room)
		run->log_n += (size_t)n;
	return true;
}

bool run_wait_log(struct run *run, const char *words)
{
	while (!strstr(run->log, words))
		if (!read_log(run))
			return run_fail(run, "the log ended without \"%s\"", words);
	return true;
}

bool run_finish(struct run *run)
{
	while (read_log(run))
		;
	if (run->why[0])
		vmm_kill(&run->vmm);
	vmm_reap(&run->vmm);
	run->reported = read(run->report_fd, &run->report, sizeof(run->report)) == (ssize_t)sizeof(run->report);
	return run->reported || run_fail(run, "no report; status %d", run->vmm.status);
}

void run_free(struct run *run)
{
	int32_t *fds[VMSPEC_FDS_MAX];
	size_t n, i;

	vmm_kill(&run->vmm);
	n = vmspec_fds(&run->spec, fds);
	for (i = 0; i < n; i++)
		close(*fds[i]);
	cleanup_closep(&run->log_fd);
	cleanup_closep(&run->report_fd);
	cleanup_closep(&run->console_fd);
}

/* ---- tests that are a row ------------------------------------------------------------------------------------------ */

struct test {
	const char *name; /* the payload's, unless payload says otherwise */
	const char *payload;
	enum vm_end end;
	int status;
	const char *words, *no_words; /* of log or report; what must not be there */
	unsigned int vcpus;
	uint64_t mem_mib;
	bool disk, readonly, rng, console, pmem;
	void (*run)(struct run *run); /* instead: everything after run_init */
};

static bool check_end(struct run *run, const struct test *t)
{
	if (run->report.end != (uint32_t)t->end)
		return run_fail(run, "ended by %s (%s), not %s; log: %.300s", vm_end_name(run->report.end),
				run->report.msg, vm_end_name(t->end), run->log);
	if (run->vmm.status != t->status)
		return run_fail(run, "exit status %d, not %d", run->vmm.status, t->status);
	if (t->words && !strstr(run->log, t->words) && !strstr(run->report.msg, t->words))
		return run_fail(run, "\"%s\" is in neither log nor report: %.300s", t->words, run->log);
	if (t->no_words && strstr(run->log, t->no_words))
		return run_fail(run, "\"%s\" is in the log", t->no_words);
	return true;
}

static void run_row(struct run *run, const struct test *t)
{
	run->spec.vcpus = t->vcpus ? t->vcpus : 1;
	if (t->mem_mib)
		run->spec.mem_bytes = t->mem_mib << 20;
	if (t->disk)
		run_add_disk(run, t->readonly ? VMSPEC_BLK_READONLY : 0);
	if (t->rng)
		vmspec_add(&run->spec, VMSPEC_RNG)->rng.fd = open_file(run, "/dev/urandom", O_RDONLY);
	if (t->pmem)
		add_pmem(run);
	if (t->console)
		vmspec_add(&run->spec, VMSPEC_CONSOLE);
	if (run_start(run) && run_finish(run))
		check_end(run, t);
}

/* ---- tests that are more -------------------------------------------------------------------------------------------- */

static void expect_end(struct run *run, enum vm_end end, const char *words)
{
	if (run_finish(run) && (run->report.end != (uint32_t)end || !strstr(run->report.msg, words)))
		run_fail(run, "ended by %s (%s)", vm_end_name(run->report.end), run->report.msg);
}

static void test_sigterm_spin(struct run *run)
{
	if (run_start(run) && run_wait_log(run, "spinning")) {
		kill(run->vmm.pid, SIGTERM);
		expect_end(run, VM_END_KILLED, "300 ms");
	}
}

static void test_sigterm_sleep(struct run *run)
{
	run->spec.vcpus = 2;
	if (run_start(run) && run_wait_log(run, "sleeping")) {
		kill(run->vmm.pid, SIGTERM);
		expect_end(run, VM_END_KILLED, "300 ms");
	}
}

/* Signals that a terminal or a careless script sends are not the VMM's. */
static void test_other_signals(struct run *run)
{
	static const int signals[] = { SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGALRM, SIGPIPE, SIGTSTP, SIGCONT };
	size_t i;

	if (!run_start(run) || !run_wait_log(run, "spinning"))
		return;
	for (i = 0; i < ARRAY_SIZE(signals); i++)
		kill(run->vmm.pid, signals[i]);
	kill(run->vmm.pid, SIGTERM);
	expect_end(run, VM_END_KILLED, "300 ms");
}

/* A guest that talks and a log that nobody reads don't keep the VMM from ending. */
static void test_full_log(struct run *run)
{
	struct pollfd ended = { .events = POLLIN };
	int queued = 0;

	if (!run_start(run))
		return;
	while (queued < 60000 && ioctl(run->log_fd, FIONREAD, &queued) == 0)
		usleep(10000);
	kill(run->vmm.pid, SIGTERM);
	ended.fd = run->vmm.pidfd;
	if (poll(&ended, 1, LIMIT_MS) != 1)
		run_fail(run, "it waits for a reader of its log");
	expect_end(run, VM_END_KILLED, "");
}

static void use_kernel(struct run *run, const char *path)
{
	close(run->spec.kernel_fd);
	run->spec.kernel_fd = open_file(run, path, O_RDONLY);
}

static void test_not_pvh(struct run *run)
{
	use_kernel(run, "/proc/self/exe");
	if (run_start(run))
		expect_end(run, VM_END_ERROR, "1 MiB");
}

static void test_not_elf(struct run *run)
{
	use_kernel(run, "/etc/passwd");
	if (run_start(run))
		expect_end(run, VM_END_ERROR, "is no ELF file");
}

static void test_small_memory(struct run *run)
{
	_cleanup_close_ int fd = memfd_create("initramfs", MFD_CLOEXEC);

	if (ftruncate(fd, 20 << 20))
		run_fail(run, "memfd");
	run->spec.initramfs_fd = take_fd(&fd);
	if (run_start(run))
		expect_end(run, VM_END_ERROR, "give the guest more memory");
}

static void test_bad_spec(struct run *run)
{
	run->spec.vcpus = 33;
	if (run_start(run) && !run_finish(run)) {
		run->why[0] = 0; /* no report: the spec that names its place was refused */
		if (run->vmm.status != 1 || !strstr(run->log, "33 vCPUs is outside 1..32"))
			run_fail(run, "status %d: %s", run->vmm.status, run->log);
	}
}

static void test_extra_fds(struct run *run)
{
	char path[64], target[64];
	int fd, n = 0;

	run_add_disk(run, 0);
	if (!run_start(run) || !run_wait_log(run, "spinning"))
		return;
	/* Three standard files, report, log, parent's pidfd, disk, and what the VM is made of. */
	for (fd = 0; fd < 256; fd++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", run->vmm.pid, fd);
		n += readlink(path, target, sizeof(target)) > 0;
	}
	if (n > 20)
		run_fail(run, "%d open files", n);
}

static void test_denied_vcpu(struct run *run)
{
	test_denied(run, "vcpu0");
}
static void test_denied_io(struct run *run)
{
	test_denied(run, "io");
}
static void test_denied_main(struct run *run)
{
	test_denied(run, "microvm-vmm");
}

#define OK .end = VM_END_SHUTDOWN, .words = "ok\n", .no_words = "FAILED"

static const struct test tests[] = {
	{ "hello", OK },
	{ "reset", .end = VM_END_RESET, .status = 3 },
	{ "triple-fault", .end = VM_END_TRIPLE_FAULT, .status = 4 },
	{ "panic", .end = VM_END_PANIC, .status = 5, .words = "Kernel panic - not syncing: out of payload" },
	{ "ports", OK },
	{ "flood", .end = VM_END_SHUTDOWN, .words = "0123456789" },
	{ "binary-serial", .end = VM_END_SHUTDOWN, .words = "]0;title  before after\n", .no_words = "\x1b" },
	{ "memory", OK },
	{ "memory-32m", .payload = "memory", OK, .mem_mib = 32 },
	{ "memory-hole-edge", .payload = "memory", OK, .mem_mib = 3072 },
	{ "memory-above-hole", .payload = "memory", OK, .mem_mib = 3074 },
	{ "cpus-1", .payload = "cpus", OK, .vcpus = 1 },
	{ "cpus-2", .payload = "cpus", OK, .vcpus = 2 },
	{ "cpus-4", .payload = "cpus", OK, .vcpus = 4 },
	{ "cpus-32", .payload = "cpus", OK, .vcpus = 32 },
	{ "jump-to-hole", .end = VM_END_ERROR, .status = 1, .words = "vCPU 0" },
	{ "sigterm-spin", .payload = "spin", .run = test_sigterm_spin },
	{ "sigterm-sleep", .payload = "sleep", .run = test_sigterm_sleep },
	{ "sigterm-full-log", .payload = "flood", .run = test_full_log },
	{ "other-signals", .payload = "spin", .run = test_other_signals },
	{ "kernel-elsewhere", .payload = "hello", .run = test_not_pvh },
	{ "kernel-not-elf", .payload = "hello", .run = test_not_elf },
	{ "memory-too-small", .payload = "hello", .run = test_small_memory },
	{ "bad-spec", .payload = "hello", .run = test_bad_spec },
	{ "jail", .payload = "spin", .run = test_jail },
	{ "open-files", .payload = "spin", .run = test_extra_fds },
	{ "denied-vcpu", .payload = "spin", .run = test_denied_vcpu },
	{ "denied-io", .payload = "spin", .run = test_denied_io },
	{ "denied-main", .payload = "spin", .run = test_denied_main },
	{ "parent-death", .payload = "spin", .run = test_parent_death },
	{ "virtio-rng", OK, .rng = true },
	{ "virtio-blk", OK, .disk = true },
	{ "virtio-blk-readonly", OK, .disk = true, .readonly = true },
	{ "virtio-indirect", OK, .disk = true },
	{ "virtio-interrupt", OK, .rng = true },
	{ "chain-cycle", OK, .disk = true },
	{ "chain-index", OK, .disk = true },
	{ "chain-past-memory", OK, .disk = true },
	{ "avail-jump", OK, .disk = true },
	{ "queue-outside", OK, .disk = true },
	{ "reset-mid-request", OK, .disk = true },
	{ "rewrite-after-kick", OK, .disk = true },
	{ "register-storm", OK, .disk = true },
	{ "kick-storm", OK, .disk = true },
	{ "console-panic", .end = VM_END_PANIC, .status = 5, .words = "Kernel panic - not syncing: on the console",
	  .console = true },
	{ "virtio-pmem", OK, .pmem = true },
	{ "virtio-fs", .run = test_fs },
	{ "virtio-fs-killed", .run = test_fs_killed },
};

static bool picked(const char *name, char **words)
{
	bool any = !*words;

	for (; *words; words++)
		any |= strstr(name, *words) != NULL;
	return any;
}

/* Why no test can run here; NULL: they can. */
static const char *why_not(void)
{
	if (geteuid() != 0)
		return "needs root, as the jail does";
	if (access("/dev/kvm", R_OK | W_OK))
		return errno == ENOENT ? "this machine has no /dev/kvm" : "/dev/kvm is not for this user";
	return NULL;
}

int main(int argc, char **argv)
{
	static struct run run;
	const char *skip = why_not();
	bool failed = false;
	size_t i;

	bin_dir = xstrdup(getenv("MICROVM_BUILD") ? getenv("MICROVM_BUILD") : "build");
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		const struct test *t = &tests[i];

		if (!picked(t->name, argv + 1))
			continue;
		if (skip) {
			printf("skip %s: %s\n", t->name, skip);
			continue;
		}
		run_init(&run, t->payload ? t->payload : t->name);
		if (t->run)
			t->run(&run);
		else
			run_row(&run, t);
		if (run.skip)
			printf("skip %s: %s\n", t->name, run.skip);
		else if (run.why[0])
			printf("not ok %s: %s\n", t->name, run.why);
		else
			printf("ok %s\n", t->name);
		failed |= run.why[0] != 0;
		run_free(&run);
	}
	free(bin_dir);
	return failed;
}
