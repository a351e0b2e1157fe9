/* SPDX-License-Identifier: Apache-2.0 */
/*
 * microvm-vmm: one VM. It is told what to do by a struct vmspec (base/vmspec.h), uses the open files that names and opens
 * none itself. Everything is made here as root; then it goes to jail, and only then runs the guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "base/vmspec.h"
#include "io/loop.h"
#include "virtio/virtio.h"
#include "vmm/jail.h"
#include "vmm/seccomp.h"
#include "vmm/vm.h"
#include "vmm/x86/boot.h"

#define LOOP_ENTRIES 64u
#define IO_STACK_BYTES (128u << 10)
#define STOP_VCPUS_MS 2000u
#define DEADLINE_MORE_MS 3000u
#define FILE_BYTES_MIN (64ull << 20) /* of logs and consoles */

#define PMEM_ALIGN_BYTES (2ull << 20) /* virtio/pmem.c rounds up to it, and takes as much to align with */

#define EXIT_USAGE 2

struct vmm {
	struct vmspec spec;
	char cmdline[VMSPEC_CMDLINE_MAX];
	struct vm vm;
	struct loop *loop;
	struct virtio_machine *devices;
	/* Threads come here when they have their system call filters, and go on together. */
	pthread_barrier_t filtered;
	struct loop_op io_ready;
	bool io_met;
};

/* For a signal handler. */
static struct vmm *vmm_of_process;

static const char help[] = "usage: microvm-vmm --spec-fd N\n"
			   "\n"
			   "Runs one virtual machine, described by the struct vmspec that is read from file N. It is "
			   "started by the other\n"
			   "programs of microvm, as process 1 of a pid namespace, and not by people.\n"
			   "\n"
			   "  --spec-fd N   where the vmspec is read from\n"
			   "  --version     print the version\n"
			   "  --help        print this\n"
			   "\n"
			   "SIGTERM asks the guest to stop, and ends it when it takes too long.\n"
			   "\n"
			   "Exit status: 0 the guest powered off, or stopped when it was asked to; 1 an error; 2 wrong "
			   "usage; 3 the guest\n"
			   "reset; 4 it triple-faulted; 5 its kernel panicked; 6 it did not stop in time and was "
			   "ended; 7 microvm-vmm made a\n"
			   "system call that it may not.\n";

/* ---- before the guest: what was asked for -------------------------------------------------------------------------- */

static int compare_fds(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* Closes what the parent left open by mistake. spec_fd is closed too, as it has been read. */
static int keep_only(struct vmspec *spec, struct err *e)
{
	int32_t *named[VMSPEC_FDS_MAX];
	int fds[VMSPEC_FDS_MAX + 3] = { 0, 1, 2 };
	size_t n = vmspec_fds(spec, named), i;

	for (i = 0; i < n; i++) {
		if (fcntl(*named[i], F_GETFD) < 0)
			return err_errno(e, errno, "vmspec names file %d", *named[i]);
		fds[3 + i] = *named[i];
	}
	n += 3;
	qsort(fds, n, sizeof(fds[0]), compare_fds);
	for (i = 0; i < n; i++) {
		unsigned int first = (unsigned int)fds[i] + 1, last = i + 1 < n ? (unsigned int)fds[i + 1] - 1 : ~0u;

		if (first <= last && fds[i] != (i + 1 < n ? fds[i + 1] : -1))
			close_range(first, last, 0);
	}
	return 0;
}

static int read_spec(struct vmspec *spec, int fd, struct err *e)
{
	int r = read_full(fd, spec, sizeof(*spec));

	if (r < 0)
		return err_errno(e, r, "reading the vmspec from file %d", fd);
	if (vmspec_check(spec, e))
		return -e->code;
	if (spec->log_fd >= 0)
		log_to_fd(spec->log_fd);
	return keep_only(spec, e);
}

static void on_console_line(void *arg, const char *line)
{
	ending_console_line(arg, line);
}

static int make_devices(struct vmm *vmm, struct err *e)
{
	int r = loop_new(&vmm->loop, LOOP_ENTRIES, LOOP_RESTRICTED);

	if (r < 0)
		return err_errno(e, r, "io_uring (sysctl kernel.io_uring_disabled is to be 0)");
	memcpy(vmm->cmdline, vmm->spec.cmdline, sizeof(vmm->cmdline));
	if (virtio_machine_new(&vmm->devices, &vmm->spec, vmm->vm.mem, &vmm->vm.bus, &vmm->vm.irq, vmm->loop,
			       vmm->cmdline, sizeof(vmm->cmdline), e))
		return -e->code;
	virtio_machine_on_console_line(vmm->devices, on_console_line, &vmm->vm.ending);
	boot_set_cmdline(vmm->vm.mem, vmm->cmdline);
	return 0;
}

/* ---- jail ---------------------------------------------------------------------------------------------------------- */

/* No file grows past the largest disk; one that comes later is as large as it is. */
static uint64_t largest_file(const struct vmspec *spec)
{
	uint64_t most = FILE_BYTES_MIN;
	struct stat st;
	uint32_t i;

	for (i = 0; i < spec->devices_n; i++)
		if (spec->devices[i].type == VMSPEC_BLK && (spec->devices[i].flags & VMSPEC_BLK_SLOT))
			most = INT64_MAX;
		else if (spec->devices[i].type == VMSPEC_BLK && !fstat(spec->devices[i].blk.fd, &st) &&
			 S_ISREG(st.st_mode))
			most = max_t(uint64_t, most, (uint64_t)st.st_size);
	return most;
}

/* Address space: guest memory, and what is mapped as such. */
static uint64_t mapped_bytes(const struct vmspec *spec)
{
	uint64_t sum = spec->mem_bytes;
	struct stat st;
	uint32_t i;

	for (i = 0; i < spec->devices_n; i++)
		if (spec->devices[i].type == VMSPEC_PMEM && !fstat(spec->devices[i].pmem.fd, &st))
			sum += ALIGN_UP((uint64_t)st.st_size, PMEM_ALIGN_BYTES) + PMEM_ALIGN_BYTES;
	return sum;
}

static int enter_jail(struct vmm *vmm, struct err *e)
{
	struct vmspec *spec = &vmm->spec;
	struct jail jail = { .uid = spec->uid,
			     .gid = spec->gid,
			     .file_bytes = largest_file(spec),
			     .memory_bytes = mapped_bytes(spec),
			     .parent_fd = spec->parent_fd };

	/* They have done their part. */
	close(spec->kvm_fd);
	close(spec->kernel_fd);
	if (spec->initramfs_fd >= 0)
		close(spec->initramfs_fd);
	if (spec->flags & VMSPEC_NO_JAIL)
		return jail_bind_parent(spec->parent_fd, e);
	return jail_enter(&jail, e) ? err_wrap(e, "jail") : 0;
}

/* Each thread, before the first guest instruction of any. */
static int filter_and_meet(struct vmm *vmm, enum seccomp_role role)
{
	int r = vmm->spec.flags & VMSPEC_NO_JAIL ? 0 : seccomp_enter(role);

	if (r < 0)
		ending_set(&vmm->vm.ending, VM_END_ERROR, "seccomp: %s", strerrordesc_np(-r));
	pthread_barrier_wait(&vmm->filtered);
	return ending_is_set(&vmm->vm.ending) ? -ECANCELED : 0;
}

static int prepare_vcpu(void *arg)
{
	return filter_and_meet(arg, SECCOMP_VCPU);
}

/* From within the loop, so that calls from other threads reach it from the first instruction on. */
static void io_ready(struct loop_op *op, int res)
{
	struct vmm *vmm = container_of(op, struct vmm, io_ready);

	vmm->io_met = true;
	if (filter_and_meet(vmm, SECCOMP_IO))
		loop_stop(vmm->loop, 0);
}

static void *io_main(void *arg)
{
	struct vmm *vmm = arg;
	int r;

	pthread_setname_np(pthread_self(), "io");
	r = loop_enable(vmm->loop);
	if (r == 0) {
		virtio_machine_start(vmm->devices);
		loop_op_init(&vmm->io_ready, io_ready);
		loop_defer(vmm->loop, &vmm->io_ready);
		r = loop_run(vmm->loop);
	}
	if (r < 0)
		ending_set(&vmm->vm.ending, VM_END_ERROR, "io_uring: %s", strerrordesc_np(-r));
	if (!vmm->io_met)
		filter_and_meet(vmm, SECCOMP_IO);
	/* As in vcpu.c: the process ends next. */
	syscall(SYS_exit, 0);
	return NULL;
}

static void on_deadline(int sig, siginfo_t *info, void *context)
{
	static const struct vm_report report = { .end = VM_END_KILLED, .msg = "it did not stop, and microvm-vmm hung" };

	if (info->si_code != SI_KERNEL) /* anybody's SIGALRM, and not our timer's */
		return;
	ending_send(&vmm_of_process->vm.ending, &report);
	_exit(ending_exit_status(VM_END_KILLED));
}

/*
 * From SIGTERM on there is a last moment, whatever happens: the io thread may wait for a reader of the log who never
 * comes, and with it whoever calls into its loop.
 */
static void set_deadline(struct vmm *vmm)
{
	const uint64_t ms = (uint64_t)vmm->spec.stop_grace_ms + STOP_VCPUS_MS + DEADLINE_MORE_MS;
	const struct itimerval timer = { .it_value = { .tv_sec = (time_t)(ms / 1000),
						       .tv_usec = (long)(ms % 1000) * 1000 } };

	setitimer(ITIMER_REAL, &timer, NULL);
}

/* Before the main thread has its filter; the other threads keep the signal blocked. */
static void prepare_deadline(struct vmm *vmm)
{
	const struct sigaction deadline = { .sa_sigaction = on_deadline, .sa_flags = SA_SIGINFO };
	sigset_t set;

	vmm_of_process = vmm;
	sigaction(SIGALRM, &deadline, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static int start_threads(struct vmm *vmm, struct err *e)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	pthread_barrier_init(&vmm->filtered, NULL, vmm->spec.vcpus + 2);
	vmm->vm.vcpus.prepare = prepare_vcpu;
	vmm->vm.vcpus.prepare_arg = vmm;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, IO_STACK_BYTES);
	r = pthread_create(&thread, &attr, io_main, vmm);
	if (r)
		return err_errno(e, r, "starting the io thread");
	if (vcpus_start(&vmm->vm.vcpus, e))
		return -e->code;
	prepare_deadline(vmm);
	filter_and_meet(vmm, SECCOMP_MAIN);
	return 0;
}

/* ---- while it runs ------------------------------------------------------------------------------------------------- */

static int call_stop_request(void *arg)
{
	virtio_machine_stop_request(arg);
	return 0;
}

static int call_drain(void *arg)
{
	virtio_machine_drain(arg);
	return 0;
}

/* Waits for the guest's end, or for SIGTERM. At most timeout_ns, 0: without limit. The signal, 0 at the end, -EAGAIN when time is up. */
static int wait_signal(struct vmm *vmm, const sigset_t *signals, uint64_t timeout_ns)
{
	const uint64_t until = timeout_ns ? monotonic_ns() + timeout_ns : 0;

	for (;;) {
		uint64_t now = until ? monotonic_ns() : 0;
		struct timespec left = { .tv_sec = (time_t)((until - now) / 1000000000u),
					 .tv_nsec = (long)((until - now) % 1000000000u) };
		int sig;

		if (ending_is_set(&vmm->vm.ending))
			return 0;
		if (until && now >= until)
			return -EAGAIN;
		sig = sigtimedwait(signals, NULL, until ? &left : NULL);
		if (sig > 0 && sig != ENDING_SIGNAL)
			return sig;
	}
}

/* Waits for the end; SIGTERM gives the guest its grace first. true: it was asked to stop. */
static bool wait_for_end(struct vmm *vmm)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, ENDING_SIGNAL);
	sigaddset(&signals, SIGTERM);
	if (wait_signal(vmm, &signals, 0) != SIGTERM)
		return false;
	set_deadline(vmm);
	loop_call(vmm->loop, call_stop_request, vmm->devices);
	sigdelset(&signals, SIGTERM);
	if (!vmm->spec.stop_grace_ms || wait_signal(vmm, &signals, (uint64_t)vmm->spec.stop_grace_ms * 1000000u) < 0)
		ending_set(&vmm->vm.ending, VM_END_KILLED, "it did not stop within %u ms", vmm->spec.stop_grace_ms);
	return true;
}

static int finish(struct vmm *vmm, bool asked)
{
	struct vm_report report;

	/* What the guest had still to say is in its console's queue. */
	if (vcpus_stop(&vmm->vm.vcpus, STOP_VCPUS_MS))
		loop_call(vmm->loop, call_drain, vmm->devices);
	ports_flush(&vmm->vm.ports);
	ending_report(&vmm->vm.ending, &report);
	if (asked && (report.end == VM_END_SHUTDOWN || report.end == VM_END_RESET))
		report.end = VM_END_STOPPED;
	report.exits = vcpus_exits(&vmm->vm.vcpus);
	if (report.end == VM_END_ERROR)
		log_error("%s", report.msg);
	ending_send(&vmm->vm.ending, &report);
	return ending_exit_status(report.end);
}

static int run(struct vmm *vmm, int spec_fd, struct err *e)
{
	if (read_spec(&vmm->spec, spec_fd, e))
		return -e->code;
	vmm->vm.ending.report_fd = vmm->spec.report_fd;
	if (vm_create(&vmm->vm, &vmm->spec, e) || make_devices(vmm, e) || enter_jail(vmm, e))
		return -e->code;
	if (seccomp_prepare(&vmm->vm.ending) < 0)
		return err_set(e, EINVAL, "no handler for SIGSYS");
	return start_threads(vmm, e);
}

/* Everything but what a fault in this process raises: signals are waited for, or mean nothing to a VMM (Ctrl-C is for its parent). */
static void block_signals(void)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT, SIGSYS };
	sigset_t all;
	size_t i;

	sigfillset(&all);
	for (i = 0; i < ARRAY_SIZE(faults); i++)
		sigdelset(&all, faults[i]);
	sigprocmask(SIG_SETMASK, &all, NULL);
}

static int parse_options(int argc, char **argv, int *spec_fd)
{
	static const struct option options[] = {
		{ "spec-fd", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ 0 },
	};
	uint64_t fd;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'h' || c == 'v') {
			fputs(c == 'h' ? help : "microvm-vmm " MICROVM_VERSION "\n", stdout);
			exit(fflush(stdout) ? 1 : 0);
		}
		if (c != 's' || parse_u64(optarg, 0, INT32_MAX, &fd))
			return -EINVAL;
		*spec_fd = (int)fd;
	}
	return *spec_fd < 0 || optind < argc ? -EINVAL : 0;
}

int main(int argc, char **argv)
{
	static struct vmm vmm;
	struct vm_report report = { .end = VM_END_ERROR };
	struct err e = ERR_INIT;
	int spec_fd = -1;

	log_init("microvm-vmm", LOG_WARN);
	if (parse_options(argc, argv, &spec_fd)) {
		fputs(help, stderr);
		return EXIT_USAGE;
	}
	block_signals();
	mallopt(M_ARENA_MAX, 1); /* few allocations, all small: no heap per thread */
	ending_init(&vmm.vm.ending, -1);
	if (run(&vmm, spec_fd, &e)) {
		log_error("%s", e.msg);
		snprintf(report.msg, sizeof(report.msg), "%s", e.msg);
		ending_send(&vmm.vm.ending, &report);
		/* Threads may wait for one that never started. */
		_exit(ending_exit_status(VM_END_ERROR));
	}
	_exit(finish(&vmm, wait_for_end(&vmm)));
}
