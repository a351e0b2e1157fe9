/* SPDX-License-Identifier: Apache-2.0 */
/* What a running microvm-vmm may do, seen from outside. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "boot.h"

static void read_proc(pid_t pid, const char *name, char *buf, size_t size)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	f = fopen(path, "re");
	buf[f ? fread(buf, 1, size - 1, f) : 0] = 0;
	if (f)
		fclose(f);
}

static pid_t find_thread(pid_t pid, const char *comm)
{
	char path[64], name[32];
	struct dirent *d;
	pid_t found = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (d = readdir(dir))) {
		read_proc((pid_t)atoi(d->d_name), "comm", name, sizeof(name));
		name[strcspn(name, "\n")] = 0;
		if (str_eq(name, comm))
			found = (pid_t)atoi(d->d_name);
	}
	if (dir)
		closedir(dir);
	return found;
}

static void check_status(struct run *run, const char *thread, const char *const *lines)
{
	char status[8192];
	pid_t tid = find_thread(run->vmm.pid, thread);

	if (!tid) {
		run_fail(run, "no thread %s", thread);
		return;
	}
	read_proc(tid, "status", status, sizeof(status));
	for (; *lines; lines++)
		if (!strstr(status, *lines))
			run_fail(run, "thread %s: no \"%s\" in its status", thread, *lines);
}

static void check_namespaces(struct run *run)
{
	static const char *const names[] = { "mnt", "pid", "net", "ipc", "uts" };
	char path[64], theirs[64], ours[64];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%d/ns/%s", run->vmm.pid, names[i]);
		n = readlink(path, theirs, sizeof(theirs) - 1);
		theirs[n > 0 ? n : 0] = 0;
		snprintf(path, sizeof(path), "/proc/self/ns/%s", names[i]);
		n = readlink(path, ours, sizeof(ours) - 1);
		ours[n > 0 ? n : 0] = 0;
		if (!theirs[0] || str_eq(theirs, ours))
			run_fail(run, "%s namespace is the host's", names[i]);
	}
}

static void check_root(struct run *run)
{
	char path[64], mounts[4096];
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/root", run->vmm.pid);
	dir = opendir(path);
	while (dir && (d = readdir(dir)))
		if (!str_eq(d->d_name, ".") && !str_eq(d->d_name, ".."))
			run_fail(run, "its root has %s", d->d_name);
	if (dir)
		closedir(dir);
	else
		run_fail(run, "%s: %s", path, strerror(errno));
	read_proc(run->vmm.pid, "mounts", mounts, sizeof(mounts));
	if (!str_starts(mounts, "none / tmpfs ro") || strchr(mounts, '\n') != strrchr(mounts, '\n'))
		run_fail(run, "its mounts: %s", mounts);
}

void test_jail(struct run *run)
{
	static const char *const lines[] = {
		"Uid:\t65533\t65533\t65533\t65533\n",
		"Gid:\t65533\t65533\t65533\t65533\n",
		"Groups:\t \n",
		"CapInh:\t0000000000000000\n",
		"CapPrm:\t0000000000000000\n",
		"CapEff:\t0000000000000000\n",
		"CapBnd:\t0000000000000000\n",
		"CapAmb:\t0000000000000000\n",
		"NoNewPrivs:\t1\n",
		"Seccomp:\t2\n",
		NULL,
	};
	char limits[4096];

	if (!run_start(run) || !run_wait_log(run, "spinning"))
		return;
	check_status(run, "microvm-vmm", lines);
	check_status(run, "io", lines);
	check_status(run, "vcpu0", lines);
	check_namespaces(run);
	check_root(run);
	read_proc(run->vmm.pid, "limits", limits, sizeof(limits));
	if (!strstr(limits, "Max core file size        0 ") || !strstr(limits, "Max open files            1024 "))
		run_fail(run, "its limits: %s", limits);
}

/* Makes the thread ask for a socket: rax and rip are set as if it were about to. */
static bool inject(struct run *run, pid_t tid)
{
	struct user_regs_struct regs;
	int status;

	if (ptrace(PTRACE_SEIZE, tid, 0, 0) || ptrace(PTRACE_INTERRUPT, tid, 0, 0) ||
	    waitpid(tid, &status, __WALL) != tid)
		return run_fail(run, "ptrace: %s", strerror(errno));
	if (ptrace(PTRACE_GETREGS, tid, 0, &regs))
		return run_fail(run, "registers: %s", strerror(errno));
	/* It was within a system call, so the instruction before is `syscall`. */
	regs.rip -= 2;
	regs.rax = SYS_socket;
	regs.orig_rax = ~0ull;
	if (ptrace(PTRACE_SETREGS, tid, 0, &regs) || ptrace(PTRACE_DETACH, tid, 0, 0))
		return run_fail(run, "registers: %s", strerror(errno));
	return true;
}

void test_denied(struct run *run, const char *thread)
{
	pid_t tid;

	if (!run_start(run) || !run_wait_log(run, "spinning"))
		return;
	tid = find_thread(run->vmm.pid, thread);
	if (!tid) {
		run_fail(run, "no thread %s", thread);
		return;
	}
	if (!inject(run, tid) || !run_finish(run))
		return;
	if (run->report.end != VM_END_SECCOMP || run->vmm.status != 7 || !strstr(run->report.msg, "socket"))
		run_fail(run, "ended by %s, status %d: %s", vm_end_name(run->report.end), run->vmm.status,
			 run->report.msg);
}

/* A child of ours starts the VMM and is killed. */
void test_parent_death(struct run *run)
{
	struct pollfd vmm = { .fd = -1, .events = POLLIN };
	int pids[2];
	pid_t child, pid = 0;

	if (pipe(pids))
		return;
	child = fork();
	if (!child) {
		run->spec.parent_fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
		if (run_start(run) && run_wait_log(run, "spinning") && write(pids[1], &run->vmm.pid, sizeof(pid)) > 0)
			pause();
		_exit(1);
	}
	close(pids[1]);
	if (read(pids[0], &pid, sizeof(pid)) == (ssize_t)sizeof(pid))
		vmm.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	close(pids[0]);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	if (vmm.fd < 0)
		run_fail(run, "no VMM to look at");
	else if (poll(&vmm, 1, LIMIT_MS) != 1)
		run_fail(run, "it lives on");
	cleanup_closep(&vmm.fd);
}
