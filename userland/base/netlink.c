/* SPDX-License-Identifier: Apache-2.0 */
#include "base/netlink.h"

#include <errno.h>
#include <linux/if_link.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

#define ANSWER_MAX 32768u /* what the kernel fills at most for a dump */

/* ---- requests ------------------------------------------------------------------------------------------------------- */

/* Room for len bytes more at the next multiple of 4: where it begins; 0: there is none. */
static size_t more(struct netlink_request *req, size_t len)
{
	const size_t at = NLMSG_ALIGN(req->len);

	if (req->overflow || at > NETLINK_REQUEST_MAX || len > NETLINK_REQUEST_MAX - at) {
		req->overflow = true;
		return 0;
	}
	req->len = at + len;
	netlink_head(req)->nlmsg_len = (uint32_t)req->len;
	return at;
}

void netlink_begin(struct netlink_request *req, uint16_t type, uint16_t flags, const void *fixed, size_t len)
{
	size_t at;

	memset(req, 0, sizeof(*req));
	req->len = NLMSG_HDRLEN;
	*netlink_head(req) = (struct nlmsghdr){ .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags };
	at = more(req, len);
	if (at)
		memcpy(req->bytes + at, fixed, len);
}

void netlink_put(struct netlink_request *req, uint16_t type, const void *data, size_t len)
{
	const struct nlattr a = { .nla_type = type, .nla_len = (uint16_t)(NLA_HDRLEN + len) };
	const size_t at = more(req, len <= NETLINK_REQUEST_MAX ? NLA_HDRLEN + len : NETLINK_REQUEST_MAX);

	if (!at)
		return;
	memcpy(req->bytes + at, &a, sizeof(a));
	if (len)
		memcpy(req->bytes + at + NLA_HDRLEN, data, len);
}

void netlink_put_u32(struct netlink_request *req, uint16_t type, uint32_t v)
{
	netlink_put(req, type, &v, sizeof(v));
}

void netlink_put_string(struct netlink_request *req, uint16_t type, const char *s)
{
	netlink_put(req, type, s, strlen(s) + 1);
}

size_t netlink_nest(struct netlink_request *req, uint16_t type)
{
	const size_t at = NLMSG_ALIGN(req->len);

	netlink_put(req, type | NLA_F_NESTED, NULL, 0);
	return at;
}

void netlink_nest_end(struct netlink_request *req, size_t nest)
{
	if (!req->overflow)
		((struct nlattr *)(void *)(req->bytes + nest))->nla_len = (uint16_t)(req->len - nest);
}

void netlink_put_no_own_address(struct netlink_request *req)
{
	const uint8_t none = IN6_ADDR_GEN_MODE_NONE;
	const size_t spec = netlink_nest(req, IFLA_AF_SPEC), inet6 = netlink_nest(req, AF_INET6);

	netlink_put(req, IFLA_INET6_ADDR_GEN_MODE, &none, sizeof(none));
	netlink_nest_end(req, inet6);
	netlink_nest_end(req, spec);
}

/* ---- talking -------------------------------------------------------------------------------------------------------- */

int netlink_open(void)
{
	const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	return fd < 0 ? -errno : fd;
}

static int send_request(int fd, struct netlink_request *req)
{
	static const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	ssize_t n;

	if (req->overflow)
		return -EMSGSIZE;
	do
		n = sendto(fd, req->bytes, req->len, 0, (const struct sockaddr *)&kernel, sizeof(kernel));
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* Until the kernel says that it was all; the first error is the result. */
static int read_answer(int fd, int (*fn)(const struct nlmsghdr *msg, void *arg), void *arg)
{
	_cleanup_free_ char *buf = xcalloc(1, ANSWER_MAX);
	struct sockaddr_nl from;
	socklen_t from_len;
	int result = 0, r = 0;
	ssize_t n;

	while (!r) {
		from_len = sizeof(from);
		n = recvfrom(fd, buf, ANSWER_MAX, MSG_TRUNC, (struct sockaddr *)&from, &from_len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (from.nl_pid) /* any process may send us one */
			continue;
		if (n > (ssize_t)ANSWER_MAX)
			return -EMSGSIZE;
		r = netlink_each(buf, (size_t)n, result ? NULL : fn, arg);
		/* What fn did not like is followed by the rest, which must not be the next answer's beginning. */
		if (r < 0 && r != -EBADMSG && !result && fn) {
			result = r;
			r = netlink_each(buf, (size_t)n, NULL, NULL);
		}
	}
	return result ? result : r < 0 ? r : 0;
}

int netlink_ask(int fd, struct netlink_request *req)
{
	int r;

	netlink_head(req)->nlmsg_flags |= NLM_F_ACK;
	r = send_request(fd, req);
	return r ? r : read_answer(fd, NULL, NULL);
}

int netlink_dump(int fd, struct netlink_request *req, int (*fn)(const struct nlmsghdr *msg, void *arg), void *arg)
{
	int r;

	netlink_head(req)->nlmsg_flags |= NLM_F_DUMP;
	r = send_request(fd, req);
	return r ? r : read_answer(fd, fn, arg);
}

/* ---- taking apart ----------------------------------------------------------------------------------------------------- */

int netlink_each(const void *data, size_t len, int (*fn)(const struct nlmsghdr *msg, void *arg), void *arg)
{
	const char *at = data;
	int r;

	while (len >= NLMSG_HDRLEN) {
		const struct nlmsghdr *msg = (const struct nlmsghdr *)(const void *)at;
		const size_t step = NLMSG_ALIGN((size_t)msg->nlmsg_len);

		if (msg->nlmsg_len < NLMSG_HDRLEN || msg->nlmsg_len > len)
			return -EBADMSG;
		if (msg->nlmsg_type == NLMSG_ERROR || msg->nlmsg_type == NLMSG_DONE) {
			/* Both begin with an errno, 0 or negative. */
			if (msg->nlmsg_len < NLMSG_HDRLEN + sizeof(int))
				return -EBADMSG;
			memcpy(&r, at + NLMSG_HDRLEN, sizeof(r));
			if (r > 0)
				return -EBADMSG;
			return r ? r : msg->nlmsg_flags & NLM_F_DUMP_INTR ? -EINTR : 1;
		}
		r = fn && msg->nlmsg_type >= NLMSG_MIN_TYPE ? fn(msg, arg) : 0;
		if (r)
			return r;
		at += min_t(size_t, step, len);
		len -= min_t(size_t, step, len);
	}
	return len ? -EBADMSG : 0;
}

static void attributes(const char *at, size_t len, const struct nlattr **table, unsigned int max)
{
	memset(table, 0, (max + 1) * sizeof(*table));
	while (len >= NLA_HDRLEN) {
		const struct nlattr *a = (const struct nlattr *)(const void *)at;
		const size_t step = NLA_ALIGN((size_t)a->nla_len);
		const unsigned int type = a->nla_type & NLA_TYPE_MASK;

		if (a->nla_len < NLA_HDRLEN || a->nla_len > len)
			return;
		if (type <= max)
			table[type] = a;
		at += min_t(size_t, step, len);
		len -= min_t(size_t, step, len);
	}
}

const void *netlink_fixed(const struct nlmsghdr *msg, size_t size, const struct nlattr **table, unsigned int max)
{
	const char *fixed = (const char *)msg + NLMSG_HDRLEN;
	const size_t skip = NLMSG_ALIGN(size);

	if (msg->nlmsg_len < NLMSG_HDRLEN + size)
		return NULL;
	attributes(fixed + skip, msg->nlmsg_len < NLMSG_HDRLEN + skip ? 0 : msg->nlmsg_len - NLMSG_HDRLEN - skip, table,
		   max);
	return fixed;
}

void netlink_nested(const struct nlattr *nest, const struct nlattr **table, unsigned int max)
{
	attributes(nest ? netlink_data(nest) : NULL, nest ? netlink_len(nest) : 0, table, max);
}

size_t netlink_len(const struct nlattr *a)
{
	return a->nla_len - NLA_HDRLEN;
}

const void *netlink_data(const struct nlattr *a)
{
	return (const char *)a + NLA_HDRLEN;
}

uint32_t netlink_u32(const struct nlattr *a, uint32_t other)
{
	uint32_t v;

	if (!a || netlink_len(a) != sizeof(v))
		return other;
	memcpy(&v, netlink_data(a), sizeof(v));
	return v;
}
