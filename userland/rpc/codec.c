/* SPDX-License-Identifier: Apache-2.0 */
/* The pure half of ttrpc: headers, and how an errno becomes a status code and back. */
#include "rpc/ttrpc.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "rpc/unpack.h"

int ttrpc_header_decode(const uint8_t raw[TTRPC_HEADER_LEN], struct ttrpc_header *h)
{
	uint32_t v;

	memcpy(&v, raw, sizeof(v));
	h->len_bytes = be32toh(v);
	memcpy(&v, raw + 4, sizeof(v));
	h->stream_id = be32toh(v);
	h->type = raw[8];
	h->flags = raw[9];
	if (h->type < TTRPC_REQUEST || h->type > TTRPC_DATA)
		return -EPROTO;
	return h->len_bytes > TTRPC_BODY_MAX ? -EMSGSIZE : 0;
}

void ttrpc_header_encode(const struct ttrpc_header *h, uint8_t raw[TTRPC_HEADER_LEN])
{
	uint32_t v = htobe32(h->len_bytes);

	memcpy(raw, &v, sizeof(v));
	v = htobe32(h->stream_id);
	memcpy(raw + 4, &v, sizeof(v));
	raw[8] = h->type;
	raw[9] = h->flags;
}

/* The first row with a code is what that code becomes on the way back. */
static const struct {
	int err;
	enum ttrpc_code code;
} codes[] = {
	{ ECANCELED, TTRPC_CANCELLED },
	{ EINVAL, TTRPC_INVALID_ARGUMENT },
	{ ENAMETOOLONG, TTRPC_INVALID_ARGUMENT },
	{ EBADMSG, TTRPC_INVALID_ARGUMENT },
	{ ENOTDIR, TTRPC_INVALID_ARGUMENT },
	{ ELOOP, TTRPC_INVALID_ARGUMENT },
	{ ETIMEDOUT, TTRPC_DEADLINE_EXCEEDED },
	{ ENOENT, TTRPC_NOT_FOUND },
	{ ESRCH, TTRPC_NOT_FOUND },
	{ EEXIST, TTRPC_ALREADY_EXISTS },
	{ EACCES, TTRPC_PERMISSION_DENIED },
	{ EPERM, TTRPC_PERMISSION_DENIED },
	{ ENOEXEC, TTRPC_PERMISSION_DENIED },
	{ EISDIR, TTRPC_PERMISSION_DENIED },
	{ ENOSPC, TTRPC_RESOURCE_EXHAUSTED },
	{ ENOMEM, TTRPC_RESOURCE_EXHAUSTED },
	{ EMSGSIZE, TTRPC_RESOURCE_EXHAUSTED },
	{ EMFILE, TTRPC_RESOURCE_EXHAUSTED },
	{ ENFILE, TTRPC_RESOURCE_EXHAUSTED },
	{ EAGAIN, TTRPC_RESOURCE_EXHAUSTED },
	{ EBUSY, TTRPC_FAILED_PRECONDITION },
	{ ENOTEMPTY, TTRPC_FAILED_PRECONDITION },
	{ ENOTTY, TTRPC_FAILED_PRECONDITION },
	{ ERANGE, TTRPC_OUT_OF_RANGE },
	{ EOPNOTSUPP, TTRPC_UNIMPLEMENTED },
	{ ENOSYS, TTRPC_UNIMPLEMENTED },
	{ EIO, TTRPC_INTERNAL },
	{ EPIPE, TTRPC_UNAVAILABLE },
	{ ECONNRESET, TTRPC_UNAVAILABLE },
	{ ECONNREFUSED, TTRPC_UNAVAILABLE },
	{ ESHUTDOWN, TTRPC_UNAVAILABLE },
	{ EPROTO, TTRPC_UNKNOWN },
};

enum ttrpc_code ttrpc_code_of_errno(int errno_code)
{
	size_t i;

	if (!errno_code)
		return TTRPC_OK;
	for (i = 0; i < ARRAY_SIZE(codes); i++)
		if (codes[i].err == abs(errno_code))
			return codes[i].code;
	return TTRPC_UNKNOWN;
}

int ttrpc_errno_of_code(enum ttrpc_code code)
{
	size_t i;

	if (code == TTRPC_OK)
		return 0;
	for (i = 0; i < ARRAY_SIZE(codes); i++)
		if (codes[i].code == code)
			return codes[i].err;
	return EPROTO;
}

struct budget {
	ProtobufCAllocator allocator;
	size_t left_bytes;
};

static void *budget_alloc(void *data, size_t size)
{
	struct budget *b = data;

	if (size > b->left_bytes)
		return NULL;
	b->left_bytes -= size;
	return malloc(size ? size : 1);
}

static void budget_free(void *data, void *p)
{
	free(p);
}

ProtobufCMessage *ttrpc_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t len)
{
	struct budget b = { .allocator = { .alloc = budget_alloc, .free = budget_free },
			    .left_bytes = TTRPC_UNPACKED_MAX };

	b.allocator.allocator_data = &b;
	return len > TTRPC_BODY_MAX ? NULL : protobuf_c_message_unpack(descriptor, &b.allocator, len, data);
}
