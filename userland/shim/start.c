/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "sandbox/bundle.h"
#include "sandbox/host_cgroup.h"
#include "sandbox/state.h"
#include "shim/commands.h"
#include "shim/serve.h"

#define SCHEME "unix://"
#define ADDRESS_MAX 4096u
#define BACKLOG 128

/* ---- addresses ------------------------------------------------------------------------------------------------------ */

int shim_read_address(const char *bundle, char **path, struct err *e)
{
	_cleanup_free_ char *file = xasprintf("%s/" SHIM_ADDRESS_FILE, bundle);
	_cleanup_free_ char *text = NULL;
	int r = read_file(AT_FDCWD, file, ADDRESS_MAX, &text, NULL);

	if (r)
		return err_errno(e, r, "%s", file);
	if (!str_starts(text, SCHEME "/"))
		return err_set(e, EINVAL, "%s: '%.100s' is not the address of a shim", file, text);
	*path = xstrdup(text + strlen(SCHEME));
	return 0;
}

static int fill_address(struct sockaddr_un *addr, const char *path)
{
	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(addr->sun_path))
		return -ENAMETOOLONG;
	memcpy(addr->sun_path, path, strlen(path));
	return 0;
}

int shim_connect(const char *path, int flags)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	struct sockaddr_un addr;
	int r = fd < 0 ? -errno : fill_address(&addr, path);

	if (!r && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		r = -errno;
	return r ? r : take_fd(&fd);
}

/* A socket that somebody has refuses a client of another type as such (EPROTOTYPE), and its owner does not even hear of it. */
static bool is_stale(const char *path)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr;

	return fd >= 0 && !fill_address(&addr, path) && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 &&
	       errno == ECONNREFUSED;
}

/* What shims left that were killed, and whose bundles went without `delete`, as at a reboot. The folder is locked. */
static void sweep_sockets(const char *folder)
{
	_cleanup_closedir_ DIR *d = opendir(folder);
	struct dirent *ent;

	while (d && (ent = readdir(d))) {
		_cleanup_free_ char *path = xasprintf("%s/%s", folder, ent->d_name);

		if (ent->d_type == DT_SOCK && is_stale(path))
			unlink(path);
	}
}

static int bind_at(int fd, const char *path)
{
	struct sockaddr_un addr;
	int r = fill_address(&addr, path);
	const mode_t mask = umask(0177);

	if (!r && bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		r = -errno;
	umask(mask);
	return !r && listen(fd, BACKLOG) < 0 ? -errno : r;
}

/* Found by who has read it in the bundle, and by nobody else's guess. */
static int listen_somewhere(char **path, struct err *e)
{
	const char *state = getenv("MICROVM_STATE");
	_cleanup_free_ char *folder = xasprintf("%s/shim", state && *state ? state : "/run/microvm");
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), lock = -1;
	char id[65];
	int r = mkdir_p(AT_FDCWD, folder, 0700);

	if (!r)
		lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (r || fd < 0 || lock < 0 || flock(lock, LOCK_EX) < 0)
		return err_errno(e, r ? r : errno, "%s", folder);
	sweep_sockets(folder);
	random_id(id);
	*path = xasprintf("%s/%.32s", folder, id);
	r = bind_at(fd, *path);
	return r ? err_errno(e, r, "cannot listen at %s", *path) : take_fd(&fd);
}

static int tell_address(const char *path, struct err *e)
{
	_cleanup_free_ char *text = xasprintf(SCHEME "%s", path);
	int r = write_file_atomic(AT_FDCWD, SHIM_ADDRESS_FILE, text, strlen(text), 0600);

	if (!r)
		r = write_full(1, text, strlen(text));
	return r ? err_errno(e, r, "cannot say where the shim listens") : 0;
}

/* ---- a container of a pod that is there ----------------------------------------------------------------------------- */

static int join(const char *pod, struct err *e)
{
	_cleanup_free_ char *path = NULL, *bundle = xasprintf("../%s", pod);
	_cleanup_close_ int fd = -1;
	int r;

	if (!state_name_valid(pod))
		return err_set(e, EINVAL, "annotations." BUNDLE_POD_ID ": '%.100s' is not a container's id", pod);
	r = shim_read_address(bundle, &path, e);
	if (r || !path)
		return err_wrap(e, "the shim of pod %s", pod);
	fd = shim_connect(path, 0);
	if (fd < 0)
		return err_errno(e, fd, "the shim of pod %s is gone: %s", pod, path);
	return tell_address(path, e);
}

/* ---- a shim of its own ---------------------------------------------------------------------------------------------- */

static int lock_pid_file(struct err *e)
{
	_cleanup_close_ int fd = open(SHIM_PID_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	/* What is in it is of somebody who is dead. */
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || ftruncate(fd, 0) < 0)
		return errno == EWOULDBLOCK ? err_set(e, EEXIST, "the container has a shim, which runs")
					    : err_errno(e, errno, SHIM_PID_FILE);
	return take_fd(&fd);
}

/* Its own, so that no moment of it is without: who finds the file locked and empty looks again. */
static int write_pid(int fd)
{
	char text[16];
	const int n = snprintf(text, sizeof(text), "%d", getpid());

	return pwrite(fd, text, (size_t)n, 0) == n ? 0 : -EIO;
}

/* As the kernel looks for a victim: the shim before containerd, which starts it. */
static void adjust_oom_score(void)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	char number[16];
	int score;

	if (fd < 0 || read_file(AT_FDCWD, "/proc/self/oom_score_adj", 64, &text, NULL))
		return;
	score = atoi(text);
	if (score < 1000 && write(fd, number, (size_t)snprintf(number, sizeof(number), "%d", score + 1)) < 0)
		log_debug("oom_score_adj stays %d", score);
}

/* containerd copies what comes there into its own log. When nobody reads it, it is full at some time, and lines are lost. */
static void log_to_containerd(void)
{
	_cleanup_close_ int fifo = open(SHIM_LOG_FIFO, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	struct stat st;

	log_to_fd(fifo >= 0 && !fstat(fifo, &st) && S_ISFIFO(st.st_mode) ? take_fd(&fifo) : -1);
}

/* What the shim has from who starts it. */
struct birth {
	int pid_fd, listen_fd;
	int told[2]; /* a pipe for one byte: containerd knows the address */
	char *path;
	struct host_cgroup cgroup;
};
#define BIRTH_INIT                                                                            \
	{                                                                                     \
		.pid_fd = -1, .listen_fd = -1, .told = { -1, -1 }, .cgroup = HOST_CGROUP_INIT \
	}

static _Noreturn void serve(const struct shim_options *o, const struct bundle *b, struct birth *birth)
{
	const struct serve_config config = {
		.id = o->id,
		.namespace = o->namespace,
		.bundle = b,
		.events_address = getenv("TTRPC_ADDRESS"),
		.socket_path = birth->path,
		.listen_fd = birth->listen_fd,
		.told_fd = birth->told[0],
	};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), i;
	struct err e = ERR_INIT;

	setsid();
	signal(SIGPIPE, SIG_IGN);
	cleanup_closep(&birth->told[1]);
	for (i = 0; null >= 0 && i < 3; i++)
		dup2(null, i);
	close(null);
	log_to_containerd();
	adjust_oom_score();
	if (write_pid(birth->pid_fd))
		err_set(&e, EIO, "cannot write " SHIM_PID_FILE);
	else
		shim_serve(&config, &e);
	if (e.code) {
		log_error("%s", e.msg);
		unlink(birth->path);
	}
	host_cgroup_leave(&birth->cgroup);
	_exit(e.code ? 1 : 0);
}

/* The shim is born in its cgroup: who calls this one is told why that can't be. */
static int bear(const struct shim_options *o, const struct bundle *b, struct birth *birth, struct err *e)
{
	pid_t pid;

	birth->pid_fd = lock_pid_file(e);
	if (birth->pid_fd < 0)
		return birth->pid_fd;
	birth->listen_fd = listen_somewhere(&birth->path, e);
	if (birth->listen_fd < 0)
		return birth->listen_fd;
	if (pipe2(birth->told, O_CLOEXEC) < 0)
		return err_errno(e, errno, "pipe");
	if (b->cgroup && host_cgroup_enter(&birth->cgroup, b->cgroup, e))
		return -e->code;
	pid = fork();
	if (!pid)
		serve(o, b, birth);
	if (pid < 0)
		return err_errno(e, errno, "cannot start the shim");
	if (tell_address(birth->path, e))
		return -e->code;
	return write_full(birth->told[1], "", 1) ? err_set(e, ECHILD, "the shim ended at once") : 0;
}

static int start_own(const struct shim_options *o, const struct bundle *b, struct err *e)
{
	struct birth birth = BIRTH_INIT;
	const int r = bear(o, b, &birth, e);

	/* Without its byte the shim ends, and its cgroup is waited for. */
	cleanup_closep(&birth.told[0]);
	cleanup_closep(&birth.told[1]);
	cleanup_closep(&birth.listen_fd);
	cleanup_closep(&birth.pid_fd);
	if (r && birth.path)
		unlink(birth.path);
	if (r)
		host_cgroup_leave(&birth.cgroup);
	else
		host_cgroup_forget(&birth.cgroup);
	free(birth.path);
	return r;
}

int shim_start(const struct shim_options *o, struct err *e)
{
	const char *pod;
	struct bundle b;
	int r;

	if (!o->id || !state_name_valid(o->id))
		return err_set(e, EINVAL,
			       "-id '%.200s': letters, digits, '_', '.' and '-' make one, the first a letter or digit",
			       o->id ? o->id : "");
	if (!o->namespace || !*o->namespace)
		return err_set(e, EINVAL, "-namespace: which one?");
	if (o->bundle && chdir(o->bundle) < 0)
		return err_errno(e, errno, "-bundle %s", o->bundle);
	r = bundle_load_config(".", &b, e);
	if (r)
		return r;
	pod = bundle_annotation(&b, BUNDLE_POD_ID);
	r = pod && !str_eq(pod, o->id) ? join(pod, e) : start_own(o, &b, e);
	bundle_free(&b);
	return r;
}
