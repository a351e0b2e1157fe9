/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/virtio_blk_fixture.h"

#include <check.h>
#include <fcntl.h>

struct drv d;
int disk; /* the same file, to look into */

void open_disk(int fd, uint32_t flags, uint32_t queues)
{
	struct vmspec_device *dev;
	struct err e = ERR_INIT;

	memset(&d, 0, sizeof(d));
	vmspec_init(&d.spec);
	dev = vmspec_add(&d.spec, VMSPEC_BLK);
	dev->flags = flags;
	dev->blk.fd = dup(fd);
	dev->blk.queues = queues;
	memcpy(dev->blk.serial, "serial-of-20-chars!!", VMSPEC_SERIAL_MAX);
	ck_assert_msg(drv_open(&d, &e) == 0, "%s", e.msg);
}

/* A file with its sector's number in each sector's first bytes. */
int new_disk(void)
{
	char path[] = "/tmp/test-blk-XXXXXX";
	int fd = mkstemp(path);
	uint64_t i;

	ck_assert_int_ge(fd, 0);
	unlink(path);
	ck_assert_int_eq(ftruncate(fd, SECTORS * 512), 0);
	for (i = 0; i < SECTORS; i++)
		ck_assert_int_eq(pwrite(fd, &i, 8, i * 512), 8);
	return fd;
}

void setup(void)
{
	disk = new_disk();
	open_disk(disk, 0, 0);
}

void teardown(void)
{
	drv_close(&d);
	close(disk);
}

void blk_up(void)
{
	drv_up(&d, 1, QSIZE, BLK_WANT);
}

/* Adds a request to queue q; len bytes of data at BUF. Its header and status are at slot's place. */
uint16_t add(unsigned int q, unsigned int slot, uint32_t type, uint64_t sector, uint32_t len, bool write)
{
	struct virtio_blk_outhdr *hdr = drv_at(&d, HDR + 0x200 * slot);
	struct drv_buf bufs[3] = { { HDR + 0x200 * slot, sizeof(*hdr), false },
				   { BUF + 0x1000 * slot, len, write },
				   { STATUS + 0x200 * slot, 1, true } };

	*hdr = (struct virtio_blk_outhdr){ .type = htole32(type), .sector = htole64(sector) };
	*(uint8_t *)drv_at(&d, STATUS + 0x200 * slot) = 0xee;
	if (!len)
		bufs[1] = bufs[2];
	return drv_add(&d, q, bufs, len ? 3 : 2);
}

int status_at(unsigned int slot)
{
	return *(uint8_t *)drv_at(&d, STATUS + 0x200 * slot);
}

int request(uint32_t type, uint64_t sector, uint32_t len, bool write)
{
	add(0, 0, type, sector, len, write);
	drv_kick(&d, 0);
	ck_assert_int_ge(drv_next_used(&d, 0, NULL), 1);
	return status_at(0);
}

uint64_t on_file(uint64_t sector)
{
	uint64_t v = UINT64_MAX;

	ck_assert_int_eq(pread(disk, &v, 8, sector * 512), 8);
	return v;
}

struct virtio_blk_config config(void)
{
	struct virtio_blk_config c;
	unsigned int i;

	memset(&c, 0, sizeof(c));
	for (i = 0; i + 4 <= 60; i += 4)
		bus_read(&d.bus, d.base + VIRTIO_MMIO_CONFIG + i, (char *)&c + i, 4);
	return c;
}
