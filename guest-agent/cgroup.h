/* SPDX-License-Identifier: Apache-2.0 */
/* One container's cgroup (v2), below /sys/fs/cgroup/CONTAINER_CGROUP. */
#ifndef AGENT_CGROUP_H
#define AGENT_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "guest-agent/agent.pb-c.h"

#define CGROUP_ROOT "/sys/fs/cgroup"
#define CGROUP_DEPTH_MAX 32  /* cgroups that a container makes below its own */
#define CGROUP_WAIT_MS 10000 /* for freezing, and for killed processes to be gone */

struct cgroup {
	int dir;	 /* its folder; -1: there is none */
	int device_prog; /* BPF program on it, or -1 */
	int events;	 /* inotify on memory.events, or -1 */
	char name[160];	 /* of the folder, "ID" */
};

#define CGROUP_INIT                                        \
	{                                                  \
		.dir = -1, .device_prog = -1, .events = -1 \
	}

/* Makes it, without limits. -EEXIST. */
int cgroup_create(struct cgroup *g, const char *name, struct err *e);

/*
 * Applies what resources has (all of it may be absent), in an order in which each step is possible. Devices are applied
 * when with_devices: docker's default devices follow the list, so that an empty one still lets /dev/null be.
 */
int cgroup_apply(struct cgroup *g, const Microvm__Resources *resources, bool with_devices, struct err *e);

/* Kills everything below, waits (bounded) until it is gone, removes it and those below. NULL e is fine. */
int cgroup_remove(struct cgroup *g, struct err *e);
int cgroup_kill(struct cgroup *g, struct err *e);
int cgroup_freeze(struct cgroup *g, bool freeze, struct err *e);

/* Calls fn for each process below it (agent's pids), until fn returns non-zero, which is returned. */
int cgroup_each_pid(const struct cgroup *g, int (*fn)(void *opaque, pid_t pid), void *opaque, struct err *e);

void cgroup_stats(const struct cgroup *g, Microvm__Stats *s);
uint64_t cgroup_oom_kills(const struct cgroup *g);

/* ---- inside ---- */

int cgroup_write(const struct cgroup *g, const char *file, const char *value, struct err *e);
bool cgroup_has(const struct cgroup *g, const char *file);
/* The number after key in a file of "key number" lines; 0 if it is not there. */
uint64_t cgroup_read_key(const struct cgroup *g, const char *file, const char *key);

int cgroup_devices_apply(struct cgroup *g, Microvm__DeviceRule *const *rules, size_t n, struct err *e);

#endif
