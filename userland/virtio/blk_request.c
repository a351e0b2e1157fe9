/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of a block device: taken off a queue, step by step to the file, back to the driver. */
#include "virtio/blk.h"

#include <errno.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "virtio/iov.h"

#define BLK_IN_FLIGHT_MAX 128u	/* 2 KiB each, made when first needed */
#define BLK_BOUNCE_BYTES 32768u /* of one request; all that may be in flight have 4 MiB at most */

struct blk_range {
	uint64_t off, len;
	int mode; /* of fallocate */
};

enum blk_step { BLK_READ, BLK_WRITE, BLK_SYNC, BLK_RANGES };

struct blk_req {
	struct blk *b;
	struct blk_req *next_free;
	struct loop_op op;
	uint16_t queue, head;
	enum blk_step step;
	uint32_t in_bytes; /* what used.len says: data and status */
	uint8_t *status;   /* in guest memory */
	uint64_t off;	   /* where the rest of the data is in the file */
	uint32_t left;
	void *bounce;	   /* where O_DIRECT refuses the segments: data goes through this, part by part */
	struct iovec *iov; /* the rest */
	unsigned int iov_n, range_at, ranges_n;
	union {
		struct iovec segments[BLK_SEGMENTS + 2];
		struct blk_range ranges[BLK_RANGES_MAX];
	};
};

static void req_done(struct loop_op *op, int res);

/* ---- ends of requests -------------------------------------------------------------------------------------------- */

void blk_flush_done(struct loop_op *op, int res)
{
	struct blk *b = container_of(op, struct blk, flush_op);
	uint32_t queues = b->unflushed;
	unsigned int i;

	b->unflushed = 0;
	for (i = 0; i < b->dev.queues_n; i++) {
		if (queues & (1u << i))
			virtio_flush(&b->dev, i);
		if (b->starved)
			virtio_kick_later(&b->dev, i);
	}
	b->starved = false;
}

static void req_end(struct blk_req *req, uint8_t status)
{
	struct blk *b = req->b;

	free(take_ptr(req->bounce));
	req->next_free = b->free;
	b->free = req;
	b->in_flight--;
	if (b->resetting) { /* the driver has taken its memory back: nothing is written there */
		if (!b->in_flight) {
			b->resetting = false;
			virtio_reset_done(&b->dev);
		}
		return;
	}
	*req->status = status;
	virtq_push(b->dev.vq[req->queue], req->head, req->in_bytes);
	/* Shown at the end of the loop's round: all that ended in it cost one notification. */
	b->unflushed |= 1u << req->queue;
	if (!loop_op_busy(&b->flush_op))
		loop_defer(b->dev.loop, &b->flush_op);
}

/* Of what the file said. */
static uint8_t status_of(int res)
{
	return res == -EOPNOTSUPP || res == -ENOSYS ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
}

/* ---- steps of requests ------------------------------------------------------------------------------------------- */

static void next_read(struct blk_req *req)
{
	struct blk *b = req->b;

	if (req->bounce)
		loop_read(b->dev.loop, &req->op, b->fd, req->bounce, min_t(uint32_t, req->left, BLK_BOUNCE_BYTES),
			  req->off);
	else
		loop_readv(b->dev.loop, &req->op, b->fd, req->iov, req->iov_n, req->off);
}

static void next_write(struct blk_req *req)
{
	struct blk *b = req->b;
	size_t n;

	if (req->bounce) {
		n = iov_get(req->iov, req->iov_n, 0, req->bounce, min_t(uint32_t, req->left, BLK_BOUNCE_BYTES));
		loop_write(b->dev.loop, &req->op, b->fd, req->bounce, n, req->off);
	} else {
		loop_writev(b->dev.loop, &req->op, b->fd, req->iov, req->iov_n, req->off);
	}
}

static void next_step(struct blk_req *req)
{
	struct blk *b = req->b;
	const struct blk_range *r;

	switch (req->step) {
	case BLK_READ: next_read(req); break;
	case BLK_WRITE: next_write(req); break;
	case BLK_SYNC: loop_fsync(b->dev.loop, &req->op, b->fd, true); break;
	case BLK_RANGES:
		r = &req->ranges[req->range_at];
		loop_fallocate(b->dev.loop, &req->op, b->fd, r->mode, r->off, r->len);
		break;
	}
	if (b->slot_fd >= 0)
		loop_not_added(b->dev.loop);
}

/* Data has moved; false: it all has. */
static bool data_left(struct blk_req *req, uint32_t moved)
{
	if (req->bounce && req->step == BLK_READ)
		iov_put(req->iov, req->iov_n, 0, req->bounce, moved);
	req->iov = iov_advance(req->iov, &req->iov_n, moved);
	req->off += moved;
	req->left -= moved;
	return req->left;
}

/* Without FLUSH negotiated the driver takes a write that ended for safe (5.2.6.2). */
static bool must_sync(struct blk_req *req)
{
	return req->step != BLK_READ && req->step != BLK_SYNC &&
	       !(req->b->dev.driver_features & (1ull << VIRTIO_BLK_F_FLUSH));
}

static void req_done(struct loop_op *op, int res)
{
	struct blk_req *req = container_of(op, struct blk_req, op);
	struct blk_range *r;

	if (req->b->resetting) {
		req_end(req, VIRTIO_BLK_S_IOERR);
		return;
	}
	if (res == -EINTR || res == -EAGAIN) {
		next_step(req);
		return;
	}
	if (req->step == BLK_RANGES && res == -EOPNOTSUPP) {
		r = &req->ranges[req->range_at];
		/* A file that can't zero in place (tmpfs) has zeroes in holes, too. */
		if (r->mode & FALLOC_FL_ZERO_RANGE) {
			r->mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
			next_step(req);
			return;
		}
	}
	/* 0 bytes moved: the file has become shorter. */
	if (res < 0 || (res == 0 && (req->step == BLK_READ || req->step == BLK_WRITE))) {
		req_end(req, status_of(res));
		return;
	}
	if (req->step == BLK_READ || req->step == BLK_WRITE) {
		if (data_left(req, min_t(uint32_t, res, req->left))) {
			next_step(req);
			return;
		}
	} else if (req->step == BLK_RANGES && ++req->range_at < req->ranges_n) {
		next_step(req);
		return;
	}
	if (must_sync(req)) {
		req->step = BLK_SYNC;
		next_step(req);
		return;
	}
	req_end(req, VIRTIO_BLK_S_OK);
}

/* ---- beginnings of requests --------------------------------------------------------------------------------------- */

/* sector + sectors lies on the disk; neither is trusted. */
static bool on_disk(const struct blk *b, uint64_t sector, uint64_t sectors)
{
	return sector <= b->sectors && sectors <= b->sectors - sector;
}

/* Would O_DIRECT take these segments? Each of them counts: a page's part each, they are 512 bytes at least. */
static bool is_aligned(const struct blk_req *req)
{
	const struct blk *b = req->b;
	unsigned int i;

	for (i = 0; i < req->iov_n; i++)
		if ((uintptr_t)req->iov[i].iov_base % b->align || req->iov[i].iov_len % b->block_align)
			return false;
	return true;
}

/* false: it is for the ring. The first write tells whether that would do without a worker thread. */
static bool write_now(struct blk_req *req)
{
	struct blk *b = req->b;
	ssize_t n = -EAGAIN;

	if (b->writes == BLK_WRITES_RING || !spot_ok(&b->spot, b->batch_ns))
		return false;
	if (b->writes == BLK_WRITES_NEW) {
		n = pwritev2(b->fd, req->iov, (int)req->iov_n, (off_t)req->off, RWF_NOWAIT);
		n = n < 0 ? -errno : n;
		b->writes = n == -EOPNOTSUPP ? BLK_WRITES_SPOT : BLK_WRITES_RING;
	}
	if (b->writes == BLK_WRITES_SPOT) {
		n = pwritev2(b->fd, req->iov, (int)req->iov_n, (off_t)req->off, 0);
		n = n < 0 ? -errno : n;
		spot_note(&b->spot, b->batch_ns, spot_tick_ns());
	}
	req_done(&req->op, (int)n); /* which goes on by the ring where something is left */
	return true;
}

static void begin_data(struct blk_req *req, uint64_t sector, uint32_t len, enum blk_step step)
{
	struct blk *b = req->b;

	if (len % BLK_SECTOR || !on_disk(b, sector, len / BLK_SECTOR) || (step == BLK_WRITE && b->read_only)) {
		req_end(req, VIRTIO_BLK_S_IOERR);
		return;
	}
	if (!len) {
		req_end(req, VIRTIO_BLK_S_OK);
		return;
	}
	if (b->block_align > 1 && !is_aligned(req)) {
		req->bounce = aligned_alloc(BLK_DIRECT_ALIGN, BLK_BOUNCE_BYTES);
		if (!req->bounce) {
			req_end(req, VIRTIO_BLK_S_IOERR);
			return;
		}
	}
	req->step = step;
	req->off = sector * BLK_SECTOR;
	req->left = len;
	if (step == BLK_READ || !write_now(req))
		next_step(req);
}

/* One range of a discard or write-zeroes request (5.2.6.2): status OK if it may be done. */
static uint8_t take_range(struct blk *b, struct blk_range *r, const struct virtio_blk_discard_write_zeroes *d,
			  bool zero)
{
	uint64_t sector = le64toh(d->sector);
	uint32_t sectors = le32toh(d->num_sectors), flags = le32toh(d->flags);

	if ((flags & ~(uint32_t)VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) || (!zero && flags))
		return VIRTIO_BLK_S_UNSUPP;
	if (!sectors || sectors > BLK_RANGE_SECTORS_MAX || !on_disk(b, sector, sectors))
		return VIRTIO_BLK_S_IOERR;
	r->off = sector * BLK_SECTOR;
	r->len = (uint64_t)sectors * BLK_SECTOR;
	r->mode = FALLOC_FL_KEEP_SIZE | (zero && !flags ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE);
	return VIRTIO_BLK_S_OK;
}

static void begin_ranges(struct blk_req *req, uint32_t len, bool zero)
{
	struct virtio_blk_discard_write_zeroes d[BLK_RANGES_MAX];
	unsigned int i;
	uint8_t status;

	if (req->b->read_only || !len || len % sizeof(d[0]) || len > sizeof(d)) {
		req_end(req, VIRTIO_BLK_S_IOERR);
		return;
	}
	iov_get(req->iov, req->iov_n, 0, d, len); /* before ranges[] takes the segments' place */
	req->ranges_n = len / sizeof(d[0]);
	req->range_at = 0;
	for (i = 0; i < req->ranges_n; i++) {
		status = take_range(req->b, &req->ranges[i], &d[i], zero);
		if (status != VIRTIO_BLK_S_OK) {
			req_end(req, status);
			return;
		}
	}
	req->step = BLK_RANGES;
	next_step(req);
}

static void begin(struct blk_req *req, const struct virtio_blk_outhdr *hdr, const struct virtq_chain *c)
{
	struct blk *b = req->b;
	uint32_t out_len = c->out_bytes - sizeof(*hdr), in_len = c->in_bytes - 1;
	unsigned int n;

	switch (le32toh(hdr->type)) {
	case VIRTIO_BLK_T_IN:
		req->iov = c->iov + c->out_n;
		req->iov_n = iov_truncate(req->iov, c->in_n, in_len);
		begin_data(req, le64toh(hdr->sector), in_len, BLK_READ);
		break;
	case VIRTIO_BLK_T_OUT: begin_data(req, le64toh(hdr->sector), out_len, BLK_WRITE); break;
	case VIRTIO_BLK_T_FLUSH:
		if (b->read_only) {
			req_end(req, VIRTIO_BLK_S_OK);
			break;
		}
		req->step = BLK_SYNC;
		next_step(req);
		break;
	case VIRTIO_BLK_T_GET_ID:
		n = min_t(uint32_t, in_len, sizeof(b->serial));
		iov_put(c->iov + c->out_n, c->in_n, 0, b->serial, n);
		req_end(req, VIRTIO_BLK_S_OK);
		break;
	case VIRTIO_BLK_T_DISCARD: begin_ranges(req, out_len, false); break;
	case VIRTIO_BLK_T_WRITE_ZEROES: begin_ranges(req, out_len, true); break;
	default: req_end(req, VIRTIO_BLK_S_UNSUPP); break;
	}
}

static struct blk_req *req_new(struct blk *b)
{
	struct blk_req *req = b->free;

	if (b->in_flight >= BLK_IN_FLIGHT_MAX)
		return NULL;
	if (req) {
		b->free = req->next_free;
	} else {
		req = malloc(sizeof(*req));
		if (!req)
			return NULL;
		req->b = b;
		req->bounce = NULL;
		loop_op_init(&req->op, req_done);
	}
	b->in_flight++;
	return req;
}

static void req_drop(struct blk_req *req)
{
	req->next_free = req->b->free;
	req->b->free = req;
	req->b->in_flight--;
}

/* Takes one request off the queue. false: none is there, or it can't be now. */
static bool take_request(struct blk *b, unsigned int queue)
{
	struct blk_req *req = req_new(b);
	struct virtio_blk_outhdr hdr;
	struct virtq_chain c;
	struct iovec *last;

	if (!req) {
		b->starved = b->in_flight > 0; /* the end of another one brings us back */
		if (!b->in_flight)
			virtio_broken(&b->dev, "no memory for a request");
		return false;
	}
	if (!virtio_pop(&b->dev, queue, &c, req->segments, ARRAY_SIZE(req->segments))) {
		req_drop(req);
		return false;
	}
	if (!c.in_n || iov_get(c.iov, c.out_n, 0, &hdr, sizeof(hdr)) != sizeof(hdr)) {
		req_drop(req);
		virtio_broken(&b->dev, "request without a header or a status");
		return false;
	}
	req->queue = queue;
	req->head = c.head;
	req->in_bytes = c.in_bytes;
	last = &c.iov[c.out_n + c.in_n - 1];
	req->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	req->iov_n = c.out_n;
	req->iov = iov_advance(c.iov, &req->iov_n, sizeof(hdr));
	begin(req, &hdr, &c);
	return true;
}

void blk_kick(struct virtio_device *dev, unsigned int queue)
{
	struct blk *b = to_blk(dev);
	struct virtq *vq = dev->vq[queue];
	unsigned int i;

	b->batch_ns = spot_tick_ns();
	virtq_kicks_off(vq);
	for (i = 0; i < BLK_QUEUE_SIZE && take_request(b, queue); i++)
		;
	/* Starved, it is the end of a request that goes on here, not a kick. */
	if (!b->starved && virtq_kicks_on(vq))
		virtio_kick_later(dev, queue);
}

void blk_free_requests(struct blk *b)
{
	struct blk_req *req;

	while ((req = b->free)) {
		b->free = req->next_free;
		free(req);
	}
}
