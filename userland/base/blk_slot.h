/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A place for a disk that comes while the guest runs (VMSPEC_BLK_SLOT): what is said to the VMM over the slot's own Unix socket of
 * type SOCK_SEQPACKET, a request and then its answer. Who asks: the sandbox library. Who answers: virtio/blk_slot.c. Both are of one
 * installation; all fields are of the host's byte order.
 */
#ifndef BASE_BLK_SLOT_H
#define BASE_BLK_SLOT_H

#include <stdint.h>

enum blk_slot_op {
	BLK_SLOT_PLUG = 1, /* with the disk's file; -EBUSY: it has one, or the guest has touched the empty slot */
	BLK_SLOT_UNPLUG,   /* when it is answered the file is closed, whatever the guest does */
};

struct blk_slot_request {
	uint32_t op;
	uint32_t flags;	      /* enum vmspec_blk_flags, but for BLK_DIRECT */
	uint32_t block_bytes; /* logical; a power of two, 512..4096 */
	uint32_t best_bytes;  /* what its requests should be multiples of; 0: unknown */
	uint64_t bytes;	      /* its size, a multiple of block_bytes */
	uint32_t is_regular;  /* a regular file, in the page cache; else a block device */
	uint32_t reserved;    /* 0 */
};

struct blk_slot_answer {
	int32_t error; /* 0, or negative errno: nothing was changed */
};

#endif
