/* SPDX-License-Identifier: Apache-2.0 */
/* RPCs that are answered later. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "shim/task.h"

static void on_given_up(struct ttrpc_call *call, void *arg)
{
	struct pending *p = arg, **at;

	p->call = NULL;
	if (!p->list)
		return;
	for (at = p->list; *at; at = &(*at)->next)
		if (*at == p) {
			*at = p->next;
			break;
		}
	free(p);
}

void pending_set(struct pending *p, struct ttrpc_call *call)
{
	*p = (struct pending){ .call = call };
	ttrpc_call_on_cancel(call, on_given_up, p);
}

void pending_add(struct pending **list, struct ttrpc_call *call)
{
	struct pending *p = xcalloc(1, sizeof(*p));

	*p = (struct pending){ .call = call, .list = list, .next = *list };
	*list = p;
	ttrpc_call_on_cancel(call, on_given_up, p);
}

void pending_reply(struct pending *p, const ProtobufCMessage *m)
{
	if (p->call)
		ttrpc_reply(take_ptr(p->call), m);
}

void pending_fail(struct pending *p, const struct err *e)
{
	if (p->call)
		ttrpc_fail(take_ptr(p->call), e);
}

void pending_reply_all(struct pending **list, const ProtobufCMessage *m)
{
	while (*list) {
		struct pending *p = *list;

		*list = p->next;
		pending_reply(p, m);
		free(p);
	}
}
