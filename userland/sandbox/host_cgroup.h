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

/*
 * Makes it, with all above it that is not there, and moves the calling process in, and so who it starts. Where the host has no
 * cgroup v2 at /sys/fs/cgroup, or this one denies all devices: 0, and nothing is entered. Else negative errno, nothing made, and e
 * names the folder.
 */
int host_cgroup_enter(struct host_cgroup *c, const char *folder, struct err *e);
/* Back to where it was; the cgroup goes with its last process. Harmless when none was entered. */
void host_cgroup_leave(struct host_cgroup *c);
/* Who was started in it leaves it for both. */
void host_cgroup_forget(struct host_cgroup *c);
/*
 * What is left of one whose processes were killed, waited for 3 s, and then each above it that is empty. One that enter() did not
 * make stays. NULL and one that isn't there are fine.
 */
void host_cgroup_remove(const char *folder);

#endif
