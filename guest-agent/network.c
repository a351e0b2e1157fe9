/* SPDX-License-Identifier: Apache-2.0 */
#include "guest-agent/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <net/if.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/netlink.h"
#include "base/util.h"

#define INTERFACES_MAX 64u
#define MAC_LEN 6u
#define TEXT_LEN (INET6_ADDRSTRLEN + 8)

struct links {
	const Microvm__Network *network;
	unsigned int indexes[INTERFACES_MAX]; /* as in network->interfaces; 0: not found */
};

static int family_of(const ProtobufCBinaryData *address)
{
	return address->len == 4 ? AF_INET : address->len == 16 ? AF_INET6 : AF_UNSPEC;
}

/* For errors: "10.1.0.2/24". */
static const char *text_of(const ProtobufCBinaryData *address, unsigned int prefix_len, char text[TEXT_LEN])
{
	char plain[INET6_ADDRSTRLEN] = "default";

	if (address->len)
		inet_ntop(family_of(address), address->data, plain, sizeof(plain));
	snprintf(text, TEXT_LEN, "%s/%u", plain, prefix_len);
	return text;
}

static void put_bytes(struct netlink_request *req, uint16_t type, const ProtobufCBinaryData *bytes)
{
	if (bytes->len)
		netlink_put(req, type, bytes->data, bytes->len);
}

/* ---- interfaces ------------------------------------------------------------------------------------------------------ */

/* Several may have one MAC: the host has made their devices in this order. */
static int find_link(const struct nlmsghdr *msg, void *arg)
{
	struct links *l = arg;
	const struct nlattr *t[IFLA_ADDRESS + 1], *mac;
	const struct ifinfomsg *m = netlink_fixed(msg, sizeof(*m), t, IFLA_ADDRESS);
	size_t i;

	mac = m ? t[IFLA_ADDRESS] : NULL;
	for (i = 0; mac && netlink_len(mac) == MAC_LEN && i < l->network->n_interfaces; i++) {
		if (l->indexes[i] || memcmp(netlink_data(mac), l->network->interfaces[i]->mac.data, MAC_LEN))
			continue;
		l->indexes[i] = (unsigned int)m->ifi_index;
		return 0;
	}
	return 0;
}

static int find_links(int fd, struct links *l, struct err *e)
{
	static const struct ifinfomsg all;
	struct netlink_request req;
	size_t i;
	int r;

	netlink_begin(&req, RTM_GETLINK, 0, &all, sizeof(all));
	r = netlink_dump(fd, &req, find_link, l);
	if (r)
		return err_errno(e, r, "network: the guest's interfaces");
	for (i = 0; i < l->network->n_interfaces; i++)
		if (!l->indexes[i])
			return err_set(e, ENODEV,
				       "network: there is no device for %s; does the kernel have virtio-net?",
				       l->network->interfaces[i]->name);
	return 0;
}

static int rename_link(int fd, unsigned int index, const char *name)
{
	const struct ifinfomsg m = { .ifi_index = (int)index };
	struct netlink_request req;

	netlink_begin(&req, RTM_NEWLINK, 0, &m, sizeof(m));
	netlink_put_string(&req, IFLA_IFNAME, name);
	return netlink_ask(fd, &req);
}

/* By way of names that nobody has: one that an interface is to get may be another one's still. */
static int rename_links(int fd, const struct links *l, struct err *e)
{
	char name[IF_NAMESIZE];
	size_t i;
	int r;

	for (i = 0; i < l->network->n_interfaces; i++) {
		snprintf(name, sizeof(name), "microvm%zu", i);
		r = rename_link(fd, l->indexes[i], name);
		if (r)
			return err_errno(e, r, "network: renaming an interface");
	}
	for (i = 0; i < l->network->n_interfaces; i++) {
		r = rename_link(fd, l->indexes[i], l->network->interfaces[i]->name);
		if (r)
			return err_errno(e, r, "network: an interface of the name %s", l->network->interfaces[i]->name);
	}
	return 0;
}

/* Up, with no IPv6 address of the kernel's choice: the host's namespace has had one, and that is carried. */
static int link_up(int fd, const Microvm__Interface *iface, unsigned int index, struct err *e)
{
	const struct ifinfomsg m = { .ifi_index = (int)index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
	struct netlink_request req;
	int r;

	netlink_begin(&req, RTM_NEWLINK, 0, &m, sizeof(m));
	netlink_put_u32(&req, IFLA_MTU, iface->mtu);
	netlink_put_no_own_address(&req);
	r = netlink_ask(fd, &req);
	return r ? err_errno(e, r, "network: %s with an MTU of %u", iface->name, iface->mtu) : 0;
}

/* ---- addresses and neighbours ------------------------------------------------------------------------------------------ */

/* No search for others that have it (DAD): the host has done that, and it is used at once. */
static int add_address(int fd, const Microvm__Address *a, unsigned int index)
{
	const struct ifaddrmsg m = { .ifa_family = (uint8_t)family_of(&a->local),
				     .ifa_prefixlen = (uint8_t)a->prefix_len,
				     .ifa_scope = (uint8_t)a->scope,
				     .ifa_index = index };
	struct netlink_request req;

	netlink_begin(&req, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &m, sizeof(m));
	put_bytes(&req, IFA_LOCAL, &a->local);
	put_bytes(&req, IFA_ADDRESS, a->peer.len ? &a->peer : &a->local);
	put_bytes(&req, IFA_BROADCAST, &a->broadcast);
	/* The network's route comes with the others, if there is one. */
	netlink_put_u32(&req, IFA_FLAGS, IFA_F_PERMANENT | IFA_F_NODAD | IFA_F_NOPREFIXROUTE);
	return netlink_ask(fd, &req);
}

static int add_neighbour(int fd, const Microvm__Neighbour *n, unsigned int index)
{
	const struct ndmsg m = { .ndm_family = (uint8_t)family_of(&n->address),
				 .ndm_ifindex = (int)index,
				 .ndm_state = NUD_PERMANENT };
	struct netlink_request req;

	netlink_begin(&req, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &m, sizeof(m));
	put_bytes(&req, NDA_DST, &n->address);
	put_bytes(&req, NDA_LLADDR, &n->mac);
	return netlink_ask(fd, &req);
}

static int set_up_interface(int fd, const Microvm__Interface *iface, unsigned int index, struct err *e)
{
	char text[TEXT_LEN];
	size_t i;
	int r = link_up(fd, iface, index, e);

	for (i = 0; !r && i < iface->n_addresses; i++) {
		const Microvm__Address *a = iface->addresses[i];

		r = add_address(fd, a, index);
		if (r)
			err_errno(e, r, "network: %s: address %s", iface->name,
				  text_of(&a->local, a->prefix_len, text));
	}
	for (i = 0; !r && i < iface->n_neighbours; i++) {
		r = add_neighbour(fd, iface->neighbours[i], index);
		if (r)
			err_errno(e, r, "network: %s: neighbour %s", iface->name,
				  text_of(&iface->neighbours[i]->address, 8 * iface->neighbours[i]->address.len, text));
	}
	return r;
}

/* ---- routes ------------------------------------------------------------------------------------------------------------ */

static void put_gateway(struct netlink_request *req, int family, const ProtobufCBinaryData *gateway)
{
	struct {
		uint16_t family;
		uint8_t address[16];
	} via = { .family = (uint16_t)family_of(gateway) };

	if (!gateway->len || via.family == family) {
		put_bytes(req, RTA_GATEWAY, gateway);
		return;
	}
	memcpy(via.address, gateway->data, gateway->len);
	netlink_put(req, RTA_VIA, &via, sizeof(via.family) + gateway->len);
}

static int add_route(int fd, const Microvm__Route *route, unsigned int index)
{
	const struct rtmsg m = { .rtm_family = route->ipv6 ? AF_INET6 : AF_INET,
				 .rtm_dst_len = (uint8_t)route->prefix_len,
				 .rtm_table = RT_TABLE_MAIN,
				 .rtm_protocol = (uint8_t)route->protocol,
				 .rtm_scope = (uint8_t)route->scope,
				 .rtm_type = (uint8_t)route->type,
				 .rtm_flags = route->onlink ? RTNH_F_ONLINK : 0 };
	struct netlink_request req;
	size_t metrics;

	netlink_begin(&req, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_APPEND, &m, sizeof(m));
	put_bytes(&req, RTA_DST, &route->destination);
	put_gateway(&req, m.rtm_family, &route->gateway);
	put_bytes(&req, RTA_PREFSRC, &route->source);
	if (index)
		netlink_put_u32(&req, RTA_OIF, index);
	if (route->priority)
		netlink_put_u32(&req, RTA_PRIORITY, route->priority);
	if (route->mtu || route->advmss) {
		metrics = netlink_nest(&req, RTA_METRICS);
		if (route->mtu)
			netlink_put_u32(&req, RTAX_MTU, route->mtu);
		if (route->advmss)
			netlink_put_u32(&req, RTAX_ADVMSS, route->advmss);
		netlink_nest_end(&req, metrics);
	}
	return netlink_ask(fd, &req);
}

static unsigned int index_of(const struct links *l, const char *name)
{
	size_t i;

	for (i = 0; i < l->network->n_interfaces; i++)
		if (str_eq(l->network->interfaces[i]->name, name))
			return l->indexes[i];
	return 0;
}

/* ---- all of it ---------------------------------------------------------------------------------------------------------- */

static bool is_address(const ProtobufCBinaryData *a, bool may_be_none)
{
	return (may_be_none && !a->len) || a->len == 4 || a->len == 16;
}

/* What would make a request of another kind. */
static int check(const Microvm__Network *n, struct err *e)
{
	size_t i, k;

	if (n->n_interfaces > INTERFACES_MAX)
		return err_set(e, E2BIG, "network: %zu interfaces, at most %u", n->n_interfaces, INTERFACES_MAX);
	for (i = 0; i < n->n_interfaces; i++) {
		const Microvm__Interface *iface = n->interfaces[i];
		bool ok = iface->mac.len == MAC_LEN && iface->name[0] && strlen(iface->name) < IF_NAMESIZE;

		for (k = 0; k < iface->n_addresses; k++)
			ok = ok && is_address(&iface->addresses[k]->local, false) &&
			     is_address(&iface->addresses[k]->peer, true) &&
			     is_address(&iface->addresses[k]->broadcast, true);
		for (k = 0; k < iface->n_neighbours; k++)
			ok = ok && is_address(&iface->neighbours[k]->address, false) &&
			     iface->neighbours[k]->mac.len == MAC_LEN;
		if (!ok)
			return err_set(e, EINVAL, "network: interface %.32s: a name, MAC or address is none",
				       iface->name);
	}
	for (i = 0; i < n->n_routes; i++)
		if (!is_address(&n->routes[i]->destination, true) || !is_address(&n->routes[i]->gateway, true) ||
		    !is_address(&n->routes[i]->source, true))
			return err_set(e, EINVAL, "network: route %zu: an address is none", i);
	return 0;
}

int network_set_up(const Microvm__Network *network, struct err *e)
{
	struct links l = { .network = network };
	_cleanup_close_ int fd = -1;
	char text[TEXT_LEN];
	size_t i;
	int r = check(network, e);

	if (r)
		return r;
	fd = netlink_open();
	if (fd < 0)
		return err_errno(e, fd, "network: a netlink socket");
	r = find_links(fd, &l, e);
	if (!r)
		r = rename_links(fd, &l, e);
	for (i = 0; !r && i < network->n_interfaces; i++)
		r = set_up_interface(fd, network->interfaces[i], l.indexes[i], e);
	for (i = 0; !r && i < network->n_routes; i++) {
		const Microvm__Route *route = network->routes[i];

		r = add_route(fd, route, index_of(&l, route->interface));
		if (r)
			err_errno(e, r, "network: route to %s", text_of(&route->destination, route->prefix_len, text));
	}
	return r;
}
