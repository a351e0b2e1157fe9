/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/virtio_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct drv d = { .irq_fd = -1 };
	struct vmspec_device *dev;

	vmspec_init(&d.spec);
	dev = vmspec_add(&d.spec, VMSPEC_BALLOON);
	dev->balloon.listen_fd = -1;
	fuzz_run(&d, 4, data, size, NULL);
	return 0;
}
