/* SPDX-License-Identifier: Apache-2.0 */
/* The guest and the owner that kmod-vsock's cases are made of. */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "tests/e2e/kmod-vsock.h"

#define FEATURES (1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX)

const char *current_case = "";
char *mem;
int dev;

struct ring rx, tx;

void ring_make(struct ring *r, uint32_t at)
{
	memset(mem + at, 0, 0x2000);
	*r = (struct ring){ .desc = (void *)(mem + at),
			    .avail = (void *)(mem + at + 0x800),
			    .used = (void *)(mem + at + 0x1000),
			    .at = at,
			    .kick = eventfd(0, EFD_CLOEXEC),
			    .call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
}

void kick(struct ring *r)
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

struct microvm_queue queue_of(const struct ring *r)
{
	return (struct microvm_queue){ .desc_gpa = GPA + r->at,
				       .avail_gpa = GPA + r->at + 0x800,
				       .used_gpa = GPA + r->at + 0x1000,
				       .size = SIZE,
				       .kick_fd = r->kick,
				       .call_fd = r->call };
}

void vsock_up(void)
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

void vsock_down(void)
{
	check(!ioctl(dev, MICROVM_STOP_VSOCK, 0));
	close(rx.kick);
	close(rx.call);
	close(tx.kick);
	close(tx.call);
}

void set_memory(void)
{
	struct microvm_memory m = { .regions_n = 1, .regions = { { GPA, MEM_BYTES, (uintptr_t)mem } } };

	check(!ioctl(dev, MICROVM_SET_MEMORY, &m));
}

void up(void)
{
	dev = open(MICROVM_DEVICE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	check(dev >= 0);
	set_memory();
	vsock_up();
}

void down(void)
{
	vsock_down();
	close(dev);
}

void wait_for(int fd, short events)
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
				      .type = g->seq ? VIRTIO_VSOCK_TYPE_SEQPACKET : VIRTIO_VSOCK_TYPE_STREAM,
				      .op = op,
				      .buf_alloc = g->buf_alloc,
				      .fwd_cnt = g->forwarded };
}

void guest_send(const struct guest *g, uint16_t op, uint32_t flags, const void *data, uint32_t bytes)
{
	struct vsock_packet p = packet(g, op, bytes);

	p.flags = flags;
	send_raw(&p, data, bytes);
}

bool guest_receive_in(struct vsock_packet *p, void *data, int ms)
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

struct vsock_packet guest_receive(uint16_t op, void *data)
{
	struct vsock_packet p;

	check(guest_receive_in(&p, data, TIMEOUT_MS));
	if (p.op != op)
		fprintf(stderr, "op %u, not %u\n", p.op, op);
	check(p.op == op);
	return p;
}

/* ---- the owner ---- */

struct microvm_event event(uint32_t type)
{
	struct microvm_event e;

	wait_for(dev, POLLIN);
	check(read(dev, &e, sizeof(e)) == sizeof(e));
	if (e.type != type)
		fprintf(stderr, "event %u, reason %d\n", e.type, e.reason);
	check(e.type == type);
	return e;
}

void no_event(void)
{
	struct microvm_event e;

	usleep(20000);
	check(read(dev, &e, sizeof(e)) < 0 && errno == EAGAIN);
}

int attach(int fd, uint32_t port, const struct guest *g)
{
	struct microvm_flow f = { .guest_port = port,
				  .host_port = 1,
				  .cookie = 7,
				  .fd = fd,
				  .buf_alloc = BUF_ALLOC,
				  .peer_buf_alloc = g->buf_alloc };

	return ioctl(dev, MICROVM_ATTACH_FLOW, &f);
}

int start(uint32_t port)
{
	struct microvm_flow_id id = { port, 1 };

	return ioctl(dev, MICROVM_START_FLOW, &id);
}

void owner_send(uint16_t op)
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

struct microvm_stats stats(void)
{
	struct microvm_stats s;

	check(!ioctl(dev, MICROVM_GET_STATS, &s));
	return s;
}

int connected(struct guest *g)
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

void forget_events(void)
{
	struct microvm_event e;

	while (tx.avail->idx != __atomic_load_n(&tx.used->idx, __ATOMIC_ACQUIRE))
		usleep(100);
	while (read(dev, &e, sizeof(e)) > 0)
		;
}

void end_is(int32_t reason)
{
	struct microvm_event e = event(MICROVM_EVENT_FLOW_END);

	if (e.reason != reason)
		fprintf(stderr, "reason %d, not %d\n", e.reason, reason);
	check(e.reason == reason && e.flow.cookie == 7);
}

void until_no_flows(void)
{
	int i;

	for (i = 0; i < 200 && stats().flows; i++)
		usleep(10000);
	check(!stats().flows && !stats().pending_bytes);
}

void fill(char *to, uint32_t at, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++)
		to[i] = (char)((at + i) * 2654435761u >> 13);
}
