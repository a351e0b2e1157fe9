/* SPDX-License-Identifier: Apache-2.0 */
/* The queues: requests off them, answers onto them, and one call at most for all answers of a round. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "fsd/session_internal.h"

/* The end of a round: all answers are shown, then what had to wait for this gets its turn. */
static void flush_done(struct loop_op *op, int res)
{
	struct session *s = container_of(op, struct session, flush_op);
	uint64_t queues = s->unflushed;
	unsigned int i;

	s->unflushed = 0;
	for (; queues; queues &= queues - 1) {
		struct queue *q = &s->queues[__builtin_ctzll(queues)];

		if (virtq_flush(&q->vq) && q->call_fd >= 0 && eventfd_write(q->call_fd, 1) && errno != EAGAIN)
			log_guest("call: %s", strerror(errno));
	}
	if (s->draining) {
		if (!s->in_flight)
			session_drained(s);
		return;
	}
	for (i = 0; i < s->queues_n; i++)
		if (s->queues[i].kicked) {
			s->queues[i].kicked = false;
			queue_serve(&s->queues[i]);
		}
}

void session_round(struct session *s)
{
	if (!loop_op_busy(&s->flush_op))
		loop_defer(s->loop, &s->flush_op);
}

#define LATE_NS 5000000ull
#define LATE_PART 4u /* of a queue that may hold answers that the driver doesn't see */

static void late_done(struct loop_op *op, int res)
{
	struct session *s = container_of(op, struct session, late_op);

	if (s->unflushed)
		session_round(s);
}

/* Answers that nobody waits for are shown with the next one, without an interrupt of their own, or after a while. */
static void show_later(struct queue *q)
{
	struct session *s = q->s;

	if ((uint16_t)(q->vq.next_used - q->vq.shown_used) >= q->size / LATE_PART || s->draining)
		session_round(s);
	else if (!loop_op_busy(&s->late_op))
		loop_timer(s->loop, &s->late_op, LATE_NS);
}

static void request_done(struct fs_req *req, uint32_t written)
{
	struct session_req *sr = container_of(req, struct session_req, req);
	struct queue *q = sr->q;
	struct session *s = q->s;

	virtq_push(&q->vq, sr->head, written);
	s->unflushed |= 1ull << (q - s->queues);
	q->in_flight--;
	s->in_flight--;
	sr->next = s->free;
	s->free = sr;
	if (req->late)
		show_later(q);
	else
		session_round(s);
}

static struct session_req *request_new(struct queue *q)
{
	struct session *s = q->s;
	struct session_req *sr = s->free;

	if (s->in_flight >= IN_FLIGHT_MAX)
		return NULL;
	if (sr)
		s->free = sr->next;
	else
		sr = malloc(sizeof(*sr));
	if (!sr)
		return NULL;
	sr->q = q;
	sr->req.done = request_done;
	q->in_flight++;
	s->in_flight++;
	return sr;
}

static void request_drop(struct session_req *sr)
{
	struct session *s = sr->q->s;

	sr->q->in_flight--;
	s->in_flight--;
	sr->next = s->free;
	s->free = sr;
}

/* Takes one request. false: there is none, or none can be taken now. */
static bool take(struct queue *q)
{
	struct session *s = q->s;
	struct session_req *sr = request_new(q);
	struct virtq_chain chain;
	int r;

	if (!sr) {
		/* One that ends goes on here. Without any in flight it is memory that lacks, and the next kick may do. */
		q->kicked = s->in_flight > 0;
		return false;
	}
	r = virtq_pop(&q->vq, &chain, s->scratch, ARRAY_SIZE(s->scratch));
	if (r <= 0) {
		request_drop(sr);
		if (r < 0 && q->running) {
			log_guest("queue %u: %s", (unsigned int)(q - s->queues), q->vq.broken);
			q->running = false;
		}
		return false;
	}
	sr->head = chain.head;
	sr->req.out = chain.iov;
	sr->req.out_n = chain.out_n;
	sr->req.in = chain.iov + chain.out_n;
	sr->req.in_n = chain.in_n;
	sr->req.alone = s->in_flight == 1 && !virtq_more(&q->vq);
	fs_serve(s->fs, &sr->req);
	return true;
}

void queue_serve(struct queue *q)
{
	unsigned int taken = 0;

	if (!q->running || !q->enabled || q->s->draining || q->s->ending)
		return;
	do {
		virtq_kicks_off(&q->vq);
		while (taken++ < q->size && take(q))
			;
		if (q->kicked || !q->running || q->s->draining)
			return;
		/* Past a whole queue of them others get their turn, and the answers go out. */
		if (taken > q->size) {
			q->kicked = true;
			session_round(q->s);
			return;
		}
	} while (virtq_kicks_on(&q->vq));
}

static void kicked(struct loop_op *op, int res)
{
	struct queue *q = container_of(op, struct queue, kick_op);

	if (res >= 0)
		queue_serve(q);
	if (loop_op_busy(op) || q->s->ending || q->kick_fd < 0)
		return;
	/* A multishot poll ends when completions found no room; and with the file that it was for. */
	if (res >= 0 || res == -ECANCELED)
		loop_poll_multishot(q->s->loop, op, q->kick_fd, POLLIN);
}

void queue_set_kick(struct queue *q, int fd)
{
	int old = q->kick_fd;

	q->kick_fd = fd;
	if (loop_op_busy(&q->kick_op))
		loop_cancel(q->s->loop, &q->kick_op); /* its end takes up the new one */
	else if (fd >= 0)
		loop_poll_multishot(q->s->loop, &q->kick_op, fd, POLLIN);
	if (old >= 0)
		close(old);
}

int queue_start(struct queue *q)
{
	struct session *s = q->s;
	const struct virtq_mem mem = { .slice = memory_slice, .arg = &s->mem };
	void *desc, *avail, *used;
	int r;

	if (q->running || !q->has_addr || !q->size || q->kick_fd < 0 || !s->mem.n)
		return 0;
	/* The extra two bytes of each are used_event and avail_event (virtio 1.2, 2.7.7 and 2.7.10). */
	desc = memory_user_slice(&s->mem, q->addr.desc, sizeof(struct vring_desc) * q->size);
	avail = memory_user_slice(&s->mem, q->addr.avail, 6 + 2ull * q->size);
	used = memory_user_slice(&s->mem, q->addr.used, 6 + 8ull * q->size);
	if (!desc || !avail || !used)
		return -EFAULT;
	r = virtq_start_at(&q->vq, &mem, (uint16_t)q->size, desc, avail, used, q->base, s->features);
	if (r)
		return r;
	q->running = true;
	return 0;
}

void queue_stop(struct queue *q)
{
	if (q->vq.ready) {
		q->base = q->vq.last_avail;
		virtq_stop(&q->vq);
	}
	q->running = q->kicked = false;
}

void queues_init(struct session *s, unsigned int n)
{
	unsigned int i;

	s->queues_n = n;
	loop_op_init(&s->flush_op, flush_done);
	loop_op_init(&s->late_op, late_done);
	for (i = 0; i < n; i++) {
		s->queues[i] = (struct queue){ .s = s, .kick_fd = -1, .call_fd = -1 };
		loop_op_init(&s->queues[i].kick_op, kicked);
	}
}

void queues_free(struct session *s)
{
	struct session_req *sr;
	unsigned int i;

	for (i = 0; i < s->queues_n; i++) {
		if (s->queues[i].kick_fd >= 0)
			close(s->queues[i].kick_fd);
		if (s->queues[i].call_fd >= 0)
			close(s->queues[i].call_fd);
	}
	while ((sr = s->free)) {
		s->free = sr->next;
		free(sr);
	}
}
