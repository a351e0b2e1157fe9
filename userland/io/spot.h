/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that are read and written on the spot, in the loop's thread, where the ring would hand each request to a worker
 * thread, which costs more than the request itself. That is for as long as the disk is quick: once the thread had to
 * wait, requests go by the ring for a while, so that what else the thread serves does not wait behind them.
 */
#ifndef IO_SPOT_H
#define IO_SPOT_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define SPOT_SLOW_NS 5000000u	     /* what takes the thread for longer shows that the disk is busy */
#define SPOT_RING_FOR_NS 1000000000u /* how long requests go by the ring then */

struct spot {
	uint64_t ring_until_ns;
};

/* The clock's last tick, which costs next to nothing to read; for start_ns and now_ns below. */
static inline uint64_t spot_tick_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* May work that begins at start_ns be done on the spot? */
static inline bool spot_ok(const struct spot *spot, uint64_t start_ns)
{
	return start_ns >= spot->ring_until_ns;
}

/* Work, of one request or of several, began at start_ns and has come this far now. */
static inline void spot_note(struct spot *spot, uint64_t start_ns, uint64_t now_ns)
{
	if (now_ns - start_ns > SPOT_SLOW_NS)
		spot->ring_until_ns = now_ns + SPOT_RING_FOR_NS;
}

#endif
