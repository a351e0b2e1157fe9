/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/network.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/netns.h"
#include "base/util.h"

#define TAP_NAME "microvm%d"
#define TAP_HEADER 12 /* struct virtio_net_hdr_v1 */
#define SCANS_MAX 8   /* of a namespace that changes while it is looked at */
#define FILTER_PRIORITY 1u

/* ---- namespaces ----------------------------------------------------------------------------------------------------- */

static bool is_same_file(int a, int b)
{
	struct stat x, y;

	return !fstat(a, &x) && !fstat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int open_netns(struct network *n, const char *path, int host_netns_fd, struct err *e)
{
	_cleanup_close_ int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (own < 0)
		return err_errno(e, errno, "/proc/self/ns/net");
	n->netns_fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : take_fd(&own);
	if (n->netns_fd < 0)
		return err_errno(e, errno, "config.json: linux.namespaces: network namespace %s", path);
	if (is_same_file(n->netns_fd, host_netns_fd >= 0 ? host_netns_fd : own))
		return err_set(
			e, EINVAL,
			"config.json: linux.namespaces: network: it is the host's own, which no guest can have; let "
			"the container have one of its own");
	return 0;
}

/* ---- what is there ---------------------------------------------------------------------------------------------------- */

static int dump(int fd, uint16_t type, int (*fn)(const struct nlmsghdr *msg, void *arg), struct network_scan *scan)
{
	/* Large enough for the fixed part of any of them, and zero, AF_UNSPEC, means all. */
	static const struct ifinfomsg all;
	struct netlink_request req;
	size_t len = type == RTM_GETADDR    ? sizeof(struct ifaddrmsg)
		     : type == RTM_GETNEIGH ? sizeof(struct ndmsg)
		     : type == RTM_GETROUTE ? sizeof(struct rtmsg)
					    : sizeof(all);
	int r;

	netlink_begin(&req, type, 0, &all, len);
	r = netlink_dump(fd, &req, fn, scan);
	return r && !scan->e->code && r != -EINTR
		       ? err_errno(scan->e, r, "asking for its network namespace's interfaces")
		       : r;
}

static int scan_once(int fd, struct network_scan *scan)
{
	int r = dump(fd, RTM_GETLINK, network_scan_link, scan);

	if (r || !scan->network)
		return r;
	r = dump(fd, RTM_GETADDR, network_scan_address, scan);
	if (!r)
		r = dump(fd, RTM_GETNEIGH, network_scan_neighbour, scan);
	if (!r)
		r = dump(fd, RTM_GETROUTE, network_scan_route, scan);
	network_scan_sort(scan);
	return r;
}

static int scan_all(int fd, struct network_scan *scan)
{
	int i, r = -EINTR;

	for (i = 0; r == -EINTR && i < SCANS_MAX; i++) {
		network_scan_clear(scan);
		r = scan_once(fd, scan);
	}
	return r == -EINTR ? err_set(scan->e, EBUSY, "its network namespace keeps changing") : r;
}

/* ---- taps -------------------------------------------------------------------------------------------------------------- */

static int open_tap(struct network *n, size_t i, char name[IFNAMSIZ], struct err *e)
{
	struct ifreq req = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (n->pairs > 1 ? IFF_MULTI_QUEUE : 0),
			     .ifr_name = TAP_NAME };
	const int header = TAP_HEADER;
	unsigned int q;

	for (q = 0; q < n->pairs; q++) {
		int *fd = &n->fds[i][q];

		*fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
		if (*fd < 0)
			return err_errno(e, errno, "/dev/net/tun (kernel module tun)");
		/* The first queue finds a name, which the others belong to. */
		if (ioctl(*fd, TUNSETIFF, &req) < 0 || ioctl(*fd, TUNSETVNETHDRSZ, &header) < 0)
			return err_errno(e, errno, "a tap in its network namespace");
	}
	memcpy(name, req.ifr_name, IFNAMSIZ);
	return 0;
}

/* Up, as large, and without a word of its own: the guest would hear it. */
static int set_tap_up(int fd, unsigned int index, uint32_t mtu, struct err *e)
{
	const struct ifinfomsg tap = { .ifi_index = (int)index },
			       up = { .ifi_index = (int)index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
	struct netlink_request req;
	int r;

	netlink_begin(&req, RTM_NEWLINK, 0, &tap, sizeof(tap));
	netlink_put_no_own_address(&req);
	r = netlink_ask(fd, &req);
	/* A host without IPv6 has no such word to say. */
	if (r && r != -EAFNOSUPPORT && r != -EOPNOTSUPP)
		return err_errno(e, r, "IPv6 of a tap");
	netlink_begin(&req, RTM_NEWLINK, 0, &up, sizeof(up));
	netlink_put_u32(&req, IFLA_MTU, mtu);
	r = netlink_ask(fd, &req);
	return r ? err_errno(e, r, "a tap of an MTU of %u", mtu) : 0;
}

/* ---- traffic control --------------------------------------------------------------------------------------------------- */

static int qdisc(int fd, uint16_t type, uint16_t flags, unsigned int index)
{
	const struct tcmsg m = { .tcm_ifindex = (int)index,
				 .tcm_handle = TC_H_MAKE(TC_H_INGRESS, 0),
				 .tcm_parent = TC_H_INGRESS };
	struct netlink_request req;

	netlink_begin(&req, type, flags, &m, sizeof(m));
	netlink_put_string(&req, TCA_KIND, "ingress");
	return netlink_ask(fd, &req);
}

/* What a sandbox left that was killed goes. */
static int add_ingress(int fd, unsigned int index)
{
	int r = qdisc(fd, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, index);

	if (r != -EEXIST)
		return r;
	r = qdisc(fd, RTM_DELQDISC, 0, index);
	return r ? r : qdisc(fd, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, index);
}

/* All that comes in by one goes out by the other: matchall, action mirred, egress redirect. */
static int redirect(int fd, unsigned int from, unsigned int to)
{
	const struct tcmsg m = { .tcm_ifindex = (int)from,
				 .tcm_parent = TC_H_MAKE(TC_H_INGRESS, 0),
				 .tcm_info = TC_H_MAKE(FILTER_PRIORITY << 16, htobe16(ETH_P_ALL)) };
	const struct tc_mirred mirred = { .action = TC_ACT_STOLEN, .eaction = TCA_EGRESS_REDIR, .ifindex = to };
	size_t options, actions, first, parms;
	struct netlink_request req;

	netlink_begin(&req, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, &m, sizeof(m));
	netlink_put_string(&req, TCA_KIND, "matchall");
	options = netlink_nest(&req, TCA_OPTIONS);
	actions = netlink_nest(&req, TCA_MATCHALL_ACT);
	first = netlink_nest(&req, 1);
	netlink_put_string(&req, TCA_ACT_KIND, "mirred");
	parms = netlink_nest(&req, TCA_ACT_OPTIONS);
	netlink_put(&req, TCA_MIRRED_PARMS, &mirred, sizeof(mirred));
	netlink_nest_end(&req, parms);
	netlink_nest_end(&req, first);
	netlink_nest_end(&req, actions);
	netlink_nest_end(&req, options);
	return netlink_ask(fd, &req);
}

static int connect_tap(struct network *n, int fd, size_t i, unsigned int index, struct err *e)
{
	const Microvm__Interface *iface = n->network->interfaces[i];
	char name[IFNAMSIZ];
	unsigned int tap;
	int r = open_tap(n, i, name, e);

	if (r)
		return r;
	tap = if_nametoindex(name);
	if (!tap)
		return err_errno(e, errno, "a tap in its network namespace");
	r = set_tap_up(fd, tap, iface->mtu, e);
	if (r)
		return r;
	r = add_ingress(fd, index);
	if (!r) {
		n->indexes[i] = index;
		r = redirect(fd, index, tap);
	}
	if (!r)
		r = add_ingress(fd, tap);
	if (!r)
		r = redirect(fd, tap, index);
	return r ? err_errno(e, r,
			     "connecting %s to the guest (kernel modules sch_ingress, cls_matchall and act_mirred)",
			     iface->name)
		 : 0;
}

/* ---- all of it ---------------------------------------------------------------------------------------------------------- */

static int carry(struct network *n, struct err *e)
{
	struct network_scan scan = { .e = e };
	_cleanup_close_ int fd = netlink_open();
	size_t i;
	int r;

	if (fd < 0)
		return err_errno(e, fd, "a netlink socket");
	r = scan_all(fd, &scan);
	n->network = scan.network;
	for (i = 0; !r && n->network && i < n->network->n_interfaces; i++)
		r = connect_tap(n, fd, i, scan.indexes[i], e);
	return r;
}

int network_begin(struct network *n, const char *path, int host_netns_fd, unsigned int pairs, struct err *e)
{
	_cleanup_close_ int back = -1;
	size_t i, q;
	int r, left;

	*n = (struct network)NETWORK_INIT;
	n->pairs = min_t(unsigned int, pairs, VMSPEC_NET_PAIRS_MAX);
	for (i = 0; i < NETWORK_INTERFACES_MAX; i++)
		for (q = 0; q < VMSPEC_NET_PAIRS_MAX; q++)
			n->fds[i][q] = -1;
	r = open_netns(n, path, host_netns_fd, e);
	if (!r)
		r = netns_enter(n->netns_fd, &back, e);
	if (!r) {
		r = carry(n, e);
		left = netns_leave(back, r ? NULL : e);
		r = r ? r : left;
	}
	if (r || !n->network)
		network_end(n);
	return r;
}

void network_close_taps(struct network *n)
{
	size_t i, q;

	if (n->netns_fd < 0)
		return;
	for (i = 0; i < NETWORK_INTERFACES_MAX; i++)
		for (q = 0; q < n->pairs; q++)
			cleanup_closep(&n->fds[i][q]);
}

static void end_redirects(struct network *n)
{
	_cleanup_close_ int back = -1, fd = -1;
	struct err e = ERR_INIT;
	size_t i;

	if (!n->indexes[0] || netns_enter(n->netns_fd, &back, &e))
		return;
	fd = netlink_open();
	/* An interface that is gone has taken it along. */
	for (i = 0; fd >= 0 && i < NETWORK_INTERFACES_MAX; i++)
		if (n->indexes[i])
			qdisc(fd, RTM_DELQDISC, 0, n->indexes[i]);
	if (netns_leave(back, &e))
		log_error("%s", e.msg);
}

void network_end(struct network *n)
{
	if (n->netns_fd < 0)
		return;
	end_redirects(n);
	network_close_taps(n);
	if (n->network)
		microvm__network__free_unpacked(n->network, NULL);
	close(n->netns_fd);
	*n = (struct network)NETWORK_INIT;
}
