/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the room: what the stream (peer.c), the serving half (server.c) and the calling half (client.c) share. */
#ifndef RPC_PEER_H
#define RPC_PEER_H

#include "rpc/ttrpc.h"

struct peer_buf {
	uint8_t *data;
	size_t len, cap;
};

struct client_call;

struct ttrpc_peer {
	struct loop *loop;
	int fd;
	struct ttrpc_peer_config config;
	/* One for the owner, one for each operation in flight, each call, each callback being run. */
	unsigned int refs;
	bool freed;	/* by its owner */
	bool finishing; /* our half is closed when the queue is empty */
	bool ending;	/* nothing more is read; what is queued is still sent */
	bool ended;	/* calls ended, closed() called */
	int reason;

	struct loop_op recv_op, send_op, end_op, linger_op;
	struct peer_buf in;
	struct peer_buf sending, pending; /* sending belongs to send_op while that is in flight */
	size_t sent_bytes;

	struct ttrpc_call *serving;
	unsigned int serving_n;
	uint32_t last_id; /* of requests received */

	struct client_call *calling;
	uint32_t next_id; /* of requests sent */
};

void peer_ref(struct ttrpc_peer *p);
void peer_unref(struct ttrpc_peer *p);

/* Queues a frame whose body is that message; -EMSGSIZE if it is too large, -EPIPE if the stream is over. */
int peer_send(struct ttrpc_peer *p, enum ttrpc_type type, uint32_t stream_id, const ProtobufCMessage *body);
/* Ends the stream after what is queued was sent, or after a second. */
void peer_end(struct ttrpc_peer *p, int reason);

/* A frame has come. They may free the peer (the caller holds a reference). */
void server_frame(struct ttrpc_peer *p, const struct ttrpc_header *h, const uint8_t *body);
void client_frame(struct ttrpc_peer *p, const struct ttrpc_header *h, const uint8_t *body);
bool client_has_call(const struct ttrpc_peer *p, uint32_t stream_id);
void server_refuse(struct ttrpc_peer *p, uint32_t stream_id, enum ttrpc_code code, const char *message);

/* The stream is over: no call stays open. */
void server_end(struct ttrpc_peer *p);
void client_end(struct ttrpc_peer *p, int reason);

#endif
