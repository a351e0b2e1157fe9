/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said to a running VMM about its guest's memory: one request and one answer over a Unix socket of type
 * SOCK_SEQPACKET, which is closed then. Who asks: the sandbox library. Who answers: virtio/balloon.c. Both are of one
 * installation; all fields are of the host's byte order.
 */
#ifndef BASE_BALLOON_H
#define BASE_BALLOON_H

#include <stdint.h>

enum balloon_op {
	BALLOON_STATE = 1, /* how things are, with news from the guest if its driver gives them in time */
	BALLOON_TARGET,	   /* the guest is to do with target_bytes of the memory that it was given */
};

struct balloon_request {
	uint32_t op;
	uint32_t reserved; /* 0 */
	uint64_t target_bytes;
};

/* The guest's own words: virtio 1.2, 5.5.6.3, by their tags; bytes but for the counts of faults and huge pages. */
enum balloon_stat {
	BALLOON_STAT_SWAP_IN,
	BALLOON_STAT_SWAP_OUT,
	BALLOON_STAT_MAJOR_FAULTS,
	BALLOON_STAT_MINOR_FAULTS,
	BALLOON_STAT_FREE,
	BALLOON_STAT_TOTAL,
	BALLOON_STAT_AVAILABLE,
	BALLOON_STAT_CACHES,
	BALLOON_STATS_N,
};

#define BALLOON_UNKNOWN UINT64_MAX /* a statistic that the guest hasn't told */

enum balloon_flags {
	BALLOON_DRIVER = 1 << 0, /* the guest has a driver for it */
	BALLOON_FRESH = 1 << 1,	 /* stats[] was made for this request */
};

struct balloon_answer {
	int32_t error; /* 0, or negative errno: nothing was changed */
	uint32_t flags;
	uint64_t given_bytes;	 /* what the VM was made with */
	uint64_t target_bytes;	 /* what the guest is to do with */
	uint64_t held_bytes;	 /* what the balloon holds, in the guest's words */
	uint64_t touched_bytes;	 /* the host's memory behind it, now */
	uint64_t returned_bytes; /* what went back to the host since the start: inflated, and reported as free */
	uint64_t reported_bytes; /* of them, reported as free */
	uint64_t stats[BALLOON_STATS_N];
};

#endif
