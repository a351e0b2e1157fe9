/* SPDX-License-Identifier: Apache-2.0 */
/* rtnetlink's view of a network namespace to the agent's message. Pure: each message is given by who asked for it. */
#ifndef SANDBOX_NETWORK_SCAN_H
#define SANDBOX_NETWORK_SCAN_H

#include "base/err.h"
#include "base/netlink.h"
#include "guest-agent/agent.pb-c.h"

#define NETWORK_INTERFACES_MAX 8u
#define NETWORK_ENTRIES_MAX 4096u /* addresses, neighbours and routes in all */

struct network_scan {
	Microvm__Network *network; /* NULL: no interface yet */
	unsigned int indexes[NETWORK_INTERFACES_MAX];
	size_t entries;
	struct err *e;
};

/*
 * Callbacks of netlink_dump(), arg a struct network_scan; links first. Negative errno, and the error says what can't be
 * carried.
 */
int network_scan_link(const struct nlmsghdr *msg, void *arg);
int network_scan_address(const struct nlmsghdr *msg, void *arg);
int network_scan_neighbour(const struct nlmsghdr *msg, void *arg);
int network_scan_route(const struct nlmsghdr *msg, void *arg);
/* The last step: routes in an order in which they can be made. */
void network_scan_sort(struct network_scan *scan);
void network_scan_clear(struct network_scan *scan);

#endif
