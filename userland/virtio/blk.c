/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-blk (virtio 1.2, 5.2) over a raw file or block device, by the loop's io_uring. Data moves between the file and
 * guest memory without a copy; requests of all queues are in flight together, BLK_IN_FLIGHT_MAX at most. Writes to the page
 * cache of a file system that has no RWF_NOWAIT for them (ext4, tmpfs) are done on the spot: see io/spot.h.
 */
#include "virtio/blk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLK_SIZE_MAX (1u << 20) /* of one segment, as told; larger ones work too */
#define BLK_BEST_MAX (1 << 20)
#define BLK_DISCARD_ALIGN 8u /* sectors: a page of most file systems */

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

uint64_t blk_fill_config(struct blk *b, uint32_t block_bytes, uint32_t best_bytes)
{
	struct virtio_blk_config *c = &b->config;
	uint64_t features = 1ull << VIRTIO_BLK_F_SIZE_MAX | 1ull << VIRTIO_BLK_F_SEG_MAX |
			    1ull << VIRTIO_BLK_F_BLK_SIZE | 1ull << VIRTIO_BLK_F_TOPOLOGY;

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
	if (b->dev.queues_n > 1)
		features |= 1ull << VIRTIO_BLK_F_MQ;
	return features | (b->read_only ? 1ull << VIRTIO_BLK_F_RO
					: 1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_DISCARD |
						  1ull << VIRTIO_BLK_F_WRITE_ZEROES);
}

static int blk_create(const struct vmspec_device *spec, struct virtio_device **out, struct err *e)
{
	struct blk *b = calloc(1, sizeof(*b));
	uint32_t block_bytes = BLK_SECTOR, best_bytes = 0;
	unsigned int i;
	int r;

	if (!b)
		return err_set(e, ENOMEM, "blk: no memory");
	b->fd = b->slot_fd = -1;
	*(spec->flags & VMSPEC_BLK_SLOT ? &b->slot_fd : &b->fd) = spec->blk.fd;
	b->read_only = spec->flags & VMSPEC_BLK_READONLY;
	memcpy(b->serial, spec->blk.serial, sizeof(b->serial));
	b->align = b->block_align = 1;
	r = b->fd < 0 ? 0 : find_size(b, spec->flags, &block_bytes, &best_bytes, e);
	if (r < 0) {
		free(b);
		return r;
	}
	loop_op_init(&b->flush_op, blk_flush_done);
	b->dev.ops = &virtio_blk;
	b->dev.queues_n = spec->blk.queues ? min_t(uint32_t, spec->blk.queues, VMSPEC_VCPUS_MAX) : 1;
	for (i = 0; i < b->dev.queues_n; i++)
		b->dev.queue_size[i] = BLK_QUEUE_SIZE;
	b->dev.features = blk_fill_config(b, block_bytes, best_bytes);
	*out = &b->dev;
	return 0;
}

static int blk_attach(struct virtio_device *dev, struct err *e)
{
	const struct blk *b = to_blk(dev);
	int r = loop_add_fd(dev->loop, b->slot_fd >= 0 ? b->slot_fd : b->fd);

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

	return blk_slot_end(b) && !b->in_flight && !loop_op_busy(&b->flush_op);
}

static void blk_destroy(struct virtio_device *dev)
{
	struct blk *b = to_blk(dev);

	blk_free_requests(b);
	if (b->fd >= 0)
		close(b->fd);
	if (b->slot_fd >= 0)
		close(b->slot_fd);
	free(b);
}

const struct virtio_device_ops virtio_blk = {
	.name = "blk",
	.id = VMSPEC_BLK,
	.create = blk_create,
	.attach = blk_attach,
	.config_read = blk_config_read,
	.start = blk_slot_start,
	.kick = blk_kick,
	.reset = blk_reset,
	.quiesce = blk_quiesce,
	.destroy = blk_destroy,
};
