/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both ends of what the suite balloon measures.
 *   balloon-job                                PID 1 of the guest: touches "touch" MiB (of its environment), says so, and frees them
 *   balloon-job OUTPUT PID MIB [HOW PATH MIB]  on the host: from "freed" in the guest's output on until process PID's guest memory
 *                                              has so many MiB less. HOW: ours or qmp, the guest is then told by the socket at
 *                                              PATH to do with so many MiB.
 * The latter prints "back MILLISECONDS BUSY-MICROSECONDS EXITS BYTES": of the host's CPU, of the VM.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/balloon.h"

#define MIB (1ull << 20)
#define LIMIT_MS 120000u
#define STEP_MS 20u

static _Noreturn void fail(const char *what)
{
	printf("fail %s: %s\n", what, strerror(errno));
	fflush(stdout);
	if (getpid() == 1)
		for (;;)
			pause();
	exit(1);
}

/* ---- the guest ---- */

static void serve(void)
{
	const char *touch = getenv("touch");
	const size_t len = strtoul(touch ? touch : "64", NULL, 10) * MIB;
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t at;

	if (p == MAP_FAILED)
		fail("mmap");
	for (at = 0; at < len; at += 4096)
		p[at] = 1;
	printf("touched\n");
	fflush(stdout);
	sleep(3);
	munmap(p, len);
	printf("freed\n");
	fflush(stdout);
	for (;;)
		pause();
}

/* ---- the host ---- */

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = STEP_MS * 1000000 }, NULL);
}

/* The guest's memory: the largest memfd of the process. */
static int open_memory(const char *pid)
{
	char path[300], name[64];
	struct stat st;
	struct dirent *d;
	int fd = -1, best = -1;
	off_t size = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	dir = opendir(path);
	while (dir && (d = readdir(dir))) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%s/fd/%s", pid, d->d_name);
		n = readlink(path, name, sizeof(name) - 1);
		if (n < 7 || memcmp(name, "/memfd:", 7) || stat(path, &st) || st.st_size <= size)
			continue;
		fd = open(path, O_RDONLY);
		if (fd >= 0) {
			best = fd;
			size = st.st_size;
		}
	}
	if (best < 0)
		fail("guest memory");
	return best;
}

static uint64_t touched(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : (uint64_t)st.st_blocks * 512;
}

static void read_file(const char *path, char *text, size_t room)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, text, room - 1);

	text[n > 0 ? n : 0] = 0;
	if (fd >= 0)
		close(fd);
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000;
}

/* Of the host's only CPU, to 10 ms. Who waits in an io_uring waits for I/O, in the kernel's eyes. */
static uint64_t idle_us(void)
{
	unsigned long long idle = 0, iowait = 0;
	char text[256];

	read_file("/proc/stat", text, sizeof(text));
	sscanf(text, "cpu %*u %*u %*u %llu %llu", &idle, &iowait);
	return (idle + iowait) * 10000;
}

/* A statistic of KVM's, of a VM. */
static uint64_t kvm_stat(const char *pid, const char *name)
{
	static const char root[] = "/sys/kernel/debug/kvm";
	char path[600], text[32] = "";
	struct dirent *d;
	DIR *dir = opendir(root);
	size_t n = strlen(pid);

	while (dir && (d = readdir(dir)))
		if (!strncmp(d->d_name, pid, n) && d->d_name[n] == '-') {
			snprintf(path, sizeof(path), "%s/%s/%s", root, d->d_name, name);
			read_file(path, text, sizeof(text));
		}
	if (dir)
		closedir(dir);
	return strtoull(text, NULL, 10);
}

static int connect_at(const char *path, int type)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		fail(path);
	return fd;
}

/* Returns a socket that is to stay open. */
static int set_target(const char *how, const char *path, uint64_t bytes)
{
	struct balloon_request req = { .op = BALLOON_TARGET, .target_bytes = bytes };
	int fd = connect_at(path, strcmp(how, "qmp") ? SOCK_SEQPACKET : SOCK_STREAM);

	if (strcmp(how, "qmp")) {
		if (send(fd, &req, sizeof(req), 0) != sizeof(req))
			fail("send");
	} else if (dprintf(fd,
			   "{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"balloon\",\"arguments\":{\"value\":%llu}"
			   "}\n",
			   (unsigned long long)bytes) < 0) {
		fail("qmp");
	}
	return fd;
}

static void wait_for_freed(const char *path)
{
	char text[4096];
	unsigned int ms;

	for (ms = 0; ms < LIMIT_MS; ms += STEP_MS, nap()) {
		read_file(path, text, sizeof(text));
		if (strstr(text, "freed"))
			return;
	}
	errno = ETIMEDOUT;
	fail("freed");
}

static const char *const kinds[] = { "exits",	 "halt_exits", "irq_exits", "irq_window_exits",
				     "io_exits", "mmio_exits", "pf_taken" };
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void read_exits(const char *pid, uint64_t *v)
{
	size_t i;

	for (i = 0; i < KINDS; i++)
		v[i] = kvm_stat(pid, kinds[i]);
}

int main(int argc, char **argv)
{
	uint64_t before, t0, idle0, goal, exits0[KINDS], exits[KINDS];
	size_t i;
	unsigned int ms;
	int memory;

	if (argc < 4)
		serve();
	memory = open_memory(argv[2]);
	wait_for_freed(argv[1]);
	goal = strtoull(argv[3], NULL, 10) * MIB;
	before = touched(memory);
	read_exits(argv[2], exits0);
	idle0 = idle_us();
	t0 = now_us();
	if (argc > 6)
		set_target(argv[4], argv[5], strtoull(argv[6], NULL, 10) * MIB);
	for (ms = 0; ms < LIMIT_MS && touched(memory) + goal > before; ms += STEP_MS)
		nap();
	read_exits(argv[2], exits);
	if (ms >= LIMIT_MS)
		printf("late: %llu of %llu bytes are back\n", (unsigned long long)(before - touched(memory)),
		       (unsigned long long)goal);
	else
		printf("back %llu %llu %llu %llu\n", (unsigned long long)(now_us() - t0) / 1000,
		       (unsigned long long)(now_us() - t0 - (idle_us() - idle0)),
		       (unsigned long long)(exits[0] - exits0[0]), (unsigned long long)(before - touched(memory)));
	for (i = 1; i < KINDS; i++)
		printf("of them %s %llu\n", kinds[i], (unsigned long long)(exits[i] - exits0[i]));
	return ms >= LIMIT_MS;
}
