/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two sides of a race for names in a share. On the host, `swap` puts links to outside of the share where folders and
 * files were, and takes them away again, without end. In the guest, `walk` goes through those names in every way there
 * is; what it must never see says OUTSIDE.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAMES 8
#define BOTH 20 /* how often each of folder and link is to be met */

static const char *share;

static _Noreturn void fail(const char *what, const char *why)
{
	printf("%s: %s\n", what, why);
	exit(1);
}

static void put(int dir, const char *name, const char *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) < 0 || close(fd))
		fail(name, strerror(errno));
}

/* ---- on the host ------------------------------------------------------------------------------------------------- */

/* The share's folders and files 0 to NAMES, and beside each the link that takes its place. */
static void make(int dir, const char *outside)
{
	char name[64], to[4352];
	int i, d;

	for (i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "folder%d", i);
		if (mkdirat(dir, name, 0777) || (d = openat(dir, name, O_RDONLY | O_DIRECTORY)) < 0)
			fail(name, strerror(errno));
		put(d, "secret", "inside");
		if (mkdirat(d, "deep", 0777))
			fail("deep", strerror(errno));
		close(d);
		snprintf(name, sizeof(name), "link%d", i);
		/* By an absolute path, and by one that climbs: the share lies beside what is outside. */
		snprintf(to, sizeof(to), i % 2 ? "%s" : "../outside", outside);
		if (symlinkat(to, dir, name))
			fail(name, strerror(errno));
	}
	if (mkdirat(dir, "up", 0777) || mkdirat(dir, "up/er", 0777) || mkdirat(dir, "up/er/most", 0777))
		fail("up", strerror(errno));
}

static void *swap_folders(void *arg)
{
	int dir = *(int *)arg, i;
	char folder[32], link[32];

	for (i = 0;; i = (i + 1) % NAMES) {
		snprintf(folder, sizeof(folder), "folder%d", i);
		snprintf(link, sizeof(link), "link%d", i);
		if (renameat2(dir, folder, dir, link, RENAME_EXCHANGE))
			fail(folder, strerror(errno));
	}
	return NULL;
}

/* A file's name becomes a link's, and a file's again. */
static void swap_file(int dir, int i, const char *outside)
{
	char name[32], to[4352];

	snprintf(name, sizeof(name), "file%d", i);
	snprintf(to, sizeof(to), i % 2 ? "%s/secret" : "../outside/secret", outside);
	if (symlinkat(to, dir, "fresh-link") || renameat(dir, "fresh-link", dir, name))
		fail(name, strerror(errno));
	put(dir, "fresh-file", "inside");
	if (renameat(dir, "fresh-file", dir, name))
		fail(name, strerror(errno));
}

static void swap(const char *outside)
{
	int dir = open(share, O_RDONLY | O_DIRECTORY), i;
	pthread_t thread;

	if (dir < 0)
		fail(share, strerror(errno));
	make(dir, outside);
	puts("made");
	fflush(stdout);
	if (pthread_create(&thread, NULL, swap_folders, &dir))
		fail("thread", strerror(errno));
	for (i = 0;; i = (i + 1) % NAMES) {
		swap_file(dir, i, outside);
		/* A folder that someone is in gets another parent. */
		if (renameat(dir, "up/er/most", dir, "most") || renameat(dir, "most", dir, "up/er/most"))
			fail("most", strerror(errno));
	}
}

/* ---- in the guest ------------------------------------------------------------------------------------------------ */

static unsigned long folders, links, calls_done;

/* Errors are no matter: half of the names lead nowhere. */
static void tried(int r)
{
	calls_done += !r;
}

static void look(int dir, const char *name)
{
	char buf[32] = { 0 };
	int fd = openat(dir, name, O_RDONLY);

	if (fd < 0)
		return;
	if (read(fd, buf, sizeof(buf) - 1) > 0 && strstr(buf, "OUTSIDE"))
		fail(name, "what is outside was read");
	close(fd);
}

static void list(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (strstr(e->d_name, "OUTSIDE"))
			fail(name, "what is outside was listed");
	if (d)
		closedir(d);
}

static void make_and_move(int dir, const char *folder, unsigned long round)
{
	char a[64], b[64], own[32];

	snprintf(a, sizeof(a), "%s/made%lu", folder, round);
	snprintf(b, sizeof(b), "%s/moved%lu", folder, round);
	snprintf(own, sizeof(own), "own%lu", round);
	close(openat(dir, a, O_WRONLY | O_CREAT, 0644));
	tried(renameat(dir, a, dir, b));
	tried(renameat(dir, b, dir, own));
	tried(linkat(dir, own, dir, b, 0));
	tried(unlinkat(dir, own, 0));
	tried(unlinkat(dir, b, 0));
	tried(mkdirat(dir, a, 0755));
	tried(unlinkat(dir, a, AT_REMOVEDIR));
	tried(symlinkat("x", dir, a));
	tried(unlinkat(dir, a, 0));
	tried(mknodat(dir, a, S_IFIFO | 0600, 0));
	tried(unlinkat(dir, a, 0));
}

static void change(int dir, const char *file)
{
	struct timespec ts[2] = { { 1, 0 }, { 1, 0 } };

	tried(fchmodat(dir, file, 0777, 0));
	tried(fchownat(dir, file, 1, 1, 0));
	tried(utimensat(dir, file, ts, 0));
	close(openat(dir, file, O_WRONLY | O_TRUNC));
	close(openat(dir, file, O_WRONLY | O_CREAT, 0644));
	put(dir, "other", "inside");
	tried(renameat(dir, "other", dir, file));
}

static void walk_one(int dir, int i, unsigned long round)
{
	char folder[32], file[32], secret[64], deep[64];
	struct stat st;
	int fd;

	snprintf(folder, sizeof(folder), "folder%d", i);
	snprintf(file, sizeof(file), "file%d", i);
	snprintf(secret, sizeof(secret), "%s/secret", folder);
	snprintf(deep, sizeof(deep), "%s/deep", folder);
	if (!fstatat(dir, folder, &st, AT_SYMLINK_NOFOLLOW)) {
		folders += S_ISDIR(st.st_mode);
		links += S_ISLNK(st.st_mode);
	}
	look(dir, secret);
	look(dir, file);
	list(dir, folder);
	make_and_move(dir, folder, round);
	make_and_move(dir, deep, round);
	change(dir, secret);
	if (round % 8 == 0)
		change(dir, file);
	/* From within, while its name is another one's. */
	fd = openat(dir, folder, O_RDONLY | O_DIRECTORY);
	if (fd >= 0) {
		look(fd, "secret");
		make_and_move(fd, ".", round);
		list(fd, "..");
		close(fd);
	}
	fd = openat(dir, "up/er/most", O_RDONLY | O_DIRECTORY);
	if (fd >= 0) {
		list(fd, "../../..");
		look(fd, "../../../outside/secret");
		make_and_move(fd, "..", round);
		close(fd);
	}
}

/* Until both have been met often enough, and that many rounds at least; `most` rounds at most. */
static int walk(unsigned long least, unsigned long most)
{
	int dir = open(share, O_RDONLY | O_DIRECTORY), i;
	unsigned long round;

	if (dir < 0)
		fail(share, strerror(errno));
	for (round = 0; round < most && (round < least || folders < BOTH || links < BOTH); round++)
		for (i = 0; i < NAMES; i++)
			walk_one(dir, i, round);
	printf("%lu rounds: %lu folders, %lu links met, %lu changes\n", round, folders, links, calls_done);
	return folders < BOTH || links < BOTH;
}

int main(int argc, char **argv)
{
	share = argc > 2 ? argv[2] : "";
	if (argc == 4 && !strcmp(argv[1], "swap"))
		swap(argv[3]);
	if (argc == 5 && !strcmp(argv[1], "walk"))
		return walk(strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10));
	fputs("usage: storage-race swap SHARE OUTSIDE | walk SHARE LEAST-ROUNDS MOST-ROUNDS\n", stderr);
	return 2;
}
