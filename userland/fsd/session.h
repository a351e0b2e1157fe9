/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One front end: the socket on which it speaks vhost-user, the guest's memory, the queues (virtio 1.2, 5.11: the first is
 * for what must not wait behind other requests, all others are request queues), and the file system that they are for.
 */
#ifndef FSD_SESSION_H
#define FSD_SESSION_H

#include "fsd/fs.h"

#define SESSION_QUEUES_MAX 33u /* with the one of high priority */

struct session;

/*
 * sock: a connected Unix stream socket, taken over. queues: request queues at most. The loop is stopped when the front end
 * hangs up (code 0) or breaks the protocol (code 1; it was logged).
 */
int session_new(struct session **out, struct loop *loop, struct fs *fs, int sock, unsigned int queues, struct err *e);
/* Listens to the front end; once the loop is enabled. */
void session_start(struct session *s);
/* After the loop has ended: waits for what is still in flight. */
void session_free(struct session *s);

#endif
