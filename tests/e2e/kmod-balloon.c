/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The module's balloon, without a virtual machine: this process is its owner, and with rings in its own memory the guest,
 * too; well behaved and not. `kmod-balloon` runs all cases, `kmod-balloon NAME…` those. Needs /dev/microvm.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kmod/uapi/microvm.h"
#include "tests/e2e/kmod.h"

#define PAGE 4096u
#define PAGES 1024u /* of guest memory, half of them in each region */
#define HALF (PAGES / 2)
#define LOW_GPA 0x100000u
#define HIGH_GPA 0x100000000ull
#define SIZE 64u
#define TIMEOUT_MS 20000
#define FEATURES (1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX)
#define BUFFER_PAGE 16u /* the request's own, behind the rings */

const char *current_case = "";
static char *mem;
static int dev, memfd;

struct ring {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint32_t at;
	int kick, call;
};
static struct ring rings[MICROVM_BALLOON_QUEUES];

static void kick(struct ring *r)
{
	const uint64_t one = 1;

	check(write(r->kick, &one, sizeof(one)) == sizeof(one));
}

static struct microvm_queue queue_of(const struct ring *r)
{
	return (struct microvm_queue){ .desc_gpa = LOW_GPA + r->at,
				       .avail_gpa = LOW_GPA + r->at + 0x800,
				       .used_gpa = LOW_GPA + r->at + 0x1000,
				       .size = SIZE,
				       .kick_fd = r->kick,
				       .call_fd = r->call };
}

/* Each page says which it is, so that one that was thrown away, or mistaken for another, is seen. */
static void fill(void)
{
	uint32_t i;

	for (i = BUFFER_PAGE; i < PAGES; i++)
		memset(mem + i * PAGE, (int)(i % 255 + 1), PAGE);
}

static bool whole(uint32_t page)
{
	const char *p = mem + page * PAGE;

	return p[0] == (char)(page % 255 + 1) && !memcmp(p, p + 1, PAGE - 1);
}

static bool is_hole(uint32_t page)
{
	off_t at = (off_t)page * PAGE;

	return lseek(memfd, at, SEEK_HOLE) == at;
}

static void set_memory(void)
{
	/* The low half of the guest is the file's low half; what lies between is nobody's. */
	struct microvm_memory m = { .regions_n = 2,
				    .regions = { { LOW_GPA, HALF * PAGE, (uintptr_t)mem },
						 { HIGH_GPA, HALF * PAGE, (uintptr_t)mem + HALF * PAGE } } };

	check(!ioctl(dev, MICROVM_SET_MEMORY, &m));
}

static void open_dev(void)
{
	dev = open(MICROVM_DEVICE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	check(dev >= 0);
}

static struct microvm_balloon balloon_of(void)
{
	struct microvm_balloon b = { .memory_fd = memfd, .features = FEATURES };
	uint32_t i;

	b.offset[1] = HALF * PAGE;
	for (i = 0; i < MICROVM_BALLOON_QUEUES; i++)
		b.queues[i] = queue_of(&rings[i]);
	return b;
}

static void make_rings(void)
{
	uint32_t i;

	memset(mem, 0, BUFFER_PAGE * PAGE);
	for (i = 0; i < MICROVM_BALLOON_QUEUES; i++)
		rings[i] = (struct ring){ .desc = (void *)(mem + i * 0x2000),
					  .avail = (void *)(mem + i * 0x2000 + 0x800),
					  .used = (void *)(mem + i * 0x2000 + 0x1000),
					  .at = i * 0x2000,
					  .kick = eventfd(0, EFD_CLOEXEC),
					  .call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
}

static void up_with(uint32_t flags)
{
	struct microvm_balloon b;

	open_dev();
	set_memory();
	make_rings();
	fill();
	b = balloon_of();
	b.flags = flags;
	check(!ioctl(dev, MICROVM_SET_BALLOON, &b));
}

static struct microvm_balloon_state state(void)
{
	struct microvm_balloon_state s;

	check(!ioctl(dev, MICROVM_GET_BALLOON, &s));
	return s;
}

static void down(void)
{
	uint32_t i;

	check(!ioctl(dev, MICROVM_STOP_BALLOON, 0));
	for (i = 0; i < MICROVM_BALLOON_QUEUES; i++) {
		close(rings[i].kick);
		close(rings[i].call);
	}
	close(dev);
}

/* A request of n descriptors from entry 0 on. */
static void submit(struct ring *r)
{
	r->avail->ring[r->avail->idx % SIZE] = 0;
	__atomic_store_n(&r->avail->idx, (uint16_t)(r->avail->idx + 1), __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	kick(r);
}

static void wait_done(struct ring *r)
{
	struct pollfd p = { .fd = r->call, .events = POLLIN };
	uint64_t n;

	while (__atomic_load_n(&r->used->idx, __ATOMIC_ACQUIRE) != r->avail->idx) {
		check(poll(&p, 1, TIMEOUT_MS) == 1);
		check(read(r->call, &n, sizeof(n)) == sizeof(n));
	}
	/* As a driver: the next interrupt when there is news. */
	r->avail->ring[SIZE] = r->avail->idx;
}

/* Page n of the guest by its number. */
static uint32_t pfn(uint32_t page)
{
	return page < HALF ? LOW_GPA / PAGE + page : (uint32_t)(HIGH_GPA / PAGE) + page - HALF;
}

static void inflate(const uint32_t *pfns, uint32_t n)
{
	struct ring *r = &rings[MICROVM_BALLOON_INFLATE];

	memcpy(mem + (BUFFER_PAGE - 1) * PAGE, pfns, n * sizeof(*pfns));
	r->desc[0] = (struct vring_desc){ LOW_GPA + (BUFFER_PAGE - 1) * PAGE, n * sizeof(*pfns), 0, 0 };
	submit(r);
	wait_done(r);
}

static void test_refusals(void)
{
	struct microvm_balloon b;
	int pipes[2], other = open("/dev/null", O_RDWR | O_CLOEXEC);

	open_dev();
	make_rings();
	b = balloon_of();
	check(ioctl(dev, MICROVM_SET_BALLOON, &b) && errno == ENXIO);
	set_memory();
	check(ioctl(dev, MICROVM_GET_BALLOON, &b) && errno == ENXIO);
	b.memory_fd = -1;
	check(ioctl(dev, MICROVM_SET_BALLOON, &b) && errno == EBADF);
	check(!pipe2(pipes, O_CLOEXEC));
	b.memory_fd = pipes[1];
	check(ioctl(dev, MICROVM_SET_BALLOON, &b) && errno == EINVAL);
	b.memory_fd = other;
	check(ioctl(dev, MICROVM_SET_BALLOON, &b) && errno == EINVAL);
	b = balloon_of();
	b.flags = 2;
	check(ioctl(dev, MICROVM_SET_BALLOON, &b) && errno == EINVAL);
	b = balloon_of();
	b.offset[1] += PAGE; /* behind the file's end */
	check(ioctl(dev, MICROVM_SET_BALLOON, &b) && errno == EINVAL);
	b.offset[1] = ~0ull - PAGE + 1;
	check(ioctl(dev, MICROVM_SET_BALLOON, &b) && errno == EINVAL);
	b = balloon_of();
	b.offset[2] = PAGE; /* of no region */
	check(ioctl(dev, MICROVM_SET_BALLOON, &b) && errno == EINVAL);
	b = balloon_of();
	b.queues[1].used_gpa = HIGH_GPA + HALF * PAGE - 8;
	check(ioctl(dev, MICROVM_SET_BALLOON, &b) && errno == EFAULT);
	b = balloon_of();
	b.queues[2].kick_fd = other;
	check(ioctl(dev, MICROVM_SET_BALLOON, &b) && errno == EINVAL);
	b = balloon_of();
	check(!ioctl(dev, MICROVM_SET_BALLOON, &b));
	check(ioctl(dev, MICROVM_SET_BALLOON, &b) && errno == EBUSY);
	down();
}

/* Twice, in any order, of both regions: one hole for each contiguous range, and nothing else is touched. */
static void test_inflate(void)
{
	uint32_t pfns[300], n = 0, i, order;
	struct microvm_balloon_state s;

	up_with(0);
	for (i = 0; i < 128; i++)
		pfns[n++] = pfn(100 + (i * 37) % 128); /* 100..227 scrambled */
	for (i = 0; i < 100; i++)
		pfns[n++] = pfn(700 - i); /* 601..700 falling */
	pfns[n++] = pfn(150);
	pfns[n++] = pfn(650);
	pfns[n++] = pfn(900);
	for (order = 0; order < 2; order++) {
		inflate(pfns, n);
		s = state();
		check(s.requests == order + 1 && s.refused == 0);
		check(s.punches == 3 * (order + 1));
		check(s.returned_bytes == 229ull * PAGE * (order + 1) && !s.reported_bytes);
		for (i = BUFFER_PAGE; i < PAGES; i++) {
			bool gone = (i >= 100 && i < 228) || (i >= 601 && i <= 700) || i == 900;

			check(is_hole(i) == gone);
			check(gone || whole(i));
		}
	}
	/* They are there again as soon as they are touched. */
	check(mem[100 * PAGE] == 0);
	mem[100 * PAGE] = 1;
	check(!is_hole(100));
	down();
}

static void test_outside(void)
{
	const uint32_t pfns[] = { 0,
				  LOW_GPA / PAGE - 1,
				  LOW_GPA / PAGE + HALF,
				  HIGH_GPA / PAGE - 1,
				  HIGH_GPA / PAGE + HALF,
				  0x7fffffff,
				  0xffffffff,
				  pfn(HALF - 1),
				  pfn(HALF) };
	struct microvm_balloon_state s;
	uint32_t i;

	up_with(0);
	inflate(pfns, sizeof(pfns) / sizeof(pfns[0]));
	s = state();
	check(s.refused == 7 && s.returned_bytes == 2 * PAGE);
	/* Neighbours in the file, by one hole. */
	check(s.punches <= 2);
	for (i = BUFFER_PAGE; i < PAGES; i++)
		check(i == HALF - 1 || i == HALF ? is_hole(i) : whole(i));
	down();
}

static void report(uint32_t n)
{
	struct ring *r = &rings[MICROVM_BALLOON_REPORTING];
	uint32_t i;

	for (i = 0; i < n; i++) {
		r->desc[i].flags = VRING_DESC_F_WRITE | (i + 1 < n ? VRING_DESC_F_NEXT : 0);
		r->desc[i].next = (uint16_t)(i + 1);
	}
	submit(r);
	wait_done(r);
}

static void test_reporting(void)
{
	struct ring *r = &rings[MICROVM_BALLOON_REPORTING];
	struct microvm_balloon_state s;
	uint32_t i;

	up_with(0);
	r->desc[0] = (struct vring_desc){ LOW_GPA + 64 * PAGE, 64 * PAGE, 0, 0 };
	r->desc[1] = (struct vring_desc){ LOW_GPA + 128 * PAGE, 32 * PAGE, 0, 0 };
	r->desc[2] = (struct vring_desc){ HIGH_GPA + 10 * PAGE, PAGE, 0, 0 };
	r->desc[3] = (struct vring_desc){ HIGH_GPA + 20 * PAGE + 8, PAGE, 0, 0 }; /* no whole page */
	r->desc[4] = (struct vring_desc){ HIGH_GPA + 30 * PAGE, PAGE - 8, 0, 0 };
	report(5);
	s = state();
	check(s.punches == 2 && s.refused == 2 && s.reported_bytes == 97 * PAGE &&
	      s.returned_bytes == s.reported_bytes);
	for (i = BUFFER_PAGE; i < PAGES; i++)
		check((i >= 64 && i < 160) || i == HALF + 10 ? is_hole(i) : whole(i));
	down();

	up_with(MICROVM_BALLOON_POISONED);
	r->desc[0] = (struct vring_desc){ LOW_GPA + 64 * PAGE, 64 * PAGE, 0, 0 };
	report(1);
	for (i = BUFFER_PAGE; i < PAGES; i++)
		check(whole(i));
	down();
}

/* Pages that hold the rings: the guest's own loss. */
static void test_own_rings(void)
{
	uint32_t pfns[BUFFER_PAGE], i;
	struct ring *r = &rings[MICROVM_BALLOON_INFLATE];
	struct pollfd p = { .events = POLLIN };

	up_with(0);
	for (i = 0; i < BUFFER_PAGE; i++)
		pfns[i] = pfn(i);
	memcpy(mem + (BUFFER_PAGE - 1) * PAGE, pfns, sizeof(pfns));
	r->desc[0] = (struct vring_desc){ LOW_GPA + (BUFFER_PAGE - 1) * PAGE, sizeof(pfns), 0, 0 };
	submit(r);
	/* Its indices are zero now, so it may be taken for a ring with more in it than it has room for, or not. */
	p.fd = dev;
	poll(&p, 1, 500);
	for (i = BUFFER_PAGE; i < PAGES; i++)
		check(whole(i));
	down();
}

static void expect_broken(void)
{
	struct pollfd p = { .fd = dev, .events = POLLIN };
	struct microvm_event ev;

	check(poll(&p, 1, TIMEOUT_MS) == 1);
	check(read(dev, &ev, sizeof(ev)) == sizeof(ev) && ev.type == MICROVM_EVENT_BROKEN);
	check(read(dev, &ev, sizeof(ev)) < 0 && errno == EAGAIN);
}

static void test_broken(void)
{
	struct ring *r = &rings[MICROVM_BALLOON_INFLATE];
	uint32_t i;

	for (i = 0; i < 5; i++) {
		up_with(0);
		r->desc[0] = (struct vring_desc){ LOW_GPA + 100 * PAGE, PAGE, 0, 0 };
		switch (i) {
		case 0: r->desc[0].flags = VRING_DESC_F_WRITE; break;
		case 1: r->desc[0].len = 2 * PAGE; break; /* more numbers than there may be */
		case 2: r->desc[0].addr = LOW_GPA - PAGE; break;
		case 3:
			r->desc[0].flags = VRING_DESC_F_NEXT; /* a cycle */
			break;
		default: r->avail->idx = 1000; break;
		}
		submit(r);
		expect_broken();
		check(is_hole(100) == false && whole(100));
		down();
	}
}

static void test_deflate(void)
{
	struct ring *r = &rings[MICROVM_BALLOON_DEFLATE];

	up_with(0);
	r->desc[0] = (struct vring_desc){ LOW_GPA + 100 * PAGE, 1024, 0, 0 };
	submit(r);
	wait_done(r);
	check(whole(100) && state().requests == 1 && state().punches == 0);
	down();
}

/* Closed, stopped or killed while there is work. */
static void test_pending(void)
{
	struct ring *r = &rings[MICROVM_BALLOON_REPORTING];
	uint32_t round, i;
	pid_t pid;

	for (round = 0; round < 30; round++) {
		pid = fork();
		check(pid >= 0);
		if (!pid) {
			up_with(0);
			r->desc[0] = (struct vring_desc){ LOW_GPA + 64 * PAGE, 256 * PAGE, VRING_DESC_F_WRITE, 0 };
			for (i = 0; i < SIZE - 1; i++)
				r->avail->ring[i] = 0;
			r->avail->idx = SIZE - 1;
			kick(r);
			if (round % 3 == 0)
				kill(getpid(), SIGKILL);
			if (round % 3 == 1)
				close(dev);
			else
				check(!ioctl(dev, MICROVM_STOP_BALLOON, 0));
			_exit(0);
		}
		check(waitpid(pid, NULL, 0) == pid);
	}
}

static void drop_slabs(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

	check(fd >= 0 && write(fd, "2", 1) == 1);
	close(fd);
}

static void test_pressure(void)
{
	int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct microvm_pressure p = { .event_fd = -1 };
	uint64_t n;

	open_dev();
	check(ioctl(dev, MICROVM_PRESSURE, &p) && errno == ENXIO);
	set_memory();
	check(ioctl(dev, MICROVM_PRESSURE, &p) && errno == EINVAL);
	p = (struct microvm_pressure){ .event_fd = memfd };
	check(ioctl(dev, MICROVM_PRESSURE, &p) && errno == EINVAL);
	p = (struct microvm_pressure){ .event_fd = bell };
	check(!ioctl(dev, MICROVM_PRESSURE, &p) && !p.wanted_pages);
	drop_slabs();
	check(read(bell, &n, sizeof(n)) < 0 && errno == EAGAIN); /* nothing to spare */
	p = (struct microvm_pressure){ .event_fd = bell };
	check(ioctl(dev, MICROVM_PRESSURE, &p) && errno == EINVAL); /* a second bell */
	p = (struct microvm_pressure){ .event_fd = -1, .spare_pages = 10000 };
	check(!ioctl(dev, MICROVM_PRESSURE, &p) && !p.wanted_pages);
	drop_slabs();
	check(read(bell, &n, sizeof(n)) == sizeof(n));
	p = (struct microvm_pressure){ .event_fd = -1 };
	check(!ioctl(dev, MICROVM_PRESSURE, &p));
	check(p.wanted_pages > 0 && p.wanted_pages <= 10000); /* never more than it has */
	check(!ioctl(dev, MICROVM_PRESSURE, &p) && !p.wanted_pages);
	drop_slabs();
	check(read(bell, &n, sizeof(n)) < 0 && errno == EAGAIN);
	close(dev);
}

/* Where the kernel can make its own allocations fail (the debug kernel), each of a session's in turn. */
static void test_faults(void)
{
	struct microvm_memory m = { .regions_n = 1, .regions = { { LOW_GPA, PAGES * PAGE, (uintptr_t)mem } } };
	struct microvm_balloon b;
	int fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC), n, r, left;
	char text[16];

	make_rings();
	b = balloon_of();
	b.offset[1] = 0;
	for (n = 1; fd >= 0 && n < 60; n++) {
		open_dev();
		snprintf(text, sizeof(text), "%d", n);
		check(pwrite(fd, text, strlen(text), 0) > 0);
		r = ioctl(dev, MICROVM_SET_MEMORY, &m);
		if (!r)
			r = ioctl(dev, MICROVM_SET_BALLOON, &b);
		check(!r || errno == ENOMEM || errno == EFAULT || errno == EINTR || errno == EAGAIN);
		memset(text, 0, sizeof(text));
		/* How many are left; or the one that fails is this copy, so that they are more than the calls had. */
		left = pread(fd, text, sizeof(text) - 1, 0) > 0 ? atoi(text) : 1;
		/* This copy may be the one that fails, and then it is the last. */
		check(pwrite(fd, "0", 1, 0) > 0 || (errno == EFAULT && pwrite(fd, "0", 1, 0) > 0));
		close(dev);
		if (left > 0)
			break; /* there were not so many */
	}
	printf("# %d allocations and copies were made to fail\n", fd >= 0 ? n - 1 : 0);
}

/* Under the debug kernel with allocations that fail at random (tests/lab/debug): those of this case do. */
static void make_it_fail(void)
{
	int fd = open("/proc/self/make-it-fail", O_WRONLY | O_CLOEXEC);

	check(fd >= 0 && write(fd, "1", 1) == 1);
	close(fd);
}

static const struct {
	const char *name;
	void (*fn)(void);
} cases[] = {
	{ "refusals", test_refusals },	 { "inflate", test_inflate }, { "outside", test_outside },
	{ "reporting", test_reporting }, { "deflate", test_deflate }, { "own_rings", test_own_rings },
	{ "broken", test_broken },	 { "pending", test_pending }, { "pressure", test_pressure },
	{ "faults", test_faults },
};

int main(int argc, char **argv)
{
	size_t i;
	int k, wanted, status, failed = 0;
	pid_t pid;

	memfd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (memfd < 0 || ftruncate(memfd, PAGES * PAGE) || fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW))
		return 125;
	mem = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (wanted = argc < 2, k = 1; k < argc; k++)
			wanted |= !strcmp(argv[k], cases[i].name);
		if (!wanted)
			continue;
		fflush(stdout);
		pid = fork();
		if (!pid) {
			current_case = cases[i].name;
			alarm(120);
			if (getenv("KMOD_FAIL"))
				make_it_fail();
			cases[i].fn();
			fflush(stdout);
			_exit(0);
		}
		waitpid(pid, &status, 0);
		printf("%s %s\n", status ? "FAILED" : "ok", cases[i].name);
		failed += !!status;
	}
	return failed != 0;
}
