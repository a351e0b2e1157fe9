/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/mman.h>

#include "tests/fuzz/virtio_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct drv d = { .irq_fd = -1 };
	struct vmspec_device *dev;

	vmspec_init(&d.spec);
	dev = vmspec_add(&d.spec, VMSPEC_PMEM);
	/* The first byte chooses: read-only answers at once, the other one through the loop. */
	dev->flags = size && data[0] & 1 ? VMSPEC_PMEM_READONLY : 0;
	dev->pmem.fd = memfd_create("pmem", MFD_CLOEXEC);
	if (ftruncate(dev->pmem.fd, 2 << 20))
		return 0;
	fuzz_run(&d, 1, data + !!size, size - !!size, NULL);
	return 0;
}
