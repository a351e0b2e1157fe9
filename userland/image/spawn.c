/* SPDX-License-Identifier: Apache-2.0 */
#include "image/spawn.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "image/store.h"

extern char **environ;

/* Beside this program, as in the build folder, or where `make install` puts helpers. */
static char *find_importer(const struct image_get_options *options, struct err *e)
{
	static const char *const places[] = { "", "../libexec/microvm/" };
	char self[4096], *slash;
	ssize_t n;
	size_t i;

	if (options && options->importer)
		return xstrdup(options->importer);
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0) {
		err_errno(e, errno, "finding microvm-import: /proc/self/exe");
		return NULL;
	}
	self[n] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		slash[1] = '\0';
	for (i = 0; i < ARRAY_SIZE(places); i++) {
		_cleanup_free_ char *path = xasprintf("%s%smicrovm-import", self, places[i]);

		if (access(path, X_OK) == 0)
			return take_ptr(path);
	}
	err_set(e, ENOENT,
		"the program microvm-import, which imports images, is neither in %s nor in %s../libexec/microvm; "
		"install microvm anew",
		self, self);
	return NULL;
}

static int start(const char *program, struct image_store *store, const char *name, int report, pid_t *pid,
		 struct err *e)
{
	char *argv[] = {
		(char *)"microvm-import", (char *)"--report-fd=3", (char *)"--", store->root, (char *)name, NULL
	};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int r;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, report, IMPORT_REPORT_FD);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	r = posix_spawn(pid, program, &actions, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return r ? err_errno(e, r, "starting %s", program) : 0;
}

/* It has read what strangers wrote: its words are checked before anyone sees them. */
static void take_line(char *line, const struct image_get_options *options, struct err *e)
{
	uint64_t done, total;
	int at = 0, code = 0;
	char *s;

	for (s = line; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
	if (sscanf(line, "P %" SCNu64 " %" SCNu64 " %n", &done, &total, &at) == 2 && at) {
		if (options && options->progress)
			options->progress(options->opaque, line + at, done, total);
	} else if (sscanf(line, "E %d %n", &code, &at) == 1 && at && code > 0 && code < 4096) {
		err_set(e, code, "%s", line + at);
	}
}

static void listen_to(int fd, const struct image_get_options *options, struct err *e)
{
	char buf[IMPORT_LINE_MAX];
	size_t used = 0;

	for (;;) {
		ssize_t n = read(fd, buf + used, sizeof(buf) - 1 - used);
		char *newline;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		used += (size_t)n;
		buf[used] = '\0';
		while ((newline = memchr(buf, '\n', used))) {
			*newline = '\0';
			take_line(buf, options, e);
			used -= (size_t)(newline + 1 - buf);
			memmove(buf, newline + 1, used + 1);
		}
		if (used == sizeof(buf) - 1)
			used = 0; /* longer than any line of ours */
	}
}

int image_spawn_import(struct image_store *store, const char *name, const struct image_get_options *options,
		       struct err *e)
{
	_cleanup_free_ char *program = find_importer(options, e);
	_cleanup_close_ int ours = -1, its = -1;
	struct err why = ERR_INIT;
	int fds[2], status = 0, r;
	pid_t pid;

	if (!program)
		return e ? -e->code : -ENOENT;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(e, errno, "starting microvm-import");
	ours = fds[0];
	its = fds[1];
	if (its == IMPORT_REPORT_FD) {
		/* dup2 to itself would keep O_CLOEXEC. */
		its = fcntl(fds[1], F_DUPFD_CLOEXEC, IMPORT_REPORT_FD + 1);
		close(fds[1]);
	}
	r = start(program, store, name, its, &pid, e);
	if (r)
		return r;
	cleanup_closep(&its);
	listen_to(ours, options, &why);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_errno(e, errno, "waiting for microvm-import");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (why.code)
		return err_set(e, why.code, "%s", why.msg);
	if (WIFSIGNALED(status))
		return err_set(e, EIO, "%s: microvm-import was ended by signal %d (%s)", name, WTERMSIG(status),
			       strsignal(WTERMSIG(status)));
	return err_set(e, EIO, "%s: microvm-import ended with status %d and no word", name, WEXITSTATUS(status));
}
