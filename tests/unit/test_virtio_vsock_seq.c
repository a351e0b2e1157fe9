/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of vsock: whole on the host's seqpacket sockets, in packets on the guest's side. */
#include <stdlib.h>

#include "tests/unit/virtio_vsock_fixture.h"

Suite *test_suite(void);

#define PART 3000u

static char pattern[VSOCK_SEQ_BUF_ALLOC], got[2 * VSOCK_SEQ_BUF_ALLOC];

static void setup_seq(void)
{
	size_t i;

	for (i = 0; i < sizeof(pattern); i++)
		pattern[i] = (char)(i * 2654435761u >> 13);
	control_type = SOCK_SEQPACKET;
	setup();
	guest_up();
	post_rx(16);
}

static struct vsock_packet seq(uint16_t op, uint32_t flags)
{
	struct vsock_packet p = packet(op, 5000, GUEST_CONTROL_PORT);

	p.type = VIRTIO_VSOCK_TYPE_SEQPACKET;
	p.flags = flags;
	return p;
}

static void open_seq(void)
{
	struct vsock_packet p;

	tx(seq(VIRTIO_VSOCK_OP_REQUEST, 0), NULL, 0);
	p = rx(NULL, 0);
	ck_assert_uint_eq(p.op, VIRTIO_VSOCK_OP_RESPONSE);
	ck_assert_uint_eq(p.type, VIRTIO_VSOCK_TYPE_SEQPACKET);
	ck_assert_uint_eq(p.buf_alloc, VSOCK_SEQ_BUF_ALLOC);
}

static void expect_message(int fd, const char *from, size_t len)
{
	ck_assert(drv_wait(&d, has_input, &fd));
	ck_assert_int_eq(recv(fd, got, sizeof(got), MSG_DONTWAIT | MSG_TRUNC), (ssize_t)len);
	ck_assert_mem_eq(got, from, len);
}

/* One message in many packets, and messages of one packet, are what the host reads; what has no end is not seen. */
START_TEST(guests_messages_stay_whole)
{
	uint32_t at;

	open_seq();
	for (at = 0; at + PART < 20 * PART; at += PART) {
		tx(seq(VIRTIO_VSOCK_OP_RW, 0), pattern + at, PART);
		ck_assert(!has_input(&d, &control));
	}
	tx(seq(VIRTIO_VSOCK_OP_RW, VIRTIO_VSOCK_SEQ_EOM), pattern + at, PART);
	tx(seq(VIRTIO_VSOCK_OP_RW, VIRTIO_VSOCK_SEQ_EOM | VIRTIO_VSOCK_SEQ_EOR), "one", 3);
	tx(seq(VIRTIO_VSOCK_OP_RW, VIRTIO_VSOCK_SEQ_EOM), NULL, 0);
	tx(seq(VIRTIO_VSOCK_OP_RW, VIRTIO_VSOCK_SEQ_EOM), "two", 3);
	tx(seq(VIRTIO_VSOCK_OP_RW, 0), "never", 5);
	expect_message(control, pattern, 20 * PART);
	expect_message(control, "one", 3);
	expect_message(control, "two", 3);
	tx(seq(VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND), NULL, 0);
	expect_eof(control);
}
END_TEST

/* A host that does not read holds the guest back, message by message; then all of them come, in their order. */
START_TEST(slow_host_gets_all_messages)
{
	uint32_t sent = 0, read_n = 0, forwarded = 0;
	struct vsock_packet p;
	int room = 8192;

	ck_assert_int_eq(setsockopt(control, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)), 0);
	open_seq();
	while (sent < 200) {
		while (sent < 200 && (sent + 1) * 1000 - forwarded <= VSOCK_SEQ_BUF_ALLOC) {
			tx(seq(VIRTIO_VSOCK_OP_RW, VIRTIO_VSOCK_SEQ_EOM), pattern + sent * 100, 1000);
			sent++;
		}
		if (sent == 200)
			break;
		expect_message(control, pattern + read_n * 100, 1000);
		read_n++;
		drv_turns(&d);
		while (drv_used_idx(&d, VSOCK_RX) != d.q[VSOCK_RX].used_seen) {
			p = rx(NULL, 0);
			forwarded = p.fwd_cnt;
		}
	}
	for (; read_n < 200; read_n++)
		expect_message(control, pattern + read_n * 100, 1000);
}
END_TEST

/* A message from the host, larger than a buffer and than the credit that is left, ends with EOM and nowhere before. */
START_TEST(hosts_messages_end_with_their_last_packet)
{
	struct vsock_packet p;
	uint32_t at = 0;

	open_seq();
	ck_assert_int_eq(send(control, pattern, 50000, 0), 50000);
	ck_assert_int_eq(send(control, "next", 4, 0), 4);
	do {
		p = rx(got + at, RX_LEN);
		ck_assert_uint_eq(p.op, VIRTIO_VSOCK_OP_RW);
		ck_assert_uint_eq(p.type, VIRTIO_VSOCK_TYPE_SEQPACKET);
		at += p.len_bytes;
		ck_assert_uint_eq(p.flags, at < 50000 ? 0 : VIRTIO_VSOCK_SEQ_EOM);
	} while (at < 50000);
	ck_assert_uint_eq(at, 50000);
	ck_assert_mem_eq(got, pattern, 50000);
	p = rx(got, RX_LEN);
	ck_assert_uint_eq(p.len_bytes, 4);
	ck_assert_uint_eq(p.flags, VIRTIO_VSOCK_SEQ_EOM);
	/* Credit is left for 15,532 of these. */
	ck_assert_int_eq(send(control, pattern, 30000, 0), 30000);
	for (at = 0; (p = rx(got + at, RX_LEN)).op == VIRTIO_VSOCK_OP_RW;) {
		ck_assert_uint_eq(p.flags, 0);
		at += p.len_bytes;
	}
	ck_assert_uint_eq(p.op, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	ck_assert_uint_eq(at, CREDIT - 50004);
	p = seq(VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	p.fwd_cnt = CREDIT;
	tx(p, NULL, 0);
	do {
		p = rx(got + at, RX_LEN);
		at += p.len_bytes;
	} while (at < 30000);
	ck_assert_uint_eq(p.flags, VIRTIO_VSOCK_SEQ_EOM);
	ck_assert_mem_eq(got, pattern, 30000);
	/* More than the guest can ever take. */
	ck_assert_int_eq(send(control, pattern, CREDIT + 1, 0), CREDIT + 1);
	ck_assert_uint_eq(rx(NULL, 0).op, VIRTIO_VSOCK_OP_RST);
}
END_TEST

START_TEST(client_of_the_other_socket_has_messages)
{
	struct vsock_packet p, q;
	int fd = dial_seq("CONNECT 700\n"), wrong;

	p = rx(NULL, 0);
	ck_assert_uint_eq(p.op, VIRTIO_VSOCK_OP_REQUEST);
	ck_assert_uint_eq(p.type, VIRTIO_VSOCK_TYPE_SEQPACKET);
	q = packet(VIRTIO_VSOCK_OP_RESPONSE, 700, p.src_port);
	q.type = VIRTIO_VSOCK_TYPE_SEQPACKET;
	tx(q, NULL, 0);
	expect_message(fd, "OK 700\n", 7);
	q.op = VIRTIO_VSOCK_OP_RW;
	q.flags = VIRTIO_VSOCK_SEQ_EOM;
	tx(q, "hello", 5);
	expect_message(fd, "hello", 5);
	wrong = dial_seq("CONNECT 700\nand more");
	expect_eof(wrong);
	close(wrong);
	close(fd);
}
END_TEST

/* A connection of one type is not there for packets of the other. */
START_TEST(types_do_not_mix)
{
	struct vsock_packet p;

	tx(packet(VIRTIO_VSOCK_OP_REQUEST, 5000, GUEST_CONTROL_PORT), NULL, 0);
	expect(VIRTIO_VSOCK_OP_RST, 5000, GUEST_CONTROL_PORT);
	open_seq();
	tx(packet(VIRTIO_VSOCK_OP_RW, 5000, GUEST_CONTROL_PORT), "x", 1);
	p = rx(NULL, 0);
	ck_assert_uint_eq(p.op, VIRTIO_VSOCK_OP_RST);
	ck_assert_uint_eq(p.type, VIRTIO_VSOCK_TYPE_STREAM);
	tx(packet(VIRTIO_VSOCK_OP_REQUEST, 5000, GUEST_CONTROL_PORT), NULL, 0);
	expect(VIRTIO_VSOCK_OP_RST, 5000, GUEST_CONTROL_PORT);
	tx(seq(VIRTIO_VSOCK_OP_RW, VIRTIO_VSOCK_SEQ_EOM), "still", 5);
	expect_message(control, "still", 5);
}
END_TEST

/* The end of the connection, with messages that wait and one that is not whole. */
START_TEST(ends_with_messages_under_way)
{
	open_seq();
	tx(seq(VIRTIO_VSOCK_OP_RW, VIRTIO_VSOCK_SEQ_EOM), "whole", 5);
	tx(seq(VIRTIO_VSOCK_OP_RW, 0), "part", 4);
	tx(seq(VIRTIO_VSOCK_OP_RST, 0), NULL, 0);
	expect_message(control, "whole", 5);
	expect_eof(control);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("virtio-vsock-seq");
	TCase *t = tcase_create("all");

	tcase_add_checked_fixture(t, setup_seq, teardown);
	tcase_add_test(t, guests_messages_stay_whole);
	tcase_add_test(t, slow_host_gets_all_messages);
	tcase_add_test(t, hosts_messages_end_with_their_last_packet);
	tcase_add_test(t, client_of_the_other_socket_has_messages);
	tcase_add_test(t, types_do_not_mix);
	tcase_add_test(t, ends_with_messages_under_way);
	suite_add_tcase(s, t);
	return s;
}
