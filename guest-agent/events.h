/* SPDX-License-Identifier: Apache-2.0 */
/* What NextEvent tells: a bounded queue, oldest first; when it is full the oldest is lost. */
#ifndef AGENT_EVENTS_H
#define AGENT_EVENTS_H

#include <sys/types.h>

#include "guest-agent/agent.pb-c.h"
#include "rpc/ttrpc.h"

#define EVENTS_MAX 256u
#define EVENT_ID_MAX 128u

struct event {
	Microvm__Event__Type type;
	char id[EVENT_ID_MAX + 1], exec_id[EVENT_ID_MAX + 1];
	uint32_t exit_status;
	pid_t pid;
	int64_t at_ns;
};

struct event_waiter;

struct events {
	struct event *ring; /* EVENTS_MAX, made when the first event comes */
	unsigned int first, n;
	struct event_waiter *waiters; /* calls, oldest first; only while the queue is empty */
};

void events_push(struct events *q, const struct event *ev);
/* Serves NextEvent: answers now, or when there is an event. */
void events_next(struct events *q, struct ttrpc_call *call);

#endif
