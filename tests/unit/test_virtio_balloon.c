/* SPDX-License-Identifier: Apache-2.0 */
/* The balloon: what a guest gives up is the host's again, and nothing else is. */
#include <check.h>
#include <linux/virtio_balloon.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/balloon.h"
#include "tests/unit/virtio_driver.h"

Suite *test_suite(void);

#define PAGE 4096ull
#define PFNS (DRV_DATA)
#define STATS_BUF (DRV_DATA + 0x8000)
#define PAGES 0x800000ull /* what the tests give up: 8 MiB on */
#define FEATURES (DRV_FEATURES | 1 << VIRTIO_BALLOON_F_STATS_VQ | 1 << VIRTIO_BALLOON_F_REPORTING)

static struct drv d;
static struct sockaddr_un addr = { .sun_family = AF_UNIX };

static void open_balloon(void)
{
	struct err e = ERR_INIT;
	struct vmspec_device *dev;
	socklen_t len = sizeof(addr);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	/* An abstract name that the kernel chooses. */
	addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	ck_assert(!bind(fd, (struct sockaddr *)&addr, sizeof(sa_family_t)) && !listen(fd, 4));
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	memset(&d, 0, sizeof(d));
	vmspec_init(&d.spec);
	dev = vmspec_add(&d.spec, VMSPEC_BALLOON);
	dev->balloon.listen_fd = fd;
	ck_assert_msg(drv_open(&d, &e) == 0, "%s", e.msg);
}

static void close_balloon(void)
{
	drv_close(&d);
}

static int client(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(sa_family_t) + 6; /* an autobound name: a zero and five digits */

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, len), 0);
	return fd;
}

static bool answered(struct drv *drv, void *arg)
{
	char c;

	return recv(*(int *)arg, &c, 1, MSG_PEEK | MSG_DONTWAIT) >= 0;
}

static struct balloon_answer hear(int fd)
{
	struct balloon_answer a = { 0 };

	ck_assert(drv_wait(&d, answered, &fd));
	ck_assert_int_eq(recv(fd, &a, sizeof(a), 0), sizeof(a));
	ck_assert_int_eq(recv(fd, &a, 1, 0), 0);
	close(fd);
	return a;
}

static int say(uint32_t op, uint64_t target)
{
	const struct balloon_request req = { .op = op, .target_bytes = target };
	int fd = client();

	ck_assert_int_eq(send(fd, &req, sizeof(req), 0), sizeof(req));
	return fd;
}

static struct balloon_answer ask(uint32_t op, uint64_t target)
{
	return hear(say(op, target));
}

static uint64_t touched(void)
{
	return guest_mem_touched(d.mem);
}

/* Pages that have something in them. */
static void fill(uint64_t gpa, unsigned int pages)
{
	memset(guest_mem_slice(d.mem, gpa, pages * PAGE), 0x5a, pages * PAGE);
	*(uint32_t *)drv_at(&d, PFNS) = 0; /* so that naming them touches nothing new */
}

static bool filled(uint64_t gpa)
{
	return *(uint8_t *)drv_at(&d, gpa) == 0x5a && *((uint8_t *)drv_at(&d, gpa + PAGE - 1)) == 0x5a;
}

static void name_pages(unsigned int queue, const uint32_t *pfns, unsigned int n)
{
	const struct drv_buf buf = { PFNS, n * 4, false };
	unsigned int i;

	for (i = 0; i < n; i++)
		((uint32_t *)drv_at(&d, PFNS))[i] = htole32(pfns[i]);
	drv_add(&d, queue, &buf, 1);
	drv_kick(&d, queue);
	ck_assert_int_eq(drv_next_used(&d, queue, NULL), 0);
}

START_TEST(inflated_pages_are_the_hosts_again)
{
	const uint32_t first = PAGES / PAGE;
	/* Up, down, alone, twice. */
	const uint32_t pfns[] = { first, first + 1, first + 2, first + 9, first + 8, first + 20, first + 20 };
	uint64_t before;

	open_balloon();
	drv_up(&d, 4, 16, FEATURES);
	fill(PAGES, 32);
	before = touched();
	name_pages(0, pfns, ARRAY_SIZE(pfns));
	ck_assert_uint_eq(before - touched(), 6 * PAGE);
	ck_assert_uint_eq(*(uint64_t *)drv_at(&d, PAGES + PAGE), 0);
	ck_assert(!filled(PAGES) && !filled(PAGES + 8 * PAGE) && !filled(PAGES + 20 * PAGE));
	ck_assert(filled(PAGES + 3 * PAGE) && filled(PAGES + 7 * PAGE) && filled(PAGES + 10 * PAGE) &&
		  filled(PAGES + 19 * PAGE) && filled(PAGES + 21 * PAGE));
	/* Deflated ones just come back. */
	name_pages(1, pfns, 3);
	fill(PAGES, 3);
	ck_assert(filled(PAGES + PAGE));
	ck_assert_uint_eq(ask(BALLOON_STATE, 0).returned_bytes, 7 * PAGE);
	close_balloon();
}
END_TEST

START_TEST(pages_outside_of_memory_are_passed_over)
{
	const uint32_t pfns[] = { DRV_MEM / PAGE, UINT32_MAX, 0xc0000, PAGES / PAGE, 0xfffff, 0x100000 };
	uint64_t before;

	open_balloon();
	drv_up(&d, 4, 16, FEATURES);
	fill(PAGES, 2);
	before = touched();
	name_pages(0, pfns, ARRAY_SIZE(pfns));
	ck_assert_uint_eq(before - touched(), PAGE);
	ck_assert(!drv_broken(&d));
	ck_assert(filled(PAGES + PAGE));
	close_balloon();
}
END_TEST

START_TEST(free_pages_that_are_reported_go_back)
{
	const struct drv_buf free_pages[] = { { PAGES, 1 << 20, true }, { PAGES + (2 << 20), 2 << 20, true } };
	uint64_t before;
	struct balloon_answer a;

	open_balloon();
	drv_up(&d, 4, 16, FEATURES);
	fill(PAGES, 1024);
	before = touched();
	drv_add(&d, 3, free_pages, 2);
	drv_kick(&d, 3);
	ck_assert_int_eq(drv_next_used(&d, 3, NULL), 0);
	ck_assert_uint_eq(before - touched(), 3 << 20);
	ck_assert(filled(PAGES + (1 << 20)) && !filled(PAGES));
	a = ask(BALLOON_STATE, 0);
	ck_assert_uint_eq(a.reported_bytes, 3 << 20);
	ck_assert_uint_eq(a.returned_bytes, 3 << 20);
	close_balloon();
}
END_TEST

START_TEST(queues_that_were_not_agreed_on_do_not_count)
{
	const struct drv_buf free_pages = { PAGES, PAGE, true };

	open_balloon();
	drv_up(&d, 3, 16, DRV_FEATURES | 1 << VIRTIO_BALLOON_F_REPORTING);
	fill(PAGES, 1);
	drv_add(&d, 2, &free_pages, 1);
	drv_kick(&d, 2);
	ck_assert_int_eq(drv_next_used(&d, 2, NULL), 0);
	ck_assert(!filled(PAGES));
	close_balloon();
}
END_TEST

START_TEST(a_guest_that_poisons_free_pages_keeps_them)
{
	const struct drv_buf free_pages = { PAGES, PAGE, true };

	open_balloon();
	drv_features(&d, FEATURES | 1 << VIRTIO_BALLOON_F_PAGE_POISON);
	drv_write(&d, VIRTIO_MMIO_CONFIG + offsetof(struct virtio_balloon_config, poison_val), 0xaaaaaaaa);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_CONFIG + offsetof(struct virtio_balloon_config, poison_val)),
			  0xaaaaaaaa);
	drv_queue(&d, 0, 16);
	drv_queue(&d, 1, 16);
	drv_queue(&d, 2, 16);
	drv_queue(&d, 3, 16);
	drv_ok(&d);
	fill(PAGES, 1);
	drv_add(&d, 3, &free_pages, 1);
	drv_kick(&d, 3);
	ck_assert_int_eq(drv_next_used(&d, 3, NULL), 0);
	ck_assert(filled(PAGES));
	close_balloon();
}
END_TEST

START_TEST(a_target_reaches_the_guest)
{
	const unsigned int actual = VIRTIO_MMIO_CONFIG + offsetof(struct virtio_balloon_config, actual);
	struct balloon_answer a;
	uint32_t generation;

	open_balloon();
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_CONFIG), 0);
	a = ask(BALLOON_STATE, 0);
	ck_assert(!(a.flags & BALLOON_DRIVER));
	drv_up(&d, 4, 16, FEATURES);
	drv_interrupt(&d);
	generation = drv_read(&d, VIRTIO_MMIO_CONFIG_GENERATION);
	a = ask(BALLOON_TARGET, 12 << 20);
	ck_assert_int_eq(a.error, 0);
	ck_assert(a.flags & BALLOON_DRIVER);
	ck_assert_uint_eq(a.given_bytes, DRV_MEM);
	ck_assert_uint_eq(a.target_bytes, 12 << 20);
	ck_assert(drv_interrupt(&d) & VIRTIO_MMIO_INT_CONFIG);
	ck_assert_uint_ne(drv_read(&d, VIRTIO_MMIO_CONFIG_GENERATION), generation);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_CONFIG), 1024);
	drv_write(&d, actual, 1000);
	ck_assert_uint_eq(drv_read(&d, actual), 1000);
	ck_assert_uint_eq(ask(BALLOON_STATE, 0).held_bytes, 1000 * PAGE);
	/* The first word is the host's. */
	drv_write(&d, VIRTIO_MMIO_CONFIG, 7);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_CONFIG), 1024);
	/* It outlasts a driver; what that one held does not. */
	drv_up(&d, 4, 16, FEATURES);
	a = ask(BALLOON_STATE, 0);
	ck_assert_uint_eq(a.target_bytes, 12 << 20);
	ck_assert_uint_eq(a.held_bytes, 0);
	close_balloon();
}
END_TEST

START_TEST(bad_requests_change_nothing)
{
	static const uint64_t bad[] = { DRV_MEM + PAGE, 100, UINT64_MAX };
	char c;
	size_t i;
	int fd;

	open_balloon();
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(ask(BALLOON_TARGET, bad[i]).error, -EINVAL);
	ck_assert_int_eq(ask(77, 0).error, -EOPNOTSUPP);
	fd = client();
	ck_assert_int_eq(send(fd, "x", 1, 0), 1);
	ck_assert(drv_wait(&d, answered, &fd));
	ck_assert_int_eq(recv(fd, &c, 1, 0), 0);
	close(fd);
	ck_assert_uint_eq(ask(BALLOON_STATE, 0).target_bytes, DRV_MEM);
	close_balloon();
}
END_TEST

START_TEST(silent_clients_are_in_nobodys_way)
{
	int fds[20];
	size_t i;

	open_balloon();
	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = client();
		drv_turns(&d);
	}
	ck_assert_uint_eq(ask(BALLOON_STATE, 0).given_bytes, DRV_MEM);
	for (i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	ck_assert_uint_eq(ask(BALLOON_STATE, 0).given_bytes, DRV_MEM);
	close_balloon();
}
END_TEST

static void give_stats(uint64_t free_bytes)
{
	struct virtio_balloon_stat stats[3] = { { VIRTIO_BALLOON_S_MEMFREE, free_bytes },
						{ 999, 1 },
						{ VIRTIO_BALLOON_S_MAJFLT, 5 } };
	const struct drv_buf buf = { STATS_BUF, sizeof(stats), false };

	memcpy(drv_at(&d, STATS_BUF), stats, sizeof(stats));
	drv_add(&d, 2, &buf, 1);
	drv_kick(&d, 2);
}

START_TEST(statistics_are_fetched_when_they_are_asked_for)
{
	struct balloon_answer a;
	int fd;

	open_balloon();
	drv_up(&d, 4, 16, FEATURES);
	give_stats(1000);
	drv_turns(&d);
	ck_assert_uint_eq(drv_used_idx(&d, 2), 0);
	fd = say(BALLOON_STATE, 0);
	ck_assert_int_eq(drv_next_used(&d, 2, NULL), 0);
	give_stats(2000);
	a = hear(fd);
	ck_assert(a.flags & BALLOON_FRESH);
	ck_assert_uint_eq(a.stats[BALLOON_STAT_FREE], 2000);
	ck_assert_uint_eq(a.stats[BALLOON_STAT_MAJOR_FAULTS], 5);
	ck_assert_uint_eq(a.stats[BALLOON_STAT_TOTAL], BALLOON_UNKNOWN);
	/* A guest that doesn't answer is not waited for for ever. */
	a = ask(BALLOON_STATE, 0);
	ck_assert(!(a.flags & BALLOON_FRESH));
	ck_assert_uint_eq(a.stats[BALLOON_STAT_FREE], 2000);
	close_balloon();
}
END_TEST

START_TEST(malformed_requests_break_the_device)
{
	static const struct {
		unsigned int queue;
		struct drv_buf buf;
	} bad[] = { { 0, { PFNS, 4, true } },
		    { 1, { PFNS, 4, true } },
		    { 2, { PFNS, 10, true } },
		    { 3, { PAGES, PAGE, false } },
		    { 0, { PFNS, 0x40004, false } } };
	size_t i;

	open_balloon();
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		drv_up(&d, 4, 16, FEATURES);
		drv_add(&d, bad[i].queue, &bad[i].buf, 1);
		drv_kick(&d, bad[i].queue);
		ck_assert_msg(drv_wait(&d, drv_is_broken, NULL), "row %zu", i);
	}
	/* A second buffer for statistics. */
	drv_up(&d, 4, 16, FEATURES);
	give_stats(1);
	give_stats(2);
	ck_assert(drv_wait(&d, drv_is_broken, NULL));
	close_balloon();
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("virtio-balloon");
	TCase *t = tcase_create("all");

	tcase_add_test(t, inflated_pages_are_the_hosts_again);
	tcase_add_test(t, pages_outside_of_memory_are_passed_over);
	tcase_add_test(t, free_pages_that_are_reported_go_back);
	tcase_add_test(t, queues_that_were_not_agreed_on_do_not_count);
	tcase_add_test(t, a_guest_that_poisons_free_pages_keeps_them);
	tcase_add_test(t, a_target_reaches_the_guest);
	tcase_add_test(t, bad_requests_change_nothing);
	tcase_add_test(t, silent_clients_are_in_nobodys_way);
	tcase_add_test(t, statistics_are_fetched_when_they_are_asked_for);
	tcase_add_test(t, malformed_requests_break_the_device);
	suite_add_tcase(s, t);
	return s;
}
