/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/output_log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

int output_log_open(struct output_log *log, int dirfd, struct err *e)
{
	log->dirfd = dirfd;
	log->used = 0;
	log->fd = openat(dirfd, "output", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	return log->fd < 0 ? err_errno(e, errno, "cannot make the output's log") : 0;
}

static void rotate(struct output_log *log)
{
	if (renameat(log->dirfd, "output", log->dirfd, "output.1") < 0)
		return;
	cleanup_closep(&log->fd);
	log->fd = openat(log->dirfd, "output", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	log->used = 0;
}

void output_log_write(struct output_log *log, unsigned int stream, const void *data, size_t len)
{
	struct output_header h = { .len_bytes = len, .stream = stream };
	struct iovec iov[2] = { { &h, sizeof(h) }, { (void *)(uintptr_t)data, len } };
	struct timespec ts;
	ssize_t n;

	if (len > OUTPUT_RECORD_MAX)
		return;
	if (log->used + sizeof(h) + len > OUTPUT_LOG_MAX)
		rotate(log);
	if (log->fd < 0)
		return;
	clock_gettime(CLOCK_REALTIME, &ts);
	h.time_ns = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
	n = writev(log->fd, iov, 2);
	if (n == (ssize_t)(sizeof(h) + len)) {
		log->used += n;
	} else if (n > 0 && (ftruncate(log->fd, log->used) < 0 || lseek(log->fd, log->used, SEEK_SET) < 0)) {
		/* Half a record can't be taken back: no more of them. */
		cleanup_closep(&log->fd);
	}
}

void output_log_close(struct output_log *log)
{
	cleanup_closep(&log->fd);
}

static size_t count_lines(const char *data, size_t len)
{
	size_t lines = 0, i;

	for (i = 0; i < len; i++)
		lines += data[i] == '\n';
	return lines;
}

static int show_record(const struct output_header *h, const char *data, size_t len, bool timestamps)
{
	int fd = h->stream == 2 ? 2 : 1;
	char stamp[64];

	if (timestamps) {
		time_t s = h->time_ns / 1000000000;
		struct tm tm;
		size_t n;
		int r;

		gmtime_r(&s, &tm);
		n = strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
		n += snprintf(stamp + n, sizeof(stamp) - n, ".%09dZ ", (int)(h->time_ns % 1000000000));
		r = write_full(fd, stamp, n);
		if (r)
			return r;
	}
	return write_full(fd, data, len);
}

/* The next record of fd into *h and data. 1: there is one; 0: not yet; negative errno: the file is none of ours. */
static int next_record(int fd, struct output_header *h, char *data)
{
	off_t at = lseek(fd, 0, SEEK_CUR);
	int r = read_full(fd, h, sizeof(*h));

	if (!r && (h->len_bytes > OUTPUT_RECORD_MAX || h->stream < 1 || h->stream > 2))
		return -EBADMSG;
	if (!r)
		r = read_full(fd, data, h->len_bytes);
	if (r == -ENODATA) {
		lseek(fd, at, SEEK_SET);
		return 0;
	}
	return r ? r : 1;
}

static int show_file(int fd, const struct output_show *show, size_t *skip_lines)
{
	_cleanup_free_ char *data = xcalloc(1, OUTPUT_RECORD_MAX);
	struct output_header h;
	int r;

	while ((r = next_record(fd, &h, data)) == 1) {
		size_t from = 0;

		while (*skip_lines && from < h.len_bytes)
			*skip_lines -= data[from++] == '\n';
		if (from < h.len_bytes)
			r = show_record(&h, data + from, h.len_bytes - from, show->timestamps);
		else
			r = 0;
		if (r)
			return r;
	}
	return r;
}

static size_t lines_of(int fd)
{
	_cleanup_free_ char *data = xcalloc(1, OUTPUT_RECORD_MAX);
	struct output_header h;
	size_t lines = 0;

	while (fd >= 0 && next_record(fd, &h, data) == 1)
		lines += count_lines(data, h.len_bytes);
	if (fd >= 0)
		lseek(fd, 0, SEEK_SET);
	return lines;
}

/* Waits until something in the folder changes. */
static int wait_for_change(int watch)
{
	struct pollfd p = { .fd = watch, .events = POLLIN };
	char events[4096];

	if (poll(&p, 1, -1) < 0)
		return errno == EINTR ? 0 : -errno;
	return read(watch, events, sizeof(events)) < 0 && errno != EINTR && errno != EAGAIN ? -errno : 0;
}

static int follow(int dirfd, int *fd, const struct output_show *show)
{
	_cleanup_close_ int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	_cleanup_free_ char *folder = xasprintf("/proc/self/fd/%d", dirfd);
	size_t none = 0;
	int r;

	if (watch < 0 ||
	    inotify_add_watch(watch, folder, IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_DELETE_SELF) < 0)
		return -errno;
	for (;;) {
		bool alive = show->alive(show->opaque);
		struct stat open_one, named;

		r = show_file(*fd, show, &none);
		if (r)
			return r;
		/* A new file has taken the name: what we have has been read to its end. */
		if (!fstatat(dirfd, "output", &named, AT_SYMLINK_NOFOLLOW) && !fstat(*fd, &open_one) &&
		    named.st_ino != open_one.st_ino) {
			int next = openat(dirfd, "output", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

			if (next >= 0) {
				close(*fd);
				*fd = next;
				continue;
			}
		}
		if (!alive)
			return 0;
		r = wait_for_change(watch);
		if (r)
			return r;
	}
}

int output_log_show(int dirfd, const struct output_show *show, struct err *e)
{
	_cleanup_close_ int older = openat(dirfd, "output.1", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	_cleanup_close_ int fd = openat(dirfd, "output", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	size_t skip = 0;
	int r = 0;

	if (fd < 0)
		return err_set(e, ENOENT, "there is no log: only a detached sandbox (run -d) keeps its output");
	if (show->tail >= 0) {
		size_t lines = lines_of(older) + lines_of(fd);

		skip = lines > (size_t)show->tail ? lines - show->tail : 0;
	}
	if (older >= 0)
		r = show_file(older, show, &skip);
	if (!r)
		r = show_file(fd, show, &skip);
	if (!r && show->follow)
		r = follow(dirfd, &fd, show);
	return r ? err_errno(e, r, "cannot show the log") : 0;
}
