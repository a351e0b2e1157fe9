/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cgroup (v2) of the host that an engine names for a container (linux.cgroupsPath): a sandbox's processes are in it, so that the
 * engine's statistics find them. Limits are the guest's business, as the container's is in its cgroups: none is set here.
 */
#ifndef SANDBOX_HOST_CGROUP_H
#define SANDBOX_HOST_CGROUP_H

#include <stdbool.h>

#include "base/err.h"

/*
 * Pure: the folder that cgroupsPath means, below that of all cgroups, malloc'd: "/a/b", "a/b", or "slice:prefix:name" as systemd has
 * it ("a-b.slice/prefix-name.scope", the slice in its parents). NULL: it means none. -EINVAL: it leads out, or is no path.
 */
int host_cgroup_folder(const char *cgroups_path, char **folder, struct err *e);

struct host_cgroup {
	char *folder; /* NULL: none was entered */
	int before;   /* cgroup.procs of the one that this process was in; -1: not open */
};
#define HOST_CGROUP_INIT     \
	{                    \
		.before = -1 \
	}

/* Makes it and moves the calling process there, and so who it starts. A host without cgroup v2 has none: a debug message. */
void host_cgroup_enter(struct host_cgroup *c, const char *folder);
/* Back to where it was; the cgroup goes with its last process. Harmless when none was entered. */
void host_cgroup_leave(struct host_cgroup *c);
/* What is left of one whose processes were killed; NULL and one that isn't there are fine. */
void host_cgroup_remove(const char *folder);

#endif
