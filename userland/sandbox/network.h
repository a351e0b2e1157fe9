/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network that an engine made for a container (by CNI, say), in a namespace of the host, carried to the guest: each
 * interface but lo gets a tap beside it, and all frames go between the two by traffic control (ingress, mirred). The guest
 * has the interface's MAC, MTU, addresses, routes and neighbours; what the namespace's own stack has stays as it is, and
 * hears nothing more.
 *
 * Taps end with their last file. The queueing discipline on the interface is taken away by network_end(), or goes with the
 * interface, which is the engine's.
 */
#ifndef SANDBOX_NETWORK_H
#define SANDBOX_NETWORK_H

#include "base/err.h"
#include "base/vmspec.h"
#include "guest-agent/agent.pb-c.h"
#include "sandbox/network_scan.h"

struct network {
	Microvm__Network *network;		      /* for the agent; NULL: nothing is there but lo */
	int netns_fd;				      /* where the interfaces are; -1: none */
	unsigned int indexes[NETWORK_INTERFACES_MAX]; /* of those that have our queueing discipline; 0: not (yet) */
	int fds[NETWORK_INTERFACES_MAX][VMSPEC_NET_PAIRS_MAX]; /* of each tap; -1: none */
	unsigned int pairs;
};

/* clang-format off */
#define NETWORK_INIT { .netns_fd = -1 }
/* clang-format on */

/*
 * Carries what is in the namespace at that path (NULL: in ours; then host_netns_fd is the one that we came from, else it is
 * -1 and ours is the host's), with a tap of so many queues for each interface. -ENOTSUP: there is something that a guest
 * can't have; -EINVAL: it is the host's own. On failure nothing is left.
 */
int network_begin(struct network *n, const char *path, int host_netns_fd, unsigned int pairs, struct err *e);
/* The VMM has its files. */
void network_close_taps(struct network *n);
void network_end(struct network *n);

#endif
