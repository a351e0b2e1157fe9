/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The balloon's parts: balloon.c has the device and who asks on the host, balloon_module.c the queues of pages where the
 * kernel's module serves them, balloon_pressure.c what is done when the host is short of memory.
 */
#ifndef VIRTIO_BALLOON_H
#define VIRTIO_BALLOON_H

#include <linux/virtio_balloon.h>
#include <stdatomic.h>

#include "base/balloon.h"
#include "virtio/devices.h"

enum { BALLOON_INFLATE, BALLOON_DEFLATE, BALLOON_STATS, BALLOON_REPORTING, BALLOON_QUEUES };

#define BALLOON_PAGE 4096ull
#define BALLOON_CLIENTS_MAX 4u

struct balloon_client {
	int fd; /* -1: free */
	uint64_t since;
	bool waits; /* for news from the guest */
};

enum balloon_pressure_state {
	PRESSURE_NONE,
	PRESSURE_SAMPLE,  /* is the guest idle? */
	PRESSURE_PATIENT, /* it is not: the idle ones first */
	PRESSURE_HOLD,	  /* something was taken */
};

struct balloon_pressure {
	int bell_fd; /* -1: nobody asks */
	uint64_t min_bytes, taken_bytes, wanted_bytes;
	enum balloon_pressure_state state;
	bool rung;
	unsigned int quiet; /* rounds without a sound */
	uint64_t cpu_ns;    /* when sampling began */
	struct loop_op timer;
};

struct balloon {
	struct virtio_device dev;
	int listen_fd, epoll_fd, module_fd; /* module_fd -1: we serve all queues */
	bool module_has_memory, module_has_queues;
	bool active, ending;
	unsigned int stats_queue, reporting_queue; /* BALLOON_QUEUES: there is none */

	/* The configuration: written by vCPUs (actual, poison) and by the io thread (target), read by both. */
	_Atomic uint32_t target_pages, actual_pages, poison;
	uint64_t asked_bytes; /* what the guest is to do with, as somebody asked; pressure may want less */

	uint64_t returned_bytes, reported_bytes;
	bool has_stats_buffer, stats_asked;
	uint16_t stats_head;
	uint64_t stats[BALLOON_STATS_N];

	struct loop_op accept_op, news_op, stats_timer;
	uint64_t clients_n; /* ever */
	struct balloon_client clients[BALLOON_CLIENTS_MAX];
	struct balloon_pressure pressure;
};

/* A guest that fills free pages with a pattern of its own (5.5.6.7.2). */
static inline bool balloon_poisoned(struct balloon *b)
{
	return (b->dev.driver_features & (1ull << VIRTIO_BALLOON_F_PAGE_POISON)) && atomic_load(&b->poison);
}

/* The guest is to do with asked_bytes less taken_bytes, of which it hears. */
void balloon_retarget(struct balloon *b);

/* After activate: the module takes the queues. Negative errno. */
int balloon_module_start(struct balloon *b);
/* Before a reset is done. What the module counted is added to ours. */
void balloon_module_stop(struct balloon *b);
/* What went back to the host by the module since its start is added. */
void balloon_module_count(const struct balloon *b, uint64_t *returned_bytes, uint64_t *reported_bytes);
/* Its file is readable. */
void balloon_module_news(struct balloon *b);

/* Negative errno, before the jail. */
int balloon_pressure_init(struct balloon *b, uint64_t min_bytes);
/* The module has memory: from now on it may ask. */
void balloon_pressure_start(struct balloon *b);
/* The eventfd is readable. */
void balloon_pressure_rung(struct balloon *b);
void balloon_pressure_end(struct balloon *b);

#endif
