/* SPDX-License-Identifier: Apache-2.0 */
/* What comes from the host is no less hostile here: packets of any length, with any header. */
#include <sys/socket.h>

#include "tests/fuzz/virtio_fuzz.h"

#define PACKET_MAX 2048u

static int peer;

static void host(struct drv *d, struct fuzz_in *in)
{
	uint8_t packet[PACKET_MAX];
	const size_t len = fuzz_take(in, 2) % (PACKET_MAX + 1);
	size_t i;

	memset(packet, 0, sizeof(packet));
	for (i = 0; i < 16; i++)
		packet[i] = (uint8_t)fuzz_take(in, 1);
	/* Sometimes it reads what the guest has sent, so that there is room again. */
	if (len % 2)
		while (recv(peer, packet, sizeof(packet), MSG_DONTWAIT) > 0)
			;
	else
		send(peer, packet, len, MSG_DONTWAIT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct drv d = { .irq_fd = -1 };
	struct vmspec_device *dev;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair))
		abort();
	peer = pair[1];
	vmspec_init(&d.spec);
	dev = vmspec_add(&d.spec, VMSPEC_NET);
	dev->net.fds[0] = pair[0];
	dev->net.pairs = 1;
	dev->net.mtu = 1500;
	fuzz_run(&d, 2, data, size, host);
	close(peer);
	return 0;
}
