/* SPDX-License-Identifier: Apache-2.0 */
/* A driver of one disk, and a file that tells its sectors apart. */
#ifndef TESTS_UNIT_VIRTIO_BLK_FIXTURE_H
#define TESTS_UNIT_VIRTIO_BLK_FIXTURE_H

#include <linux/virtio_blk.h>

#include "tests/unit/virtio_driver.h"

#define QSIZE 64u
#define SECTORS 4096ull /* 2 MiB */
#define HDR DRV_DATA
#define STATUS (DRV_DATA + 0x100)
#define BUF (DRV_DATA + 0x10000)
#define BLK_WANT (DRV_FEATURES | 0xffffff)

extern struct drv d;
extern int disk; /* the same file, to look into */

void open_disk(int fd, uint32_t flags, uint32_t queues);
/* A file with its sector's number in each sector's first bytes. */
int new_disk(void);
void setup(void);
void teardown(void);
void blk_up(void);
/* Adds a request to queue q; len bytes of data at BUF. Its header and status are at slot's place. */
uint16_t add(unsigned int q, unsigned int slot, uint32_t type, uint64_t sector, uint32_t len, bool write);
int status_at(unsigned int slot);
int request(uint32_t type, uint64_t sector, uint32_t len, bool write);
uint64_t on_file(uint64_t sector);
struct virtio_blk_config config(void);

#endif
