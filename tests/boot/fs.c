/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-fs with QEMU's C file server behind it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/boot/boot.h"

#define SERVER "/usr/lib/qemu/virtiofsd"

struct server {
	pid_t pid;
	char dir[32];
};

static _Noreturn void exec_server(const struct server *s, int listen_fd)
{
	char fd[32], source[64];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(fd, sizeof(fd), "--fd=%d", fcntl(listen_fd, F_DUPFD, 10));
	snprintf(source, sizeof(source), "source=%s", s->dir);
	execl(SERVER, SERVER, fd, "-o", source, "-o", "log_level=err", (char *)NULL);
	_exit(127);
}

/* Listens, starts the server on that socket and connects to it: fd of our end, -1 and the failure noted. */
static int start_server(struct run *run, struct server *s)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(s->dir, sizeof(s->dir), "/tmp/boot-fs-XXXXXX");
	if (!mkdtemp(s->dir)) {
		run_fail(run, "%s: %s", s->dir, strerror(errno));
		return -1;
	}
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/socket", s->dir);
	if (bind(listen_fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(listen_fd, 1) ||
	    connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		run_fail(run, "%s: %s", addr.sun_path, strerror(errno));
	unlink(addr.sun_path);
	s->pid = fork();
	if (!s->pid)
		exec_server(s, listen_fd);
	close(listen_fd);
	return fd;
}

static void end_server(struct server *s)
{
	if (s->pid > 0) {
		kill(s->pid, SIGKILL);
		waitpid(s->pid, NULL, 0);
	}
	s->pid = 0;
	rmdir(s->dir);
}

static bool begin(struct run *run, struct server *s)
{
	struct vmspec_device *dev;

	if (access(SERVER, X_OK)) {
		run->skip = "there is no " SERVER;
		return false;
	}
	dev = vmspec_add(&run->spec, VMSPEC_FS);
	dev->fs.fd = start_server(run, s);
	dev->fs.queues = 1;
	snprintf(dev->fs.tag, sizeof(dev->fs.tag), "share");
	return run_start(run);
}

static void expect_ok(struct run *run)
{
	if (run_finish(run) && (run->report.end != VM_END_SHUTDOWN || !strstr(run->log, "ok\n")))
		run_fail(run, "ended by %s (%s); log: %.300s", vm_end_name(run->report.end), run->report.msg, run->log);
}

void test_fs(struct run *run)
{
	struct server s = { 0 };

	if (begin(run, &s))
		expect_ok(run);
	end_server(&s);
}

void test_fs_killed(struct run *run)
{
	struct server s = { 0 };

	if (begin(run, &s) && run_wait_log(run, "ready")) {
		end_server(&s);
		expect_ok(run);
		if (!run->why[0] && !strstr(run->log, "its file server has ended"))
			run_fail(run, "nothing is said about it: %.300s", run->log);
	}
	end_server(&s);
}
