/* SPDX-License-Identifier: Apache-2.0 */
#include "fsd/vhost_user.h"

#include <errno.h>

#include "base/util.h"

enum payload { NOTHING, U64, STATE, ADDR, TABLE, REGION };

static const uint16_t payload_bytes[] = {
	[NOTHING] = 0,
	[U64] = 8,
	[STATE] = sizeof(struct vhost_user_vring_state),
	[ADDR] = sizeof(struct vhost_user_vring_addr),
	[REGION] = 8 + sizeof(struct vhost_user_region),
	[TABLE] = 8, /* and the regions */
};

static const struct {
	const char *name;
	uint8_t payload, fds_min, fds_max;
} requests[VHOST_USER_REQUESTS] = {
	[VHOST_USER_GET_FEATURES] = { "GET_FEATURES", NOTHING, 0, 0 },
	[VHOST_USER_SET_FEATURES] = { "SET_FEATURES", U64, 0, 0 },
	[VHOST_USER_SET_OWNER] = { "SET_OWNER", NOTHING, 0, 0 },
	[VHOST_USER_RESET_OWNER] = { "RESET_OWNER", NOTHING, 0, 0 },
	[VHOST_USER_SET_MEM_TABLE] = { "SET_MEM_TABLE", TABLE, 1, VHOST_USER_FDS_MAX },
	[VHOST_USER_SET_VRING_NUM] = { "SET_VRING_NUM", STATE, 0, 0 },
	[VHOST_USER_SET_VRING_ADDR] = { "SET_VRING_ADDR", ADDR, 0, 0 },
	[VHOST_USER_SET_VRING_BASE] = { "SET_VRING_BASE", STATE, 0, 0 },
	[VHOST_USER_GET_VRING_BASE] = { "GET_VRING_BASE", STATE, 0, 0 },
	[VHOST_USER_SET_VRING_KICK] = { "SET_VRING_KICK", U64, 0, 1 },
	[VHOST_USER_SET_VRING_CALL] = { "SET_VRING_CALL", U64, 0, 1 },
	[VHOST_USER_SET_VRING_ERR] = { "SET_VRING_ERR", U64, 0, 1 },
	[VHOST_USER_GET_PROTOCOL_FEATURES] = { "GET_PROTOCOL_FEATURES", NOTHING, 0, 0 },
	[VHOST_USER_SET_PROTOCOL_FEATURES] = { "SET_PROTOCOL_FEATURES", U64, 0, 0 },
	[VHOST_USER_GET_QUEUE_NUM] = { "GET_QUEUE_NUM", NOTHING, 0, 0 },
	[VHOST_USER_SET_VRING_ENABLE] = { "SET_VRING_ENABLE", STATE, 0, 0 },
	[VHOST_USER_GET_MAX_MEM_SLOTS] = { "GET_MAX_MEM_SLOTS", NOTHING, 0, 0 },
	[VHOST_USER_ADD_MEM_REG] = { "ADD_MEM_REG", REGION, 1, 1 },
	[VHOST_USER_REM_MEM_REG] = { "REM_MEM_REG", REGION, 0, 1 },
};

static bool known(uint32_t request)
{
	return request < VHOST_USER_REQUESTS && requests[request].name;
}

const char *vhost_user_name(uint32_t request)
{
	return known(request) ? requests[request].name : "unknown request";
}

int vhost_user_check_header(const struct vhost_user_header *header, const char **why)
{
	*why = NULL;
	if ((header->flags & 3) != VHOST_USER_VERSION)
		*why = "another version of the protocol";
	else if (header->flags & VHOST_USER_REPLY)
		*why = "a reply to nothing";
	else if (!known(header->request))
		*why = "not a request that is supported";
	else if (header->size > VHOST_USER_PAYLOAD_MAX)
		*why = "message too long";
	return *why ? -EPROTO : 0;
}

static const char *decode_table(const struct vhost_user_header *header, const uint8_t *payload, unsigned int fds_n,
				struct vhost_user_msg *msg)
{
	uint32_t n;

	memcpy(&n, payload, sizeof(n));
	if (!n || n > VHOST_USER_FDS_MAX)
		return "too many memory regions, or none";
	if (header->size != 8 + n * sizeof(struct vhost_user_region))
		return "message of the wrong length";
	if (fds_n != n)
		return "not one file for each memory region";
	msg->memory.regions_n = n;
	memcpy(msg->memory.regions, payload + 8, n * sizeof(struct vhost_user_region));
	return NULL;
}

int vhost_user_decode(const struct vhost_user_header *header, const void *payload, unsigned int fds_n,
		      struct vhost_user_msg *msg, const char **why)
{
	enum payload kind;

	if (vhost_user_check_header(header, why))
		return -EPROTO;
	kind = requests[header->request].payload;
	*msg = (struct vhost_user_msg){
		.request = header->request,
		.need_reply = header->flags & VHOST_USER_NEED_REPLY,
	};
	if (fds_n < requests[header->request].fds_min || fds_n > requests[header->request].fds_max)
		*why = "files where none belong, or none where one does";
	else if (kind == TABLE ? header->size < 8 : header->size != payload_bytes[kind])
		*why = "message of the wrong length";
	else if (kind == TABLE)
		*why = decode_table(header, payload, fds_n, msg);
	if (*why)
		return -EPROTO;
	switch (kind) {
	case NOTHING:
	case TABLE: break;
	case U64: memcpy(&msg->u64, payload, sizeof(msg->u64)); break;
	case STATE: memcpy(&msg->state, payload, sizeof(msg->state)); break;
	case ADDR: memcpy(&msg->addr, payload, sizeof(msg->addr)); break;
	case REGION:
		msg->memory.regions_n = 1;
		memcpy(msg->memory.regions, (const uint8_t *)payload + 8, sizeof(struct vhost_user_region));
		break;
	}
	return 0;
}
