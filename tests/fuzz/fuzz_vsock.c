/* SPDX-License-Identifier: Apache-2.0 */
/* Packets of a hostile guest, with clients on the host that come, talk and go. */
#include <sys/socket.h>
#include <sys/un.h>

#include "base/guest.h"
#include "tests/fuzz/virtio_fuzz.h"
#include "virtio/vsock_packet.h"

#define CID 3u
#define CLIENTS 4

static int clients[CLIENTS]; /* [0] is the control port's */
static struct sockaddr_un addr = { .sun_family = AF_UNIX }, seq_addr = { .sun_family = AF_UNIX };

/* A packet of the guest's with sensible addresses, so that a fuzzer need not find them. */
static void send_packet(struct drv *d, struct fuzz_in *in)
{
	struct vsock_packet p = { .src_cid = CID, .dst_cid = VSOCK_HOST_CID };
	uint64_t at = DRV_DATA + 0x10000;
	uint8_t ports = fuzz_take(in, 1), op;

	if (!d->q[0].desc)
		return;
	p.src_port = ports & 7;
	p.dst_port = ports & 8 ? 0x40000000u + (ports >> 4) : ports & 0x10 ? GUEST_CONTROL_PORT : (uint32_t)ports >> 4;
	op = fuzz_take(in, 1);
	p.op = op % 10;
	p.type = op & 0x80 ? VIRTIO_VSOCK_TYPE_SEQPACKET : VIRTIO_VSOCK_TYPE_STREAM;
	p.flags = fuzz_take(in, 1);
	p.buf_alloc = (uint32_t)fuzz_take(in, 2) << 8;
	p.fwd_cnt = fuzz_take(in, 2);
	p.len_bytes = p.op == VIRTIO_VSOCK_OP_RW ? fuzz_take(in, 2) : 0;
	vsock_packet_encode(&p, drv_at(d, at));
	drv_add(d, 1, &(struct drv_buf){ at, VSOCK_HDR_LEN + p.len_bytes, false }, 1);
	drv_kick(d, 1);
	drv_turns(d);
}

static void host(struct drv *d, struct fuzz_in *in)
{
	uint8_t what = fuzz_take(in, 1);
	unsigned int i = (what >> 4) % CLIENTS;
	bool seq = what & 8;
	char buf[4096];
	unsigned int n, k;

	switch (what & 7) {
	case 0:
		if (i)
			close(clients[i]);
		if (i)
			clients[i] =
				socket(AF_UNIX, (seq ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		(void)!connect(clients[i], (struct sockaddr *)(seq ? &seq_addr : &addr), sizeof(addr));
		break;
	case 1:
		n = snprintf(buf, sizeof(buf), "CONNECT %u\n", (unsigned int)fuzz_take(in, 1));
		(void)!send(clients[i], buf, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case 2:
		n = fuzz_take(in, 1);
		for (k = 0; k < n; k++)
			buf[k] = (char)fuzz_take(in, 1);
		(void)!send(clients[i], buf, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case 3:
		memset(buf, 'b', sizeof(buf));
		(void)!send(clients[i], buf, sizeof(buf), MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case 4: (void)!recv(clients[i], buf, sizeof(buf), MSG_DONTWAIT); break;
	case 5: shutdown(clients[i], what & 8 ? SHUT_WR : SHUT_RDWR); break;
	case 6: virtio_machine_stop_request(d->machine); break;
	default: send_packet(d, in); break;
	}
	drv_turns(d);
}

static int listen_at(const struct sockaddr_un *at, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	if (bind(fd, (const struct sockaddr *)at, sizeof(*at)) || listen(fd, 8))
		abort();
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct drv d = { .irq_fd = -1 };
	struct vmspec_device *dev;
	int pair[2], i;

	vmspec_init(&d.spec);
	dev = vmspec_add(&d.spec, VMSPEC_VSOCK);
	dev->vsock.guest_cid = CID;
	snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, "fuzz-vsock-%d", getpid());
	snprintf(seq_addr.sun_path + 1, sizeof(seq_addr.sun_path) - 1, "fuzz-vsock-seq-%d", getpid());
	dev->vsock.listen_fd = listen_at(&addr, SOCK_STREAM);
	dev->vsock.seq_listen_fd = listen_at(&seq_addr, SOCK_SEQPACKET);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		abort();
	dev->vsock.ports_n = 1;
	dev->vsock.ports[0] = (struct vmspec_port){ .port = GUEST_CONTROL_PORT, .fd = pair[1] };
	clients[0] = pair[0];
	for (i = 1; i < CLIENTS; i++)
		clients[i] = -1;
	fuzz_run(&d, 3, data, size, host);
	for (i = 0; i < CLIENTS; i++)
		if (clients[i] >= 0)
			close(clients[i]);
	return 0;
}
