/* SPDX-License-Identifier: Apache-2.0 */
/* The first byte chooses the disk: read-only, its queues, direct. */
#include <sys/mman.h>

#include "tests/fuzz/virtio_fuzz.h"

#define DISK_BYTES (1u << 20)

static int disk;

/* The file changes its length behind the device's back. */
static void host(struct drv *d, struct fuzz_in *in)
{
	if (ftruncate(disk, (off_t)fuzz_take(in, 1) * 4096))
		return;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct drv d = { .irq_fd = -1 };
	struct vmspec_device *dev;
	uint8_t kind = size ? data[0] : 0;

	vmspec_init(&d.spec);
	dev = vmspec_add(&d.spec, VMSPEC_BLK);
	disk = memfd_create("disk", MFD_CLOEXEC);
	if (disk < 0 || ftruncate(disk, DISK_BYTES))
		abort();
	dev->blk.fd = dup(disk);
	/* The bits alone: segments are then taken apart as for a file that asks for 4 KiB. */
	dev->flags = (kind & 1 ? VMSPEC_BLK_READONLY : 0) | (kind & 0x80 ? VMSPEC_BLK_DIRECT : 0);
	dev->blk.queues = 1 + (kind >> 1 & 0x3f) % 3;
	fuzz_run(&d, dev->blk.queues, data + !!size, size - !!size, host);
	close(disk);
	return 0;
}
