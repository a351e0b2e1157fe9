/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of the vhost-user protocol (QEMU's docs/interop/vhost-user.rst), from the front end's side of the socket: a pure
 * codec. Which requests there are, how long each is and how many files come along stands in one table.
 */
#ifndef FSD_VHOST_USER_H
#define FSD_VHOST_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VHOST_USER_FDS_MAX 8u	    /* the protocol's limit of regions in one message */
#define VHOST_USER_PAYLOAD_MAX 264u /* SET_MEM_TABLE with as many */
#define VHOST_USER_VERSION 1u
#define VHOST_USER_REPLY (1u << 2)
#define VHOST_USER_NEED_REPLY (1u << 3)

#define VHOST_USER_F_PROTOCOL_FEATURES 30
#define VHOST_USER_PROTOCOL_F_MQ 0
#define VHOST_USER_PROTOCOL_F_REPLY_ACK 3
#define VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS 15

#define VHOST_USER_VRING_NOFD (1u << 8) /* in the u64 of kick, call, err */

enum vhost_user_request {
	VHOST_USER_GET_FEATURES = 1,
	VHOST_USER_SET_FEATURES = 2,
	VHOST_USER_SET_OWNER = 3,
	VHOST_USER_RESET_OWNER = 4,
	VHOST_USER_SET_MEM_TABLE = 5,
	VHOST_USER_SET_VRING_NUM = 8,
	VHOST_USER_SET_VRING_ADDR = 9,
	VHOST_USER_SET_VRING_BASE = 10,
	VHOST_USER_GET_VRING_BASE = 11,
	VHOST_USER_SET_VRING_KICK = 12,
	VHOST_USER_SET_VRING_CALL = 13,
	VHOST_USER_SET_VRING_ERR = 14,
	VHOST_USER_GET_PROTOCOL_FEATURES = 15,
	VHOST_USER_SET_PROTOCOL_FEATURES = 16,
	VHOST_USER_GET_QUEUE_NUM = 17,
	VHOST_USER_SET_VRING_ENABLE = 18,
	VHOST_USER_GET_MAX_MEM_SLOTS = 36,
	VHOST_USER_ADD_MEM_REG = 37,
	VHOST_USER_REM_MEM_REG = 38,
	VHOST_USER_REQUESTS,
};

struct vhost_user_header {
	uint32_t request, flags, size;
};

struct vhost_user_region {
	uint64_t gpa, len_bytes, user_addr, fd_offset;
};

struct vhost_user_vring_state {
	uint32_t index, num;
};

struct vhost_user_vring_addr {
	uint32_t index, flags;
	uint64_t desc, used, avail, log; /* the front end's own addresses */
};

/* A request that was checked; each union member is set for the requests it belongs to. */
struct vhost_user_msg {
	enum vhost_user_request request;
	bool need_reply;
	union {
		uint64_t u64; /* SET_FEATURES, SET_PROTOCOL_FEATURES, SET_VRING_KICK, _CALL and _ERR */
		struct vhost_user_vring_state state;
		struct vhost_user_vring_addr addr;
		struct {
			uint32_t regions_n;
			struct vhost_user_region regions[VHOST_USER_FDS_MAX];
		} memory; /* also ADD_MEM_REG and REM_MEM_REG, with one */
	};
};

/* Host byte order, as both ends are on one machine. 0: header is fit to be followed by header->size bytes; else why not. */
int vhost_user_check_header(const struct vhost_user_header *header, const char **why);
/* A whole message: -EPROTO, and *why says which rule was broken. */
int vhost_user_decode(const struct vhost_user_header *header, const void *payload, unsigned int fds_n,
		      struct vhost_user_msg *msg, const char **why);
/* "SET_OWNER"; "unknown request" for what is none. */
const char *vhost_user_name(uint32_t request);

#endif
