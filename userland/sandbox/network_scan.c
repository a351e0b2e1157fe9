/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/network_scan.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdlib.h>

#include "base/util.h"
#include "base/vmspec.h"
#include "oci/pb.h"

#define MAC_LEN 6u

static int no_memory_for_more(struct network_scan *s)
{
	return err_set(s->e, E2BIG, "its network has more than %u addresses, neighbours and routes",
		       NETWORK_ENTRIES_MAX);
}

/* Of the family's length; NULL may be given. */
static bool is_address(const struct nlattr *a, int family)
{
	return a && netlink_len(a) == (family == AF_INET ? 4u : 16u);
}

static void copy_bytes(ProtobufCBinaryData *to, const struct nlattr *a)
{
	to->len = netlink_len(a);
	to->data = xcalloc(1, to->len + 1);
	memcpy(to->data, netlink_data(a), to->len);
}

static Microvm__Interface *interface_of(const struct network_scan *s, unsigned int index)
{
	size_t i;

	for (i = 0; s->network && i < s->network->n_interfaces; i++)
		if (s->indexes[i] == index)
			return s->network->interfaces[i];
	return NULL;
}

/* ---- interfaces ------------------------------------------------------------------------------------------------------ */

static char *link_name(const struct nlattr *a)
{
	return a && netlink_len(a) ? xstrndup(netlink_data(a), min_t(size_t, netlink_len(a), IF_NAMESIZE - 1)) : NULL;
}

static bool is_kind(const struct nlattr *info, const char *kind)
{
	const struct nlattr *t[IFLA_INFO_KIND + 1];

	netlink_nested(info, t, IFLA_INFO_KIND);
	return t[IFLA_INFO_KIND] && netlink_len(t[IFLA_INFO_KIND]) >= strlen(kind) &&
	       !strncmp(netlink_data(t[IFLA_INFO_KIND]), kind, netlink_len(t[IFLA_INFO_KIND]));
}

static int add_link(struct network_scan *s, const struct ifinfomsg *link, const struct nlattr *const *t, char *name)
{
	const uint32_t mtu = netlink_u32(t[IFLA_MTU], 0);
	const struct nlattr *mac = t[IFLA_ADDRESS];
	Microvm__Interface *iface;

	/* Its other end is a program, maybe the VMM of another sandbox. */
	if (is_kind(t[IFLA_LINKINFO], "tun"))
		return err_set(
			s->e, EBUSY,
			"its network namespace has %s, the tap of another sandbox or program; give each sandbox a "
			"network namespace of its own",
			name);
	if (link->ifi_type != ARPHRD_ETHER || !mac || netlink_len(mac) != MAC_LEN)
		return err_set(
			s->e, ENOTSUP,
			"the interface %s of its network namespace is no Ethernet, and a guest can have no other; "
			"take it down, or run the container with --network none",
			name);
	if (mtu < VMSPEC_NET_MTU_MIN || mtu > VMSPEC_NET_MTU_MAX)
		return err_set(s->e, ENOTSUP,
			       "the interface %s of its network namespace has an MTU of %u, outside %u..%u", name, mtu,
			       VMSPEC_NET_MTU_MIN, VMSPEC_NET_MTU_MAX);
	if (!s->network)
		s->network = pb_new(Microvm__Network, microvm__network);
	if (s->network->n_interfaces >= NETWORK_INTERFACES_MAX)
		return err_set(s->e, E2BIG, "its network namespace has more than %u interfaces",
			       NETWORK_INTERFACES_MAX);
	s->indexes[s->network->n_interfaces] = (unsigned int)link->ifi_index;
	iface = pb_new(Microvm__Interface, microvm__interface);
	pb_append(s->network->n_interfaces, s->network->interfaces, iface);
	iface->name = xstrdup(name);
	iface->mtu = mtu;
	copy_bytes(&iface->mac, mac);
	return 0;
}

int network_scan_link(const struct nlmsghdr *msg, void *arg)
{
	const struct nlattr *t[IFLA_LINKINFO + 1];
	const struct ifinfomsg *link = netlink_fixed(msg, sizeof(*link), t, IFLA_LINKINFO);
	char *name;
	int r;

	if (!link || msg->nlmsg_type != RTM_NEWLINK || (link->ifi_flags & IFF_LOOPBACK) || !(link->ifi_flags & IFF_UP))
		return 0;
	name = link_name(t[IFLA_IFNAME]);
	r = name ? add_link(arg, link, t, name) : 0;
	free(name);
	return r;
}

/* ---- addresses and neighbours ------------------------------------------------------------------------------------------ */

int network_scan_address(const struct nlmsghdr *msg, void *arg)
{
	struct network_scan *s = arg;
	const struct nlattr *t[IFA_BROADCAST + 1], *local;
	const struct ifaddrmsg *m = netlink_fixed(msg, sizeof(*m), t, IFA_BROADCAST);
	Microvm__Interface *iface;
	Microvm__Address *a;

	if (!m || msg->nlmsg_type != RTM_NEWADDR || (m->ifa_family != AF_INET && m->ifa_family != AF_INET6))
		return 0;
	iface = interface_of(s, m->ifa_index);
	/* IFA_LOCAL is ours and IFA_ADDRESS the peer's where they differ; IPv6 has often but the latter. */
	local = t[IFA_LOCAL] ? t[IFA_LOCAL] : t[IFA_ADDRESS];
	if (!iface || !is_address(local, m->ifa_family))
		return 0;
	if (++s->entries > NETWORK_ENTRIES_MAX)
		return no_memory_for_more(s);
	a = pb_new(Microvm__Address, microvm__address);
	pb_append(iface->n_addresses, iface->addresses, a);
	copy_bytes(&a->local, local);
	if (is_address(t[IFA_ADDRESS], m->ifa_family) &&
	    memcmp(netlink_data(t[IFA_ADDRESS]), a->local.data, a->local.len))
		copy_bytes(&a->peer, t[IFA_ADDRESS]);
	if (is_address(t[IFA_BROADCAST], m->ifa_family))
		copy_bytes(&a->broadcast, t[IFA_BROADCAST]);
	a->prefix_len = m->ifa_prefixlen;
	a->scope = m->ifa_scope;
	return 0;
}

int network_scan_neighbour(const struct nlmsghdr *msg, void *arg)
{
	struct network_scan *s = arg;
	const struct nlattr *t[NDA_LLADDR + 1];
	const struct ndmsg *m = netlink_fixed(msg, sizeof(*m), t, NDA_LLADDR);
	Microvm__Interface *iface;
	Microvm__Neighbour *n;

	if (!m || msg->nlmsg_type != RTM_NEWNEIGH || !(m->ndm_state & NUD_PERMANENT) ||
	    (m->ndm_family != AF_INET && m->ndm_family != AF_INET6))
		return 0;
	iface = interface_of(s, (unsigned int)m->ndm_ifindex);
	if (!iface || !is_address(t[NDA_DST], m->ndm_family) || !t[NDA_LLADDR] || netlink_len(t[NDA_LLADDR]) != MAC_LEN)
		return 0;
	if (++s->entries > NETWORK_ENTRIES_MAX)
		return no_memory_for_more(s);
	n = pb_new(Microvm__Neighbour, microvm__neighbour);
	pb_append(iface->n_neighbours, iface->neighbours, n);
	copy_bytes(&n->address, t[NDA_DST]);
	copy_bytes(&n->mac, t[NDA_LLADDR]);
	return 0;
}

/* ---- routes ------------------------------------------------------------------------------------------------------------ */

/* The guest's kernel learns these by itself. */
static bool is_learnt(const struct rtmsg *m)
{
	return m->rtm_protocol == RTPROT_REDIRECT || m->rtm_protocol == RTPROT_RA || (m->rtm_flags & RTM_F_CLONED);
}

static bool reaches_nobody(const struct rtmsg *m)
{
	return m->rtm_type == RTN_BLACKHOLE || m->rtm_type == RTN_UNREACHABLE || m->rtm_type == RTN_PROHIBIT;
}

/* Of another family than the destination (RFC 5549): struct rtvia is the family and the address. */
static void take_via(Microvm__Route *route, const struct nlattr *via)
{
	uint16_t family;
	size_t len;

	if (netlink_len(via) < sizeof(family))
		return;
	memcpy(&family, netlink_data(via), sizeof(family));
	len = netlink_len(via) - sizeof(family);
	if (len != (family == AF_INET ? 4u : 16u))
		return;
	route->gateway.len = len;
	route->gateway.data = xcalloc(1, len);
	memcpy(route->gateway.data, (const char *)netlink_data(via) + sizeof(family), len);
}

static void fill_route(Microvm__Route *route, const struct rtmsg *m, const struct nlattr *const *t)
{
	const struct nlattr *metrics[RTAX_ADVMSS + 1];

	netlink_nested(t[RTA_METRICS], metrics, RTAX_ADVMSS);
	route->ipv6 = m->rtm_family == AF_INET6;
	route->prefix_len = m->rtm_dst_len;
	if (is_address(t[RTA_DST], m->rtm_family))
		copy_bytes(&route->destination, t[RTA_DST]);
	if (is_address(t[RTA_GATEWAY], m->rtm_family))
		copy_bytes(&route->gateway, t[RTA_GATEWAY]);
	else if (t[RTA_VIA])
		take_via(route, t[RTA_VIA]);
	if (is_address(t[RTA_PREFSRC], m->rtm_family))
		copy_bytes(&route->source, t[RTA_PREFSRC]);
	route->type = m->rtm_type;
	route->scope = m->rtm_scope;
	route->protocol = m->rtm_protocol;
	route->priority = netlink_u32(t[RTA_PRIORITY], 0);
	route->onlink = m->rtm_flags & RTNH_F_ONLINK;
	route->mtu = netlink_u32(metrics[RTAX_MTU], 0);
	route->advmss = netlink_u32(metrics[RTAX_ADVMSS], 0);
}

int network_scan_route(const struct nlmsghdr *msg, void *arg)
{
	struct network_scan *s = arg;
	const struct nlattr *t[RTA_VIA + 1];
	const struct rtmsg *m = netlink_fixed(msg, sizeof(*m), t, RTA_VIA);
	const Microvm__Interface *iface;
	Microvm__Route *route;
	uint32_t table;

	if (!m || msg->nlmsg_type != RTM_NEWROUTE || (m->rtm_family != AF_INET && m->rtm_family != AF_INET6))
		return 0;
	table = netlink_u32(t[RTA_TABLE], m->rtm_table);
	if (is_learnt(m) || table == RT_TABLE_LOCAL || !s->network ||
	    (m->rtm_type != RTN_UNICAST && !reaches_nobody(m)))
		return 0;
	if (table != RT_TABLE_MAIN)
		return err_set(s->e, ENOTSUP,
			       "its network namespace has a route in table %u: a guest has no policy routing, and only "
			       "the main table is carried",
			       table);
	if (t[RTA_MULTIPATH])
		return err_set(s->e, ENOTSUP,
			       "its network namespace has a route by several ways (nexthop), which a guest can't have");
	iface = interface_of(s, netlink_u32(t[RTA_OIF], 0));
	if (!iface && !reaches_nobody(m)) /* by lo, or what is down */
		return 0;
	if (++s->entries > NETWORK_ENTRIES_MAX)
		return no_memory_for_more(s);
	route = pb_new(Microvm__Route, microvm__route);
	pb_append(s->network->n_routes, s->network->routes, route);
	if (iface)
		route->interface = xstrdup(iface->name);
	fill_route(route, m, t);
	return 0;
}

/* A gateway must be reachable when its route is made: those without one come first, each in the order that they had. */
void network_scan_sort(struct network_scan *s)
{
	Microvm__Network *n = s->network;
	Microvm__Route **sorted;
	size_t at = 0, i, pass;

	if (!n || !n->n_routes)
		return;
	sorted = xcalloc(n->n_routes, sizeof(*sorted));
	for (pass = 0; pass < 2; pass++)
		for (i = 0; i < n->n_routes; i++)
			if ((n->routes[i]->gateway.len > 0) == (pass > 0))
				sorted[at++] = n->routes[i];
	free(n->routes);
	n->routes = sorted;
}

void network_scan_clear(struct network_scan *s)
{
	if (s->network)
		microvm__network__free_unpacked(s->network, NULL);
	s->network = NULL;
	s->entries = 0;
}
