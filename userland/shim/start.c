/* SPDX-License-Identifier: Apache-2.0 */
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

/* Found by who has read it in the bundle, and by nobody else's guess. */
static int listen_somewhere(char **path, struct err *e)
{
	const char *state = getenv("MICROVM_STATE");
	_cleanup_free_ char *folder = xasprintf("%s/shim", state && *state ? state : "/run/microvm");
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr;
	char id[65];
	mode_t mask;
	int r = mkdir_p(AT_FDCWD, folder, 0700);

	if (r || fd < 0)
		return err_errno(e, r ? r : errno, "%s", folder);
	random_id(id);
	*path = xasprintf("%s/%.32s", folder, id);
	r = fill_address(&addr, *path);
	mask = umask(0177);
	if (!r && bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		r = -errno;
	umask(mask);
	if (!r && listen(fd, BACKLOG) < 0)
		r = -errno;
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

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? err_set(e, EEXIST, "the container has a shim, which runs")
					    : err_errno(e, errno, SHIM_PID_FILE);
	return take_fd(&fd);
}

static int write_pid(int fd, pid_t pid)
{
	char text[16];
	const int n = snprintf(text, sizeof(text), "%d", pid);

	return ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n ? -EIO : 0;
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

static _Noreturn void serve(const struct shim_options *o, const struct bundle *b, const char *path, int listen_fd,
			    struct host_cgroup *cgroup)
{
	const struct serve_config config = {
		.id = o->id,
		.namespace = o->namespace,
		.bundle = b,
		.events_address = getenv("TTRPC_ADDRESS"),
		.socket_path = path,
		.listen_fd = listen_fd,
	};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), i;
	struct err e = ERR_INIT;

	setsid();
	signal(SIGPIPE, SIG_IGN);
	for (i = 0; null >= 0 && i < 3; i++)
		dup2(null, i);
	close(null);
	log_to_containerd();
	adjust_oom_score();
	if (shim_serve(&config, &e))
		log_error("%s", e.msg);
	host_cgroup_leave(cgroup);
	_exit(e.code ? 1 : 0);
}

static int start_own(const struct shim_options *o, const struct bundle *b, struct err *e)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int pid_fd = lock_pid_file(e), fd = -1;
	struct host_cgroup cgroup = HOST_CGROUP_INIT;
	pid_t pid = -1;
	int r = 0;

	if (pid_fd < 0)
		return pid_fd;
	fd = listen_somewhere(&path, e);
	if (fd < 0 || !path)
		return fd;
	/* The shim is born in it: who calls this one is told why that can't be. */
	if (b->cgroup)
		r = host_cgroup_enter(&cgroup, b->cgroup, e);
	if (!r)
		pid = fork();
	if (!pid)
		serve(o, b, path, fd, &cgroup);
	if (!r && pid < 0)
		r = err_errno(e, errno, "cannot start the shim");
	if (!r && write_pid(pid_fd, pid))
		r = err_set(e, EIO, "cannot write " SHIM_PID_FILE);
	if (!r)
		r = tell_address(path, e);
	if (!r) {
		host_cgroup_forget(&cgroup);
		return 0;
	}
	unlink(path);
	if (pid > 0)
		kill(pid, SIGKILL);
	host_cgroup_leave(&cgroup);
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
