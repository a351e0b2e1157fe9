/* SPDX-License-Identifier: Apache-2.0 */
/* What the socket's side (session.c) and the queues' side (queue.c) of a session share. */
#ifndef FSD_SESSION_INTERNAL_H
#define FSD_SESSION_INTERNAL_H

#include "base/cleanup.h"
#include "base/util.h"
#include "fsd/memory.h"
#include "fsd/session.h"
#include "virtio/virtq.h"

#define IN_FLIGHT_MAX 256u /* of all queues; each has some hundred bytes, and its segments */

struct queue {
	struct session *s;
	struct virtq vq;
	struct loop_op kick_op;
	int kick_fd, call_fd;
	uint32_t size;
	uint16_t base;
	struct vhost_user_vring_addr addr;
	bool has_addr, enabled, running;
	bool kicked; /* to be looked at again in the next round */
	uint32_t in_flight;
};

struct session_req {
	struct fs_req req;
	struct session_req *next;
	struct queue *q;
	uint16_t head;
};

struct session {
	struct loop *loop;
	struct fs *fs;
	struct memory mem;
	struct queue queues[SESSION_QUEUES_MAX];
	unsigned int queues_n;
	uint64_t features, protocol_features;
	struct session_req *free;
	uint32_t in_flight;
	uint64_t unflushed; /* queues with answers that the driver doesn't see yet */
	struct loop_op flush_op, late_op;
	struct iovec scratch[FS_IOV_MAX];

	int sock;
	struct loop_op sock_op;
	struct vhost_user_header header;
	uint8_t payload[VHOST_USER_PAYLOAD_MAX];
	size_t have;
	int fds[VHOST_USER_FDS_MAX];
	unsigned int fds_n;
	bool waiting;  /* a message that can't be obeyed before nothing is in flight */
	bool draining; /* no more requests are taken meanwhile */
	bool ending;
};

void queues_init(struct session *s, unsigned int n);
void queues_free(struct session *s);
/* Starts the queue if all that it needs is known; -EINVAL, -EFAULT: it was wrong. */
int queue_start(struct queue *q);
void queue_stop(struct queue *q);
void queue_set_kick(struct queue *q, int fd);
void queue_serve(struct queue *q);
/* The queues' answers are shown when this round of the loop ends. */
void session_round(struct session *s);
void session_drained(struct session *s);

#endif
