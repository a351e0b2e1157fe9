/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-pmem (virtio 1.2, 5.19): a file that the guest has as memory, so that its file system (EROFS, DAX) runs programs
 * from the host's page cache and keeps no copy of its own. What is not read-only is synced when the driver asks for it.
 */
#include <errno.h>
#include <linux/virtio_pmem.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "virtio/devices.h"
#include "virtio/iov.h"

#define PMEM_QUEUE 0
#define PMEM_QUEUE_SIZE 64u
#define PMEM_SEGMENTS 8u
#define PMEM_ALIGN (2ull << 20) /* Linux adds such memory by subsections of 2 MiB, no less */
#define PMEM_PAGE 4096ull

struct pmem {
	struct virtio_device dev;
	int fd;
	bool resetting;
	void *reserved; /* what was mapped to find room for an aligned window */
	uint64_t reserved_bytes;
	/* The one flush under way; those behind it wait in the queue. */
	struct loop_op op;
	uint16_t head;
	uint32_t in_bytes;
	struct iovec reply[PMEM_SEGMENTS];
	unsigned int reply_n;
};

static struct pmem *to_pmem(struct virtio_device *dev)
{
	return container_of(dev, struct pmem, dev);
}

/*
 * The file, and behind its last page zeroes up to the next 2 MiB: a guest that reads there must not find the end of a
 * mapping, which would be the end of its VMM. At a multiple of 2 MiB here as there, so that the host can map huge pages
 * of the page cache into the guest, on file systems that have such.
 */
static int map_file(struct pmem *p, uint64_t file_bytes, struct err *e)
{
	const int prot = p->dev.window.read_only ? PROT_READ : PROT_READ | PROT_WRITE;
	const uint64_t bytes = ALIGN_UP(file_bytes, PMEM_ALIGN);
	void *all = mmap(NULL, bytes + PMEM_ALIGN, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (all == MAP_FAILED)
		return err_errno(e, errno, "pmem: address space for %llu MiB", (unsigned long long)(bytes >> 20));
	p->reserved = all;
	p->reserved_bytes = bytes + PMEM_ALIGN;
	all = (void *)ALIGN_UP((uintptr_t)all, (uintptr_t)PMEM_ALIGN);
	if (mmap(all, ALIGN_UP(file_bytes, PMEM_PAGE), prot, MAP_SHARED | MAP_FIXED, p->fd, 0) == MAP_FAILED)
		return err_errno(e, errno, "pmem: mapping its file");
	p->dev.window.hva = all;
	p->dev.window.len_bytes = bytes;
	return 0;
}

static int open_file(struct pmem *p, struct err *e)
{
	struct stat st;

	if (fstat(p->fd, &st))
		return err_errno(e, errno, "pmem: its file");
	if (!S_ISREG(st.st_mode) || st.st_size <= 0)
		return err_set(e, EINVAL, "pmem: not a regular file with something in it");
	/* What is written behind the end of the file would be lost without a word. */
	if (!p->dev.window.read_only && (uint64_t)st.st_size % PMEM_ALIGN)
		return err_set(e, EINVAL, "pmem: a writable file of %lld bytes is no multiple of 2 MiB; enlarge it",
			       (long long)st.st_size);
	return map_file(p, (uint64_t)st.st_size, e);
}

static void pmem_destroy(struct virtio_device *dev)
{
	struct pmem *p = to_pmem(dev);

	if (p->reserved)
		munmap(p->reserved, p->reserved_bytes);
	close(p->fd);
	free(p);
}

/* ---- requests ----------------------------------------------------------------------------------------------------- */

static void flush_end(struct pmem *p, bool ok)
{
	const struct virtio_pmem_resp resp = { .ret = htole32(ok ? 0 : 1) };

	iov_put(p->reply, p->reply_n, 0, &resp, sizeof(resp));
	virtq_push(p->dev.vq[PMEM_QUEUE], p->head, min_t(uint32_t, p->in_bytes, sizeof(resp)));
}

static void flush_done(struct loop_op *op, int res)
{
	struct pmem *p = container_of(op, struct pmem, op);

	if (p->resetting) {
		p->resetting = false;
		virtio_reset_done(&p->dev);
		return;
	}
	flush_end(p, !res);
	virtio_flush(&p->dev, PMEM_QUEUE);
	virtio_kick_later(&p->dev, PMEM_QUEUE);
}

/* false: none is there, or one that breaks the device. */
static bool take_request(struct pmem *p)
{
	struct iovec iov[PMEM_SEGMENTS];
	struct virtio_pmem_req req;
	struct virtq_chain c;

	if (!virtio_pop(&p->dev, PMEM_QUEUE, &c, iov, PMEM_SEGMENTS))
		return false;
	if (iov_get(c.iov, c.out_n, 0, &req, sizeof(req)) != sizeof(req) ||
	    c.in_bytes < sizeof(struct virtio_pmem_resp)) {
		virtio_broken(&p->dev, "request without a type or room for the answer");
		return false;
	}
	p->head = c.head;
	p->in_bytes = c.in_bytes;
	p->reply_n = c.in_n;
	memcpy(p->reply, c.iov + c.out_n, c.in_n * sizeof(p->reply[0]));
	if (le32toh(req.type) != VIRTIO_PMEM_REQ_TYPE_FLUSH)
		flush_end(p, false);
	else if (p->dev.window.read_only)
		flush_end(p, true);
	else
		loop_fsync(p->dev.loop, &p->op, p->fd, true);
	return true;
}

static void pmem_kick(struct virtio_device *dev, unsigned int queue)
{
	struct pmem *p = to_pmem(dev);
	unsigned int i;

	for (i = 0; i < PMEM_QUEUE_SIZE && !loop_op_busy(&p->op) && take_request(p); i++)
		;
	virtio_flush(dev, queue);
	if (!loop_op_busy(&p->op) && virtq_kicks_on(dev->vq[queue]))
		virtio_kick_later(dev, queue);
}

/* ---- device ------------------------------------------------------------------------------------------------------- */

static int pmem_create(const struct vmspec_device *spec, struct virtio_device **out, struct err *e)
{
	struct pmem *p = calloc(1, sizeof(*p));

	if (!p)
		return err_set(e, ENOMEM, "pmem: no memory");
	p->fd = spec->pmem.fd;
	p->dev.ops = &virtio_pmem;
	p->dev.queues_n = 1;
	p->dev.queue_size[PMEM_QUEUE] = PMEM_QUEUE_SIZE;
	p->dev.config_len_bytes = sizeof(struct virtio_pmem_config);
	p->dev.window.read_only = spec->flags & VMSPEC_PMEM_READONLY;
	loop_op_init(&p->op, flush_done);
	if (open_file(p, e)) {
		pmem_destroy(&p->dev);
		return -e->code;
	}
	*out = &p->dev;
	return 0;
}

static int pmem_attach(struct virtio_device *dev, struct err *e)
{
	int r = loop_add_fd(dev->loop, to_pmem(dev)->fd);

	return r < 0 ? err_errno(e, r, "pmem: registering its file") : 0;
}

static void pmem_config_read(struct virtio_device *dev, uint32_t offset, void *data, unsigned int len)
{
	const struct virtio_pmem_config config = {
		.start = htole64(dev->window.gpa),
		.size = htole64(dev->window.len_bytes),
	};

	memcpy(data, (const char *)&config + offset, len);
}

static bool pmem_reset(struct virtio_device *dev)
{
	struct pmem *p = to_pmem(dev);

	p->resetting = loop_op_busy(&p->op);
	return !p->resetting;
}

static bool pmem_quiesce(struct virtio_device *dev)
{
	return !loop_op_busy(&to_pmem(dev)->op);
}

const struct virtio_device_ops virtio_pmem = {
	.name = "pmem",
	.id = VMSPEC_PMEM,
	.create = pmem_create,
	.attach = pmem_attach,
	.config_read = pmem_config_read,
	.kick = pmem_kick,
	.reset = pmem_reset,
	.quiesce = pmem_quiesce,
	.destroy = pmem_destroy,
};
