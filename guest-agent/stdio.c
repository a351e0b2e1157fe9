/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carrying bytes between a process and the host. Every end is non-blocking and polled by the loop; a chunk goes through
 * one buffer that all streams share, and only what the other end would not take is kept. splice(2) would save nothing:
 * vsock copies in both directions, and its answer does not tell which of the two ends was not ready. SIGPIPE is ignored.
 */
#include "guest-agent/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/guest.h"
#include "base/util.h"

#define CHUNK (64u << 10)

struct stdio_set {
	struct stdio *owner;
	unsigned int refs; /* the owner's, and one for each operation in flight */
	bool terminal;
	int master;		    /* for resizing; -1: no terminal, or over */
	struct stdio_pump pumps[3]; /* stdin, stdout, stderr */
};

static uint8_t chunk[CHUNK]; /* filled and emptied within one step */

static void set_unref(struct stdio_set *set)
{
	if (--set->refs == 0)
		free(set);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(take_fd(fd));
}

static void leave_waiting(struct stdio_pump *p)
{
	struct stdio_pump **at;

	for (at = &p->set->owner->waiting; *at; at = &(*at)->next_waiting)
		if (*at == p) {
			*at = p->next_waiting;
			return;
		}
}

static void pump_end(struct stdio_pump *p)
{
	struct loop *loop = p->set->owner->loop;

	if (!p->active)
		return;
	p->active = false;
	leave_waiting(p);
	if (p->remote >= 0)
		shutdown(p->remote, p->input ? SHUT_RDWR : SHUT_WR);
	close_fd(&p->remote);
	close_fd(&p->local);
	free(p->left);
	p->left = NULL;
	p->left_len = 0;
	loop_cancel(loop, &p->poll);
	loop_cancel(loop, &p->timer);
}

/* Nobody takes the output any more: a pipe breaks, a terminal hangs up. */
static void pump_broken(struct stdio_pump *p)
{
	struct stdio_set *set = p->set;

	pump_end(p);
	if (set->terminal && !p->input) {
		pump_end(&set->pumps[0]);
		close_fd(&set->master);
	}
}

static void await(struct stdio_pump *p, int fd, unsigned int events)
{
	p->set->refs++;
	loop_poll(p->set->owner->loop, &p->poll, fd, events);
}

static ssize_t pump_write(struct stdio_pump *p, const uint8_t *data, size_t len)
{
	ssize_t n = write(p->input ? p->local : p->remote, data, len);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	return n;
}

/* True if nothing is left over. */
static bool write_left(struct stdio_pump *p)
{
	ssize_t n;

	if (!p->left_len)
		return true;
	n = pump_write(p, p->left + p->left_off, p->left_len - p->left_off);
	if (n < 0) {
		pump_broken(p);
		return false;
	}
	p->left_off += n;
	if (p->left_off < p->left_len) {
		await(p, p->input ? p->local : p->remote, POLLOUT);
		return false;
	}
	free(p->left);
	p->left = NULL;
	p->left_len = 0;
	return true;
}

static void pump_step(struct stdio_pump *p)
{
	int src = p->input ? p->remote : p->local;
	ssize_t n, m;

	if (!p->active || !write_left(p))
		return;
	n = read(src, chunk, sizeof(chunk));
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		if (p->closing)
			pump_end(p);
		else
			await(p, src, POLLIN);
		return;
	}
	if (n <= 0) { /* a terminal whose last user is gone reads as EIO */
		pump_end(p);
		return;
	}
	m = pump_write(p, chunk, n);
	if (m < 0) {
		pump_broken(p);
		return;
	}
	if (m < n) {
		p->left_off = 0;
		p->left_len = n - m;
		p->left = xcalloc(1, p->left_len);
		memcpy(p->left, chunk + m, p->left_len);
		await(p, p->input ? p->local : p->remote, POLLOUT);
		return;
	}
	/* One chunk a turn, so that a flood on one stream does not starve the others. */
	await(p, src, POLLIN);
}

static void poll_done(struct loop_op *op, int res)
{
	struct stdio_pump *p = container_of(op, struct stdio_pump, poll);

	pump_step(p);
	set_unref(p->set);
}

static void timer_done(struct loop_op *op, int res)
{
	struct stdio_pump *p = container_of(op, struct stdio_pump, timer);

	if (p->active && p->remote < 0)
		pump_end(p); /* the host never came */
	set_unref(p->set);
}

void stdio_pump_attach(struct stdio_pump *p, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	leave_waiting(p);
	loop_cancel(p->set->owner->loop, &p->timer);
	p->remote = fd;
	pump_step(p);
}

static void pump_start(struct stdio_pump *p, int local)
{
	struct stdio *s = p->set->owner;
	int fd;

	p->local = local;
	p->active = true;
	fcntl(local, F_SETFL, fcntl(local, F_GETFL) | O_NONBLOCK);
	/* A terminal that nobody watches is drained all the same, or its programs would stop. */
	fd = p->token ? stdio_claim(s, p->token) : open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		stdio_pump_attach(p, fd);
		return;
	}
	p->next_waiting = s->waiting;
	s->waiting = p;
	p->set->refs++;
	loop_timer(s->loop, &p->timer, s->claim_ns);
}

void stdio_init(struct stdio *s, struct loop *loop)
{
	*s = (struct stdio){ .loop = loop, .claim_ns = GUEST_STDIO_CLAIM_S * 1000000000ull };
}

static int check_tokens(const struct stdio *s, const uint64_t *tokens, bool terminal, struct err *e)
{
	size_t i, j;

	if (terminal && tokens[2])
		return err_set(e, EINVAL, "stdio: a terminal has no stderr of its own; leave its token 0");
	for (i = 0; i < 3; i++) {
		for (j = 0; j < i; j++)
			if (tokens[i] && tokens[i] == tokens[j])
				return err_set(e, EINVAL, "stdio: one token stands for two streams");
		if (tokens[i] && stdio_token_waiting(s, tokens[i]))
			return err_set(e, EINVAL, "stdio: the token is claimed already; use a fresh one");
	}
	return 0;
}

/* The child's end of one stream into *child; ours is kept in the pump until the process is there. */
static int prepare_end(struct stdio_pump *p, bool pipe_wanted, int *child)
{
	int fds[2];

	if (!pipe_wanted) {
		*child = open("/dev/null", (p->input ? O_RDONLY : O_WRONLY) | O_CLOEXEC | O_NOCTTY);
		return *child < 0 ? -errno : 0;
	}
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	*child = fds[p->input ? 0 : 1];
	p->local = fds[p->input ? 1 : 0];
	return 0;
}

int stdio_prepare(struct stdio *s, const Microvm__Stdio *req, bool terminal, struct stdio_set **out,
		  struct container_io *io, struct err *e)
{
	const uint64_t tokens[3] = { req ? req->stdin : 0, req ? req->stdout : 0, req ? req->stderr : 0 };
	struct stdio_set *set;
	size_t i;
	int r;

	*io = (struct container_io){ .stdio = { -1, -1, -1 }, .console_master = -1 };
	r = check_tokens(s, tokens, terminal, e);
	if (r < 0)
		return r;
	set = xcalloc(1, sizeof(*set));
	set->owner = s;
	set->refs = 1;
	set->terminal = terminal;
	set->master = -1;
	for (i = 0; i < 3; i++) {
		set->pumps[i] = (struct stdio_pump){
			.set = set, .token = tokens[i], .input = i == 0, .local = -1, .remote = -1
		};
		loop_op_init(&set->pumps[i].poll, poll_done);
		loop_op_init(&set->pumps[i].timer, timer_done);
	}
	for (i = 0; i < 3; i++) {
		r = prepare_end(&set->pumps[i], tokens[i] && !terminal, &io->stdio[i]);
		if (r < 0) {
			stdio_abandon(set, io);
			return err_errno(e, r, "stdio: pipe of stream %zu", i);
		}
	}
	*out = set;
	return 0;
}

void stdio_begin(struct stdio_set *set, struct container_io *io)
{
	size_t i;

	for (i = 0; i < 3; i++)
		close_fd(&io->stdio[i]);
	set->master = take_fd(&io->console_master);
	for (i = 0; i < 3; i++) {
		struct stdio_pump *p = &set->pumps[i];
		int local = set->terminal ? -1 : take_fd(&p->local);

		if (set->terminal && i < 2 && (p->token || i == 1))
			local = fcntl(set->master, F_DUPFD_CLOEXEC, 3);
		if (local >= 0)
			pump_start(p, local);
	}
}

void stdio_abandon(struct stdio_set *set, struct container_io *io)
{
	size_t i;

	for (i = 0; i < 3; i++) {
		close_fd(&io->stdio[i]);
		close_fd(&set->pumps[i].local);
	}
	close_fd(&io->console_master);
	set_unref(set);
}

int stdio_resize(struct stdio_set *set, uint32_t rows, uint32_t cols, struct err *e)
{
	struct winsize ws = { .ws_row = rows, .ws_col = cols };

	if (rows > UINT16_MAX || cols > UINT16_MAX)
		return err_set(e, EINVAL, "terminal: %u rows and %u columns are too many", rows, cols);
	if (set->master < 0)
		return err_set(e, ENOTTY, "terminal: the process has none");
	if (ioctl(set->master, TIOCSWINSZ, &ws) < 0)
		return err_errno(e, errno, "terminal: resize");
	return 0;
}

void stdio_close_stdin(struct stdio_set *set)
{
	struct stdio_pump *p = &set->pumps[0];

	if (!p->active || set->terminal)
		return;
	p->closing = true;
	if (p->remote < 0)
		pump_end(p);
	else if (!p->left_len)
		loop_cancel(set->owner->loop, &p->poll); /* its end is the next step */
}

void stdio_exited(struct stdio_set *set)
{
	struct stdio_pump *p = &set->pumps[0];
	struct pollfd fd = { .fd = p->local, .events = POLLOUT };

	close_fd(&set->master);
	/* Input that nobody is left to read is refused; a terminal would stay open for it. */
	if (p->active && (set->terminal || (poll(&fd, 1, 0) > 0 && (fd.revents & POLLERR))))
		pump_end(p);
}

void stdio_release(struct stdio_set *set)
{
	if (!set)
		return;
	close_fd(&set->master);
	pump_end(&set->pumps[0]);
	set_unref(set);
}
