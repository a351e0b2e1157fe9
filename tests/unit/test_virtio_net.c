/* SPDX-License-Identifier: Apache-2.0 */
/* net over a socket that keeps packets apart, as a tap does; what only a tap can do, over a tap of a namespace of its own. */
#include <check.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "tests/unit/virtio_driver.h"

Suite *test_suite(void);

#define RX 0u
#define TX 1u
#define QSIZE 16u
#define HDR sizeof(struct virtio_net_hdr_v1)
#define BUF(n) (DRV_DATA + (n)*0x20000ull)
#define BIT(n) (1ull << (n))
#define WANT (DRV_FEATURES | 0xffffff)
#define PLAIN (DRV_FEATURES | BIT(VIRTIO_NET_F_MAC))

static const uint8_t mac[6] = { 2, 0, 0, 1, 2, 3 };

static struct drv d;
static int host; /* the other end of the tap */

static void open_net(const int *fds, uint32_t pairs)
{
	struct vmspec_device *dev;
	struct err e = ERR_INIT;
	uint32_t i;

	memset(&d, 0, sizeof(d));
	vmspec_init(&d.spec);
	dev = vmspec_add(&d.spec, VMSPEC_NET);
	for (i = 0; i < pairs; i++)
		dev->net.fds[i] = fds[i];
	dev->net.pairs = pairs;
	dev->net.mtu = 1500;
	memcpy(dev->net.mac, mac, sizeof(mac));
	ck_assert_msg(drv_open(&d, &e) == 0, "%s", e.msg);
}

static void setup(void)
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	host = pair[1];
	open_net(pair, 1);
}

static void teardown(void)
{
	drv_close(&d);
	close(host);
}

static void config(struct virtio_net_config *c)
{
	unsigned int i;

	memset(c, 0, sizeof(*c));
	for (i = 0; i + 4 <= 12; i += 4)
		bus_read(&d.bus, d.base + VIRTIO_MMIO_CONFIG + i, (char *)c + i, 4);
}

/* A buffer for a frame, of that many bytes. */
static uint16_t give(unsigned int n, uint32_t len)
{
	const struct drv_buf b = { BUF(n), len, true };

	memset(drv_at(&d, BUF(n)), 0xee, len);
	return drv_add(&d, RX, &b, 1);
}

/* A frame from the host: a header and `len` bytes that count. */
static void arrive(uint32_t len)
{
	uint8_t *frame = calloc(1, HDR + len);
	uint32_t i;

	frame[0] = VIRTIO_NET_HDR_F_DATA_VALID;
	for (i = 0; i < len; i++)
		frame[HDR + i] = (uint8_t)i;
	ck_assert_int_eq(write(host, frame, HDR + len), (ssize_t)(HDR + len));
	free(frame);
}

static struct virtio_net_hdr_v1 header_at(unsigned int n)
{
	return *(struct virtio_net_hdr_v1 *)drv_at(&d, BUF(n));
}

START_TEST(says_what_it_is)
{
	struct virtio_net_config c;
	uint64_t f = drv_features(&d, UINT64_MAX);

	config(&c);
	ck_assert_mem_eq(c.mac, mac, sizeof(mac));
	ck_assert_uint_eq(le16toh(c.mtu), 1500);
	ck_assert_uint_eq(le16toh(c.status), VIRTIO_NET_S_LINK_UP);
	ck_assert(f & BIT(VIRTIO_NET_F_MRG_RXBUF) && f & BIT(VIRTIO_NET_F_HOST_TSO6));
	/* A socket can't be told what the guest can take, so nothing is promised; one pair needs no commands. */
	ck_assert(!(f & (BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_MQ))));
}
END_TEST

/* ---- guest to host ------------------------------------------------------------------------------------------------ */

static void leave(const struct virtio_net_hdr_v1 *h, uint32_t len)
{
	const struct drv_buf b = { BUF(0), (uint32_t)HDR + len, false };

	memcpy(drv_at(&d, BUF(0)), h, HDR);
	drv_add(&d, TX, &b, 1);
	drv_kick(&d, TX);
	ck_assert_int_eq(drv_next_used(&d, TX, NULL), 0);
}

/* The packet that the host has got: its length, 0 for none. */
static size_t got(struct virtio_net_hdr_v1 *h)
{
	static char packet[100000];
	ssize_t n = recv(host, packet, sizeof(packet), MSG_DONTWAIT);

	if (n >= (ssize_t)HDR)
		memcpy(h, packet, HDR);
	return n < 0 ? 0 : (size_t)n;
}

START_TEST(sends_frames_with_a_clean_header)
{
	struct virtio_net_hdr_v1 h = {
		.flags = 0xfe, .csum_start = 99, .csum_offset = 99, .hdr_len = 77, .num_buffers = 5
	};
	const struct virtio_net_hdr_v1 none = { 0 };

	drv_up(&d, 2, QSIZE, WANT);
	leave(&h, 60);
	ck_assert_uint_eq(got(&h), HDR + 60);
	ck_assert_mem_eq(&h, &none, HDR);
	h = (struct virtio_net_hdr_v1){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					.gso_type = VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN,
					.hdr_len = htole16(60000),
					.gso_size = htole16(1000),
					.csum_start = htole16(34),
					.csum_offset = htole16(16) };
	leave(&h, 5000);
	ck_assert_uint_eq(got(&h), HDR + 5000);
	ck_assert_uint_eq(le16toh(h.hdr_len), 5000);
	ck_assert_uint_eq(le16toh(h.gso_size), 1000);
}
END_TEST

START_TEST(any_framing_will_do)
{
	struct virtio_net_hdr_v1 h;
	struct drv_buf b[12];
	unsigned int i;

	drv_up(&d, 2, QSIZE, WANT);
	memset(drv_at(&d, BUF(0)), 0, 0x1000);
	for (i = 0; i < 12; i++)
		b[i] = (struct drv_buf){ BUF(0) + 7 * i, 7, false };
	drv_add(&d, TX, b, 12);
	drv_kick(&d, TX);
	ck_assert_int_eq(drv_next_used(&d, TX, NULL), 0);
	ck_assert_uint_eq(got(&h), 84);
}
END_TEST

/* A frame that no driver may ask for is lost, and the device goes on. */
START_TEST(what_is_no_frame_is_lost)
{
	static const struct {
		struct virtio_net_hdr_v1 h;
		uint32_t len;
	} bad[] = {
		{ { .flags = 0 }, 13 },
		{ { .flags = 0 }, 65551 },
		{ { .flags = 1, .csum_start = 59, .csum_offset = 0 }, 60 },
		{ { .flags = 1, .csum_start = 0xffff, .csum_offset = 0xffff }, 60 },
		{ { .flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4 }, 60 },
		{ { .flags = 0, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 100 }, 60 },
		{ { .flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_UDP, .gso_size = 100 }, 60 },
		{ { .flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_ECN, .gso_size = 100 }, 60 },
		{ { .flags = 1, .gso_type = 0x7f, .gso_size = 100 }, 60 },
	};
	struct virtio_net_hdr_v1 h = { 0 };
	size_t i;

	drv_up(&d, 2, QSIZE, WANT);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		leave(&bad[i].h, bad[i].len);
		ck_assert_msg(got(&h) == 0, "frame %zu came through", i);
	}
	memset(&h, 0, sizeof(h));
	leave(&h, 60);
	ck_assert_uint_eq(got(&h), HDR + 60);
	/* Nor one that this driver has not agreed to. */
	drv_up(&d, 2, QSIZE, PLAIN);
	h = (struct virtio_net_hdr_v1){ .flags = 1 };
	leave(&h, 60);
	ck_assert_uint_eq(got(&h), 0);
}
END_TEST

START_TEST(what_is_no_chain_breaks_the_device_only)
{
	const struct drv_buf bufs[] = { { BUF(0), HDR - 1, false },
					{ BUF(0), HDR + 60, true },
					{ BUF(0), HDR + 60, false },
					{ BUF(0), HDR - 1, true } };
	struct virtio_net_hdr_v1 h;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bufs); i++) {
		drv_up(&d, 2, QSIZE, WANT);
		drv_add(&d, i < 2 ? TX : RX, &bufs[i], 1);
		drv_kick(&d, i < 2 ? TX : RX);
		ck_assert_msg(drv_wait(&d, drv_is_broken, NULL), "chain %zu was taken", i);
	}
	drv_up(&d, 2, QSIZE, WANT);
	memset(&h, 0, sizeof(h));
	leave(&h, 60);
	ck_assert_uint_eq(got(&h), HDR + 60);
}
END_TEST

/* ---- host to guest ------------------------------------------------------------------------------------------------ */

START_TEST(a_frame_a_buffer)
{
	struct virtio_net_hdr_v1 h;
	const uint8_t *data = drv_at(&d, BUF(1) + HDR);

	drv_up(&d, 2, QSIZE, PLAIN);
	give(1, 2000);
	give(2, 2000);
	arrive(1000);
	drv_kick(&d, RX);
	ck_assert_int_eq(drv_next_used(&d, RX, NULL), (int64_t)HDR + 1000);
	h = header_at(1);
	ck_assert_uint_eq(le16toh(h.num_buffers), 1);
	/* A driver that has not said what it can take is told nothing. */
	ck_assert_uint_eq(h.flags, 0);
	ck_assert_uint_eq(data[999], 999 & 0xff);
	ck_assert_uint_eq(data[1000], 0xee);
	/* One that does not fit is lost, and the next one has the buffer. */
	arrive(3000);
	arrive(60);
	ck_assert_int_eq(drv_next_used(&d, RX, NULL), (int64_t)HDR + 60);
	ck_assert_uint_eq(le16toh(header_at(2).num_buffers), 1);
}
END_TEST

START_TEST(a_frame_in_several_buffers)
{
	uint16_t head, first;
	unsigned int i;

	drv_up(&d, 2, QSIZE, WANT);
	first = give(1, 600);
	for (i = 2; i < 6; i++)
		give(i, 600);
	arrive(1400);
	drv_kick(&d, RX);
	ck_assert_int_eq(drv_next_used(&d, RX, &head), 600);
	ck_assert_uint_eq(head, first);
	ck_assert_int_eq(drv_next_used(&d, RX, NULL), 600);
	ck_assert_int_eq(drv_next_used(&d, RX, NULL), (int64_t)HDR + 1400 - 1200);
	ck_assert_uint_eq(le16toh(header_at(1).num_buffers), 3);
	ck_assert_uint_eq(*(uint8_t *)drv_at(&d, BUF(3)), (1200 - HDR) & 0xff);
	/* The rest is too little for the next one: it waits, and comes when there is more. */
	arrive(1400);
	drv_turns(&d);
	ck_assert_int_eq(drv_used_idx(&d, RX), 3);
	give(7, 600);
	drv_kick(&d, RX);
	ck_assert_int_eq(drv_next_used(&d, RX, NULL), 600);
	ck_assert_uint_eq(le16toh(header_at(4).num_buffers), 3);
}
END_TEST

/* More frames than a turn takes, with fewer buffers than frames: each comes once, in order. */
START_TEST(many_frames)
{
	unsigned int given, taken, sent;

	drv_up(&d, 2, QSIZE, WANT);
	for (given = 0; given < QSIZE; given++)
		give(given, 2000);
	drv_kick(&d, RX);
	for (taken = sent = 0; taken < 400; taken++) {
		for (; sent < 400 && sent < taken + 80; sent++)
			arrive(100 + sent);
		ck_assert_int_eq(drv_next_used(&d, RX, NULL), (int64_t)HDR + 100 + taken);
		give(given++ % QSIZE, 2000);
		drv_kick(&d, RX);
	}
}
END_TEST

START_TEST(a_reset_takes_the_buffers_back)
{
	drv_up(&d, 2, QSIZE, PLAIN);
	give(1, 2000);
	drv_kick(&d, RX);
	drv_turns(&d);
	drv_features(&d, WANT);
	arrive(100);
	drv_turns(&d);
	ck_assert_uint_eq(*(uint8_t *)drv_at(&d, BUF(1)), 0xee);
	drv_up(&d, 2, QSIZE, PLAIN);
	give(2, 2000);
	drv_kick(&d, RX);
	ck_assert_int_eq(drv_next_used(&d, RX, NULL), (int64_t)HDR + 100);
	ck_assert_uint_eq(*(uint8_t *)drv_at(&d, BUF(1)), 0xee);
}
END_TEST

static bool link_is_down(struct drv *drv, void *arg)
{
	struct virtio_net_config c;

	config(&c);
	return !c.status;
}

START_TEST(a_tap_that_is_gone_is_a_link_that_is_down)
{
	struct virtio_net_hdr_v1 h = { 0 };

	drv_up(&d, 2, QSIZE, PLAIN);
	give(1, 2000);
	drv_kick(&d, RX);
	drv_turns(&d);
	close(host);
	ck_assert(drv_wait(&d, link_is_down, NULL));
	ck_assert_uint_ne(drv_interrupt(&d) & VIRTIO_MMIO_INT_CONFIG, 0);
	/* What is sent is lost. */
	leave(&h, 60);
	host = open("/dev/null", O_RDONLY);
}
END_TEST

/* ---- a tap ---------------------------------------------------------------------------------------------------------- */

static void open_taps(int fds[2])
{
	struct ifreq req = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE };
	const int header = HDR;
	int i;

	ck_assert_msg(unshare(CLONE_NEWNET) == 0, "a network namespace needs root");
	for (i = 0; i < 2; i++) {
		fds[i] = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
		ck_assert_msg(fds[i] >= 0, "/dev/net/tun: %s (modprobe tun)", strerror(errno));
		ck_assert_int_eq(ioctl(fds[i], TUNSETIFF, &req), 0);
		ck_assert_int_eq(ioctl(fds[i], TUNSETVNETHDRSZ, &header), 0);
	}
}

static uint8_t command(uint8_t class, uint8_t cmd, uint16_t pairs, uint32_t len)
{
	const struct drv_buf bufs[] = { { BUF(0), len, false }, { BUF(1), 1, true } };
	uint8_t *p = drv_at(&d, BUF(0));

	p[0] = class;
	p[1] = cmd;
	memcpy(p + 2, &pairs, sizeof(pairs));
	*(uint8_t *)drv_at(&d, BUF(1)) = 0xee;
	drv_add(&d, 4, bufs, 2);
	drv_kick(&d, 4);
	ck_assert_int_eq(drv_next_used(&d, 4, NULL), 1);
	return *(uint8_t *)drv_at(&d, BUF(1));
}

START_TEST(several_pairs_of_queues)
{
	struct virtio_net_config c;
	struct ifreq req = { 0 };
	int fds[2];
	uint64_t f;

	open_taps(fds);
	open_net(fds, 2);
	f = drv_features(&d, UINT64_MAX);
	ck_assert(f & BIT(VIRTIO_NET_F_MQ) && f & BIT(VIRTIO_NET_F_GUEST_TSO4) && f & BIT(VIRTIO_NET_F_GUEST_CSUM));
	config(&c);
	ck_assert_uint_eq(le16toh(c.max_virtqueue_pairs), 2);
	drv_up(&d, 5, QSIZE, WANT);
	/* One is used until the driver asks for more. */
	ck_assert_int_eq(ioctl(fds[1], TUNGETIFF, &req), 0);
	ck_assert(req.ifr_flags & IFF_DETACH_QUEUE);
	ck_assert_uint_eq(command(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 2, 4), VIRTIO_NET_OK);
	ck_assert_int_eq(ioctl(fds[1], TUNGETIFF, &req), 0);
	ck_assert(!(req.ifr_flags & IFF_DETACH_QUEUE));
	ck_assert_uint_eq(command(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 0, 4), VIRTIO_NET_ERR);
	ck_assert_uint_eq(command(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 3, 4), VIRTIO_NET_ERR);
	ck_assert_uint_eq(command(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 1, 3), VIRTIO_NET_ERR);
	ck_assert_uint_eq(command(VIRTIO_NET_CTRL_RX, 0, 1, 4), VIRTIO_NET_ERR);
	ck_assert_uint_eq(command(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 1, 4), VIRTIO_NET_OK);
	/* And after a reset again. */
	command(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 2, 4);
	drv_up(&d, 5, QSIZE, WANT);
	ck_assert_int_eq(ioctl(fds[1], TUNGETIFF, &req), 0);
	ck_assert(req.ifr_flags & IFF_DETACH_QUEUE);
	ck_assert(!drv_broken(&d));
	drv_close(&d);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("virtio-net");
	TCase *t = tcase_create("socket"), *tap = tcase_create("tap");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, says_what_it_is);
	tcase_add_test(t, sends_frames_with_a_clean_header);
	tcase_add_test(t, any_framing_will_do);
	tcase_add_test(t, what_is_no_frame_is_lost);
	tcase_add_test(t, what_is_no_chain_breaks_the_device_only);
	tcase_add_test(t, a_frame_a_buffer);
	tcase_add_test(t, a_frame_in_several_buffers);
	tcase_add_test(t, many_frames);
	tcase_add_test(t, a_reset_takes_the_buffers_back);
	tcase_add_test(t, a_tap_that_is_gone_is_a_link_that_is_down);
	suite_add_tcase(s, t);
	tcase_add_test(tap, several_pairs_of_queues);
	suite_add_tcase(s, tap);
	return s;
}
