/* SPDX-License-Identifier: Apache-2.0 */
#include "agent_world.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "guest-agent/container.h"
#include "guest-agent/server.h"

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	abort();
}

static int unix_socket(const char *path, bool listening)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (listening) {
		must(bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 && listen(fd, 128) == 0, path);
	} else if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* ---- containers that are processes -------------------------------------------------------------- */

struct container {
	pid_t pid;
	int go;
	bool killed;
};

static void run_child(const Microvm__Process *p, const struct container_io *io, int go, int slave)
{
	char **argv = xcalloc(p->n_args + 1, sizeof(*argv));
	sigset_t none;
	size_t i;
	char c;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid();
	for (i = 0; i < 3; i++)
		dup2(slave >= 0 ? slave : io->stdio[i], i);
	if (slave >= 0)
		ioctl(0, TIOCSCTTY, 0);
	/* With others' ends of their pipes it would keep them waiting, and they it, when the guest has long been killed. */
	if (go >= 0)
		dup2(go, 3);
	close_range(go >= 0 ? 4 : 3, ~0u, 0);
	if (go >= 0 && read(3, &c, 1) != 1)
		_exit(1);
	close(3);
	for (i = 0; i < p->n_args; i++)
		argv[i] = p->args[i];
	execvp(argv[0], argv);
	_exit(127);
}

static int spawn(const Microvm__Process *p, struct container_io *io, int go, pid_t *pid)
{
	int slave = -1;

	if (p->terminal) {
		char name[64];

		io->console_master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
		must(!grantpt(io->console_master) && !unlockpt(io->console_master), "pty");
		ptsname_r(io->console_master, name, sizeof(name));
		slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	}
	*pid = fork();
	if (*pid == 0)
		run_child(p, io, go, slave);
	/* A signal to all of its session is to find it. */
	while (*pid > 0 && getpgid(*pid) != *pid)
		usleep(100);
	if (slave >= 0)
		close(slave);
	return 0;
}

int container_create(struct container **out, const Microvm__CreateContainerRequest *req, struct container_io *io,
		     pid_t *pid, struct err *e)
{
	struct container *c = xcalloc(1, sizeof(*c));
	int go[2];

	if (str_eq(req->spec->process->args[0], "refused")) {
		free(c);
		return err_set(e, EOPNOTSUPP, "container %s: refused", req->id);
	}
	must(pipe2(go, O_CLOEXEC) == 0, "pipe");
	spawn(req->spec->process, io, go[0], pid);
	close(go[0]);
	c->pid = *pid;
	c->go = go[1];
	*out = c;
	return 0;
}

int container_start(struct container *c, struct err *e)
{
	must(write(c->go, "x", 1) == 1, "start");
	return 0;
}

int container_exec(struct container *c, const Microvm__Process *process, const char *exec_id, struct container_io *io,
		   pid_t *pid, struct err *e)
{
	return spawn(process, io, -1, pid);
}

int container_signal(struct container *c, pid_t pid, int signal, bool all, struct err *e)
{
	return kill(all ? -c->pid : pid, signal) < 0 ? err_errno(e, errno, "kill") : 0;
}

int container_pause(struct container *c, struct err *e)
{
	return container_signal(c, c->pid, SIGSTOP, false, e);
}
int container_resume(struct container *c, struct err *e)
{
	return container_signal(c, c->pid, SIGCONT, false, e);
}
int container_update(struct container *c, const Microvm__Resources *resources, struct err *e)
{
	return 0;
}
int container_oom_fd(const struct container *c)
{
	return -1;
}
uint64_t container_oom_take(struct container *c)
{
	return 0;
}
bool container_oom_killed(const struct container *c)
{
	return false;
}

int container_stats(struct container *c, Microvm__Stats *stats, struct err *e)
{
	stats->pids = 1;
	return 0;
}

int container_pids(struct container *c, uint32_t *pids, size_t max, size_t *n, struct err *e)
{
	pids[0] = c->pid;
	*n = 1;
	return 0;
}

void container_exited(struct container *c, pid_t pid)
{
	if (pid == c->pid)
		c->killed = true;
}

int container_remove(struct container *c, struct err *e)
{
	if (!c->killed)
		kill(c->pid, SIGKILL);
	close(c->go);
	free(c);
	return 0;
}

/* ---- the guest ---------------------------------------------------------------------------------- */

static int world_listen(uint32_t port, void *arg)
{
	_cleanup_free_ char *path = xasprintf("%s/%u", (const char *)arg, port);

	return unix_socket(path, true);
}

/* The control connection is inherited, as the VMM has it from its parent. */
static int control_fd = -1;

static int world_connect(uint32_t port, void *arg)
{
	return control_fd;
}

static bool refuse_strangers;

static bool world_is_host(int fd, void *arg)
{
	return !refuse_strangers;
}

static struct loop *guest_loop;

static void world_over(const char *reason, void *arg)
{
	loop_stop(guest_loop, 0);
}

static const struct transport transport_world = { world_listen, world_connect, world_is_host };

static void run_guest(char *dir, int ready, const struct world_options *o)
{
	struct server_config config = {
		.transport = &transport_world,
		.transport_arg = dir,
		.over = world_over,
		.stop_grace_ns = o->grace_ms * 1000000ull,
	};
	static struct server server;
	struct err e = ERR_INIT;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* What it refuses it says, once for each; of no interest here. */
	log_to_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, SIG_DFL); /* the test runner has a handler for it, which kills the test */
	refuse_strangers = o->strangers;
	must(server_open(&server, &config, &e) == 0, e.msg);
	must(loop_new(&guest_loop, 64, 0) == 0, "loop");
	must(server_start(&server, guest_loop, &e) == 0, e.msg);
	if (o->claim_ms)
		server.tasks.stdio.claim_ns = o->claim_ms * 1000000;
	must(write(ready, "x", 1) == 1, "ready");
	_exit(loop_run(guest_loop) ? 1 : 0);
}

/* ---- the relay ---------------------------------------------------------------------------------- */

struct copy {
	int from, to;
};

static void *copy_bytes(void *arg)
{
	struct copy *c = arg;
	char buf[65536];
	ssize_t n;

	while ((n = read(c->from, buf, sizeof(buf))) > 0)
		if (write_full(c->to, buf, n) < 0) {
			shutdown(c->from, SHUT_RD);
			break;
		}
	shutdown(c->to, SHUT_WR);
	free(c);
	return NULL;
}

static void *relay_one(void *arg)
{
	int host = (int)(intptr_t)arg, guest;
	char line[32] = "", path[128], *dir = getenv("WORLD_DIR");
	struct copy *c = malloc(sizeof(*c)), *back = malloc(sizeof(*back));
	pthread_t t;
	size_t n = 0;

	while (n < sizeof(line) - 1 && read(host, line + n, 1) == 1 && line[n++] != '\n')
		;
	snprintf(path, sizeof(path), "%s/%d", dir, atoi(line + strlen("CONNECT ")));
	guest = unix_socket(path, false);
	if (guest < 0) {
		free(c);
		free(back);
		close(host);
		return NULL;
	}
	must(write_full(host, "OK 1000\n", 8) == 0, "OK");
	*c = (struct copy){ host, guest };
	*back = (struct copy){ guest, host };
	pthread_create(&t, NULL, copy_bytes, c);
	copy_bytes(back);
	pthread_join(t, NULL);
	close(host);
	close(guest);
	return NULL;
}

static void run_relay(const struct world *w, int ready)
{
	int l = unix_socket(w->vsock, true), fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	setenv("WORLD_DIR", w->dir, 1);
	must(write(ready, "x", 1) == 1, "ready");
	while ((fd = accept(l, NULL, NULL)) >= 0) {
		pthread_t t;

		pthread_create(&t, NULL, relay_one, (void *)(intptr_t)fd);
		pthread_detach(t);
	}
	_exit(0);
}

/* ---- the host ----------------------------------------------------------------------------------- */

static void closed(struct agent *a, int reason, void *arg)
{
	struct world *w = arg;

	w->closed_n++;
	w->closed_reason = reason;
}

void world_start(struct world *w, const struct world_options *o)
{
	struct agent_config config = { .closed = closed, .arg = w };
	int sv[2], ready[2];
	char c[2];

	*w = (struct world){ .dir = "/tmp/agent-world-XXXXXX" };
	must(mkdtemp(w->dir) != NULL, "mkdtemp");
	snprintf(w->vsock, sizeof(w->vsock), "%s/vsock", w->dir);
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) == 0 && pipe2(ready, O_CLOEXEC) == 0, "socketpair");
	w->guest = fork();
	if (w->guest == 0) {
		close(sv[0]);
		control_fd = sv[1];
		run_guest(w->dir, ready[1], o);
	}
	w->relay = fork();
	if (w->relay == 0) {
		close(sv[0]);
		close(sv[1]);
		run_relay(w, ready[1]);
	}
	close(sv[1]);
	close(ready[1]);
	must(read_full(ready[0], c, 2) == 0, "ready");
	close(ready[0]);
	must(loop_new(&w->loop, 16, 0) == 0, "loop");
	must(agent_new(&w->agent, w->loop, sv[0], &config) == 0, "agent");
}

int world_guest_status(struct world *w)
{
	int status = -1;

	waitpid(w->guest, &status, 0);
	w->guest = 0;
	return status;
}

void world_stop(struct world *w)
{
	int i;

	agent_free(w->agent);
	for (i = 0; i < 3; i++)
		loop_run_once(w->loop, false);
	if (w->guest) {
		kill(w->guest, SIGKILL);
		waitpid(w->guest, NULL, 0);
	}
	kill(w->relay, SIGKILL);
	waitpid(w->relay, NULL, 0);
	loop_free(w->loop);
	remove_tree(AT_FDCWD, w->dir);
}
