/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-blk (virtio 1.2, 5.2) over a raw file or block device, by the loop's io_uring. Data moves between the file and
 * guest memory without a copy; requests of all queues are in flight together, BLK_IN_FLIGHT_MAX at most. Writes to the page
 * cache of a file system that has no RWF_NOWAIT for them (ext4, tmpfs) are done on the spot: see io/spot.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "io/spot.h"
#include "virtio/devices.h"
#include "virtio/iov.h"

#define BLK_SECTOR 512u
#define BLK_QUEUE_SIZE 128u
#define BLK_SEGMENTS 126u		 /* of data; with header and status a chain fills the queue's size */
#define BLK_SIZE_MAX (1u << 20)		 /* of one segment, as told; larger ones work too */
#define BLK_IN_FLIGHT_MAX 128u		 /* 2 KiB each, made when first needed */
#define BLK_RANGES_MAX 16u		 /* of one discard or write-zeroes request */
#define BLK_RANGE_SECTORS_MAX (1u << 22) /* 2 GiB, so that a request doesn't keep the file busy for long */
#define BLK_BEST_MAX (1 << 20)
#define BLK_DIRECT_ALIGN 4096u	/* what O_DIRECT asks for where the host does not say: no file system asks for more */
#define BLK_BOUNCE_BYTES 32768u /* of one request; all that may be in flight have 4 MiB at most */
#define BLK_DISCARD_ALIGN 8u	/* sectors: a page of most file systems */

struct blk_range {
	uint64_t off, len;
	int mode; /* of fallocate */
};

enum blk_writes { BLK_WRITES_NEW, BLK_WRITES_RING, BLK_WRITES_SPOT };

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

struct blk {
	struct virtio_device dev;
	int fd;
	bool read_only, resetting, starved;
	uint64_t sectors;
	uint32_t align, block_align; /* of O_DIRECT: powers of two, for addresses and for lengths; 1: any will do */
	struct virtio_blk_config config;
	char serial[VIRTIO_BLK_ID_BYTES];

	enum blk_writes writes; /* how they are done; the first one shows */
	struct spot spot;
	uint64_t batch_ns; /* when the requests that are taken now began to be */
	unsigned int in_flight;
	struct blk_req *free;
	uint32_t unflushed; /* queues with entries that the driver doesn't see yet */
	struct loop_op flush_op;
};

static void req_done(struct loop_op *op, int res);

static struct blk *to_blk(struct virtio_device *dev)
{
	return container_of(dev, struct blk, dev);
}

/* ---- ends of requests -------------------------------------------------------------------------------------------- */

static void flush_done(struct loop_op *op, int res)
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

static void blk_kick(struct virtio_device *dev, unsigned int queue)
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

/* ---- device ------------------------------------------------------------------------------------------------------ */

static bool is_alignment(uint32_t v)
{
	return v && !(v & (v - 1)) && v <= BLK_DIRECT_ALIGN;
}

/* What O_DIRECT asks of addresses and of lengths here. */
static void find_alignment(struct blk *b)
{
	struct statx stx;

	b->align = b->block_align = BLK_DIRECT_ALIGN;
#ifdef STATX_DIOALIGN
	/* Linux 6.1 and file systems that tell. What is odd, or more than a page, is not believed. */
	if (!statx(b->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) && (stx.stx_mask & STATX_DIOALIGN) &&
	    is_alignment(stx.stx_dio_mem_align) && is_alignment(stx.stx_dio_offset_align)) {
		b->align = stx.stx_dio_mem_align;
		b->block_align = max_t(uint32_t, stx.stx_dio_offset_align, BLK_SECTOR);
	}
#endif
}

/* *best_bytes: what the file's own system likes its requests to be multiples of; 0: it does not say. */
static int find_size(struct blk *b, uint32_t flags, uint32_t *block_bytes, uint32_t *best_bytes, struct err *e)
{
	uint64_t bytes;
	struct stat st;
	unsigned int best;
	int ssz;

	b->align = b->block_align = 1;
	b->writes = BLK_WRITES_RING;
	if (fstat(b->fd, &st))
		return err_errno(e, errno, "blk: its file");
	if (flags & VMSPEC_BLK_DIRECT)
		find_alignment(b);
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(b->fd, BLKGETSIZE64, &bytes) || ioctl(b->fd, BLKSSZGET, &ssz))
			return err_errno(e, errno, "blk: size of the block device");
		*block_bytes = ssz;
		if (flags & VMSPEC_BLK_DIRECT)
			b->block_align = ssz;
		*best_bytes = ioctl(b->fd, BLKIOOPT, &best) ? 0 : best;
	} else if (S_ISREG(st.st_mode)) {
		bytes = st.st_size;
		if (!(flags & VMSPEC_BLK_DIRECT))
			b->writes = BLK_WRITES_NEW;
		*best_bytes = st.st_blksize > 0 && st.st_blksize <= BLK_BEST_MAX ? (uint32_t)st.st_blksize : 0;
		*block_bytes = max_t(uint32_t, *block_bytes, b->block_align);
	} else {
		return err_set(e, EINVAL, "blk: neither a regular file nor a block device");
	}
	if (!bytes || bytes % *block_bytes)
		return err_set(e, EINVAL,
			       "blk: a disk of %llu bytes is no multiple of its block size, %u; enlarge the file",
			       (unsigned long long)bytes, *block_bytes);
	b->sectors = bytes / BLK_SECTOR;
	return 0;
}

static void fill_config(struct blk *b, uint32_t block_bytes, uint32_t best_bytes)
{
	struct virtio_blk_config *c = &b->config;

	c->capacity = htole64(b->sectors);
	c->size_max = htole32(BLK_SIZE_MAX);
	c->seg_max = htole32(BLK_SEGMENTS);
	c->blk_size = htole32(block_bytes);
	c->physical_block_exp = __builtin_ctz(max_t(uint32_t, 4096 / block_bytes, 1));
	c->min_io_size = htole16(1);
	c->opt_io_size = htole32(best_bytes % block_bytes ? 0 : best_bytes / block_bytes);
	c->num_queues = htole16(b->dev.queues_n);
	c->max_discard_sectors = c->max_write_zeroes_sectors = htole32(BLK_RANGE_SECTORS_MAX);
	c->max_discard_seg = c->max_write_zeroes_seg = htole32(BLK_RANGES_MAX);
	c->discard_sector_alignment = htole32(BLK_DISCARD_ALIGN);
	c->write_zeroes_may_unmap = 1;
	b->dev.config_len_bytes = offsetof(struct virtio_blk_config, write_zeroes_may_unmap) + 4;
	b->dev.features = 1ull << VIRTIO_BLK_F_SIZE_MAX | 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE |
			  1ull << VIRTIO_BLK_F_TOPOLOGY;
	if (b->dev.queues_n > 1)
		b->dev.features |= 1ull << VIRTIO_BLK_F_MQ;
	b->dev.features |= b->read_only ? 1ull << VIRTIO_BLK_F_RO
					: 1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_DISCARD |
						  1ull << VIRTIO_BLK_F_WRITE_ZEROES;
}

static int blk_create(const struct vmspec_device *spec, struct virtio_device **out, struct err *e)
{
	struct blk *b = calloc(1, sizeof(*b));
	uint32_t block_bytes = BLK_SECTOR, best_bytes = 0;
	unsigned int i;
	int r;

	if (!b)
		return err_set(e, ENOMEM, "blk: no memory");
	b->fd = spec->blk.fd;
	b->read_only = spec->flags & VMSPEC_BLK_READONLY;
	memcpy(b->serial, spec->blk.serial, sizeof(b->serial));
	r = find_size(b, spec->flags, &block_bytes, &best_bytes, e);
	if (r < 0) {
		free(b);
		return r;
	}
	loop_op_init(&b->flush_op, flush_done);
	b->dev.ops = &virtio_blk;
	b->dev.queues_n = spec->blk.queues ? min_t(uint32_t, spec->blk.queues, VMSPEC_VCPUS_MAX) : 1;
	for (i = 0; i < b->dev.queues_n; i++)
		b->dev.queue_size[i] = BLK_QUEUE_SIZE;
	fill_config(b, block_bytes, best_bytes);
	*out = &b->dev;
	return 0;
}

static int blk_attach(struct virtio_device *dev, struct err *e)
{
	int r = loop_add_fd(dev->loop, to_blk(dev)->fd);

	return r < 0 ? err_errno(e, r, "blk: registering its file") : 0;
}

static void blk_config_read(struct virtio_device *dev, uint32_t offset, void *data, unsigned int len)
{
	memcpy(data, (const char *)&to_blk(dev)->config + offset, len);
}

static bool blk_reset(struct virtio_device *dev)
{
	struct blk *b = to_blk(dev);

	b->resetting = b->in_flight > 0;
	b->starved = false;
	b->unflushed = 0;
	return !b->in_flight;
}

static bool blk_quiesce(struct virtio_device *dev)
{
	struct blk *b = to_blk(dev);

	return !b->in_flight && !loop_op_busy(&b->flush_op);
}

static void blk_destroy(struct virtio_device *dev)
{
	struct blk *b = to_blk(dev);
	struct blk_req *req;

	while ((req = b->free)) {
		b->free = req->next_free;
		free(req);
	}
	close(b->fd);
	free(b);
}

const struct virtio_device_ops virtio_blk = {
	.name = "blk",
	.id = VMSPEC_BLK,
	.create = blk_create,
	.attach = blk_attach,
	.config_read = blk_config_read,
	.kick = blk_kick,
	.reset = blk_reset,
	.quiesce = blk_quiesce,
	.destroy = blk_destroy,
};
