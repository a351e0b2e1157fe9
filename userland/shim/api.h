/* SPDX-License-Identifier: Apache-2.0 */
/* containerd's messages, as protobuf-c makes them of its .proto files (userland/rules.mk). */
#ifndef SHIM_API_H
#define SHIM_API_H

#include <github.com/containerd/cgroups/v2/stats/metrics.pb-c.h>
#include <github.com/containerd/containerd/api/events/task.pb-c.h>
#include <github.com/containerd/containerd/api/services/ttrpc/events/v1/events.pb-c.h>
#include <github.com/containerd/containerd/runtime/v2/task/shim.pb-c.h>

#include <stdint.h>

/* TASK(StateRequest) is the task service's message of that name, EVENT(TaskExit) the event's. */
#define TASK(Name) Containerd__Task__V2__##Name
#define EVENT(Name) Containerd__Events__##Name

static inline void timestamp_fill(Google__Protobuf__Timestamp *t, int64_t ns)
{
	google__protobuf__timestamp__init(t);
	t->seconds = ns / 1000000000;
	t->nanos = (int32_t)(ns % 1000000000);
}

#endif
