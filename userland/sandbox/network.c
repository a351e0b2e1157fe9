/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/network.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

/* What an engine put there can't be reached from the guest: better no container than one that finds that out. */
int network_check_own(struct err *e)
{
	struct if_nameindex *list = if_nameindex(), *i;
	char name[IF_NAMESIZE] = "";

	for (i = list; i && i->if_index; i++)
		if (!str_eq(i->if_name, "lo") && !name[0])
			memcpy(name, i->if_name, strnlen(i->if_name, sizeof(name) - 1));
	if (list)
		if_freenameindex(list);
	return name[0] ? err_set(e, ENOTSUP,
				 "its network namespace has the interface %s: a sandbox has no network device yet, so "
				 "the "
				 "container could not use it; run it with --network none",
				 name)
		       : 0;
}

int network_check(const char *path, struct err *e)
{
	_cleanup_close_ int own = -1, fd = -1;
	int r;

	if (!path)
		return 0;
	own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (own < 0 || fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		return err_errno(e, errno, "config.json: linux.namespaces: network namespace %s", path);
	r = network_check_own(e);
	if (setns(own, CLONE_NEWNET) < 0)
		return err_errno(e, errno, "the network namespace that we came from");
	return r;
}
