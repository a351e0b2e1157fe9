/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unpacking of what a peer sent. A few bytes of protobuf can ask for hundreds in memory (an empty submessage takes two
 * bytes), so the whole of a message may take TTRPC_UNPACKED_MAX and no more.
 */
#ifndef RPC_UNPACK_H
#define RPC_UNPACK_H

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#define TTRPC_UNPACKED_MAX (32u << 20)

/* NULL if it is malformed or too large; otherwise free it with protobuf_c_message_free_unpacked(message, NULL). */
ProtobufCMessage *ttrpc_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t len);

#endif
