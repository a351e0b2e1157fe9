/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/balloon_target.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "sandbox/state.h"

/* A packet to a VMM that listens neither waits nor is cut. */
static int ask(struct balloon_target *t)
{
	const struct balloon_request req = { .op = BALLOON_TARGET, .target_bytes = t->wanted };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	/* The folder's own path may be longer than sun_path. */
	snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/" STATE_BALLOON_SOCKET, t->dirfd);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    send(fd, &req, sizeof(req), MSG_NOSIGNAL) < 0)
		return -errno;
	t->fd = take_fd(&fd);
	return 0;
}

static void tell(struct balloon_target *t)
{
	int r;

	if (loop_op_busy(&t->op) || t->wanted == t->told)
		return;
	t->told = t->wanted;
	r = ask(t);
	if (r)
		log_warn("its memory stays as it is: the VMM can't be told: %s", strerror(-r));
	else
		loop_recv(t->loop, &t->op, t->fd, &t->answer, sizeof(t->answer), 0);
}

static void on_answer(struct loop_op *op, int res)
{
	struct balloon_target *t = container_of(op, struct balloon_target, op);

	cleanup_closep(&t->fd);
	if (res == -ECANCELED)
		return;
	if (res < 0)
		log_warn("its memory stays as it is: the VMM: %s", strerror(-res));
	else if (res != (int)sizeof(t->answer) || t->answer.error)
		log_warn("its memory stays as it is: the VMM does not take %llu bytes", (unsigned long long)t->told);
	tell(t);
}

void balloon_target_begin(struct balloon_target *t, struct loop *loop, int dirfd, uint64_t given)
{
	*t = (struct balloon_target){ .loop = loop, .dirfd = dirfd, .fd = -1, .wanted = given, .told = given };
	loop_op_init(&t->op, on_answer);
}

void balloon_target_set(struct balloon_target *t, uint64_t bytes)
{
	t->wanted = ALIGN_UP(bytes, 4096);
	tell(t);
}

void balloon_target_end(struct balloon_target *t)
{
	t->wanted = t->told;
	if (loop_op_busy(&t->op))
		loop_cancel(t->loop, &t->op);
	while (loop_op_busy(&t->op) && loop_run_once(t->loop, true) >= 0)
		;
}
