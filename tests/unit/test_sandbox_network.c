/* SPDX-License-Identifier: Apache-2.0 */
/* rtnetlink: requests, answers, and what a namespace has as the agent is told of it. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sched.h>
#include <unistd.h>

#include "base/netlink.h"
#include "base/util.h"
#include "sandbox/network.h"

Suite *test_suite(void);

static struct err e;
static struct network_scan scan;

static void setup(void)
{
	e = (struct err)ERR_INIT;
	scan = (struct network_scan){ .e = &e };
}

static void teardown(void)
{
	network_scan_clear(&scan);
}

/* ---- messages, as the kernel would send them ------------------------------------------------------------------------- */

static struct netlink_request m;

static void nested_string(uint16_t nest, uint16_t type, const char *s)
{
	const size_t at = netlink_nest(&m, nest);

	netlink_put_string(&m, type, s);
	netlink_nest_end(&m, at);
}

static int link_of(int index, const char *name, unsigned int flags, uint16_t type, const char *kind)
{
	const struct ifinfomsg fixed = { .ifi_index = index, .ifi_type = type, .ifi_flags = flags };
	const uint8_t mac[6] = { 2, 0, 0, 0, 0, (uint8_t)index };

	netlink_begin(&m, RTM_NEWLINK, 0, &fixed, sizeof(fixed));
	netlink_put_string(&m, IFLA_IFNAME, name);
	netlink_put_u32(&m, IFLA_MTU, 1450);
	netlink_put(&m, IFLA_ADDRESS, mac, sizeof(mac));
	if (kind)
		nested_string(IFLA_LINKINFO, IFLA_INFO_KIND, kind);
	return network_scan_link(netlink_head(&m), &scan);
}

static int address_of(int index, int family, const void *local, const void *peer, uint8_t prefix)
{
	const struct ifaddrmsg fixed = { .ifa_family = (uint8_t)family,
					 .ifa_prefixlen = prefix,
					 .ifa_index = (unsigned)index };
	const size_t len = family == AF_INET ? 4 : 16;

	netlink_begin(&m, RTM_NEWADDR, 0, &fixed, sizeof(fixed));
	netlink_put(&m, IFA_ADDRESS, peer ? peer : local, len);
	if (family == AF_INET || peer)
		netlink_put(&m, IFA_LOCAL, local, len);
	return network_scan_address(netlink_head(&m), &scan);
}

static int route_of(int index, const struct rtmsg *fixed, const void *to, const void *gateway, uint32_t table)
{
	netlink_begin(&m, RTM_NEWROUTE, 0, fixed, sizeof(*fixed));
	if (to)
		netlink_put(&m, RTA_DST, to, fixed->rtm_family == AF_INET ? 4 : 16);
	if (gateway)
		netlink_put(&m, RTA_GATEWAY, gateway, fixed->rtm_family == AF_INET ? 4 : 16);
	netlink_put_u32(&m, RTA_TABLE, table);
	if (index)
		netlink_put_u32(&m, RTA_OIF, (uint32_t)index);
	return network_scan_route(netlink_head(&m), &scan);
}

static void veth(int index, const char *name)
{
	ck_assert_int_eq(link_of(index, name, IFF_UP, ARPHRD_ETHER, "veth"), 0);
}

/* ---- tests ------------------------------------------------------------------------------------------------------------ */

START_TEST(interfaces_that_are_up)
{
	static const uint8_t mac[6] = { 2, 0, 0, 0, 0, 7 };

	ck_assert_int_eq(link_of(1, "lo", IFF_UP | IFF_LOOPBACK, ARPHRD_LOOPBACK, NULL), 0);
	/* The kernel makes some of these in each namespace, by itself. */
	ck_assert_int_eq(link_of(2, "tunl0", 0, ARPHRD_TUNNEL, "ipip"), 0);
	ck_assert_ptr_null(scan.network);
	veth(7, "eth0");
	ck_assert_uint_eq(scan.network->n_interfaces, 1);
	ck_assert_str_eq(scan.network->interfaces[0]->name, "eth0");
	ck_assert_uint_eq(scan.network->interfaces[0]->mtu, 1450);
	ck_assert_mem_eq(scan.network->interfaces[0]->mac.data, mac, 6);
	ck_assert_uint_eq(scan.indexes[0], 7);
}
END_TEST

START_TEST(what_no_guest_can_have_is_refused_by_name)
{
	int i;

	ck_assert_int_eq(link_of(2, "wg0", IFF_UP, ARPHRD_NONE, "wireguard"), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(e.msg, "wg0"));
	ck_assert_int_eq(link_of(3, "microvm0", IFF_UP, ARPHRD_ETHER, "tun"), -EBUSY);
	ck_assert_ptr_nonnull(strstr(e.msg, "microvm0"));
	for (i = 0; i < (int)NETWORK_INTERFACES_MAX; i++)
		veth(10 + i, "eth");
	ck_assert_int_eq(link_of(99, "eth99", IFF_UP, ARPHRD_ETHER, "veth"), -E2BIG);
}
END_TEST

START_TEST(addresses_and_neighbours)
{
	static const uint8_t v4[4] = { 10, 0, 0, 2 }, peer[4] = { 10, 0, 0, 1 }, v6[16] = { 0xfd, 1 },
			     mac[6] = { 2, 9 };
	struct ndmsg fixed = { .ndm_family = AF_INET, .ndm_ifindex = 5, .ndm_state = NUD_PERMANENT };
	const Microvm__Interface *iface;

	veth(5, "eth0");
	ck_assert_int_eq(address_of(5, AF_INET, v4, NULL, 24), 0);
	ck_assert_int_eq(address_of(5, AF_INET6, v6, NULL, 64), 0);
	ck_assert_int_eq(address_of(5, AF_INET, v4, peer, 32), 0);
	ck_assert_int_eq(address_of(6, AF_INET, v4, NULL, 24), 0); /* of what is not carried */
	iface = scan.network->interfaces[0];
	ck_assert_uint_eq(iface->n_addresses, 3);
	ck_assert_uint_eq(iface->addresses[0]->prefix_len, 24);
	ck_assert_uint_eq(iface->addresses[0]->peer.len, 0);
	ck_assert_uint_eq(iface->addresses[1]->local.len, 16);
	ck_assert_mem_eq(iface->addresses[2]->local.data, v4, 4);
	ck_assert_mem_eq(iface->addresses[2]->peer.data, peer, 4);

	netlink_begin(&m, RTM_NEWNEIGH, 0, &fixed, sizeof(fixed));
	netlink_put(&m, NDA_DST, peer, 4);
	netlink_put(&m, NDA_LLADDR, mac, 6);
	ck_assert_int_eq(network_scan_neighbour(netlink_head(&m), &scan), 0);
	fixed.ndm_state = NUD_REACHABLE;
	netlink_begin(&m, RTM_NEWNEIGH, 0, &fixed, sizeof(fixed));
	netlink_put(&m, NDA_DST, peer, 4);
	netlink_put(&m, NDA_LLADDR, mac, 6);
	ck_assert_int_eq(network_scan_neighbour(netlink_head(&m), &scan), 0);
	ck_assert_uint_eq(iface->n_neighbours, 1);
	ck_assert_mem_eq(iface->neighbours[0]->mac.data, mac, 6);
}
END_TEST

START_TEST(routes_in_an_order_that_works)
{
	static const uint8_t net[4] = { 10, 0, 0, 0 }, gateway[4] = { 10, 0, 0, 1 };
	const struct rtmsg by = { .rtm_family = AF_INET, .rtm_type = RTN_UNICAST, .rtm_protocol = RTPROT_BOOT };
	struct rtmsg link = { .rtm_family = AF_INET,
			      .rtm_dst_len = 24,
			      .rtm_type = RTN_UNICAST,
			      .rtm_protocol = RTPROT_KERNEL,
			      .rtm_scope = RT_SCOPE_LINK };
	const struct rtmsg hole = { .rtm_family = AF_INET, .rtm_dst_len = 8, .rtm_type = RTN_BLACKHOLE };
	const struct rtmsg learnt = { .rtm_family = AF_INET6, .rtm_type = RTN_UNICAST, .rtm_protocol = RTPROT_RA };

	veth(5, "eth0");
	ck_assert_int_eq(route_of(5, &by, NULL, gateway, RT_TABLE_MAIN), 0);
	ck_assert_int_eq(route_of(5, &link, net, NULL, RT_TABLE_MAIN), 0);
	ck_assert_int_eq(route_of(0, &hole, net, NULL, RT_TABLE_MAIN), 0);
	ck_assert_int_eq(route_of(1, &link, net, NULL, RT_TABLE_MAIN), 0);
	ck_assert_int_eq(route_of(5, &link, net, NULL, RT_TABLE_LOCAL), 0);
	ck_assert_int_eq(route_of(5, &learnt, NULL, NULL, RT_TABLE_MAIN), 0);
	network_scan_sort(&scan);
	ck_assert_uint_eq(scan.network->n_routes, 3);
	ck_assert_uint_eq(scan.network->routes[0]->scope, RT_SCOPE_LINK);
	ck_assert_str_eq(scan.network->routes[0]->interface, "eth0");
	ck_assert_uint_eq(scan.network->routes[1]->type, RTN_BLACKHOLE);
	ck_assert_str_eq(scan.network->routes[1]->interface, "");
	ck_assert_mem_eq(scan.network->routes[2]->gateway.data, gateway, 4);
	ck_assert_int_eq(route_of(5, &by, NULL, gateway, 100), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(e.msg, "table 100"));
}
END_TEST

static int count(const struct nlmsghdr *msg, void *arg)
{
	return ++*(int *)arg > 100 ? -E2BIG : 0;
}

START_TEST(answers_are_not_believed)
{
	const struct nlattr *t[IFLA_MTU + 1];
	const struct ifinfomsg fixed = { .ifi_index = 1 };
	struct nlattr *a;
	int n = 0, error = -ENODEV;

	ck_assert_int_eq(netlink_each("", 0, count, &n), 0);
	ck_assert_int_eq(netlink_each(m.bytes, 3, count, &n), -EBADMSG);
	netlink_begin(&m, RTM_NEWLINK, 0, &fixed, sizeof(fixed));
	netlink_put_u32(&m, IFLA_MTU, 9);
	ck_assert_int_eq(netlink_each(m.bytes, netlink_head(&m)->nlmsg_len, count, &n), 0);
	ck_assert_int_eq(n, 1);
	ck_assert_int_eq(netlink_each(m.bytes, netlink_head(&m)->nlmsg_len - 1u, count, &n), -EBADMSG);
	/* An attribute that says that it is longer than the message, or than its own header is not there. */
	a = (struct nlattr *)(void *)(m.bytes + NLMSG_HDRLEN + sizeof(fixed));
	ck_assert_ptr_nonnull(netlink_fixed(netlink_head(&m), sizeof(fixed), t, IFLA_MTU));
	ck_assert_uint_eq(netlink_u32(t[IFLA_MTU], 0), 9);
	a->nla_len = 200;
	netlink_fixed(netlink_head(&m), sizeof(fixed), t, IFLA_MTU);
	ck_assert_ptr_null(t[IFLA_MTU]);
	a->nla_len = 3;
	netlink_fixed(netlink_head(&m), sizeof(fixed), t, IFLA_MTU);
	ck_assert_ptr_null(t[IFLA_MTU]);
	netlink_head(&m)->nlmsg_len = NLMSG_HDRLEN + 2;
	ck_assert_ptr_null(netlink_fixed(netlink_head(&m), sizeof(fixed), t, IFLA_MTU));
	netlink_begin(&m, NLMSG_ERROR, 0, &error, sizeof(error));
	ck_assert_int_eq(netlink_each(m.bytes, netlink_head(&m)->nlmsg_len, count, &n), -ENODEV);
	netlink_begin(&m, NLMSG_DONE, NLM_F_DUMP_INTR, &n, 0);
	ck_assert_int_eq(netlink_each(m.bytes, netlink_head(&m)->nlmsg_len, count, &n), -EBADMSG);
}
END_TEST

START_TEST(requests_that_are_too_long_are_not_sent)
{
	const struct ifinfomsg fixed = { .ifi_index = 1 };
	static const char long_name[2000];
	const int fd = netlink_open();

	ck_assert_int_ge(fd, 0);
	netlink_begin(&m, RTM_GETLINK, 0, &fixed, sizeof(fixed));
	netlink_put(&m, IFLA_IFNAME, long_name, sizeof(long_name));
	netlink_put_u32(&m, IFLA_MTU, 9);
	ck_assert_int_eq(netlink_ask(fd, &m), -EMSGSIZE);
	/* And the kernel's own word arrives. */
	netlink_begin(&m, RTM_GETLINK, 0, &(struct ifinfomsg){ .ifi_index = 99999 }, sizeof(fixed));
	ck_assert_int_eq(netlink_ask(fd, &m), -ENODEV);
	close(fd);
}
END_TEST

START_TEST(namespaces)
{
	struct network n;
	int host = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	ck_assert_int_eq(network_begin(&n, "/proc/self/ns/net", -1, 1, &e), -EINVAL);
	ck_assert_ptr_nonnull(strstr(e.msg, "host's own"));
	ck_assert_int_eq(network_begin(&n, "/no/such/namespace", -1, 1, &e), -ENOENT);
	ck_assert_int_eq(network_begin(&n, NULL, host, 1, &e), -EINVAL);
	/* One with nothing but lo is nothing to carry. */
	ck_assert_msg(unshare(CLONE_NEWNET) == 0, "a network namespace needs root");
	ck_assert_msg(network_begin(&n, NULL, host, 1, &e) == 0, "%s", e.msg);
	ck_assert_ptr_null(n.network);
	ck_assert_int_eq(n.netns_fd, -1);
	network_end(&n);
	close(host);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("sandbox-network");
	TCase *t = tcase_create("all");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, interfaces_that_are_up);
	tcase_add_test(t, what_no_guest_can_have_is_refused_by_name);
	tcase_add_test(t, addresses_and_neighbours);
	tcase_add_test(t, routes_in_an_order_that_works);
	tcase_add_test(t, answers_are_not_believed);
	tcase_add_test(t, requests_that_are_too_long_are_not_sent);
	tcase_add_test(t, namespaces);
	suite_add_tcase(s, t);
	return s;
}
