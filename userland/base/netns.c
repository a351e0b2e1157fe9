/* SPDX-License-Identifier: Apache-2.0 */
#include "base/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>

int netns_enter(int netns_fd, int *back, struct err *e)
{
	*back = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (*back < 0 || setns(netns_fd, CLONE_NEWNET) < 0)
		return err_errno(e, errno, "the container's network namespace");
	return 0;
}

int netns_leave(int back, struct err *e)
{
	return setns(back, CLONE_NEWNET) < 0 ? err_errno(e, errno, "the network namespace that we came from") : 0;
}
