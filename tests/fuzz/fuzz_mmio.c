/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing but register accesses of any width, each 8 bytes of input; the status must only ever hold what the driver may set. */
#include <fcntl.h>

#include "tests/fuzz/virtio_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct drv d = { .irq_fd = -1 };
	struct fuzz_in in = { data, data + size };
	struct err e = ERR_INIT;
	uint32_t status;

	log_to_fd(-1);
	vmspec_init(&d.spec);
	vmspec_add(&d.spec, VMSPEC_RNG)->rng.fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	if (drv_open(&d, &e) < 0)
		abort();
	while (in.at < in.end) {
		uint64_t v = fuzz_take(&in, 2), offset = v & 0xfff;
		unsigned int len = 1u << (v >> 12 & 3);
		uint64_t value = fuzz_take(&in, 6);

		if (v & 0x4000)
			len = 4;
		if (offset + len > GUEST_MMIO_STRIDE)
			continue;
		if (v & 0x8000)
			bus_read(&d.bus, d.base + offset, &value, len);
		else
			bus_write(&d.bus, d.base + offset, &value, len);
		status = drv_read(&d, VIRTIO_MMIO_STATUS);
		if (status > 0xff || ((status & VIRTIO_CONFIG_S_DRIVER_OK) && !(status & VIRTIO_CONFIG_S_FEATURES_OK)))
			abort();
		if (value % 7 == 0)
			drv_turns(&d);
	}
	drv_close(&d);
	return 0;
}
