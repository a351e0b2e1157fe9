/* SPDX-License-Identifier: Apache-2.0 */
/* microvm-fsd: shares a folder with one virtual machine. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "fsd/jail.h"
#include "fsd/options.h"
#include "fsd/session.h"

#define LOOP_ENTRIES 256u
#define EXIT_USAGE 2

/* Waits for the one front end; the socket's file goes when it has come. */
static int accept_one(const char *path, struct err *e)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	_cleanup_close_ int listener = -1;
	mode_t mask;
	int fd, r;

	if (strlen(path) >= sizeof(addr.sun_path))
		return err_set(e, ENAMETOOLONG, "%s: longer than a socket's path may be (%zu)", path,
			       sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, path, strlen(path));
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0)
		return err_errno(e, errno, "socket");
	mask = umask(0077);
	r = bind(listener, (struct sockaddr *)&addr, sizeof(addr));
	umask(mask);
	if (r || listen(listener, 1))
		return err_errno(e, errno, "listening on %s", path);
	do
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	while (fd < 0 && errno == EINTR);
	if (fd < 0)
		err_errno(e, errno, "%s: accept", path);
	unlink(path);
	return fd < 0 ? -e->code : fd;
}

static int check_socket(int fd, struct err *e)
{
	int type = 0;
	socklen_t len = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len))
		return err_errno(e, errno, "--fd %d", fd);
	if (type != SOCK_STREAM)
		return err_set(e, EINVAL, "--fd %d: not a stream socket", fd);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	return fd;
}

/*
 * Where server and vCPU share a CPU, the first of many requests would take the CPU from the guest at once: each would be
 * served alone, with a VM exit, a wake-up and an interrupt of its own. A batch thread lets the guest go on until it waits
 * or its slice is over, and finds all of them (sched(7)). On a CPU of its own it runs at once as ever.
 */
static void serve_in_batches(void)
{
	const struct sched_param none = { 0 };

	if (sched_setscheduler(0, SCHED_BATCH, &none))
		log_warn("SCHED_BATCH: %s", strerror(errno));
}

static int serve(struct options *o, int sock, struct err *e)
{
	struct session *s = NULL;
	struct loop *loop = NULL;
	struct fs *fs = NULL;
	int root_fd = -1, proc_fd = -1, r;

	serve_in_batches();
	o->fs.fd_limit = fsd_jail_files(o->fs.fd_limit);
	if (o->no_jail ? fsd_jail_none(o->shared_dir, &root_fd, &proc_fd, e)
		       : fsd_jail_enter(o->shared_dir, o->fs.read_only, o->fs.fd_limit, &root_fd, &proc_fd, e))
		return -e->code;
	/* The ring belongs to the process that uses it, and to the credentials that it has then. */
	r = loop_new(&loop, LOOP_ENTRIES, LOOP_RESTRICTED | LOOP_ANY_FD);
	if (r < 0)
		return err_errno(e, r, "io_uring");
	r = fs_new(&fs, loop, &o->fs, root_fd, proc_fd, e);
	if (!r)
		r = fs_prepare(fs, e);
	if (!r)
		r = session_new(&s, loop, fs, sock, o->queues, e);
	if (!r && loop_enable(loop))
		r = err_errno(e, errno, "io_uring: enabling the ring");
	if (!r && !o->no_jail)
		r = fsd_jail_seccomp(e);
	if (!r) {
		session_start(s);
		r = loop_run(loop);
		if (r < 0)
			err_errno(e, r, "io_uring");
	}
	session_free(s);
	fs_free(fs);
	loop_free(loop);
	return r;
}

int main(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct options o;
	int r, sock;

	log_init("microvm-fsd", LOG_WARN);
	signal(SIGPIPE, SIG_IGN);
	if (options_parse(argc, argv, &o, &e)) {
		fprintf(stderr, "microvm-fsd: %s\n", e.msg);
		return EXIT_USAGE;
	}
	if (o.help || o.version) {
		if (o.help)
			options_help(stdout);
		else
			printf("microvm-fsd %s\n", MICROVM_VERSION);
		return 0;
	}
	sock = o.fd >= 0 ? check_socket(o.fd, &e) : accept_one(o.socket_path, &e);
	r = sock < 0 ? sock : serve(&o, sock, &e);
	options_free(&o);
	if (r < 0)
		fprintf(stderr, "microvm-fsd: %s\n", e.msg);
	return r ? 1 : 0;
}
