/* SPDX-License-Identifier: Apache-2.0 */
/* vsock: packets as a guest's driver sends them, sockets as the sandbox has them. */
#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/unit/virtio_vsock_fixture.h"

Suite *test_suite(void);

/* ---- tests ---- */

START_TEST(config_has_the_guests_cid)
{
	uint64_t cid = 0;

	bus_read(&d.bus, d.base + VIRTIO_MMIO_CONFIG, &cid, 8);
	ck_assert_uint_eq(le64toh(cid), CID);
	bus_read(&d.bus, d.base + VIRTIO_MMIO_CONFIG + 4, &cid, 8); /* past its end */
	ck_assert_uint_eq(cid, 0);
}
END_TEST

START_TEST(guest_connects_and_both_talk)
{
	struct vsock_packet p;
	char got[RX_LEN];

	guest_up();
	post_rx(8);
	open_control(5000);
	tx(on_control(VIRTIO_VSOCK_OP_RW), "hello", 5);
	expect_read(control, "hello");
	ck_assert_int_eq(write(control, "world!", 6), 6);
	p = rx(got, sizeof(got));
	ck_assert_uint_eq(p.op, VIRTIO_VSOCK_OP_RW);
	ck_assert_uint_eq(p.len_bytes, 6);
	ck_assert_uint_eq(p.fwd_cnt, 5);
	ck_assert_mem_eq(got, "world!", 6);
	/* The port was there once. */
	tx(packet(VIRTIO_VSOCK_OP_REQUEST, 5001, GUEST_CONTROL_PORT), NULL, 0);
	expect(VIRTIO_VSOCK_OP_RST, 5001, GUEST_CONTROL_PORT);
}
END_TEST

START_TEST(host_connects_and_both_talk)
{
	char got[RX_LEN];
	struct vsock_packet p;
	uint32_t port;
	int fd;

	guest_up();
	post_rx(8);
	port = open_from_host(&fd, 1024);
	ck_assert_int_eq(write(fd, "ping", 4), 4);
	p = rx(got, sizeof(got));
	ck_assert_uint_eq(p.op, VIRTIO_VSOCK_OP_RW);
	ck_assert_uint_eq(p.src_port, port);
	ck_assert_mem_eq(got, "ping", 4);
	tx(packet(VIRTIO_VSOCK_OP_RW, 1024, port), "pong", 4);
	expect_read(fd, "pong");
	close(fd);
}
END_TEST

START_TEST(host_that_connects_early_waits)
{
	struct vsock_packet p;
	int fd = dial("CONNECT 1024\nearly"), gone = dial("CONNECT 1025\n");

	drv_turns(&d);
	close(gone); /* gives up before there is a guest */
	drv_turns(&d);
	guest_up();
	expect_nothing();
	post_rx(4);
	p = rx(NULL, 0);
	ck_assert_uint_eq(p.op, VIRTIO_VSOCK_OP_REQUEST);
	ck_assert_uint_eq(p.dst_port, 1024);
	expect_nothing();
	tx(packet(VIRTIO_VSOCK_OP_RST, 1024, p.src_port), NULL, 0);
	/* Bytes that nobody took make it a reset in the client's eyes. */
	ck_assert(drv_wait(&d, has_input, &fd));
	ck_assert_int_eq(recv(fd, &(char){ 0 }, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, ECONNRESET);
	close(fd);
}
END_TEST

START_TEST(bytes_behind_the_connect_line_are_the_guests)
{
	char got[RX_LEN];
	struct vsock_packet p;
	int fd;

	guest_up();
	post_rx(4);
	fd = dial("CONNE");
	drv_turns(&d);
	ck_assert_int_eq(write(fd, "CT 7\nGET", 8), 8);
	p = rx(NULL, 0);
	ck_assert_uint_eq(p.dst_port, 7);
	tx(packet(VIRTIO_VSOCK_OP_RESPONSE, 7, p.src_port), NULL, 0);
	p = rx(got, sizeof(got));
	ck_assert_uint_eq(p.op, VIRTIO_VSOCK_OP_RW);
	ck_assert_uint_eq(p.len_bytes, 3);
	ck_assert_mem_eq(got, "GET", 3);
	close(fd);
}
END_TEST

START_TEST(wrong_connect_lines_are_hung_up_on)
{
	static const char *const lines[] = {
		"\n",
		"CONNECT\n",
		"CONNECT \n",
		"CONNECT x\n",
		"CONNECT -1\n",
		"CONNECT 4294967296\n",
		"connect 1\n",
		"CONNECT 1024 \n",
		"CONNECT 00000000000000000000000000000001\n",
		"GET / HTTP/1.1\r\n",
	};
	size_t i;
	int fd;

	guest_up();
	post_rx(4);
	for (i = 0; i < ARRAY_SIZE(lines); i++) {
		fd = dial(lines[i]);
		ck_assert(drv_wait(&d, has_input, &fd));
		ck_assert_int_le(read(fd, &(char){ 0 }, 1), 0);
		close(fd);
	}
	fd = dial("CON");
	drv_turns(&d);
	shutdown(fd, SHUT_WR);
	expect_eof(fd);
	close(fd);
	expect_nothing();
}
END_TEST

START_TEST(guest_half_closes)
{
	struct vsock_packet p = on_control(VIRTIO_VSOCK_OP_SHUTDOWN);
	char got[RX_LEN];

	guest_up();
	post_rx(4);
	open_control(5000);
	tx(on_control(VIRTIO_VSOCK_OP_RW), "last", 4);
	p.flags = VIRTIO_VSOCK_SHUTDOWN_SEND;
	tx(p, NULL, 0);
	expect_read(control, "last");
	expect_eof(control);
	ck_assert_int_eq(write(control, "still", 5), 5);
	p = rx(got, sizeof(got));
	ck_assert_uint_eq(p.len_bytes, 5);
	/* Now the host ends, too: both directions are over. */
	shutdown(control, SHUT_WR);
	p = rx(NULL, 0);
	ck_assert_uint_eq(p.op, VIRTIO_VSOCK_OP_SHUTDOWN);
	ck_assert_uint_eq(p.flags & VIRTIO_VSOCK_SHUTDOWN_SEND, VIRTIO_VSOCK_SHUTDOWN_SEND);
}
END_TEST

START_TEST(host_half_closes)
{
	struct vsock_packet p;
	char got[RX_LEN];

	guest_up();
	post_rx(4);
	open_control(5000);
	ck_assert_int_eq(write(control, "in", 2), 2);
	shutdown(control, SHUT_WR);
	p = rx(got, sizeof(got));
	ck_assert_uint_eq(p.op, VIRTIO_VSOCK_OP_RW);
	p = rx(NULL, 0);
	ck_assert_uint_eq(p.op, VIRTIO_VSOCK_OP_SHUTDOWN);
	ck_assert_uint_eq(p.flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
	p = on_control(VIRTIO_VSOCK_OP_RW);
	p.fwd_cnt = 2;
	tx(p, "out", 3);
	expect_read(control, "out");
	/* The guest closes: answered, and the host sees the end. */
	p.op = VIRTIO_VSOCK_OP_SHUTDOWN;
	p.flags = VSOCK_SHUTDOWN_BOTH;
	tx(p, NULL, 0);
	expect(VIRTIO_VSOCK_OP_RST, 5000, GUEST_CONTROL_PORT);
	expect_eof(control);
}
END_TEST

START_TEST(host_that_goes_is_told_to_the_guest)
{
	struct vsock_packet p;

	guest_up();
	post_rx(4);
	open_control(5000);
	close(control);
	p = rx(NULL, 0);
	ck_assert_uint_eq(p.op, VIRTIO_VSOCK_OP_SHUTDOWN);
	if (p.flags != VSOCK_SHUTDOWN_BOTH)
		p = rx(NULL, 0);
	ck_assert_uint_eq(p.flags, VSOCK_SHUTDOWN_BOTH);
	/* What the guest sends meanwhile goes nowhere, and does no harm. */
	tx(on_control(VIRTIO_VSOCK_OP_RW), "lost", 4);
	tx(on_control(VIRTIO_VSOCK_OP_RST), NULL, 0);
	expect_nothing();
	tx(on_control(VIRTIO_VSOCK_OP_RW), "late", 4);
	expect(VIRTIO_VSOCK_OP_RST, 5000, GUEST_CONTROL_PORT);
	control = -1;
}
END_TEST

START_TEST(stop_request_ends_the_control_stream)
{
	struct vsock_packet p;

	guest_up();
	post_rx(4);
	open_control(5000);
	virtio_machine_stop_request(d.machine);
	p = rx(NULL, 0);
	ck_assert_uint_eq(p.op, VIRTIO_VSOCK_OP_SHUTDOWN);
	ck_assert_uint_eq(p.flags, VSOCK_SHUTDOWN_BOTH);
	tx(on_control(VIRTIO_VSOCK_OP_RST), NULL, 0);
	expect_eof(control);
}
END_TEST

START_TEST(slow_host_holds_the_guest_back)
{
	const uint32_t total = VSOCK_BUF_ALLOC, part = 8192;
	struct vsock_packet p = on_control(VIRTIO_VSOCK_OP_RW);
	char *data = malloc(part), *got = malloc(part);
	uint32_t sent = 0, read_n = 0, fwd = 0, i;
	ssize_t n;

	guest_up();
	post_rx(8);
	open_control(5000);
	/* As much as we have credit for, while nobody reads; then as much again as is forwarded. */
	for (;;) {
		while (drv_used_idx(&d, VSOCK_RX) != d.q[VSOCK_RX].used_seen)
			fwd = rx(NULL, 0).fwd_cnt;
		if (sent - fwd + part > total)
			break;
		for (i = 0; i < part; i++)
			data[i] = (char)((sent + i) * 7 >> 3);
		tx(p, data, part);
		sent += part;
	}
	ck_assert_uint_ge(sent, total);
	/* One byte too many ends the stream; what was sent before is delivered all the same. */
	while (sent - fwd < total) {
		tx(p, data, 1);
		data[0] = 0;
		sent++;
	}
	expect_nothing();
	tx(p, data, part);
	expect(VIRTIO_VSOCK_OP_RST, 5000, GUEST_CONTROL_PORT);
	while (read_n < sent / part * part) {
		if (!has_input(NULL, &control))
			ck_assert(drv_wait(&d, has_input, &control));
		n = read(control, got, part);
		ck_assert_int_gt(n, 0);
		for (i = 0; i < (uint32_t)n && read_n + i < sent / part * part; i++)
			ck_assert_msg(got[i] == (char)((read_n + i) * 7 >> 3), "byte %u", read_n + i);
		read_n += n;
	}
	free(data);
	free(got);
}
END_TEST

START_TEST(slow_guest_holds_the_host_back)
{
	struct vsock_packet p = on_control(VIRTIO_VSOCK_OP_REQUEST);
	char data[4096], got[RX_LEN];
	uint32_t n = 0;

	memset(data, 'x', sizeof(data));
	guest_up();
	post_rx(8);
	p.buf_alloc = 1000;
	tx(p, NULL, 0);
	expect(VIRTIO_VSOCK_OP_RESPONSE, 5000, GUEST_CONTROL_PORT);
	ck_assert_int_eq(write(control, data, sizeof(data)), sizeof(data));
	p = rx(got, sizeof(got));
	ck_assert_uint_eq(p.len_bytes, 1000);
	/* It asks once for more, and sends nothing without. */
	expect(VIRTIO_VSOCK_OP_CREDIT_REQUEST, 5000, GUEST_CONTROL_PORT);
	expect_nothing();
	p = on_control(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	p.buf_alloc = 500; /* shrunk below what is under way */
	p.fwd_cnt = 400;
	tx(p, NULL, 0);
	expect_nothing();
	p.fwd_cnt = 1000;
	p.buf_alloc = UINT32_MAX;
	tx(p, NULL, 0);
	while (n < 3096)
		n += rx(got, sizeof(got)).len_bytes;
	ck_assert_uint_eq(n, 3096);
	/* Backwards, or beyond what was sent: the stream ends. */
	p.fwd_cnt = 999;
	tx(p, NULL, 0);
	expect(VIRTIO_VSOCK_OP_RST, 5000, GUEST_CONTROL_PORT);
	expect_eof(control);
}
END_TEST

START_TEST(big_transfers_fill_many_buffers)
{
	const uint32_t total = 200000;
	char *data = malloc(total), *got = malloc(total);
	struct vsock_packet p;
	uint32_t sent = 0, n = 0, i;
	ssize_t r;

	for (i = 0; i < total; i++)
		data[i] = (char)(i * 31 >> 4);
	guest_up();
	post_rx(QSIZE);
	open_control(5000);
	while (n < total) {
		r = sent < total ? send(control, data + sent, total - sent, MSG_DONTWAIT) : 0;
		sent += r > 0 ? r : 0;
		p = rx(got + n, total - n);
		if (p.op != VIRTIO_VSOCK_OP_RW)
			continue;
		n += p.len_bytes;
		p = on_control(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
		p.fwd_cnt = n;
		tx(p, NULL, 0);
	}
	ck_assert_mem_eq(data, got, total);
	free(data);
	free(got);
}
END_TEST

START_TEST(packets_of_no_flow_are_answered)
{
	struct vsock_packet p = packet(VIRTIO_VSOCK_OP_RW, 9, 9);
	unsigned int i;

	guest_up();
	post_rx(2);
	tx(p, "x", 1);
	expect(VIRTIO_VSOCK_OP_RST, 9, 9);
	p.type = 7;
	tx(p, NULL, 0);
	expect(VIRTIO_VSOCK_OP_RST, 9, 9);
	p = packet(VIRTIO_VSOCK_OP_RST, 9, 9);
	tx(p, NULL, 0);
	p = packet(VIRTIO_VSOCK_OP_REQUEST, 9, 9);
	p.src_cid = 3; /* not ours, not for us */
	tx(p, NULL, 0);
	p.src_cid = CID;
	p.dst_cid = 5;
	tx(p, NULL, 0);
	expect_nothing();
	p = on_control(77); /* no such operation */
	open_control(5000);
	tx(p, NULL, 0);
	expect(VIRTIO_VSOCK_OP_RST, 5000, GUEST_CONTROL_PORT);
	/* A guest that takes no answers is not served any more, until it does. */
	for (i = 0; i < 4 * VSOCK_RESETS_MAX; i++) {
		vsock_packet_encode(&(struct vsock_packet){ .src_cid = CID,
							    .dst_cid = 2,
							    .src_port = 9,
							    .dst_port = 10,
							    .type = 1,
							    .op = VIRTIO_VSOCK_OP_RW },
				    drv_at(&d, TX_DATA));
		if ((uint16_t)(d.q[VSOCK_TX].avail_idx - drv_used_idx(&d, VSOCK_TX)) >= QSIZE)
			break;
		drv_add(&d, VSOCK_TX, &(struct drv_buf){ TX_DATA, VSOCK_HDR_LEN, false }, 1);
		drv_kick(&d, VSOCK_TX);
		drv_turns(&d);
	}
	ck_assert_uint_lt(i, 4 * VSOCK_RESETS_MAX);
	while (i--)
		expect(VIRTIO_VSOCK_OP_RST, 9, 10);
	ck_assert(!drv_broken(&d));
}
END_TEST

static void expect_broken(void)
{
	ck_assert(drv_wait(&d, drv_is_broken, NULL));
	guest_up();
	post_rx(4);
	ck_assert(!drv_broken(&d));
	tx(packet(VIRTIO_VSOCK_OP_RW, 9, 9), NULL, 0);
	expect(VIRTIO_VSOCK_OP_RST, 9, 9);
}

START_TEST(malformed_buffers_break_the_device_only)
{
	struct vsock_packet p = packet(VIRTIO_VSOCK_OP_RW, 9, 9);
	const struct drv_buf both[] = { { TX_DATA, VSOCK_HDR_LEN, false }, { TX_DATA, 64, true } };

	guest_up();
	drv_add(&d, VSOCK_TX, &(struct drv_buf){ TX_DATA, VSOCK_HDR_LEN - 1, false }, 1);
	drv_kick(&d, VSOCK_TX);
	expect_broken();
	guest_up();
	p.len_bytes = 1; /* more than there is */
	vsock_packet_encode(&p, drv_at(&d, TX_DATA));
	drv_add(&d, VSOCK_TX, &(struct drv_buf){ TX_DATA, VSOCK_HDR_LEN, false }, 1);
	drv_kick(&d, VSOCK_TX);
	expect_broken();
	guest_up();
	drv_add(&d, VSOCK_TX, both, 2);
	drv_kick(&d, VSOCK_TX);
	expect_broken();
	/* A receive buffer that is too small, or not to be written. */
	guest_up();
	tx(packet(VIRTIO_VSOCK_OP_RW, 9, 9), NULL, 0);
	drv_add(&d, VSOCK_RX, &(struct drv_buf){ RX_DATA, VSOCK_HDR_LEN - 1, true }, 1);
	drv_kick(&d, VSOCK_RX);
	expect_broken();
	guest_up();
	tx(packet(VIRTIO_VSOCK_OP_RW, 9, 9), NULL, 0);
	drv_add(&d, VSOCK_RX, &(struct drv_buf){ RX_DATA, 4096, false }, 1);
	drv_kick(&d, VSOCK_RX);
	expect_broken();
}
END_TEST

START_TEST(reset_ends_streams_and_says_so)
{
	int fd, waiting;

	guest_up();
	post_rx(4);
	open_control(5000);
	open_from_host(&fd, 1024);
	drv_write(&d, VIRTIO_MMIO_STATUS, 0);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_STATUS), 0);
	expect_eof(control);
	expect_eof(fd);
	close(fd);
	waiting = dial("CONNECT 6\n");
	drv_turns(&d);
	drv_features(&d, DRV_FEATURES);
	drv_queue(&d, VSOCK_RX, QSIZE);
	drv_queue(&d, VSOCK_TX, QSIZE);
	drv_queue(&d, VSOCK_EVENT, 8);
	drv_ok(&d);
	drv_add(&d, VSOCK_EVENT, &(struct drv_buf){ TX_DATA + 4096, 4, true }, 1);
	memset(drv_at(&d, TX_DATA + 4096), 0xff, 4);
	drv_kick(&d, VSOCK_EVENT);
	ck_assert_int_eq(drv_next_used(&d, VSOCK_EVENT, NULL), 4);
	ck_assert_uint_eq(*(uint32_t *)drv_at(&d, TX_DATA + 4096), VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
	post_rx(2);
	ck_assert_uint_eq(rx(NULL, 0).dst_port, 6);
	close(waiting);
}
END_TEST

START_TEST(more_connections_than_flows_wait_their_turn)
{
	enum { N = 40 };
	int fds[N], i;

	guest_up();
	post_rx(8);
	for (i = 0; i < N; i++)
		open_from_host(&fds[i], 1024);
	for (i = 0; i < N; i++) {
		close(fds[i]);
		while (rx(NULL, 0).flags != VSOCK_SHUTDOWN_BOTH)
			;
		tx(packet(VIRTIO_VSOCK_OP_RST, 1024, VSOCK_FIRST_HOST_PORT + i), NULL, 0);
	}
	expect_nothing();
}
END_TEST

/* ---- packets and credit, without a device ---- */

START_TEST(credit_counts_wrap_and_are_checked)
{
	struct vsock_credit c = { .buf_alloc = 1000 };

	ck_assert(vsock_credit_receive(&c, 1000));
	ck_assert(!vsock_credit_receive(&c, 1));
	c.forwarded = 400;
	ck_assert(!vsock_credit_receive(&c, UINT32_MAX));
	ck_assert(vsock_credit_receive(&c, 400));
	ck_assert(vsock_credit_tell(&c));
	c.told = 400;
	ck_assert(!vsock_credit_tell(&c));

	c.sent = c.peer_forwarded = UINT32_MAX - 10;
	ck_assert(vsock_credit_heard(&c, 100, UINT32_MAX - 10));
	ck_assert_uint_eq(vsock_credit_free(&c), 100);
	c.sent += 50; /* wraps */
	ck_assert_uint_eq(vsock_credit_free(&c), 50);
	ck_assert(!vsock_credit_heard(&c, 100, 40));		  /* never sent */
	ck_assert(!vsock_credit_heard(&c, 100, UINT32_MAX - 11)); /* a step back */
	ck_assert(vsock_credit_heard(&c, 20, 5));
	ck_assert_uint_eq(vsock_credit_free(&c), 0); /* 34 under way, space for 20 */
	ck_assert(vsock_credit_heard(&c, UINT32_MAX, 39));
	ck_assert_uint_eq(vsock_credit_free(&c), UINT32_MAX);
}
END_TEST

START_TEST(packets_survive_the_wire)
{
	struct vsock_packet p = { 1ull << 40, 2, 3, 0xfffffffe, 5, 6, 7, 8, 9, 10 }, q;
	uint8_t wire[VSOCK_HDR_LEN], again[VSOCK_HDR_LEN];
	uint32_t port;

	vsock_packet_encode(&p, wire);
	ck_assert_uint_eq(wire[16], 3);
	vsock_packet_decode(&q, wire);
	vsock_packet_encode(&q, again);
	ck_assert_mem_eq(wire, again, sizeof(wire));
	ck_assert_uint_eq(q.src_cid, p.src_cid);
	ck_assert_uint_eq(q.fwd_cnt, p.fwd_cnt);
	ck_assert_int_eq(vsock_parse_connect("CONNECT 4294967295", &port), 0);
	ck_assert_uint_eq(port, UINT32_MAX);
	ck_assert_int_lt(vsock_parse_connect("CONNECT +1", &port), 0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("virtio-vsock");
	TCase *t = tcase_create("all");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, config_has_the_guests_cid);
	tcase_add_test(t, guest_connects_and_both_talk);
	tcase_add_test(t, host_connects_and_both_talk);
	tcase_add_test(t, host_that_connects_early_waits);
	tcase_add_test(t, bytes_behind_the_connect_line_are_the_guests);
	tcase_add_test(t, wrong_connect_lines_are_hung_up_on);
	tcase_add_test(t, guest_half_closes);
	tcase_add_test(t, host_half_closes);
	tcase_add_test(t, host_that_goes_is_told_to_the_guest);
	tcase_add_test(t, stop_request_ends_the_control_stream);
	tcase_add_test(t, slow_host_holds_the_guest_back);
	tcase_add_test(t, slow_guest_holds_the_host_back);
	tcase_add_test(t, big_transfers_fill_many_buffers);
	tcase_add_test(t, packets_of_no_flow_are_answered);
	tcase_add_test(t, malformed_buffers_break_the_device_only);
	tcase_add_test(t, reset_ends_streams_and_says_so);
	tcase_add_test(t, more_connections_than_flows_wait_their_turn);
	tcase_add_test(t, credit_counts_wrap_and_are_checked);
	tcase_add_test(t, packets_survive_the_wire);
	suite_add_tcase(s, t);
	return s;
}
