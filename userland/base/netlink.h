/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rtnetlink (RFC 3549, linux/rtnetlink.h): requests put together attribute by attribute, and answers taken apart. Host and
 * guest agent set interfaces up with it. One thread at a time, one request at a time.
 */
#ifndef BASE_NETLINK_H
#define BASE_NETLINK_H

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NETLINK_REQUEST_MAX 1024u

struct netlink_request {
	char bytes[NETLINK_REQUEST_MAX] __attribute__((aligned(NLMSG_ALIGNTO))); /* a header first */
	size_t len;
	bool overflow; /* it did not fit; netlink_ask() says -EMSGSIZE */
};

static inline struct nlmsghdr *netlink_head(struct netlink_request *req)
{
	return (struct nlmsghdr *)(void *)req->bytes;
}
/* type: RTM_*; flags: NLM_F_* besides NLM_F_REQUEST; what is fixed behind the header: struct ifinfomsg and the like. */
void netlink_begin(struct netlink_request *req, uint16_t type, uint16_t flags, const void *fixed, size_t len);
void netlink_put(struct netlink_request *req, uint16_t type, const void *data, size_t len);
void netlink_put_u32(struct netlink_request *req, uint16_t type, uint32_t v);
void netlink_put_string(struct netlink_request *req, uint16_t type, const char *s);
/* An attribute of attributes: all that is put in between is in it. */
size_t netlink_nest(struct netlink_request *req, uint16_t type);
void netlink_nest_end(struct netlink_request *req, size_t nest);

/* Of a link (RTM_NEWLINK): no IPv6 address of the kernel's choice (IN6_ADDR_GEN_MODE_NONE). */
void netlink_put_no_own_address(struct netlink_request *req);

/* A socket of the calling thread's network namespace; negative errno. */
int netlink_open(void);
/* Sends it and waits for the kernel's word: 0 or negative errno. */
int netlink_ask(int fd, struct netlink_request *req);
/*
 * Sends it with NLM_F_DUMP, and fn gets each message of the answer; what fn returns other than 0 is returned, after the
 * rest was read. -EINTR: the kernel says that things changed meanwhile.
 */
int netlink_dump(int fd, struct netlink_request *req, int (*fn)(const struct nlmsghdr *msg, void *arg), void *arg);

/* ---- taking apart; pure ------------------------------------------------------------------------------------------ */

/*
 * The messages of one datagram, until fn returns other than 0, which is returned. 1: the answer ends here; 0: more follows;
 * the kernel's error, negative; -EBADMSG: lengths that don't fit.
 */
int netlink_each(const void *data, size_t len, int (*fn)(const struct nlmsghdr *msg, void *arg), void *arg);

/*
 * The fixed part of that size, and the attributes behind it into table[0..max], the last of each kind; NULL where there is
 * none. NULL: the message is shorter.
 */
const void *netlink_fixed(const struct nlmsghdr *msg, size_t size, const struct nlattr **table, unsigned int max);
/* Of a nest. */
void netlink_nested(const struct nlattr *nest, const struct nlattr **table, unsigned int max);
size_t netlink_len(const struct nlattr *a);
const void *netlink_data(const struct nlattr *a);
/* Exactly four bytes, else `other`; a may be NULL. */
uint32_t netlink_u32(const struct nlattr *a, uint32_t other);

#endif
