/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PID 1 of the guests that the suites blk and fs measure. The kernel's command line says what to do, in words that become
 * the environment: suite=blk|fs runs all of its jobs, job=NAME only that one; times=N does each N times as often (what N
 * runs cost more than one run is the jobs alone). Prints for each "job NAME OPERATIONS NANOSECONDS-OF-EACH", then reboots.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define DATA_BYTES (64u << 20) /* of the disk, or of the share's file, that is read and written */
#define DEPTH_MAX 32u
#define BLOCK_MAX (1u << 20)
#define KIB 1024u
#define MIB (1024u * 1024u)
#define ENTRIES 1000u /* files in the share's folder "entries" */
#define KNOWN 10000u  /* and in "known" */
#define KNOWN_PART \
	500u /* after so many of them a line is printed, so that a guest that hangs is known from one that works */
#define WARM_PART 4u /* this part of a job's operations goes first and is not counted */

static char *buffer; /* DEPTH_MAX blocks of 4 KiB, or one of 1 MiB */
static uint64_t seed;

struct job {
	const char *name;
	const char *suites; /* which it is part of */
	/* Does so many operations; negative errno. */
	int (*run)(const struct job *job, unsigned int ops);
	unsigned int ops;
	unsigned int block_bytes, depth;
	bool write, random;
};

static _Noreturn void fail(const char *what, int error)
{
	printf("fail %s: %s\n", what, strerror(error));
	fflush(stdout);
	reboot(RB_AUTOBOOT);
	_exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- data: O_DIRECT, so that each operation is one request or more ------------------------------------------------- */

static const char *data_path;

static uint64_t next_offset(const struct job *job, unsigned int i)
{
	const uint64_t blocks = DATA_BYTES / job->block_bytes;

	if (!job->random)
		return i % blocks * job->block_bytes;
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (seed >> 33) % blocks * job->block_bytes;
}

static int one_by_one(const struct job *job, int fd, unsigned int ops)
{
	unsigned int i;
	ssize_t n;

	for (i = 0; i < ops; i++) {
		off_t off = (off_t)next_offset(job, i);

		n = job->write ? pwrite(fd, buffer, job->block_bytes, off) : pread(fd, buffer, job->block_bytes, off);
		if (n != (ssize_t)job->block_bytes)
			return n < 0 ? -errno : -EIO;
	}
	return 0;
}

/* Linux AIO: a file of FUSE is asynchronous with it, and would go through worker threads with io_uring. */
static int many_at_once(const struct job *job, int fd, unsigned int ops)
{
	struct io_event events[DEPTH_MAX];
	struct iocb iocbs[DEPTH_MAX], *list[DEPTH_MAX];
	unsigned int begun = 0, done = 0, slots_n = job->depth, slots[DEPTH_MAX], i, n;
	aio_context_t ctx = 0;
	long r = 0;

	if (syscall(SYS_io_setup, job->depth, &ctx))
		return -errno;
	for (i = 0; i < job->depth; i++)
		slots[i] = i;
	while (done < ops) {
		for (n = 0; n < slots_n && begun < ops; n++, begun++) {
			unsigned int slot = slots[n];

			iocbs[slot] = (struct iocb){
				.aio_data = slot,
				.aio_lio_opcode = job->write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
				.aio_fildes = (uint32_t)fd,
				.aio_buf = (uintptr_t)(buffer + (size_t)slot * job->block_bytes),
				.aio_nbytes = job->block_bytes,
				.aio_offset = (int64_t)next_offset(job, begun),
			};
			list[n] = &iocbs[slot];
		}
		if (n && (r = syscall(SYS_io_submit, ctx, (long)n, list)) != (long)n)
			return r < 0 ? -errno : -EIO;
		r = syscall(SYS_io_getevents, ctx, 1L, (long)job->depth, events, NULL);
		if (r <= 0)
			return r < 0 ? -errno : -EIO;
		for (slots_n = 0; slots_n < (unsigned int)r; slots_n++) {
			if (events[slots_n].res != job->block_bytes)
				return events[slots_n].res < 0 ? (int)events[slots_n].res : -EIO;
			slots[slots_n] = (unsigned int)events[slots_n].data;
		}
		done += slots_n;
	}
	syscall(SYS_io_destroy, ctx);
	return 0;
}

static int run_data(const struct job *job, unsigned int ops)
{
	int fd = open(data_path, O_RDWR | O_DIRECT), r;

	if (fd < 0)
		return -errno;
	r = job->depth > 1 ? many_at_once(job, fd, ops) : one_by_one(job, fd, ops);
	close(fd);
	return r;
}

/* ---- names and attributes, in the share ------------------------------------------------------------------------------ */

static void entry_name(char name[32], const char *folder, unsigned int i)
{
	snprintf(name, 32, "%s/%05u", folder, i);
}

static int run_stat(const struct job *job, unsigned int ops)
{
	struct stat st;
	char name[32];
	unsigned int i;

	for (i = 0; i < ops; i++) {
		entry_name(name, "entries", i % ENTRIES);
		if (stat(name, &st))
			return -errno;
	}
	return 0;
}

static int run_open(const struct job *job, unsigned int ops)
{
	char name[32];
	unsigned int i;

	for (i = 0; i < ops; i++) {
		int fd;

		entry_name(name, "entries", i % ENTRIES);
		fd = open(name, O_RDONLY);
		if (fd < 0)
			return -errno;
		close(fd);
	}
	return 0;
}

static int run_create(const struct job *job, unsigned int ops)
{
	unsigned int i;

	for (i = 0; i < ops; i++) {
		int fd = open("new", O_WRONLY | O_CREAT | O_EXCL, 0644);

		if (fd < 0)
			return -errno;
		close(fd);
		if (unlink("new"))
			return -errno;
	}
	return 0;
}

static int run_readdir(const struct job *job, unsigned int ops)
{
	unsigned int i, n;

	for (i = 0; i < ops; i++) {
		DIR *dir = opendir("entries");

		if (!dir)
			return -errno;
		for (n = 0; readdir(dir); n++)
			;
		closedir(dir);
		if (n != ENTRIES + 2)
			return -ENOENT;
	}
	return 0;
}

/* Until somebody ends the VM. */
static int stay(void)
{
	while (pause())
		;
	return 0;
}

/* Makes all files known to the server, says so and stays: what they cost there can then be seen from outside. */
static int run_known(const struct job *job, unsigned int ops)
{
	struct stat st;
	char name[32];
	unsigned int i;

	for (i = 0; i < KNOWN; i++) {
		entry_name(name, "known", i);
		if (stat(name, &st))
			return -errno;
		if (i % KNOWN_PART == 0)
			printf("at %u\n", i);
	}
	printf("knows %u\n", KNOWN);
	return stay();
}

static int run_idle(const struct job *job, unsigned int ops)
{
	printf("idle\n");
	return stay();
}

/* ---- the table ------------------------------------------------------------------------------------------------------- */

static const struct job jobs[] = {
	{ "read-4k", "blk fs", run_data, 300, 4 * KIB, 1, false, true },
	{ "write-4k", "blk fs", run_data, 300, 4 * KIB, 1, true, true },
	{ "read-4k-32", "blk fs", run_data, 1600, 4 * KIB, DEPTH_MAX, false, true },
	{ "write-4k-32", "blk fs", run_data, 1600, 4 * KIB, DEPTH_MAX, true, true },
	{ "read-1m", "blk fs", run_data, 12, MIB, 1, false, false },
	{ "write-1m", "blk fs", run_data, 12, MIB, 1, true, false },
	{ "stat", "fs", run_stat, 300, 0, 0, false, false },
	{ "open-close", "fs", run_open, 300, 0, 0, false, false },
	{ "create-unlink", "fs", run_create, 100, 0, 0, false, false },
	{ "readdir-1000", "fs", run_readdir, 3, 0, 0, false, false },
	{ "idle", "", run_idle, 1, 0, 0, false, false },
	{ "known", "", run_known, 1, 0, 0, false, false },
};

static void run_job(const struct job *job, unsigned int times)
{
	const unsigned int ops = job->ops * times;
	uint64_t start_ns, ns;
	int r;

	seed = 1;
	r = job->run(job, job->ops / WARM_PART);
	if (r < 0)
		fail(job->name, -r);
	start_ns = now_ns();
	r = job->run(job, ops);
	ns = now_ns() - start_ns;
	if (r < 0)
		fail(job->name, -r);
	printf("job %s %u %.1f\n", job->name, ops, (double)ns / ops);
	fflush(stdout);
}

static const char *word(const char *name, const char *otherwise)
{
	const char *v = getenv(name);

	return v ? v : otherwise;
}

int main(void)
{
	const char *suite = word("suite", ""), *only = word("job", NULL);
	const unsigned int times = (unsigned int)atoi(word("times", "1"));
	size_t i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (mount("dev", "/dev", "devtmpfs", 0, NULL))
		fail("devtmpfs", errno);
	data_path = strcmp(suite, "fs") ? "/dev/vda" : "data";
	if (!strcmp(suite, "fs") && (mount("share", "/run", "virtiofs", 0, NULL) || chdir("/run")))
		fail("mounting the share", errno);
	if (posix_memalign((void **)&buffer, 4 * KIB, BLOCK_MAX))
		fail("memory", ENOMEM);
	memset(buffer, 'b', BLOCK_MAX);
	for (i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++)
		if (only ? !strcmp(only, jobs[i].name) : strstr(jobs[i].suites, suite) != NULL)
			run_job(&jobs[i], times);
	printf("end\n");
	fflush(stdout);
	reboot(RB_AUTOBOOT);
	return 1;
}
