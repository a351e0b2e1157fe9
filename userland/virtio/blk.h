/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block device's parts: blk.c has the device and what it says of itself, blk_request.c the requests from the queue to
 * the file and back.
 */
#ifndef VIRTIO_BLK_H
#define VIRTIO_BLK_H

#include <linux/virtio_blk.h>

#include "base/util.h"
#include "io/spot.h"
#include "virtio/devices.h"

#define BLK_SECTOR 512u
#define BLK_QUEUE_SIZE 128u
#define BLK_SEGMENTS 126u		 /* of data; with header and status a chain fills the queue's size */
#define BLK_RANGES_MAX 16u		 /* of one discard or write-zeroes request */
#define BLK_RANGE_SECTORS_MAX (1u << 22) /* 2 GiB, so that a request doesn't keep the file busy for long */
#define BLK_DIRECT_ALIGN 4096u /* what O_DIRECT asks for where the host does not say: no file system asks for more */

enum blk_writes { BLK_WRITES_NEW, BLK_WRITES_RING, BLK_WRITES_SPOT };

struct blk {
	struct virtio_device dev;
	int fd;	     /* -1: an empty slot */
	int slot_fd; /* of a slot, its socket; -1: it is none */
	struct loop_op slot_op;
	bool slot_ended;
	bool read_only, resetting, starved;
	uint64_t sectors;
	uint32_t align, block_align; /* of O_DIRECT: powers of two, for addresses and for lengths; 1: any will do */
	struct virtio_blk_config config;
	char serial[VIRTIO_BLK_ID_BYTES];

	enum blk_writes writes; /* how they are done; the first one shows */
	struct spot spot;
	uint64_t batch_ns; /* when the requests that are taken now began to be */
	unsigned int in_flight;
	struct blk_req *free;
	uint32_t unflushed; /* queues with entries that the driver doesn't see yet */
	struct loop_op flush_op;
};

static inline struct blk *to_blk(struct virtio_device *dev)
{
	return container_of(dev, struct blk, dev);
}

/* blk.c: what it says of itself, for a disk of b->sectors. Its features. */
uint64_t blk_fill_config(struct blk *b, uint32_t block_bytes, uint32_t best_bytes);

/* blk_slot.c: what comes by the slot's socket. */
void blk_slot_start(struct virtio_device *dev);
/* True: nothing of it is under way. */
bool blk_slot_end(struct blk *b);

/* blk_request.c. The device's kick: */
void blk_kick(struct virtio_device *dev, unsigned int queue);
/* Ends flush_op: the driver sees what has ended, and requests that found no room are taken. */
void blk_flush_done(struct loop_op *op, int res);
/* At the device's end, when none is in flight. */
void blk_free_requests(struct blk *b);

#endif
