/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both ends of the streams that the suite vsock measures.
 *   vsock-job                 PID 1 of the guest: a server on port 5000 that echoes, swallows or pours out
 *   vsock-job PATH|CID [PID]  on the host: its client, by the VMM's socket or by AF_VSOCK
 * The client prints for each job "job NAME OPERATIONS NANOSECONDS-OF-EACH WAKE-UPS", the latter of process PID's threads but
 * vCPUs and vhost's while all of the operations went on. Then the guest reboots.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PORT 5000u
#define CHUNK (256u << 10)
#define MIB (1u << 20)
#define WARM_PART 4u /* of a job's operations go first and are not counted */

static char buffer[CHUNK];

static _Noreturn void fail(const char *what)
{
	printf("fail %s: %s\n", what, strerror(errno));
	fflush(stdout);
	if (getpid() == 1)
		reboot(RB_AUTOBOOT);
	exit(1);
}

static void send_all(int fd, uint64_t bytes)
{
	while (bytes) {
		ssize_t n = send(fd, buffer, bytes < CHUNK ? bytes : CHUNK, MSG_NOSIGNAL);

		if (n <= 0)
			fail("send");
		bytes -= (uint64_t)n;
	}
}

static void receive_all(int fd, uint64_t bytes)
{
	while (bytes) {
		ssize_t n = recv(fd, buffer, bytes < CHUNK ? bytes : CHUNK, 0);

		if (n <= 0)
			fail("recv");
		bytes -= (uint64_t)n;
	}
}

/* What the client asks for: so many rounds in which it sends `up` bytes and gets `down` bytes. */
struct order {
	uint32_t rounds, up, down;
};

/* ---- the guest ---- */

static void serve(void)
{
	struct sockaddr_vm addr = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = PORT };
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0), peer;
	struct order o;

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 1))
		fail("listen");
	printf("ready\n");
	fflush(stdout);
	peer = accept(fd, NULL, NULL);
	if (peer < 0)
		fail("accept");
	while (recv(peer, &o, sizeof(o), MSG_WAITALL) == (ssize_t)sizeof(o) && o.rounds)
		for (; o.rounds; o.rounds--) {
			receive_all(peer, o.up);
			send_all(peer, o.down);
		}
	reboot(RB_AUTOBOOT);
}

/* ---- the host ---- */

static int connect_to(const char *where)
{
	struct sockaddr_vm vm = { .svm_family = AF_VSOCK, .svm_port = PORT };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	char line[32];
	int fd;

	if (where[0] != '/') {
		vm.svm_cid = (unsigned int)atoi(where);
		fd = socket(AF_VSOCK, SOCK_STREAM, 0);
		if (fd < 0 || connect(fd, (struct sockaddr *)&vm, sizeof(vm)))
			fail("connect");
		return fd;
	}
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", where);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&un, sizeof(un)) || dprintf(fd, "CONNECT %u\n", PORT) < 0)
		fail("connect");
	if (recv(fd, line, sizeof("OK 5000\n") - 1, MSG_WAITALL) < 3 || memcmp(line, "OK ", 3))
		fail("CONNECT");
	return fd;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Voluntary context switches of a process's threads but vCPUs. */
static unsigned long wakeups(const char *pid)
{
	char path[300], line[128], name[64];
	unsigned long n, sum = 0;
	struct dirent *d;
	FILE *f;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/task", pid ? pid : "self");
	dir = opendir(path);
	while (dir && pid && (d = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%s/task/%s/status", pid, d->d_name);
		f = d->d_name[0] == '.' ? NULL : fopen(path, "r");
		name[0] = 0;
		while (f && fgets(line, sizeof(line), f)) {
			if (sscanf(line, "Name: %63s", name) == 1)
				continue;
			if (sscanf(line, "voluntary_ctxt_switches: %lu", &n) == 1 && strncmp(name, "vcpu", 4) &&
			    strncmp(name, "vhost", 5))
				sum += n;
		}
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
	return sum;
}

static void rounds(int fd, const struct order *o)
{
	uint32_t i;

	if (send(fd, o, sizeof(*o), MSG_NOSIGNAL) != (ssize_t)sizeof(*o))
		fail("order");
	for (i = 0; i < o->rounds; i++) {
		send_all(fd, o->up);
		receive_all(fd, o->down);
	}
}

int main(int argc, char **argv)
{
	/* A round of data ends with a byte the other way, so that it is known to have arrived. */
	static const struct {
		const char *name;
		struct order order;
	} jobs[] = {
		{ "round-trip-64", { 2000, 64, 64 } },
		{ "to-guest-1m", { 32, MIB, 1 } },
		{ "from-guest-1m", { 32, 1, MIB } },
	};
	const struct order end = { 0 };
	size_t i;
	int fd;

	if (argc < 2)
		serve();
	fd = connect_to(argv[1]);
	for (i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++) {
		struct order warm = jobs[i].order;
		unsigned long woken;
		uint64_t start;

		warm.rounds /= WARM_PART;
		rounds(fd, &warm);
		woken = wakeups(argv[2]);
		start = now_ns();
		rounds(fd, &jobs[i].order);
		start = now_ns() - start;
		printf("job %s %u %.1f %lu\n", jobs[i].name, jobs[i].order.rounds, (double)start / jobs[i].order.rounds,
		       wakeups(argv[2]) - woken);
		fflush(stdout);
	}
	send(fd, &end, sizeof(end), MSG_NOSIGNAL);
	return 0;
}
