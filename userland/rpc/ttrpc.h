/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ttrpc, as containerd speaks it: frames of a 10-byte header (length u32, stream id u32, both big endian; type u8;
 * flags u8) and a protobuf body (Request, Response). The codec is pure; the peer runs it over a stream on a loop.
 * Unary calls only. A frame over TTRPC_BODY_MAX is refused before anything is allocated for it.
 */
#ifndef RPC_TTRPC_H
#define RPC_TTRPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/err.h"
#include "io/loop.h"

#define TTRPC_HEADER_LEN 10u
#define TTRPC_BODY_MAX (4u << 20)
#define TTRPC_CALLS_MAX 128u /* that one peer serves at a time; more are refused with RESOURCE_EXHAUSTED */

enum ttrpc_type { TTRPC_REQUEST = 1, TTRPC_RESPONSE = 2, TTRPC_DATA = 3 };

/* google.rpc codes that are used */
enum ttrpc_code {
	TTRPC_OK = 0,
	TTRPC_CANCELLED = 1,
	TTRPC_UNKNOWN = 2,
	TTRPC_INVALID_ARGUMENT = 3,
	TTRPC_DEADLINE_EXCEEDED = 4,
	TTRPC_NOT_FOUND = 5,
	TTRPC_ALREADY_EXISTS = 6,
	TTRPC_PERMISSION_DENIED = 7,
	TTRPC_RESOURCE_EXHAUSTED = 8,
	TTRPC_FAILED_PRECONDITION = 9,
	TTRPC_OUT_OF_RANGE = 11,
	TTRPC_UNIMPLEMENTED = 12,
	TTRPC_INTERNAL = 13,
	TTRPC_UNAVAILABLE = 14,
};

struct ttrpc_header {
	uint32_t len_bytes, stream_id;
	uint8_t type, flags;
};
/* 0, or -EMSGSIZE (over TTRPC_BODY_MAX), -EPROTO (unknown type). */
int ttrpc_header_decode(const uint8_t raw[TTRPC_HEADER_LEN], struct ttrpc_header *h);
void ttrpc_header_encode(const struct ttrpc_header *h, uint8_t raw[TTRPC_HEADER_LEN]);

/* errno <-> code, for struct err on both sides of a call. */
enum ttrpc_code ttrpc_code_of_errno(int errno_code);
int ttrpc_errno_of_code(enum ttrpc_code code);

/* ---- server and client on one stream ---------------------------------------------------------------------- */

struct ttrpc_peer;
struct ttrpc_call; /* one request being served */

/*
 * One row of a service: how a method's request is unpacked and who serves it. serve() must end in exactly one
 * ttrpc_reply() or ttrpc_fail(), now or later from the loop's thread (see ttrpc_call_on_cancel). req is freed when the
 * call has been answered.
 */
struct ttrpc_method {
	const char *name;
	const ProtobufCMessageDescriptor *request, *response;
	void (*serve)(struct ttrpc_call *call, const ProtobufCMessage *req, void *arg);
};
struct ttrpc_service {
	const char *name; /* "microvm.Agent" */
	const struct ttrpc_method *methods;
	size_t methods_n;
};

struct ttrpc_peer_config {
	const struct ttrpc_service *services; /* what this side serves; may be NULL */
	size_t services_n;
	void *arg; /* given to serve() */
	/* The stream ended (0), or broke (negative errno). Called once, not from inside another call of the peer; free the peer there or later. */
	void (*closed)(struct ttrpc_peer *peer, int reason, void *arg);
};

/* Takes ownership of fd (a connected stream socket) once it succeeds. */
int ttrpc_peer_new(struct ttrpc_peer **out, struct loop *loop, int fd, const struct ttrpc_peer_config *config);
/*
 * Ends the stream and all open calls: done() of own calls gets -ECANCELED, those being served are cancelled; closed() is not
 * called. Safe from within its callbacks. Its memory goes when the loop has seen the last operation end.
 */
void ttrpc_peer_free(struct ttrpc_peer *peer);
/* Half-closes the stream once everything queued is sent; closed() comes when the other side ends its half. */
void ttrpc_peer_finish(struct ttrpc_peer *peer);

void ttrpc_reply(struct ttrpc_call *call, const ProtobufCMessage *response);
void ttrpc_fail(struct ttrpc_call *call, const struct err *e);
struct ttrpc_peer *ttrpc_call_peer(struct ttrpc_call *call);
/*
 * For calls that are answered later: fn is called once if the answer is no longer wanted (the stream ended, the caller's
 * time is over). It drops what refers to the call, which is gone after it and must not be answered any more.
 */
void ttrpc_call_on_cancel(struct ttrpc_call *call, void (*fn)(struct ttrpc_call *call, void *arg), void *arg);

/*
 * Sends a request. done() is called once: with the unpacked response (freed after done() returns), or NULL and an
 * error (also -ECANCELED, -EPIPE when the stream ends). timeout_ns 0: no limit; past it the call ends with -ETIMEDOUT.
 */
void ttrpc_call_async(struct ttrpc_peer *peer, const char *service, const struct ttrpc_method *method,
		      const ProtobufCMessage *request, uint64_t timeout_ns,
		      void (*done)(const ProtobufCMessage *response, const struct err *e, void *arg), void *arg);

/*
 * The same, running the loop until the answer is there; so not from inside any done() of that loop. *response is to be
 * freed with protobuf_c_message_free_unpacked(); may be NULL when it isn't wanted.
 */
int ttrpc_call_sync(struct ttrpc_peer *peer, const char *service, const struct ttrpc_method *method,
		    const ProtobufCMessage *request, uint64_t timeout_ns, ProtobufCMessage **response, struct err *e);

#endif
