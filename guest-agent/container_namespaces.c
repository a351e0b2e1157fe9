/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "guest-agent/container_setup.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

/* In the order of joining: the user namespace last, as it takes away the right to join the others. */
static const struct {
	const char *type;
	uint64_t flag;
} namespaces[] = {
	{ "ipc", CLONE_NEWIPC },  { "uts", CLONE_NEWUTS },	 { "network", CLONE_NEWNET },
	{ "pid", CLONE_NEWPID },  { "cgroup", CLONE_NEWCGROUP }, { "time", CLONE_NEWTIME },
	{ "mount", CLONE_NEWNS }, { "user", CLONE_NEWUSER },
};

static uint64_t flag_of(const char *type)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(namespaces); i++)
		if (str_eq(type, namespaces[i].type))
			return namespaces[i].flag;
	return 0;
}

int namespaces_check(const Microvm__Spec *spec, uint64_t *new_flags, uint64_t *joined_flags, struct err *e)
{
	const Microvm__Linux *l = spec->linux;
	uint64_t all;
	size_t i;

	*new_flags = *joined_flags = 0;
	for (i = 0; l && i < l->n_namespaces; i++) {
		const Microvm__Namespace *n = l->namespaces[i];
		uint64_t flag = flag_of(n->type);

		if (!flag)
			return err_set(e, EINVAL, "linux.namespaces[%zu]: there is no type \"%s\"", i, n->type);
		if ((*new_flags | *joined_flags) & flag)
			return err_set(e, EINVAL, "linux.namespaces[%zu]: \"%s\" is there twice", i, n->type);
		if (n->path[0] && n->path[0] != '/')
			return err_set(e, EINVAL, "linux.namespaces[%zu]: \"%s\" is not an absolute path", i, n->path);
		*(n->path[0] ? joined_flags : new_flags) |= flag;
	}
	all = *new_flags | *joined_flags;
	if (!(all & CLONE_NEWNS))
		return err_set(e, ENOTSUP,
			       "linux.namespaces: a container without a mount namespace can't be made; add one");
	if ((spec->hostname[0] || spec->domainname[0]) && !(all & CLONE_NEWUTS))
		return err_set(e, EINVAL, "hostname: needs a uts namespace in linux.namespaces");
	if ((l->n_uid_mappings || l->n_gid_mappings) && !(all & CLONE_NEWUSER))
		return err_set(e, EINVAL, "linux.uidMappings: need a user namespace in linux.namespaces");
	if (*new_flags & CLONE_NEWUSER && !(l->n_uid_mappings && l->n_gid_mappings))
		return err_set(e, EINVAL,
			       "linux.namespaces: a new user namespace needs linux.uidMappings and gidMappings");
	if (l->n_time_offsets && !(*new_flags & CLONE_NEWTIME))
		return err_set(e, EINVAL, "linux.timeOffsets: need a new time namespace in linux.namespaces");
	return 0;
}

int namespaces_join(const Microvm__Linux *l, uint64_t which, struct err *e)
{
	int fds[ARRAY_SIZE(namespaces)];
	const char *paths[ARRAY_SIZE(namespaces)] = { NULL };
	size_t i, k;
	int r = 0;

	for (k = 0; k < ARRAY_SIZE(namespaces); k++)
		fds[k] = -1;
	/* All are opened before one is joined: the paths are those of the agent's namespaces. */
	for (i = 0; !r && l && i < l->n_namespaces; i++) {
		for (k = 0; k < ARRAY_SIZE(namespaces); k++)
			if (l->namespaces[i]->path[0] && which & namespaces[k].flag &&
			    str_eq(l->namespaces[i]->type, namespaces[k].type))
				break;
		if (k == ARRAY_SIZE(namespaces))
			continue;
		paths[k] = l->namespaces[i]->path;
		fds[k] = open(paths[k], O_RDONLY | O_CLOEXEC);
		if (fds[k] < 0)
			r = err_errno(e, errno, "%s namespace %s", namespaces[k].type, paths[k]);
	}
	for (k = 0; k < ARRAY_SIZE(namespaces); k++) {
		if (fds[k] < 0)
			continue;
		if (!r && setns(fds[k], (int)namespaces[k].flag) < 0)
			r = err_errno(e, errno, "%s namespace %s can't be joined", namespaces[k].type, paths[k]);
		close(fds[k]);
	}
	return r;
}

int namespaces_loopback_up(struct err *e)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq req = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &req) < 0)
		return err_errno(e, errno, "the loopback device of the network namespace");
	return 0;
}

/*
 * Only what belongs to a namespace of the container's own. net.* is always that: the network namespace that containers
 * share by default is the sandbox's, which nobody else is in.
 */
bool namespaces_sysctl_allowed(const char *name, uint64_t new_flags)
{
	static const char *const ipc[] = {
		"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
		"kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
	};
	size_t i;

	if (str_starts(name, "net."))
		return true;
	if (str_starts(name, "fs.mqueue."))
		return new_flags & CLONE_NEWIPC;
	if (str_eq(name, "kernel.hostname") || str_eq(name, "kernel.domainname"))
		return new_flags & CLONE_NEWUTS;
	for (i = 0; i < ARRAY_SIZE(ipc); i++)
		if (str_eq(name, ipc[i]))
			return new_flags & CLONE_NEWIPC;
	return false;
}

int namespaces_sysctl(const Microvm__Linux *l, uint64_t new_flags, struct err *e)
{
	size_t i;

	for (i = 0; l && i < l->n_sysctl; i++) {
		const char *name = l->sysctl[i]->name, *value = l->sysctl[i]->value;
		_cleanup_close_ int dir = -1, fd = -1;
		char path[256], *s;

		if (strlen(name) >= sizeof(path) || strstr(name, "..") || !namespaces_sysctl_allowed(name, new_flags))
			return err_set(e, ENOTSUP, "linux.sysctl: %s does not belong to a namespace of this container",
				       name);
		memcpy(path, name, strlen(name) + 1);
		/* "net.ipv4.conf.eth0/1.x" has a dot in a device's name: dots and slashes change places. */
		for (s = path; *s; s++)
			*s = *s == '.' ? '/' : *s == '/' ? '.' : *s;
		dir = open("/proc/sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
		fd = dir < 0 ? -1 : openat(dir, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0 || write(fd, value, strlen(value)) < 0)
			return err_errno(e, errno, "linux.sysctl: %s = %s", name, value);
	}
	return 0;
}

int namespaces_time(const Microvm__Linux *l, struct err *e)
{
	_cleanup_close_ int fd = -1;
	size_t i;

	if (unshare(CLONE_NEWTIME) < 0)
		return err_errno(e, errno, "time namespace");
	if (!l->n_time_offsets)
		return 0;
	fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, errno, "linux.timeOffsets");
	for (i = 0; i < l->n_time_offsets; i++) {
		const Microvm__TimeOffset *t = l->time_offsets[i];
		char line[128];
		int n = snprintf(line, sizeof(line), "%.32s %lld %u\n", t->clock, (long long)t->secs, t->nanosecs);

		if (write(fd, line, (size_t)n) < 0)
			return err_errno(e, errno, "linux.timeOffsets: %s by %lld s", t->clock, (long long)t->secs);
	}
	return 0;
}
