/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/virtio_vsock_fixture.h"

#include <poll.h>

struct drv d;
struct sockaddr_un addr;
static struct sockaddr_un seq_addr;
int control, control_type = SOCK_STREAM; /* our end of host port 1 */

/* ---- the guest ---- */

void post_rx(unsigned int n)
{
	while (n--) {
		unsigned int at = d.q[VSOCK_RX].next_desc % QSIZE;

		drv_add(&d, VSOCK_RX, &(struct drv_buf){ RX_DATA + at * RX_LEN, RX_LEN, true }, 1);
	}
	drv_kick(&d, VSOCK_RX);
}

void guest_up(void)
{
	drv_up(&d, VSOCK_QUEUES - 1, QSIZE, DRV_FEATURES | 1ull << VIRTIO_VSOCK_F_SEQPACKET);
}

static int listen_at(struct sockaddr_un *at, int type, const char *name)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	at->sun_family = AF_UNIX;
	snprintf(at->sun_path + 1, sizeof(at->sun_path) - 1, "test-%s-%d", name, getpid());
	ck_assert_int_eq(bind(fd, (struct sockaddr *)at, sizeof(*at)), 0);
	ck_assert_int_eq(listen(fd, 16), 0);
	return fd;
}

void setup(void)
{
	struct vmspec_device *dev;
	struct err e = ERR_INIT;
	int pair[2];

	memset(&d, 0, sizeof(d));
	vmspec_init(&d.spec);
	dev = vmspec_add(&d.spec, VMSPEC_VSOCK);
	dev->vsock.guest_cid = CID;
	dev->vsock.listen_fd = listen_at(&addr, SOCK_STREAM, "vsock");
	dev->vsock.seq_listen_fd = listen_at(&seq_addr, SOCK_SEQPACKET, "vsock-seq");
	ck_assert_int_eq(socketpair(AF_UNIX, control_type | SOCK_CLOEXEC, 0, pair), 0);
	control = pair[0];
	dev->vsock.ports_n = 1;
	dev->vsock.ports[0] = (struct vmspec_port){ .port = GUEST_CONTROL_PORT, .fd = pair[1] };
	ck_assert_msg(drv_open(&d, &e) == 0, "%s", e.msg);
}

void teardown(void)
{
	drv_close(&d);
	close(control);
}

struct vsock_packet packet(uint16_t op, uint32_t guest_port, uint32_t host_port)
{
	return (struct vsock_packet){ .src_cid = CID,
				      .dst_cid = VSOCK_HOST_CID,
				      .src_port = guest_port,
				      .dst_port = host_port,
				      .type = VIRTIO_VSOCK_TYPE_STREAM,
				      .op = op,
				      .buf_alloc = CREDIT };
}

/* Sends it with its payload in a descriptor of its own, waits until it is taken. */
void tx(struct vsock_packet p, const void *data, uint32_t len)
{
	struct drv_buf bufs[2] = { { TX_DATA, VSOCK_HDR_LEN, false }, { TX_DATA + 64, len, false } };

	p.len_bytes = len;
	vsock_packet_encode(&p, drv_at(&d, TX_DATA));
	if (len)
		memcpy(drv_at(&d, TX_DATA + 64), data, len);
	drv_add(&d, VSOCK_TX, bufs, len ? 2 : 1);
	drv_kick(&d, VSOCK_TX);
	ck_assert_int_ge(drv_next_used(&d, VSOCK_TX, NULL), 0);
}

/* The next packet for the guest; payload is copied if asked for. */
struct vsock_packet rx(void *data, uint32_t size)
{
	struct vsock_packet p;
	uint16_t head = 0;
	int64_t len = drv_next_used(&d, VSOCK_RX, &head);
	const uint8_t *at = drv_at(&d, RX_DATA + head * RX_LEN);

	ck_assert_int_ge(len, VSOCK_HDR_LEN);
	vsock_packet_decode(&p, at);
	ck_assert_int_eq(len, VSOCK_HDR_LEN + p.len_bytes);
	ck_assert_uint_eq(p.dst_cid, CID);
	ck_assert_uint_eq(p.src_cid, VSOCK_HOST_CID);
	if (p.buf_alloc && p.op != VIRTIO_VSOCK_OP_RST)
		ck_assert_uint_eq(p.buf_alloc,
				  p.type == VIRTIO_VSOCK_TYPE_SEQPACKET ? VSOCK_SEQ_BUF_ALLOC : VSOCK_BUF_ALLOC);
	if (data) {
		ck_assert_uint_le(p.len_bytes, size);
		memcpy(data, at + VSOCK_HDR_LEN, p.len_bytes);
	}
	post_rx(1);
	return p;
}

void expect(uint16_t op, uint32_t guest_port, uint32_t host_port)
{
	struct vsock_packet p = rx(NULL, 0);

	ck_assert_uint_eq(p.op, op);
	ck_assert_uint_eq(p.dst_port, guest_port);
	ck_assert_uint_eq(p.src_port, host_port);
}

void expect_nothing(void)
{
	drv_turns(&d);
	ck_assert_uint_eq(drv_used_idx(&d, VSOCK_RX), d.q[VSOCK_RX].used_seen);
}

/* The guest's agent connects to the control port. */
void open_control(uint32_t guest_port)
{
	tx(packet(VIRTIO_VSOCK_OP_REQUEST, guest_port, GUEST_CONTROL_PORT), NULL, 0);
	expect(VIRTIO_VSOCK_OP_RESPONSE, guest_port, GUEST_CONTROL_PORT);
}

struct vsock_packet on_control(uint16_t op)
{
	return packet(op, 5000, GUEST_CONTROL_PORT);
}

/* ---- the host ---- */

static int dial_at(const struct sockaddr_un *at, int type, const char *line)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	ck_assert_int_eq(connect(fd, (const struct sockaddr *)at, sizeof(*at)), 0);
	ck_assert_int_eq(write(fd, line, strlen(line)), (ssize_t)strlen(line));
	return fd;
}

int dial(const char *line)
{
	return dial_at(&addr, SOCK_STREAM, line);
}

int dial_seq(const char *line)
{
	return dial_at(&seq_addr, SOCK_SEQPACKET, line);
}

bool has_input(struct drv *drv, void *arg)
{
	struct pollfd p = { .fd = *(int *)arg, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

void expect_read(int fd, const char *want)
{
	char got[64] = "";

	ck_assert(drv_wait(&d, has_input, &fd));
	ck_assert_int_eq(recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT), (ssize_t)strlen(want));
	ck_assert_str_eq(got, want);
}

void expect_eof(int fd)
{
	char byte;

	ck_assert(drv_wait(&d, has_input, &fd));
	ck_assert_int_eq(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
}

/* A connection from the host, up to its OK. Returns the host's port. */
uint32_t open_from_host(int *fd, uint32_t port)
{
	struct vsock_packet p;
	char line[32];

	snprintf(line, sizeof(line), "CONNECT %u\n", port);
	*fd = dial(line);
	p = rx(NULL, 0);
	ck_assert_uint_eq(p.op, VIRTIO_VSOCK_OP_REQUEST);
	ck_assert_uint_eq(p.dst_port, port);
	tx(packet(VIRTIO_VSOCK_OP_RESPONSE, port, p.src_port), NULL, 0);
	snprintf(line, sizeof(line), "OK %u\n", port);
	expect_read(*fd, line);
	return p.src_port;
}
