/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The module's vsock, without a virtual machine: this process is its owner, and with rings in its own memory the guest, too;
 * well behaved and not. `kmod-vsock` runs all cases, `kmod-vsock NAME…` those. Needs /dev/microvm.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kmod/uapi/microvm.h"
#include "virtio/vsock_packet.h"

#define GPA 0x100000u
#define MEM_BYTES (4u << 20)
#define SIZE 64u
#define RX_BYTES 4096u
#define CID 3u
#define PORT 1024u
#define TIMEOUT_MS 20000
#define BUF_ALLOC (64u << 10)
#define FEATURES (1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX)

#define check(x)                                                                                          \
	do {                                                                                              \
		if (!(x)) {                                                                               \
			fprintf(stderr, "%s:%d: %s (%s)\n", current_case, __LINE__, #x, strerror(errno)); \
			_exit(1);                                                                         \
		}                                                                                         \
	} while (0)

static const char *current_case = "";
static char *mem;
static int dev;

/* Where things are in memory: rings, then rx buffers, then what is sent. */
struct ring {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint32_t at;
	uint16_t seen;
	int kick, call;
};
static struct ring rx, tx;
#define RX_AT 0x10000u
#define TX_AT 0x100000u

struct guest {
	uint32_t forwarded, sent, buf_alloc;
};

static void ring_make(struct ring *r, uint32_t at)
{
	memset(mem + at, 0, 0x2000);
	*r = (struct ring){ .desc = (void *)(mem + at),
			    .avail = (void *)(mem + at + 0x800),
			    .used = (void *)(mem + at + 0x1000),
			    .at = at,
			    .kick = eventfd(0, EFD_CLOEXEC),
			    .call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
}

static void kick(struct ring *r)
{
	uint64_t one = 1;

	check(write(r->kick, &one, sizeof(one)) == sizeof(one));
}

static __virtio16 *avail_event(struct ring *r)
{
	return (__virtio16 *)(void *)&r->used->ring[SIZE];
}

/* As a driver has to: only when the device wants it. */
static void avail_push(struct ring *r, uint16_t head)
{
	uint16_t old = r->avail->idx;

	r->avail->ring[old % SIZE] = head;
	__atomic_store_n(&r->avail->idx, (uint16_t)(old + 1), __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (vring_need_event(*avail_event(r), (uint16_t)(old + 1), old))
		kick(r);
}

static struct microvm_queue queue_of(const struct ring *r)
{
	return (struct microvm_queue){ .desc_gpa = GPA + r->at,
				       .avail_gpa = GPA + r->at + 0x800,
				       .used_gpa = GPA + r->at + 0x1000,
				       .size = SIZE,
				       .kick_fd = r->kick,
				       .call_fd = r->call };
}

static void vsock_up(void)
{
	struct microvm_vsock v = { .guest_cid = CID, .features = FEATURES };
	uint16_t i;

	ring_make(&rx, 0);
	ring_make(&tx, 0x2000);
	for (i = 0; i < SIZE; i++) {
		rx.desc[i] = (struct vring_desc){ GPA + RX_AT + i * RX_BYTES, RX_BYTES, VRING_DESC_F_WRITE, 0 };
		avail_push(&rx, i);
	}
	v.rx = queue_of(&rx);
	v.tx = queue_of(&tx);
	check(!ioctl(dev, MICROVM_SET_VSOCK, &v));
}

static void vsock_down(void)
{
	check(!ioctl(dev, MICROVM_STOP_VSOCK, 0));
	close(rx.kick);
	close(rx.call);
	close(tx.kick);
	close(tx.call);
}

static void set_memory(void)
{
	struct microvm_memory m = { .regions_n = 1, .regions = { { GPA, MEM_BYTES, (uintptr_t)mem } } };

	check(!ioctl(dev, MICROVM_SET_MEMORY, &m));
}

static void up(void)
{
	dev = open(MICROVM_DEVICE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	check(dev >= 0);
	set_memory();
	vsock_up();
}

static void down(void)
{
	vsock_down();
	close(dev);
}

static void wait_for(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	check(poll(&p, 1, TIMEOUT_MS) == 1);
	check(p.revents & events);
}

/* ---- the guest ---- */

/* Sends without looking at credit. */
static void send_raw(const struct vsock_packet *p, const void *data, uint32_t bytes)
{
	uint16_t head = tx.avail->idx % SIZE;
	char *to = mem + TX_AT + head * 0x8000u;

	while ((uint16_t)(tx.avail->idx - __atomic_load_n(&tx.used->idx, __ATOMIC_ACQUIRE)) == SIZE)
		usleep(100);
	check(bytes <= 0x8000 - VSOCK_HDR_LEN);
	vsock_packet_encode(p, (uint8_t *)to);
	if (bytes)
		memcpy(to + VSOCK_HDR_LEN, data, bytes);
	tx.desc[head] = (struct vring_desc){ GPA + (uint32_t)(to - mem), VSOCK_HDR_LEN + bytes, 0, 0 };
	avail_push(&tx, head);
}

static struct vsock_packet packet(const struct guest *g, uint16_t op, uint32_t bytes)
{
	return (struct vsock_packet){ .src_cid = CID,
				      .dst_cid = VSOCK_HOST_CID,
				      .src_port = PORT,
				      .dst_port = 1,
				      .len_bytes = bytes,
				      .type = VIRTIO_VSOCK_TYPE_STREAM,
				      .op = op,
				      .buf_alloc = g->buf_alloc,
				      .fwd_cnt = g->forwarded };
}

static void guest_send(const struct guest *g, uint16_t op, uint32_t flags, const void *data, uint32_t bytes)
{
	struct vsock_packet p = packet(g, op, bytes);

	p.flags = flags;
	send_raw(&p, data, bytes);
}

/* The next packet; its payload is copied, its buffer given back. false: none within ms. */
static bool guest_receive_in(struct vsock_packet *p, void *data, int ms)
{
	struct pollfd call = { .fd = rx.call, .events = POLLIN };
	struct vring_used_elem e;
	uint64_t count;
	char *from;

	while (rx.seen == __atomic_load_n(&rx.used->idx, __ATOMIC_ACQUIRE)) {
		rx.avail->ring[SIZE] = rx.seen; /* used_event */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (rx.seen != __atomic_load_n(&rx.used->idx, __ATOMIC_ACQUIRE))
			break;
		if (poll(&call, 1, ms) != 1)
			return false;
		check(read(rx.call, &count, sizeof(count)) == sizeof(count));
	}
	e = rx.used->ring[rx.seen++ % SIZE];
	check(e.id < SIZE);
	from = mem + RX_AT + e.id * RX_BYTES;
	vsock_packet_decode(p, (uint8_t *)from);
	check(e.len == VSOCK_HDR_LEN + p->len_bytes);
	check(p->src_cid == VSOCK_HOST_CID && p->dst_cid == CID);
	if (data)
		memcpy(data, from + VSOCK_HDR_LEN, p->len_bytes);
	avail_push(&rx, (uint16_t)e.id);
	return true;
}

static struct vsock_packet guest_receive(uint16_t op, void *data)
{
	struct vsock_packet p;

	check(guest_receive_in(&p, data, TIMEOUT_MS));
	if (p.op != op)
		fprintf(stderr, "op %u, not %u\n", p.op, op);
	check(p.op == op);
	return p;
}

/* ---- the owner ---- */

static struct microvm_event event(uint32_t type)
{
	struct microvm_event e;

	wait_for(dev, POLLIN);
	check(read(dev, &e, sizeof(e)) == sizeof(e));
	if (e.type != type)
		fprintf(stderr, "event %u, reason %d\n", e.type, e.reason);
	check(e.type == type);
	return e;
}

static void no_event(void)
{
	struct microvm_event e;

	usleep(20000);
	check(read(dev, &e, sizeof(e)) < 0 && errno == EAGAIN);
}

static int attach(int fd, uint32_t port, const struct guest *g)
{
	struct microvm_flow f = { .guest_port = port,
				  .host_port = 1,
				  .cookie = 7,
				  .fd = fd,
				  .buf_alloc = BUF_ALLOC,
				  .peer_buf_alloc = g->buf_alloc };

	return ioctl(dev, MICROVM_ATTACH_FLOW, &f);
}

static int start(uint32_t port)
{
	struct microvm_flow_id id = { port, 1 };

	return ioctl(dev, MICROVM_START_FLOW, &id);
}

static void owner_send(uint16_t op)
{
	struct vsock_packet p = { .src_cid = VSOCK_HOST_CID,
				  .dst_cid = CID,
				  .src_port = 1,
				  .dst_port = PORT,
				  .type = VIRTIO_VSOCK_TYPE_STREAM,
				  .op = op,
				  .buf_alloc = BUF_ALLOC };
	uint8_t wire[VSOCK_HDR_LEN];

	vsock_packet_encode(&p, wire);
	check(write(dev, wire, sizeof(wire)) == (ssize_t)sizeof(wire));
}

static struct microvm_stats stats(void)
{
	struct microvm_stats s;

	check(!ioctl(dev, MICROVM_GET_STATS, &s));
	return s;
}

/* A connection that the guest asks for, over a socket pair whose other end is returned. */
static int connected(struct guest *g)
{
	struct vsock_packet p;
	struct microvm_event e;
	int pair[2];

	*g = (struct guest){ .buf_alloc = 256u << 10 };
	check(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	guest_send(g, VIRTIO_VSOCK_OP_REQUEST, 0, NULL, 0);
	e = event(MICROVM_EVENT_PACKET);
	vsock_packet_decode(&p, e.packet);
	check(p.op == VIRTIO_VSOCK_OP_REQUEST && p.src_port == PORT && p.dst_port == 1);
	check(!attach(pair[0], PORT, g));
	owner_send(VIRTIO_VSOCK_OP_RESPONSE);
	check(!start(PORT));
	close(pair[0]);
	guest_receive(VIRTIO_VSOCK_OP_RESPONSE, NULL);
	return pair[1];
}

/* All that the guest has sent, and what became of it. */
static void forget_events(void)
{
	struct microvm_event e;

	while (tx.avail->idx != __atomic_load_n(&tx.used->idx, __ATOMIC_ACQUIRE))
		usleep(100);
	while (read(dev, &e, sizeof(e)) > 0)
		;
}

static void end_is(int32_t reason)
{
	struct microvm_event e = event(MICROVM_EVENT_FLOW_END);

	if (e.reason != reason)
		fprintf(stderr, "reason %d, not %d\n", e.reason, reason);
	check(e.reason == reason && e.flow.cookie == 7);
}

static void until_no_flows(void)
{
	int i;

	for (i = 0; i < 200 && stats().flows; i++)
		usleep(10000);
	check(!stats().flows && !stats().pending_bytes);
}

/* ---- cases ---- */

static void test_refusals(void)
{
	struct microvm_memory m = { .regions_n = 1, .regions = { { GPA, MEM_BYTES, (uintptr_t)mem } } };
	struct microvm_vsock v = { .guest_cid = CID };
	struct guest g = { 0 };
	uint32_t features;
	int pair[2], status;
	pid_t pid;

	dev = open(MICROVM_DEVICE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	check(ioctl(dev, MICROVM_GET_VERSION, 0) == MICROVM_ABI_VERSION);
	check(!ioctl(dev, MICROVM_GET_FEATURES, &features) && (features & MICROVM_FEATURE_VSOCK));
	check(ioctl(dev, MICROVM_SET_VSOCK, &v) < 0 && errno == ENXIO);
	m.regions[0].user_addr = ~0xfffull;
	check(ioctl(dev, MICROVM_SET_MEMORY, &m) < 0 && errno == EFAULT);
	m.regions[0].gpa = ~0ull;
	check(ioctl(dev, MICROVM_SET_MEMORY, &m) < 0 && errno == EINVAL);
	m.regions_n = MICROVM_REGIONS_MAX + 1;
	check(ioctl(dev, MICROVM_SET_MEMORY, &m) < 0 && errno == EINVAL);
	set_memory();
	check(ioctl(dev, MICROVM_SET_MEMORY, &m) < 0 && errno == EBUSY);
	check(attach(0, PORT, &g) < 0 && errno == ENXIO);
	check(ioctl(dev, _IOW(MICROVM_IOC_MAGIC, 0x55, int), &v) < 0 && errno == ENOTTY);
	ring_make(&rx, 0);
	ring_make(&tx, 0x2000);
	v.rx = queue_of(&rx);
	v.tx = queue_of(&tx);
	v.tx.used_gpa = GPA + MEM_BYTES - 8;
	check(ioctl(dev, MICROVM_SET_VSOCK, &v) < 0 && errno == EFAULT);
	v.tx = queue_of(&tx);
	v.tx.size = 63;
	check(ioctl(dev, MICROVM_SET_VSOCK, &v) < 0 && errno == EINVAL);
	v.tx = queue_of(&tx);
	v.tx.kick_fd = 0;
	check(ioctl(dev, MICROVM_SET_VSOCK, &v) < 0 && (errno == EINVAL || errno == EBADF));
	vsock_up();
	check(ioctl(dev, MICROVM_SET_VSOCK, &v) < 0 && errno == EBUSY);
	check(attach(dev, PORT, &g) < 0 && errno == ENOTSOCK);
	check(attach(99, PORT, &g) < 0 && errno == EBADF);
	check(!socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	check(attach(pair[0], PORT, &g) < 0 && errno == ENOTSOCK);
	check(start(PORT) < 0 && errno == ENOENT);
	pid = fork();
	if (!pid)
		_exit(!(ioctl(dev, MICROVM_STOP_VSOCK, 0) < 0 && errno == EPERM));
	check(waitpid(pid, &status, 0) == pid && !status);
	down();
}

static void fill(char *to, uint32_t at, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++)
		to[i] = (char)((at + i) * 2654435761u >> 13);
}

/* One MiB each way at once, credit as it is given. */
static void test_payload(void)
{
	const uint32_t total = 1u << 20;
	uint32_t got_host = 0, sent_host = 0, got_guest = 0, sent_guest = 0, credit = BUF_ALLOC, fwd = 0, n;
	char buf[8192], expect[8192];
	struct vsock_packet p;
	struct guest g;
	ssize_t r;
	int host;

	up();
	host = connected(&g);
	while (got_host < total || got_guest < total) {
		while (sent_guest < total && sent_guest - fwd + sizeof(buf) <= credit) {
			fill(buf, sent_guest, sizeof(buf));
			guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, buf, sizeof(buf));
			sent_guest += sizeof(buf);
		}
		fill(buf, sent_host, sizeof(buf));
		r = sent_host < total ? send(host, buf, sizeof(buf), MSG_DONTWAIT) : 0;
		sent_host += r > 0 ? (uint32_t)r : 0;
		r = recv(host, buf, sizeof(buf), MSG_DONTWAIT);
		if (r > 0) {
			fill(expect, got_host, (uint32_t)r);
			check(!memcmp(buf, expect, (size_t)r));
			got_host += (uint32_t)r;
		}
		while (guest_receive_in(&p, buf, r > 0 ? 0 : 1)) {
			credit = p.buf_alloc;
			fwd = p.fwd_cnt;
			n = p.op == VIRTIO_VSOCK_OP_RW ? p.len_bytes : 0;
			fill(expect, got_guest, n);
			check(!memcmp(buf, expect, n));
			got_guest += n;
			g.forwarded += n;
			if (n && g.forwarded % 32 == 0)
				guest_send(&g, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
			if (p.op == VIRTIO_VSOCK_OP_CREDIT_REQUEST)
				guest_send(&g, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
		}
	}
	check(stats().to_guest_bytes == total && stats().from_guest_bytes == total);
	/* Half-closes: first the host's, then the guest's. */
	shutdown(host, SHUT_WR);
	p = guest_receive(VIRTIO_VSOCK_OP_SHUTDOWN, NULL);
	check(p.flags == VIRTIO_VSOCK_SHUTDOWN_SEND);
	guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, "last", 4);
	guest_send(&g, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
	check(recv(host, buf, 5, MSG_WAITALL) == 4 && !memcmp(buf, "last", 4));
	end_is(MICROVM_END_HOST_GONE);
	until_no_flows();
	close(host);
	down();
}

static void test_held(void)
{
	struct guest g = { .buf_alloc = 1000 };
	struct vsock_packet p;
	struct microvm_event e;
	char buf[64];
	int pair[2];

	up();
	check(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	check(!attach(pair[0], PORT, &g));
	check(attach(pair[0], PORT, &g) < 0 && errno == EEXIST);
	check(write(pair[1], "early", 5) == 5);
	owner_send(VIRTIO_VSOCK_OP_REQUEST);
	guest_receive(VIRTIO_VSOCK_OP_REQUEST, NULL);
	guest_send(&g, VIRTIO_VSOCK_OP_RESPONSE, 0, NULL, 0);
	guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, "payload", 7);
	guest_send(&g, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
	e = event(MICROVM_EVENT_PACKET);
	vsock_packet_decode(&p, e.packet);
	check(p.op == VIRTIO_VSOCK_OP_RESPONSE);
	no_event();
	check(recv(pair[1], buf, sizeof(buf), MSG_DONTWAIT) < 0);
	check(!guest_receive_in(&p, NULL, 20));
	check(write(pair[0], "OK\n", 3) == 3);
	check(!start(PORT));
	check(start(PORT) < 0 && errno == EBUSY);
	check(recv(pair[1], buf, 11, MSG_WAITALL) == 10 && !memcmp(buf, "OK\npayload", 10));
	p = guest_receive(VIRTIO_VSOCK_OP_RW, buf);
	check(p.len_bytes == 5 && !memcmp(buf, "early", 5));
	/* The host's end. */
	close(pair[0]);
	close(pair[1]);
	end_is(MICROVM_END_HOST_GONE);
	until_no_flows();
	down();
}

/* What the guest sent reaches a slow reader, though the flow is over; and more than its credit ends it. */
static void test_slow_host(void)
{
	char buf[8192], expect[8192];
	uint32_t sent = 0, got = 0;
	struct microvm_flow f = { .guest_port = PORT, .host_port = 1 };
	struct guest g;
	ssize_t r;
	int host;

	up();
	host = connected(&g);
	do {
		fill(buf, sent, sizeof(buf));
		guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, buf, sizeof(buf));
		sent += sizeof(buf);
		usleep(2000);
		check(!ioctl(dev, MICROVM_GET_FLOW, &f));
	} while (f.pending_bytes + sizeof(buf) <= BUF_ALLOC && sent < (4u << 20));
	check(f.pending_bytes && f.received - f.forwarded == f.pending_bytes);
	guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, buf, sizeof(buf));
	guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, buf, sizeof(buf));
	end_is(MICROVM_END_RULES);
	forget_events();
	check(ioctl(dev, MICROVM_GET_FLOW, &f) < 0 && errno == ENOENT);
	check(stats().flows == 1 && stats().pending_bytes);
	while ((r = recv(host, buf, sizeof(buf), 0)) > 0) {
		fill(expect, got, (uint32_t)r);
		if (got + (uint32_t)r <= sent)
			check(!memcmp(buf, expect, (size_t)r));
		got += (uint32_t)r;
	}
	check(r == 0 && got >= sent);
	until_no_flows();
	close(host);
	while (guest_receive_in(&(struct vsock_packet){ 0 }, NULL, 0))
		;
	/* Detached: the same. */
	host = connected(&g);
	for (sent = 0; sent < 8; sent++)
		guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, buf, sizeof(buf));
	usleep(50000);
	check(!ioctl(dev, MICROVM_DETACH_FLOW, &f));
	check(f.received == 8 * sizeof(buf) && f.peer_buf_alloc == 256u << 10);
	for (got = 0; (r = recv(host, buf, sizeof(buf), 0)) > 0;)
		got += (uint32_t)r;
	check(got == 8 * sizeof(buf));
	close(host);
	until_no_flows();
	down();
}

static void test_credit(void)
{
	struct vsock_packet p;
	struct guest g;
	char buf[4096];
	int host;

	up();
	/* A room that shrinks below what is under way stops the stream, and is asked about once. */
	host = connected(&g);
	g.buf_alloc = 100;
	guest_send(&g, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
	usleep(20000);
	memset(buf, 'x', sizeof(buf));
	check(write(host, buf, 1000) == 1000);
	p = guest_receive(VIRTIO_VSOCK_OP_RW, NULL);
	check(p.len_bytes == 100);
	g.buf_alloc = 10;
	guest_send(&g, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
	do
		check(guest_receive_in(&p, NULL, TIMEOUT_MS));
	while (p.op != VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	while (guest_receive_in(&p, NULL, 50))
		check(p.op == VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	/* A huge one is used no further than there is data. */
	g.buf_alloc = UINT32_MAX;
	guest_send(&g, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
	p = guest_receive(VIRTIO_VSOCK_OP_RW, NULL);
	check(p.len_bytes == 900);
	/* What was never sent can't have been forwarded. */
	g.forwarded = 1001;
	guest_send(&g, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
	end_is(MICROVM_END_RULES);
	close(host);
	/* And it can't be taken back. */
	host = connected(&g);
	check(write(host, buf, 1000) == 1000);
	guest_receive(VIRTIO_VSOCK_OP_RW, NULL);
	g.forwarded = 500;
	guest_send(&g, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
	g.forwarded = 499;
	guest_send(&g, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
	end_is(MICROVM_END_RULES);
	close(host);
	until_no_flows();
	down();
}

static void test_resets(void)
{
	struct guest g;
	char c;
	int host;

	up();
	host = connected(&g);
	guest_send(&g, VIRTIO_VSOCK_OP_RST, 0, NULL, 0);
	end_is(MICROVM_END_RESET);
	check(recv(host, &c, 1, 0) == 0);
	close(host);
	host = connected(&g);
	guest_send(&g, VIRTIO_VSOCK_OP_REQUEST, 0, NULL, 0);
	end_is(MICROVM_END_RULES);
	close(host);
	host = connected(&g);
	guest_send(&g, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
	guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, "x", 1);
	end_is(MICROVM_END_RULES);
	close(host);
	host = connected(&g);
	guest_send(&g, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
	check(recv(host, &c, 1, 0) == 0);
	no_event();
	guest_send(&g, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_RCV, NULL, 0);
	end_is(MICROVM_END_PEER_DONE);
	check(write(host, &c, 1) < 0 && errno == EPIPE);
	close(host);
	/* Of no flow: the owner's. Not from this guest: nobody's. */
	guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, "x", 1);
	event(MICROVM_EVENT_PACKET);
	until_no_flows();
	down();
}

static void test_pipe(void)
{
	struct guest g = { .buf_alloc = 1000 };
	int p[2];
	char buf[8];

	up();
	check(!pipe2(p, O_CLOEXEC));
	check(attach(p[0], PORT, &g) < 0 && errno == ENOTSOCK);
	check(!attach(p[1], PORT, &g));
	check(!start(PORT));
	close(p[1]);
	check(guest_receive(VIRTIO_VSOCK_OP_SHUTDOWN, NULL).flags == VIRTIO_VSOCK_SHUTDOWN_SEND);
	guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, "output", 6);
	guest_send(&g, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
	check(read(p[0], buf, sizeof(buf)) == 6 && !memcmp(buf, "output", 6));
	check(read(p[0], buf, sizeof(buf)) == 0);
	end_is(MICROVM_END_HOST_GONE);
	until_no_flows();
	close(p[0]);
	down();
}

static void test_connects(void)
{
	struct guest g;
	int i, host;

	up();
	for (i = 0; i < 10000; i++) {
		host = connected(&g);
		if (i % 2)
			check(write(host, "x", 1) == 1);
		if (i % 3)
			close(host);
		if (i % 2 == 0)
			guest_send(&g, VIRTIO_VSOCK_OP_RST, 0, NULL, 0);
		if (!(i % 3))
			close(host);
		event(MICROVM_EVENT_FLOW_END);
		forget_events();
		while (guest_receive_in(&(struct vsock_packet){ 0 }, NULL, 0))
			;
	}
	until_no_flows();
	down();
}

/* ---- a hostile guest ---- */

static void broken_by(struct vring_desc d, uint16_t head)
{
	tx.desc[0] = d;
	tx.avail->ring[tx.avail->idx % SIZE] = head;
	__atomic_store_n(&tx.avail->idx, (uint16_t)(tx.avail->idx + 1), __ATOMIC_RELEASE);
	kick(&tx);
	event(MICROVM_EVENT_BROKEN);
	check(!stats().pending_bytes);
	vsock_down();
	vsock_up();
}

static void test_broken_rings(void)
{
	struct vsock_packet p = {
		.src_cid = CID, .dst_cid = VSOCK_HOST_CID, .type = 1, .op = VIRTIO_VSOCK_OP_RW, .len_bytes = 100
	};

	up();
	broken_by((struct vring_desc){ GPA + TX_AT, 44, 0, 0 }, SIZE);
	broken_by((struct vring_desc){ GPA + TX_AT, 44, VRING_DESC_F_NEXT, 0 }, 0);
	broken_by((struct vring_desc){ GPA + TX_AT, 44, VRING_DESC_F_NEXT, SIZE }, 0);
	broken_by((struct vring_desc){ GPA + TX_AT, 0, 0, 0 }, 0);
	broken_by((struct vring_desc){ GPA - 1, 44, 0, 0 }, 0);
	broken_by((struct vring_desc){ GPA + MEM_BYTES - 10, 44, 0, 0 }, 0);
	broken_by((struct vring_desc){ ~0ull, 44, 0, 0 }, 0);
	broken_by((struct vring_desc){ GPA + TX_AT, 43, 0, 0 }, 0);
	broken_by((struct vring_desc){ GPA + TX_AT, 44, VRING_DESC_F_WRITE, 0 }, 0);
	broken_by((struct vring_desc){ GPA + TX_AT, 17, VRING_DESC_F_INDIRECT, 0 }, 0);
	broken_by((struct vring_desc){ GPA, 16, VRING_DESC_F_INDIRECT, 0 }, 0);
	vsock_packet_encode(&p, (uint8_t *)mem + TX_AT);
	broken_by((struct vring_desc){ GPA + TX_AT, 143, 0, 0 }, 0);
	tx.avail->idx = 999;
	broken_by((struct vring_desc){ GPA + TX_AT, 44, 0, 0 }, 0);
	down();
}

/* Memory that goes away below the module, and rings that are one another. */
static void test_lost_memory(void)
{
	struct microvm_vsock v = { .guest_cid = CID };
	struct guest g;
	int host;

	up();
	host = connected(&g);
	check(!mprotect(mem + RX_AT, SIZE * RX_BYTES, PROT_NONE));
	check(write(host, "x", 1) == 1);
	event(MICROVM_EVENT_BROKEN);
	check(!mprotect(mem + RX_AT, SIZE * RX_BYTES, PROT_READ | PROT_WRITE));
	close(host);
	vsock_down();
	ring_make(&rx, 0);
	ring_make(&tx, 0x2000);
	v.rx = queue_of(&rx);
	v.tx = queue_of(&tx);
	v.tx.desc_gpa = v.tx.avail_gpa = v.tx.used_gpa = v.rx.used_gpa = v.rx.desc_gpa;
	check(!ioctl(dev, MICROVM_SET_VSOCK, &v));
	kick(&tx);
	kick(&rx);
	usleep(20000);
	down();
}

/* Random rings and packets, kicks without end: the module goes on, and lets go of all. */
static void test_storm(void)
{
	const char *seed = getenv("KMOD_SEED");
	struct microvm_event e[8];
	struct guest g;
	int i, j, host = -1;

	srandom(seed ? (unsigned int)atoi(seed) : 1);
	up();
	for (i = 0; i < 3000; i++) {
		if (host < 0)
			host = connected(&g);
		for (j = 0; j < 20; j++) {
			long what = random();
			uint32_t at = (uint32_t)random() % 0x4000;

			if (what % 4 == 0)
				mem[at] = (char)random();
			else if (what % 4 == 1)
				kick(what & 64 ? &rx : &tx);
			else if (what % 4 == 2)
				(void)!send(host, mem, (size_t)what % 5000, MSG_DONTWAIT | MSG_NOSIGNAL);
			else
				mem[TX_AT + at % 256] = (char)random();
		}
		if (i % 100 == 99) {
			while (read(dev, e, sizeof(e)) > 0)
				;
			close(host);
			host = -1;
			vsock_down();
			vsock_up();
		}
	}
	down();
}

/* ---- ends ---- */

/* The owner is killed in the midst of it, while another process has the session's file open still. */
static void test_kill(void)
{
	char buf[4096] = "";
	struct microvm_flow f = { .guest_port = PORT, .host_port = 1 };
	int pair[2], ready[2], i, n, status;
	pid_t pid;

	for (i = 0; i < 20; i++) {
		dev = open(MICROVM_DEVICE, O_RDWR | O_CLOEXEC);
		check(dev >= 0);
		check(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair) && !pipe(ready));
		pid = fork();
		if (!pid) {
			struct guest g = { .buf_alloc = i < 10 ? 1u << 20 : 10 };

			set_memory();
			vsock_up();
			check(!attach(pair[0], PORT, &g));
			if (i % 4)
				check(!start(PORT));
			close(pair[0]);
			close(pair[1]);
			if (i % 3 == 0)
				guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, buf, sizeof(buf));
			if (i % 5 == 0)
				guest_send(&g, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
			check(write(ready[1], "x", 1) == 1);
			for (;;)
				guest_send(&g, VIRTIO_VSOCK_OP_RW, 0, buf, 64);
		}
		close(pair[0]);
		check(read(ready[0], buf, 1) == 1);
		(void)!send(pair[1], buf, sizeof(buf), MSG_DONTWAIT | MSG_NOSIGNAL);
		usleep(i * 500);
		kill(pid, SIGKILL);
		check(waitpid(pid, &status, 0) == pid);
		/* It has let go of the socket, and serves nobody. */
		while ((n = (int)recv(pair[1], buf, sizeof(buf), 0)) > 0)
			;
		check(n == 0 || errno == ECONNRESET);
		check(ioctl(dev, MICROVM_GET_FLOW, &f) < 0 && errno == ESHUTDOWN);
		close(dev);
		close(pair[1]);
		close(ready[0]);
		close(ready[1]);
	}
}

/* The session's own file in a socket that it holds: nobody else has it, and still all is let go of. */
static void test_cycle(void)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	struct iovec iov = { .iov_base = (char *)"x", .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf)
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	struct guest g = { 0 };
	int pair[2];

	up();
	check(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	check(!attach(pair[0], PORT, &g));
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &dev, sizeof(int));
	check(sendmsg(pair[1], &msg, 0) == 1);
	close(pair[0]);
	close(pair[1]);
	close(dev);
}

static const struct {
	const char *name;
	void (*fn)(void);
} cases[] = {
	{ "refusals", test_refusals },
	{ "payload", test_payload },
	{ "held", test_held },
	{ "slow_host", test_slow_host },
	{ "credit", test_credit },
	{ "resets", test_resets },
	{ "pipe", test_pipe },
	{ "connects", test_connects },
	{ "broken_rings", test_broken_rings },
	{ "lost_memory", test_lost_memory },
	{ "storm", test_storm },
	{ "kill", test_kill },
	{ "cycle", test_cycle },
};

int main(int argc, char **argv)
{
	size_t i;
	int k, wanted, status, failed = 0;
	pid_t pid;

	signal(SIGPIPE, SIG_IGN);
	mem = mmap(NULL, MEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (wanted = argc < 2, k = 1; k < argc; k++)
			wanted |= !strcmp(argv[k], cases[i].name);
		if (!wanted)
			continue;
		pid = fork();
		if (!pid) {
			current_case = cases[i].name;
			alarm(400);
			cases[i].fn();
			_exit(0);
		}
		waitpid(pid, &status, 0);
		printf("%s %s\n", status ? "FAILED" : "ok", cases[i].name);
		fflush(stdout);
		failed += !!status;
	}
	return failed != 0;
}
