/* SPDX-License-Identifier: Apache-2.0 */
/* A service, and the peers that may be at the ends of a socket pair. */
#ifndef TTRPC_FIXTURE_H
#define TTRPC_FIXTURE_H

#include "rpc/ttrpc.h"

#define SERVICE "microvm.Agent"

extern struct loop *loop;
extern int sv[2]; /* the client's end and the server's, whether there is a peer at them or not */
extern struct ttrpc_peer *server, *client;

/* What has happened: to peers, to calls that are served, to calls that were made. */
extern int closed_n, closed_reason, cancelled_n, kept_n, done_n, failed_n;
extern int last_code; /* of the last answer: an errno or 0 */
extern char last_value[64];
extern struct ttrpc_call *kept[TTRPC_CALLS_MAX];

/* KEEP leaves its calls in kept[], BIG answers with as many bytes as it is told to, DROP frees the server. */
enum { ECHO, FAIL, KEEP, BIG, DROP, METHODS };
extern const struct ttrpc_method methods[METHODS];
extern const struct ttrpc_method unknown; /* to the service */

void setup(void);
void teardown(void);
void start_server(void);
void start_client(void);
/* Gives the loop a few turns, a millisecond each. */
void settle(void);
/* Runs the loop until there are n. */
void wait_for(const int *counter, int n);
/* Calls as the client: 0 with last_value, or negative errno with e. */
int call(const struct ttrpc_method *m, const char *value, struct err *e);
/* The answer is told by done_n and its like. timeout_ns 0: none. */
void call_async(const struct ttrpc_method *m, const char *value, uint64_t timeout_ns);

#endif
