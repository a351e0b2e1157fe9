/* SPDX-License-Identifier: Apache-2.0 */
#include "guest-agent/events.h"

#include <stdlib.h>

#include "base/util.h"

struct event_waiter {
	struct event_waiter *next;
	struct events *queue;
	struct ttrpc_call *call;
};

static void answer(struct ttrpc_call *call, const struct event *ev)
{
	Microvm__Event m = MICROVM__EVENT__INIT;

	m.type = ev->type;
	m.id = (char *)ev->id;
	m.exec_id = (char *)ev->exec_id;
	m.exit_status = ev->exit_status;
	m.pid = ev->pid;
	m.at_ns = ev->at_ns;
	ttrpc_reply(call, &m.base);
}

void events_push(struct events *q, const struct event *ev)
{
	struct event_waiter *w = q->waiters;

	if (w) {
		q->waiters = w->next;
		answer(w->call, ev);
		free(w);
		return;
	}
	if (!q->ring)
		q->ring = xcalloc(EVENTS_MAX, sizeof(*q->ring));
	if (q->n == EVENTS_MAX) {
		q->first = (q->first + 1) % EVENTS_MAX;
		q->n--;
	}
	q->ring[(q->first + q->n++) % EVENTS_MAX] = *ev;
}

static void cancelled(struct ttrpc_call *call, void *arg)
{
	struct event_waiter *w = arg, **at;

	for (at = &w->queue->waiters; *at; at = &(*at)->next)
		if (*at == w) {
			*at = w->next;
			break;
		}
	free(w);
}

void events_next(struct events *q, struct ttrpc_call *call)
{
	struct event_waiter *w, **tail;

	if (q->n) {
		unsigned int i = q->first;

		q->first = (q->first + 1) % EVENTS_MAX;
		q->n--;
		answer(call, &q->ring[i]);
		return;
	}
	w = xcalloc(1, sizeof(*w));
	w->queue = q;
	w->call = call;
	for (tail = &q->waiters; *tail; tail = &(*tail)->next)
		;
	*tail = w;
	ttrpc_call_on_cancel(call, cancelled, w);
}
