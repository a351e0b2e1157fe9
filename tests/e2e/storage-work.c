/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What guests do with their files in the storage tests, and what the host finds there afterwards. One static program, so
 * that it runs in any image. What is written can be told from its place alone, so that the reader needs no list.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define RECORD 4096u
#define PIECE 1000u /* no divisor of a page: neighbours' pieces share pages */
#define LINE 32u
#define THREADS 64

static _Noreturn void fail(const char *what, unsigned long n, const char *why)
{
	printf("%s: %lu: %s\n", what, n, why);
	exit(1);
}

static unsigned long number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || end == text)
		fail(text, 0, "not a number");
	return n;
}

static int open_or_fail(const char *path, int flags)
{
	int fd = open(path, flags, 0644);

	if (fd < 0)
		fail(path, 0, strerror(errno));
	return fd;
}

static int open_in(const char *dir, const char *name, int flags)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return open_or_fail(path, flags);
}

static int open_own(const char *dir, unsigned long who, int flags)
{
	char name[32];

	snprintf(name, sizeof(name), "own-%lu", who);
	return open_in(dir, name, flags);
}

/* len bytes that only the n-th piece of `who` has. */
static void fill(uint8_t *p, size_t len, uint64_t who, uint64_t n)
{
	uint64_t x = (who << 32 | n) * 0x9e3779b97f4a7c15ull + 1;
	size_t i;

	for (i = 0; i < len; i++) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		p[i] = (uint8_t)(x >> 56);
	}
}

/* Each number is printed when its record can't be lost any more. */
static int records(const char *path, unsigned long count)
{
	static uint8_t buf[RECORD];
	int fd = open_or_fail(path, O_WRONLY | O_CREAT);
	unsigned long i;

	for (i = 0; i < count; i++) {
		fill(buf, RECORD, 0, i);
		if (pwrite(fd, buf, RECORD, (off_t)(i * RECORD)) != RECORD)
			fail("write", i, strerror(errno));
		if (fsync(fd))
			fail("fsync", i, strerror(errno));
		printf("%lu\n", i);
		fflush(stdout);
	}
	return close(fd);
}

static void compare(int fd, size_t len, off_t off, uint64_t who, uint64_t n)
{
	static uint8_t want[RECORD], got[RECORD];
	ssize_t r = pread(fd, got, len, off);

	fill(want, len, who, n);
	if (r != (ssize_t)len)
		fail("read", n, r < 0 ? strerror(errno) : "it is cut short");
	if (memcmp(want, got, len))
		fail("content", n, "it is another one");
}

static int check(const char *path, unsigned long count)
{
	int fd = open_or_fail(path, O_RDONLY);
	unsigned long i;

	for (i = 0; i < count; i++)
		compare(fd, RECORD, (off_t)(i * RECORD), 0, i);
	return close(fd);
}

/* One of the writers: a file of its own, every all-th piece of a common one, and lines at a log's end. */
static void write_as(const char *dir, unsigned long who, unsigned long all, unsigned long count)
{
	int own = open_own(dir, who, O_WRONLY | O_CREAT | O_TRUNC);
	int common = open_in(dir, "common", O_RDWR | O_CREAT);
	int log = open_in(dir, "log", O_WRONLY | O_CREAT | O_APPEND);
	uint8_t buf[PIECE];
	char line[2 * LINE];
	unsigned long i;

	for (i = 0; i < count; i++) {
		fill(buf, PIECE, who, i);
		snprintf(line, sizeof(line), "%14lu %14lu .\n", who, i);
		if (write(own, buf, PIECE) != PIECE ||
		    pwrite(common, buf, PIECE, (off_t)((i * all + who) * PIECE)) != PIECE ||
		    write(log, line, LINE) != LINE)
			fail("write", i, strerror(errno));
	}
	if (close(own) || close(common) || close(log))
		fail("close", who, strerror(errno));
}

static int writers(const char *dir, unsigned long first, unsigned long n, unsigned long all, unsigned long count)
{
	unsigned long i;
	int status, bad = 0;

	for (i = first; i < first + n; i++)
		if (fork() == 0) {
			write_as(dir, i, all, count);
			exit(0);
		}
	while (wait(&status) > 0)
		bad |= status;
	return bad != 0;
}

static void check_log(const char *dir, unsigned long all, unsigned long count)
{
	FILE *f = fdopen(open_in(dir, "log", O_RDONLY), "r");
	uint8_t *seen = calloc(all + 1, count + 1);
	unsigned long who, i, lines = 0;
	char line[LINE + 1];

	if (!f || !seen)
		fail("log", 0, "no memory");
	while (fread(line, LINE, 1, f) == 1) {
		line[LINE] = 0;
		if (sscanf(line, "%lu %lu .", &who, &i) != 2 || line[LINE - 1] != '\n' || who >= all || i >= count)
			fail("log", lines, "a line is damaged");
		if (seen[who * count + i]++)
			fail("log", lines, "a line is there twice");
		lines++;
	}
	if (lines != all * count)
		fail("log", lines, "not as many lines as were written");
	free(seen);
	fclose(f);
}

static int written(const char *dir, unsigned long all, unsigned long count)
{
	int common = open_in(dir, "common", O_RDONLY);
	struct stat st;
	unsigned long who, i;

	for (who = 0; who < all; who++) {
		int own = open_own(dir, who, O_RDONLY);

		for (i = 0; i < count; i++) {
			compare(own, PIECE, (off_t)(i * PIECE), who, i);
			compare(common, PIECE, (off_t)((i * all + who) * PIECE), who, i);
		}
		if (fstat(own, &st) || st.st_size != (off_t)(count * PIECE))
			fail("own", who, "its size is wrong");
		close(own);
	}
	if (fstat(common, &st) || st.st_size != (off_t)(all * count * PIECE))
		fail("common", 0, "its size is wrong");
	check_log(dir, all, count);
	return close(common);
}

/* ---- open files -------------------------------------------------------------------------------------------------- */

static struct {
	const char *path;
	int *fds;
	unsigned long count, next;
	int error;
} opening;

/* Many at a time, as one by one would take long where a request does. */
static void *open_some(void *arg)
{
	for (;;) {
		unsigned long i = __atomic_fetch_add(&opening.next, 1, __ATOMIC_RELAXED);

		if (i >= opening.count || __atomic_load_n(&opening.error, __ATOMIC_RELAXED))
			return NULL;
		opening.fds[i] = open(opening.path, O_RDONLY);
		if (opening.fds[i] < 0)
			__atomic_store_n(&opening.error, errno, __ATOMIC_RELAXED);
	}
}

static void *close_some(void *arg)
{
	for (;;) {
		unsigned long i = __atomic_fetch_add(&opening.next, 1, __ATOMIC_RELAXED);

		if (i >= opening.count)
			return NULL;
		if (opening.fds[i] > 0 && close(opening.fds[i]))
			fail("close", i, strerror(errno));
		opening.fds[i] = 0;
	}
}

static void by_all(void *(*fn)(void *))
{
	pthread_t threads[THREADS];
	int i;

	opening.next = 0;
	for (i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, fn, NULL))
			fail("thread", (unsigned long)i, strerror(errno));
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static unsigned long open_now(void)
{
	unsigned long i, n = 0;

	for (i = 0; i < opening.count; i++)
		n += opening.fds[i] > 0;
	return n;
}

/* Opens a file as often as it goes; then, with all closed, once more. */
static int open_many(const char *path, unsigned long count)
{
	unsigned long n;
	char c;
	int fd;

	opening.path = path;
	opening.count = count;
	opening.fds = calloc(count + 1, sizeof(int));
	if (!opening.fds)
		fail("open", count, "no memory");
	by_all(open_some);
	n = open_now();
	printf("%s after %lu\n", opening.error ? strerrorname_np(opening.error) : "none refused", n);
	fd = open(path, O_RDONLY);
	printf("one more: %s\n", fd < 0 ? strerrorname_np(errno) : "opened");
	if (!n || pread(opening.fds[0], &c, 1, 0) != 1)
		fail("an open one can't be read", n, strerror(errno));
	by_all(close_some);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		fail("open after closing", n, strerror(errno));
	puts("goes on");
	free(opening.fds);
	return close(fd);
}

/* Writes by a mapping: what can't be kept is told by msync. */
static int map(const char *path, unsigned long bytes)
{
	int fd = open_or_fail(path, O_RDWR | O_CREAT);
	char *p;

	if (ftruncate(fd, (off_t)bytes))
		fail("ftruncate", bytes, strerror(errno));
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		fail("mmap", bytes, strerror(errno));
	memset(p, 'm', bytes);
	puts(msync(p, bytes, MS_SYNC) ? strerrorname_np(errno) : "kept");
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	unsigned long n[4] = { 0 };
	int i;

	for (i = 3; i < argc && i < 7; i++)
		n[i - 3] = number(argv[i]);
	if (argc == 4 && !strcmp(what, "records"))
		return records(argv[2], n[0]);
	if (argc == 4 && !strcmp(what, "check"))
		return check(argv[2], n[0]);
	if (argc == 7 && !strcmp(what, "writers"))
		return writers(argv[2], n[0], n[1], n[2], n[3]);
	if (argc == 5 && !strcmp(what, "written"))
		return written(argv[2], n[0], n[1]);
	if (argc == 4 && !strcmp(what, "open"))
		return open_many(argv[2], n[0]);
	if (argc == 4 && !strcmp(what, "map"))
		return map(argv[2], n[0]);
	fputs("usage: storage-work records FILE COUNT | check FILE COUNT | writers DIR FIRST WRITERS ALL COUNT | "
	      "written DIR ALL COUNT |\n"
	      "       open FILE COUNT | map FILE BYTES\n",
	      stderr);
	return 2;
}
