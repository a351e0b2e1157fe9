/* SPDX-License-Identifier: Apache-2.0 */
/* What a container uses, as containerd's clients read it: the metrics of a cgroup v2. Pure. */
#ifndef SHIM_METRICS_H
#define SHIM_METRICS_H

#include "guest-agent/agent.pb-c.h"
#include "shim/api.h"

/* any->value.data is malloc'd. */
void metrics_pack(const Microvm__Stats *stats, Google__Protobuf__Any *any);

#endif
