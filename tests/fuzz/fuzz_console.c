/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/socket.h>

#include "tests/fuzz/virtio_fuzz.h"

static int peer;

static void on_line(void *arg, const char *line)
{
	if (strnlen(line, 513) > 512 || strpbrk(line, "\n\r\t\x1b"))
		abort();
}

/* Somebody types, reads, or goes. */
static void host(struct drv *d, struct fuzz_in *in)
{
	char buf[256];
	uint8_t what = fuzz_take(in, 1);

	memset(buf, 'i', sizeof(buf));
	virtio_machine_on_console_line(d->machine, on_line, NULL);
	if (what == 0xff)
		shutdown(peer, SHUT_RDWR);
	else if (what & 1)
		(void)!send(peer, buf, what, MSG_DONTWAIT);
	else if (what & 2)
		(void)!recv(peer, buf, sizeof(buf), MSG_DONTWAIT);
	else
		virtio_machine_drain(d->machine);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct drv d = { .irq_fd = -1 };
	struct vmspec_device *dev;
	int pair[2];

	vmspec_init(&d.spec);
	dev = vmspec_add(&d.spec, VMSPEC_CONSOLE);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		abort();
	peer = pair[0];
	dev->console.out_fd = dev->console.in_fd = pair[1];
	/* Nobody may be reading: writes that wait would make each drain last its whole time. */
	fcntl(pair[1], F_SETFL, O_NONBLOCK);
	fuzz_run(&d, 2, data, size, host);
	close(peer);
	return 0;
}
