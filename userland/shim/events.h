/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events to containerd, by its ttrpc socket (containerd.services.events.ttrpc.v1.Events/Forward): one after the other, in the
 * order in which they were published. While containerd is away they wait, EVENTS_QUEUE_MAX of them; then the oldest go.
 */
#ifndef SHIM_EVENTS_H
#define SHIM_EVENTS_H

#include <stdbool.h>

#include <protobuf-c/protobuf-c.h>

#include "io/loop.h"

#define EVENTS_QUEUE_MAX 2048u

enum event_kind {
	EVENT_CREATE,
	EVENT_START,
	EVENT_EXIT,
	EVENT_DELETE,
	EVENT_EXEC_ADDED,
	EVENT_EXEC_STARTED,
	EVENT_PAUSED,
	EVENT_RESUMED,
	EVENT_OOM,
	EVENT_KINDS,
};

/* What containerd calls it: the topic, and the message's full name. */
struct event_row {
	const char *topic;
	const ProtobufCMessageDescriptor *message;
};
extern const struct event_row event_rows[EVENT_KINDS];

struct events;
/* address: of the socket; NULL or "": nobody is told. Both strings outlive it. */
struct events *events_new(struct loop *loop, const char *address, const char *namespace);
/* The message is packed here. */
void events_publish(struct events *ev, enum event_kind kind, const ProtobufCMessage *message);
bool events_all_sent(const struct events *ev);
/* Called when the last one was taken; may be NULL. */
void events_on_sent(struct events *ev, void (*fn)(void *arg), void *arg);
/* The loop runs no more. */
void events_free(struct events *ev);

#endif
