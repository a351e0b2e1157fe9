/* SPDX-License-Identifier: Apache-2.0 */
/* fs before a vhost-user back end that is a thread of the test. */
#include <check.h>
#include <linux/virtio_fs.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "tests/unit/virtio_driver.h"

Suite *test_suite(void);

#define F_PROTOCOL (1ull << 30)
#define BUF DRV_DATA

enum {
	SET_FEATURES = 2,
	SET_MEM_TABLE = 5,
	SET_VRING_ADDR = 9,
	GET_VRING_BASE = 11,
	KICK = 12,
	CALL = 13,
	ENABLE = 18
};

struct message {
	uint32_t request, flags, size_bytes;
	uint64_t words[16];
} __attribute__((packed));

/* What the back end was told. */
struct back {
	int fd, kick_fd[DRV_QUEUES], call_fd[DRV_QUEUES], mem_fd;
	pthread_t thread;
	uint64_t features_offered, protocol_offered, features;
	uint64_t mem_gpa, mem_len, mem_hva, mem_offset, avail[DRV_QUEUES];
	unsigned int enabled, stopped;
	uint32_t refuse, silent_at, hang_up_at; /* requests */
};

static struct drv d;
static struct back back;

static void take_fd_of(struct msghdr *msg, int *to)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);

	ck_assert(c != NULL);
	ck_assert_uint_eq(c->cmsg_len, CMSG_LEN(sizeof(int)));
	if (*to >= 0)
		close(*to);
	memcpy(to, CMSG_DATA(c), sizeof(*to));
}

static void handle(struct back *b, struct message *m, struct msghdr *msg, uint64_t *answer, bool *answers)
{
	const uint32_t index = (uint32_t)m->words[0];

	switch (m->request) {
	case 1: *answer = b->features_offered; break;
	case SET_FEATURES: b->features = m->words[0]; break;
	case SET_MEM_TABLE:
		take_fd_of(msg, &b->mem_fd);
		ck_assert_uint_eq((uint32_t)m->words[0], 1);
		b->mem_gpa = m->words[1];
		b->mem_len = m->words[2];
		b->mem_hva = m->words[3];
		b->mem_offset = m->words[4];
		break;
	case SET_VRING_ADDR: b->avail[index] = m->words[3]; break;
	case GET_VRING_BASE:
		*answer = m->words[0];
		b->stopped |= 1u << index;
		break;
	case KICK: take_fd_of(msg, &b->kick_fd[index]); break;
	case CALL: take_fd_of(msg, &b->call_fd[index]); break;
	case 15: *answer = b->protocol_offered; break;
	case 17: *answer = DRV_QUEUES; break;
	case ENABLE: b->enabled |= 1u << index; break;
	default: break;
	}
	*answers |= m->request == 1 || m->request == 15 || m->request == 17 || m->request == GET_VRING_BASE;
}

static void *serve(void *arg)
{
	struct back *b = arg;

	for (;;) {
		char control[CMSG_SPACE(8 * sizeof(int))] __attribute__((aligned(8))) = { 0 };
		struct message m = { 0 };
		struct iovec iov = { &m, 12 };
		struct msghdr msg = {
			.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
		};
		uint64_t answer = 0;
		bool answers;

		if (recvmsg(b->fd, &msg, MSG_WAITALL) != 12)
			return NULL;
		ck_assert_uint_le(m.size_bytes, sizeof(m.words));
		if (m.size_bytes && recv(b->fd, m.words, m.size_bytes, MSG_WAITALL) != m.size_bytes)
			return NULL;
		answers = m.flags & 8;
		if (m.request == b->hang_up_at) {
			shutdown(b->fd, SHUT_RDWR);
			return NULL;
		}
		handle(b, &m, &msg, &answer, &answers);
		if (!answers || m.request == b->silent_at)
			continue;
		if (m.request == b->refuse)
			answer = 1;
		m = (struct message){ .request = m.request, .flags = 5, .size_bytes = 8, .words = { answer } };
		ck_assert_int_eq(send(b->fd, &m, 20, MSG_NOSIGNAL), 20);
	}
}

static int open_fs(struct err *e)
{
	struct vmspec_device *dev;
	int pair[2], i;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	back.fd = pair[1];
	back.mem_fd = -1;
	for (i = 0; i < (int)DRV_QUEUES; i++)
		back.kick_fd[i] = back.call_fd[i] = -1;
	ck_assert_int_eq(pthread_create(&back.thread, NULL, serve, &back), 0);
	memset(&d, 0, sizeof(d));
	vmspec_init(&d.spec);
	dev = vmspec_add(&d.spec, VMSPEC_FS);
	dev->fs.fd = pair[0];
	dev->fs.queues = 1;
	memcpy(dev->fs.tag, "share", 6);
	return drv_open(&d, e);
}

static void end_back(void)
{
	unsigned int i;

	shutdown(back.fd, SHUT_RDWR);
	pthread_join(back.thread, NULL);
	close(back.fd);
	if (back.mem_fd >= 0)
		close(back.mem_fd);
	for (i = 0; i < DRV_QUEUES; i++) {
		if (back.kick_fd[i] >= 0)
			close(back.kick_fd[i]);
		if (back.call_fd[i] >= 0)
			close(back.call_fd[i]);
	}
}

static void setup(void)
{
	struct err e = ERR_INIT;

	back = (struct back){ .features_offered =
				      F_PROTOCOL | 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_INDIRECT_DESC,
			      .protocol_offered = 9 };
	ck_assert_msg(open_fs(&e) == 0, "%s", e.msg);
}

static void teardown(void)
{
	drv_close(&d);
	end_back();
}

START_TEST(says_what_it_is)
{
	struct virtio_fs_config c = { 0 };

	bus_read(&d.bus, d.base + VIRTIO_MMIO_CONFIG, c.tag, 8);
	ck_assert_str_eq((char *)c.tag, "share");
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_CONFIG + 36), 1);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_DEVICE_ID), 26);
	/* What the back end lacks is not offered. */
	drv_features(&d, ~0ull);
	ck_assert_uint_eq(d.features, 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_INDIRECT_DESC);
}
END_TEST

START_TEST(hands_its_queues_over)
{
	const struct drv_buf buf = { BUF, 16, true };
	uint64_t n, one = 1;
	char *mem;

	drv_up(&d, 2, 16, DRV_FEATURES);
	ck_assert_uint_eq(back.features, d.features | F_PROTOCOL);
	ck_assert_uint_eq(back.enabled, 3);
	ck_assert_uint_eq(back.mem_gpa, 0);
	ck_assert_uint_eq(back.mem_len, DRV_MEM);
	/* The back end finds in its own mapping what the driver has put into the ring. */
	mem = mmap(NULL, back.mem_len, PROT_READ | PROT_WRITE, MAP_SHARED, back.mem_fd, (off_t)back.mem_offset);
	ck_assert_ptr_ne(mem, MAP_FAILED);
	drv_add(&d, 1, &buf, 1);
	ck_assert_int_eq(*(uint16_t *)(mem + (back.avail[1] - back.mem_hva) + 2), 1);
	munmap(mem, back.mem_len);
	/* A kick is the back end's, whatever our loop does; its call is the guest's interrupt. */
	drv_kick(&d, 1);
	drv_turns(&d);
	ck_assert_int_eq(read(back.kick_fd[1], &n, sizeof(n)), sizeof(n));
	ck_assert_uint_eq(n, 1);
	ck_assert_int_eq(write(back.call_fd[1], &one, sizeof(one)), sizeof(one));
	ck_assert_uint_eq(drv_interrupt(&d) & 1, 1);
}
END_TEST

START_TEST(takes_them_back_at_a_reset)
{
	drv_up(&d, 2, 16, DRV_FEATURES);
	drv_write(&d, VIRTIO_MMIO_STATUS, 0);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_STATUS), 0);
	ck_assert_uint_eq(back.stopped, 3);
	back.enabled = 0;
	drv_up(&d, 1, 16, DRV_FEATURES);
	ck_assert_uint_eq(back.enabled, 1);
	ck_assert(!drv_broken(&d));
}
END_TEST

START_TEST(a_back_end_that_dies_is_a_device_that_needs_a_reset)
{
	drv_up(&d, 2, 16, DRV_FEATURES);
	shutdown(back.fd, SHUT_RDWR);
	ck_assert(drv_wait(&d, drv_is_broken, NULL));
	ck_assert_uint_eq(drv_interrupt(&d) & 2, 2);
	drv_write(&d, VIRTIO_MMIO_STATUS, 0);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_STATUS), 0);
	drv_up(&d, 2, 16, DRV_FEATURES);
	ck_assert(drv_broken(&d));
}
END_TEST

START_TEST(a_refusal_is_the_end_of_the_device_only)
{
	back.refuse = ENABLE;
	drv_up(&d, 2, 16, DRV_FEATURES);
	ck_assert(drv_broken(&d));
	drv_write(&d, VIRTIO_MMIO_STATUS, 0);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_STATUS), 0);
}
END_TEST

START_TEST(silence_is_bounded)
{
	drv_up(&d, 2, 16, DRV_FEATURES);
	back.silent_at = GET_VRING_BASE;
	drv_write(&d, VIRTIO_MMIO_STATUS, 0);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_STATUS), 0);
}
END_TEST

START_TEST(back_ends_that_will_not_do_are_refused_with_a_reason)
{
	static const struct {
		struct back back;
		const char *words;
	} bad[] = {
		{ { .features_offered = 1ull << VIRTIO_F_VERSION_1 }, "no protocol features" },
		{ { .features_offered = F_PROTOCOL, .hang_up_at = 1 }, "vhost-user features" },
		{ { .features_offered = F_PROTOCOL, .protocol_offered = 9, .refuse = SET_MEM_TABLE }, "guest memory" },
		{ { .features_offered = F_PROTOCOL, .silent_at = 15 }, "protocol features" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err e = ERR_INIT;

		back = bad[i].back;
		ck_assert_int_lt(open_fs(&e), 0);
		ck_assert_msg(strstr(e.msg, bad[i].words) != NULL, "%s", e.msg);
		ck_assert_msg(strstr(e.msg, "fs share") != NULL, "%s", e.msg);
		loop_free(d.loop);
		guest_mem_free(d.mem);
		end_back();
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("virtio-fs");
	TCase *t = tcase_create("connected"), *refused = tcase_create("refused");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, says_what_it_is);
	tcase_add_test(t, hands_its_queues_over);
	tcase_add_test(t, takes_them_back_at_a_reset);
	tcase_add_test(t, a_back_end_that_dies_is_a_device_that_needs_a_reset);
	tcase_add_test(t, a_refusal_is_the_end_of_the_device_only);
	tcase_add_test(t, silence_is_bounded);
	suite_add_tcase(s, t);
	tcase_add_test(refused, back_ends_that_will_not_do_are_refused_with_a_reason);
	suite_add_tcase(s, refused);
	return s;
}
