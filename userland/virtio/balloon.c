/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-balloon (virtio 1.2, 5.5): memory that the guest can do without goes back to the host, by two ways. The balloon
 * proper: the host says how many pages the guest is to give up, and the guest names them. Free page reporting: the guest
 * names what is free by itself, 2 MiB and more at a time, and takes it back by touching it.
 *
 * What a guest names is looked up in its own memory and nowhere else; a page that it was not done with is its own loss.
 * Where the kernel's module has the queues of pages (balloon_module.c), the same happens there.
 * Free page hinting is not offered: a guest may take a hinted page back before the hint is read, which is fine for who
 * copies memory and no good to who throws it away.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "virtio/balloon.h"
#include "virtio/iov.h"

#define BALLOON_QUEUE_SIZE 128u
#define BALLOON_SEGMENTS 64u	    /* Linux reports up to 32 pieces at a time */
#define BALLOON_PFNS_MAX (1u << 12) /* of one request, which takes a call each at worst; Linux names 256 */
#define BALLOON_PFNS_CHUNK 256u
#define BALLOON_STATS_BYTES_MAX 1024u /* a row has 10 */
#define BALLOON_BATCH 16u	      /* requests before other devices have their turn: one may take a while */
#define BALLOON_STATS_NS (500ull * 1000000)

static struct balloon *to_balloon(struct virtio_device *dev)
{
	return container_of(dev, struct balloon, dev);
}

/* ---- pages -------------------------------------------------------------------------------------------------------- */

/* Pages [first, end) go back to the host; what is not the guest's memory is passed over (5.5.6.2 leaves that open). */
static void give_back(struct balloon *b, uint64_t first, uint64_t end)
{
	const uint64_t len = (end - first) * BALLOON_PAGE;
	void *hva = guest_mem_slice(b->dev.mem, first * BALLOON_PAGE, len);
	int r;

	if (!len)
		return;
	r = hva ? guest_mem_release(b->dev.mem, hva, len) : -EFAULT;
	if (r)
		log_guest("balloon: pages 0x%llx to 0x%llx: %s", (unsigned long long)first, (unsigned long long)end,
			  strerror(-r));
	else
		b->returned_bytes += len;
}

/* Neighbours, in whichever order they are named, go in one call. */
static void inflate(struct balloon *b, const struct virtq_chain *c)
{
	__le32 pfns[BALLOON_PFNS_CHUNK];
	uint64_t first = 0, end = 0, at;
	size_t skip = 0, n, i;

	while ((n = iov_get(c->iov, c->out_n, skip, pfns, sizeof(pfns)) / sizeof(pfns[0]))) {
		for (i = 0; i < n; i++) {
			at = le32toh(pfns[i]);
			if (at == end && end > first) {
				end++;
			} else if (at + 1 == first && end > first) {
				first--;
			} else {
				give_back(b, first, end);
				first = at;
				end = at + 1;
			}
		}
		skip += n * sizeof(pfns[0]);
	}
	give_back(b, first, end);
}

/* Free pages, as buffers that we may write to. One that is poisoned would find zeroes when it takes them back. */
static void take_report(struct balloon *b, const struct virtq_chain *c)
{
	const struct iovec *iov = c->iov + c->out_n;
	unsigned int i;

	if (balloon_poisoned(b))
		return;
	for (i = 0; i < c->in_n; i++) {
		if (guest_mem_release(b->dev.mem, iov[i].iov_base, iov[i].iov_len))
			continue;
		b->returned_bytes += iov[i].iov_len;
		b->reported_bytes += iov[i].iov_len;
	}
}

static void serve_pages(struct balloon *b, unsigned int queue)
{
	struct virtq *vq = b->dev.vq[queue];
	struct iovec iov[BALLOON_SEGMENTS];
	struct virtq_chain c;
	unsigned int i;

	virtq_kicks_off(vq);
	for (i = 0; i < BALLOON_BATCH && virtio_pop(&b->dev, queue, &c, iov, BALLOON_SEGMENTS); i++) {
		if (queue == b->reporting_queue ? c.out_n > 0 : c.in_n > 0 || c.out_bytes > 4 * BALLOON_PFNS_MAX) {
			virtio_broken(&b->dev, "a request that is written to where it is read, or too long");
			return;
		}
		if (queue == b->reporting_queue)
			take_report(b, &c);
		else if (queue == BALLOON_INFLATE)
			inflate(b, &c);
		/* Deflated pages are there as soon as they are touched. */
		virtq_push(vq, c.head, 0);
	}
	virtio_flush(&b->dev, queue);
	if (virtq_kicks_on(vq))
		virtio_kick_later(&b->dev, queue);
}

/* ---- who asks on the host ------------------------------------------------------------------------------------------ */

static void drop_client(struct balloon_client *c)
{
	if (c->fd >= 0)
		close(c->fd); /* nobody else holds it, so it leaves the set of epoll, too */
	*c = (struct balloon_client){ .fd = -1 };
}

static void answer(struct balloon *b, struct balloon_client *c, int error, bool fresh)
{
	const uint64_t given = guest_mem_bytes(b->dev.mem);
	struct balloon_answer a = {
		.error = error,
		.flags = (b->active ? BALLOON_DRIVER : 0) | (fresh ? BALLOON_FRESH : 0),
		.given_bytes = given,
		.target_bytes = given - atomic_load(&b->target_pages) * BALLOON_PAGE,
		.held_bytes = atomic_load(&b->actual_pages) * BALLOON_PAGE,
		.touched_bytes = guest_mem_touched(b->dev.mem),
		.returned_bytes = b->returned_bytes,
		.reported_bytes = b->reported_bytes,
	};
	struct iovec iov = { &a, sizeof(a) };
	const struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	balloon_module_count(b, &a.returned_bytes, &a.reported_bytes);
	memcpy(a.stats, b->stats, sizeof(a.stats));
	/* One who has gone doesn't hear it. */
	if (sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_debug("balloon: %s", strerror(errno));
	drop_client(c);
}

static void answer_waiting(struct balloon *b, bool fresh)
{
	unsigned int i;

	for (i = 0; i < BALLOON_CLIENTS_MAX; i++)
		if (b->clients[i].waits)
			answer(b, &b->clients[i], 0, fresh);
}

static void stats_late(struct loop_op *op, int res)
{
	if (!res)
		answer_waiting(container_of(op, struct balloon, stats_timer), false);
}

/* The driver left us a buffer, whose return is the question (5.5.6.3). */
static void ask_stats(struct balloon *b, struct balloon_client *c)
{
	if (!b->has_stats_buffer && !b->stats_asked) {
		answer(b, c, 0, false);
		return;
	}
	c->waits = true;
	if (!b->stats_asked) {
		b->has_stats_buffer = false;
		b->stats_asked = true;
		virtq_push(b->dev.vq[b->stats_queue], b->stats_head, 0);
		virtio_flush(&b->dev, b->stats_queue);
	}
	if (!loop_op_busy(&b->stats_timer))
		loop_timer(b->dev.loop, &b->stats_timer, BALLOON_STATS_NS);
}

void balloon_retarget(struct balloon *b)
{
	const uint64_t bytes = b->asked_bytes - b->pressure.taken_bytes;

	atomic_store(&b->target_pages, (uint32_t)((guest_mem_bytes(b->dev.mem) - bytes) / BALLOON_PAGE));
	virtio_config_changed(&b->dev);
}

/* What pressure has taken is in it, as far as it goes; it takes more if it needs more. */
static int set_target(struct balloon *b, uint64_t bytes)
{
	const uint64_t given = guest_mem_bytes(b->dev.mem), held = b->asked_bytes - b->pressure.taken_bytes;

	if (bytes % BALLOON_PAGE || bytes > given)
		return -EINVAL;
	b->asked_bytes = bytes;
	b->pressure.taken_bytes = b->pressure.taken_bytes && bytes > held ? bytes - held : 0;
	balloon_retarget(b);
	return 0;
}

static void take_client_request(struct balloon *b, struct balloon_client *c)
{
	struct balloon_request req;
	struct iovec iov = { &req, sizeof(req) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n = recvmsg(c->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != sizeof(req) || (msg.msg_flags & MSG_TRUNC))
		drop_client(c);
	else if (req.op == BALLOON_TARGET)
		answer(b, c, set_target(b, req.target_bytes), false);
	else if (req.op == BALLOON_STATE)
		ask_stats(b, c);
	else
		answer(b, c, -EOPNOTSUPP, false);
}

static void watch_clients(struct balloon *b)
{
	loop_poll(b->dev.loop, &b->news_op, b->epoll_fd, POLLIN);
}

static void client_news(struct loop_op *op, int res)
{
	struct balloon *b = container_of(op, struct balloon, news_op);
	struct epoll_event events[BALLOON_CLIENTS_MAX + 2];
	int i, n;

	if (b->ending)
		return;
	n = epoll_wait(b->epoll_fd, events, ARRAY_SIZE(events), 0);
	for (i = 0; i < n; i++) {
		struct balloon_client *c = events[i].data.ptr;

		if (events[i].data.ptr == &b->module_fd) {
			balloon_module_news(b);
			continue;
		}
		if (events[i].data.ptr == &b->pressure) {
			balloon_pressure_rung(b);
			continue;
		}

		/* One that waits has nothing more to say: it has gone. */
		if (c->waits)
			drop_client(c);
		else if (c->fd >= 0)
			take_client_request(b, c);
	}
	watch_clients(b);
}

/* One that says nothing makes room for the next: the oldest goes. */
static void add_client(struct balloon *b, int fd)
{
	struct balloon_client *c = &b->clients[0];
	struct epoll_event ev = { .events = EPOLLIN };
	unsigned int i;

	for (i = 0; i < BALLOON_CLIENTS_MAX; i++)
		if (b->clients[i].fd < 0 || (c->fd >= 0 && b->clients[i].since < c->since))
			c = &b->clients[i];
	drop_client(c);
	ev.data.ptr = c;
	if (epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, fd, &ev)) {
		close(fd);
		return;
	}
	*c = (struct balloon_client){ .fd = fd, .since = ++b->clients_n };
}

static void listen_for_clients(struct balloon *b)
{
	if (b->listen_fd >= 0)
		loop_accept(b->dev.loop, &b->accept_op, b->listen_fd);
}

static void accepted(struct loop_op *op, int fd)
{
	struct balloon *b = container_of(op, struct balloon, accept_op);

	if (b->ending) {
		if (fd >= 0)
			close(fd);
		return;
	}
	if (fd >= 0)
		add_client(b, fd);
	else if (fd != -EINTR && fd != -ECONNABORTED && fd != -EAGAIN) {
		log_error("balloon: accepting on its socket: %s", strerror(-fd));
		return;
	}
	listen_for_clients(b);
}

/* ---- statistics from the guest -------------------------------------------------------------------------------------- */

static void take_stats(struct balloon *b, const struct virtq_chain *c)
{
	static const uint16_t tags[BALLOON_STATS_N] = {
		[BALLOON_STAT_SWAP_IN] = VIRTIO_BALLOON_S_SWAP_IN,
		[BALLOON_STAT_SWAP_OUT] = VIRTIO_BALLOON_S_SWAP_OUT,
		[BALLOON_STAT_MAJOR_FAULTS] = VIRTIO_BALLOON_S_MAJFLT,
		[BALLOON_STAT_MINOR_FAULTS] = VIRTIO_BALLOON_S_MINFLT,
		[BALLOON_STAT_FREE] = VIRTIO_BALLOON_S_MEMFREE,
		[BALLOON_STAT_TOTAL] = VIRTIO_BALLOON_S_MEMTOT,
		[BALLOON_STAT_AVAILABLE] = VIRTIO_BALLOON_S_AVAIL,
		[BALLOON_STAT_CACHES] = VIRTIO_BALLOON_S_CACHES,
	};
	uint8_t bytes[BALLOON_STATS_BYTES_MAX];
	size_t n = iov_get(c->iov, c->out_n, 0, bytes, sizeof(bytes)), at, i;

	for (at = 0; at + sizeof(struct virtio_balloon_stat) <= n; at += sizeof(struct virtio_balloon_stat)) {
		struct virtio_balloon_stat stat;

		memcpy(&stat, bytes + at, sizeof(stat));
		for (i = 0; i < BALLOON_STATS_N; i++)
			if (tags[i] == le16toh(stat.tag))
				b->stats[i] = le64toh(stat.val);
	}
}

static void serve_stats(struct balloon *b)
{
	struct iovec iov[BALLOON_SEGMENTS];
	struct virtq_chain c;

	if (!virtio_pop(&b->dev, b->stats_queue, &c, iov, BALLOON_SEGMENTS)) {
		virtq_kicks_on(b->dev.vq[b->stats_queue]);
		return;
	}
	/* There is one buffer, which goes to and fro. */
	if (c.in_n || b->has_stats_buffer) {
		virtio_broken(&b->dev, "statistics that are written to, or a second buffer for them");
		return;
	}
	take_stats(b, &c);
	b->has_stats_buffer = true;
	b->stats_head = c.head;
	if (b->stats_asked) {
		b->stats_asked = false;
		answer_waiting(b, true);
	}
	if (virtq_kicks_on(b->dev.vq[b->stats_queue]))
		virtio_kick_later(&b->dev, b->stats_queue);
}

/* ---- device --------------------------------------------------------------------------------------------------------- */

/* What it reads from besides clients: the module, and its bell. */
static int watch_module(struct balloon *b)
{
	struct epoll_event module = { .events = EPOLLIN, .data.ptr = &b->module_fd };
	struct epoll_event bell = { .events = EPOLLIN, .data.ptr = &b->pressure };

	if (b->module_fd >= 0 && epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, b->module_fd, &module))
		return -errno;
	if (b->pressure.bell_fd >= 0 && epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, b->pressure.bell_fd, &bell))
		return -errno;
	return 0;
}

static int balloon_create(const struct vmspec_device *spec, struct virtio_device **out, struct err *e)
{
	struct balloon *b = calloc(1, sizeof(*b));
	unsigned int i;

	if (!b)
		return err_set(e, ENOMEM, "balloon: no memory");
	b->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (b->epoll_fd < 0) {
		free(b);
		return err_errno(e, errno, "balloon: epoll");
	}
	b->listen_fd = spec->balloon.listen_fd;
	b->module_fd = spec->balloon.module_fd;
	if (balloon_pressure_init(b, spec->balloon.min_bytes) || watch_module(b)) {
		balloon_pressure_end(b);
		close(b->epoll_fd);
		free(b);
		return err_errno(e, errno, "balloon: the kernel module");
	}
	for (i = 0; i < BALLOON_CLIENTS_MAX; i++)
		b->clients[i].fd = -1;
	for (i = 0; i < BALLOON_STATS_N; i++)
		b->stats[i] = BALLOON_UNKNOWN;
	loop_op_init(&b->accept_op, accepted);
	loop_op_init(&b->news_op, client_news);
	loop_op_init(&b->stats_timer, stats_late);
	b->dev.ops = &virtio_balloon;
	b->dev.queues_n = BALLOON_QUEUES;
	for (i = 0; i < BALLOON_QUEUES; i++)
		b->dev.queue_size[i] = BALLOON_QUEUE_SIZE;
	/* Without statistics reports come by the queue of those, which stays ours. */
	if (b->module_fd >= 0)
		b->dev.external_queues = 1u << BALLOON_INFLATE | 1u << BALLOON_DEFLATE | 1u << BALLOON_REPORTING;
	b->dev.features = 1ull << VIRTIO_BALLOON_F_STATS_VQ | 1ull << VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
			  1ull << VIRTIO_BALLOON_F_PAGE_POISON | 1ull << VIRTIO_BALLOON_F_REPORTING;
	b->dev.config_len_bytes = sizeof(struct virtio_balloon_config);
	*out = &b->dev;
	return 0;
}

static int balloon_attach(struct virtio_device *dev, struct err *e)
{
	struct balloon *b = to_balloon(dev);
	int r = loop_add_fd(dev->loop, b->epoll_fd);

	b->asked_bytes = guest_mem_bytes(dev->mem);
	if (!r && b->listen_fd >= 0)
		r = loop_add_fd(dev->loop, b->listen_fd);
	return r < 0 ? err_errno(e, r, "balloon: registering its sockets") : 0;
}

static void balloon_config_read(struct virtio_device *dev, uint32_t offset, void *data, unsigned int len)
{
	struct balloon *b = to_balloon(dev);
	const struct virtio_balloon_config config = {
		.num_pages = htole32(atomic_load(&b->target_pages)),
		.actual = htole32(atomic_load(&b->actual_pages)),
		.poison_val = htole32(atomic_load(&b->poison)),
	};

	memcpy(data, (const char *)&config + offset, len);
}

static void balloon_config_write(struct virtio_device *dev, uint32_t offset, const void *data, unsigned int len)
{
	struct balloon *b = to_balloon(dev);
	__le32 value;

	/* Two words are the driver's; it writes them whole (4.2.2.2). */
	if (len != sizeof(value))
		return;
	memcpy(&value, data, sizeof(value));
	if (offset == offsetof(struct virtio_balloon_config, actual))
		atomic_store(&b->actual_pages, le32toh(value));
	else if (offset == offsetof(struct virtio_balloon_config, poison_val))
		atomic_store(&b->poison, le32toh(value));
}

static void balloon_start(struct virtio_device *dev)
{
	listen_for_clients(to_balloon(dev));
	watch_clients(to_balloon(dev));
}

static int balloon_activate(struct virtio_device *dev)
{
	struct balloon *b = to_balloon(dev);
	const bool stats = dev->driver_features & (1ull << VIRTIO_BALLOON_F_STATS_VQ);
	const bool reporting = dev->driver_features & (1ull << VIRTIO_BALLOON_F_REPORTING);

	/* Queues of what wasn't agreed on don't exist, and those behind them move up (Linux and QEMU have it so). */
	b->stats_queue = stats ? BALLOON_STATS : BALLOON_QUEUES;
	b->reporting_queue = !reporting ? BALLOON_QUEUES : stats ? BALLOON_REPORTING : BALLOON_STATS;
	if (b->module_fd >= 0) {
		const bool first = !b->module_has_memory;
		const int r = balloon_module_start(b);

		if (r)
			return r;
		if (first)
			balloon_pressure_start(b);
	}
	b->active = true;
	return 0;
}

static void balloon_kick(struct virtio_device *dev, unsigned int queue)
{
	struct balloon *b = to_balloon(dev);

	if (queue == b->stats_queue)
		serve_stats(b);
	else if (queue == b->reporting_queue || queue <= BALLOON_DEFLATE)
		serve_pages(b, queue);
}

static bool balloon_reset(struct virtio_device *dev)
{
	struct balloon *b = to_balloon(dev);

	/* A driver that starts anew has nothing in its balloon; the target stays. */
	balloon_module_stop(b);
	b->active = b->has_stats_buffer = b->stats_asked = false;
	atomic_store(&b->actual_pages, 0);
	atomic_store(&b->poison, 0);
	answer_waiting(b, false);
	return true;
}

static bool balloon_quiesce(struct virtio_device *dev)
{
	struct balloon *b = to_balloon(dev);
	unsigned int i;

	if (!b->ending) {
		b->ending = true;
		loop_cancel(dev->loop, &b->accept_op);
		loop_cancel(dev->loop, &b->news_op);
		loop_cancel(dev->loop, &b->stats_timer);
		loop_cancel(dev->loop, &b->pressure.timer);
		for (i = 0; i < BALLOON_CLIENTS_MAX; i++)
			drop_client(&b->clients[i]);
	}
	return !loop_op_busy(&b->accept_op) && !loop_op_busy(&b->news_op) && !loop_op_busy(&b->stats_timer) &&
	       !loop_op_busy(&b->pressure.timer);
}

static void balloon_destroy(struct virtio_device *dev)
{
	struct balloon *b = to_balloon(dev);

	if (b->listen_fd >= 0)
		close(b->listen_fd);
	balloon_pressure_end(b);
	if (b->module_fd >= 0)
		close(b->module_fd);
	close(b->epoll_fd);
	free(b);
}

const struct virtio_device_ops virtio_balloon = {
	.name = "balloon",
	.id = VMSPEC_BALLOON,
	.create = balloon_create,
	.attach = balloon_attach,
	.config_read = balloon_config_read,
	.config_write = balloon_config_write,
	.start = balloon_start,
	.activate = balloon_activate,
	.kick = balloon_kick,
	.reset = balloon_reset,
	.quiesce = balloon_quiesce,
	.destroy = balloon_destroy,
};
