/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>

#include "tests/fuzz/virtio_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct drv d = { .irq_fd = -1 };

	vmspec_init(&d.spec);
	vmspec_add(&d.spec, VMSPEC_RNG)->rng.fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	fuzz_run(&d, 1, data, size, NULL);
	return 0;
}
