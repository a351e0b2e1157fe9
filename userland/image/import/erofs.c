/* SPDX-License-Identifier: Apache-2.0 */
#include "image/import/erofs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "image/import/cancel.h"

#define EROFS_MAGIC 0xe0f5e1e2u
#define EROFS_SUPER_OFFSET 1024
#define EROFS_BLOCK 4096

/* The superblock's head, Linux fs/erofs/erofs_fs.h. */
struct erofs_super {
	__le32 magic, checksum, feature_compat;
	uint8_t blkszbits, sb_extslots;
	__le16 root_nid;
	__le64 inos, build_time;
	__le32 build_time_nsec;
} __attribute__((packed));

#define EROFS_COMPAT_CHECKSUM 1u

static uint32_t crc32c(uint32_t crc, const uint8_t *p, size_t len)
{
	while (len--) {
		int bit;

		crc ^= *p++;
		for (bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return crc;
}

/*
 * mkfs.erofs 1.5 sets the time of making, or else (-T) that of all files. Files keep theirs, so the superblock's is set
 * here. No inode depends on it: those without a time of their own are for files of exactly that time, to the nanosecond.
 */
static int set_build_time(const char *file, int64_t created_s, struct err *e)
{
	_cleanup_close_ int fd = open(file, O_RDWR | O_CLOEXEC);
	uint8_t block[EROFS_BLOCK];
	struct erofs_super sb;
	int r = fd < 0 ? -errno : pread_full(fd, block, sizeof(block), 0);

	if (!r) {
		memcpy(&sb, block + EROFS_SUPER_OFFSET, sizeof(sb));
		if (le32toh(sb.magic) != EROFS_MAGIC || sb.blkszbits != 12)
			return err_set(e, EIO, "mkfs.erofs made something else than EROFS with 4 KiB blocks");
		sb.build_time = htole64((uint64_t)created_s);
		sb.build_time_nsec = 0;
		sb.checksum = 0;
		memcpy(block + EROFS_SUPER_OFFSET, &sb, sizeof(sb));
		if (le32toh(sb.feature_compat) & EROFS_COMPAT_CHECKSUM) {
			sb.checksum =
				htole32(crc32c(~0u, block + EROFS_SUPER_OFFSET, EROFS_BLOCK - EROFS_SUPER_OFFSET));
			memcpy(block + EROFS_SUPER_OFFSET, &sb, sizeof(sb));
		}
		if (pwrite(fd, block + EROFS_SUPER_OFFSET, sizeof(sb), EROFS_SUPER_OFFSET) != (ssize_t)sizeof(sb) ||
		    fchmod(fd, 0400) < 0 || fsync(fd) < 0)
			r = -errno;
	}
	return r ? err_errno(e, r, "finishing %s", file) : 0;
}

/* The child's words, the end of them if they are many, until it closes its stderr. */
static void listen_to(int fd, pid_t pid, const sigset_t *unblocked, char *words, size_t size)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t used = 0;

	words[0] = '\0';
	for (;;) {
		ssize_t n;

		/* Signals come in here only, so none is missed between the question and the wait. */
		if (import_cancelled(NULL))
			kill(pid, SIGKILL);
		if (ppoll(&p, 1, NULL, unblocked) < 0 && errno == EINTR)
			continue;
		if (used > size / 2) {
			memmove(words, words + size / 2, used - size / 2);
			used -= size / 2;
		}
		n = read(fd, words + used, size - 1 - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		used += (size_t)n;
		words[used] = '\0';
	}
}

/* One line of it, for a message. */
static const char *tidy(char *words)
{
	char *s;

	for (s = words; *s; s++)
		if ((unsigned char)*s < 0x20)
			*s = ' ';
	while (s > words && s[-1] == ' ')
		*--s = '\0';
	return *words ? words : "it didn't say why";
}

static int explain(int status, char *words, const char *file, struct err *e)
{
	struct statvfs vfs;

	if (import_cancelled(e))
		return -EINTR;
	if (WIFSIGNALED(status))
		return err_set(e, EIO, "mkfs.erofs was ended by signal %d", WTERMSIG(status));
	if (strstr(words, "No space left") || (statvfs(file, &vfs) == 0 && vfs.f_bavail == 0))
		return err_set(e, ENOSPC, "mkfs.erofs: no space left for %s", file);
	return err_set(e, EIO, "mkfs.erofs failed: %.600s", tidy(words));
}

static int spawn(int dirfd, const char *file, const char *uuid, int err_fd, const sigset_t *mask, pid_t *pid)
{
	char source[64];
	/* Data in whole blocks only (noinline_data): a guest that has the image as memory uses each file where it lies. */
	char *argv[] = { (char *)"mkfs.erofs",
			 (char *)"--quiet",
			 (char *)"--preserve-mtime",
			 (char *)"-Enoinline_data",
			 (char *)"-U",
			 (char *)uuid,
			 (char *)file,
			 source,
			 NULL };
	char *env[] = { (char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", (char *)"LC_ALL=C.UTF-8", NULL };
	static const char *const places[] = { "/usr/bin/mkfs.erofs", "/usr/sbin/mkfs.erofs", "/sbin/mkfs.erofs" };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	size_t i;
	int r = ENOENT;

	/* By its fd: whatever path leads there is none of mkfs.erofs's business. */
	snprintf(source, sizeof(source), "/proc/self/fd/%d/.", dirfd);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, err_fd, 2);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attr, mask);
	for (i = 0; i < ARRAY_SIZE(places) && r == ENOENT; i++)
		r = posix_spawn(pid, places[i], &actions, &attr, argv, env);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return -r;
}

static int run(int dirfd, const char *file, const char *uuid, struct err *e)
{
	_cleanup_close_ int ours = -1, its = -1, dir = -1;
	sigset_t all, before;
	char words[2048];
	int fds[2], status = 0, r;
	pid_t pid;

	dir = fcntl(dirfd, F_DUPFD, 3); /* not O_CLOEXEC: mkfs.erofs reads it */
	if (dir < 0 || pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(e, errno, "starting mkfs.erofs");
	ours = fds[0];
	its = fds[1];
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	r = spawn(dir, file, uuid, its, &before, &pid);
	cleanup_closep(&its);
	if (!r) {
		listen_to(ours, pid, &before, words, sizeof(words));
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			continue;
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (r == -ENOENT)
		return err_set(e, ENOENT, "mkfs.erofs isn't installed; apt-get install erofs-utils");
	if (r)
		return err_errno(e, r, "starting mkfs.erofs");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return explain(status, words, file, e);
	return 0;
}

int erofs_build(int dirfd, const char *file, const char *id, int64_t created_s, struct err *e)
{
	const char *h = id + 7;
	char uuid[40];
	int r;

	/* Version 8, a UUID by the maker's own rule (RFC 9562): here the first digits of the image's id. */
	snprintf(uuid, sizeof(uuid), "%.8s-%.4s-8%.3s-8%.3s-%.12s", h, h + 8, h + 12, h + 15, h + 18);
	r = run(dirfd, file, uuid, e);
	return r ? r : set_build_time(file, created_s, e);
}
