/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel module's walk of rings, its cutting of segments, its packets and its credit, as they are in the module, on
 * memory that a hostile guest writes. What stands for the kernel here is above the two includes.
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define __user
#define U16_MAX UINT16_MAX
#define U32_MAX UINT32_MAX
#define is_power_of_2(n) ((n) && !((n) & ((n)-1)))
#define min(a, b) ((a) < (b) ? (a) : (b))
#define smp_rmb() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define smp_wmb() __atomic_thread_fence(__ATOMIC_RELEASE)
#define smp_mb() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define __virtio16_to_cpu(le, v) le16toh(v)
#define __virtio32_to_cpu(le, v) le32toh(v)
#define __virtio64_to_cpu(le, v) le64toh(v)
#define __cpu_to_virtio16(le, v) htole16(v)
#define __cpu_to_virtio32(le, v) htole32(v)
#define le16_to_cpu le16toh
#define le32_to_cpu le32toh
#define le64_to_cpu le64toh
#define cpu_to_le16 htole16
#define cpu_to_le32 htole32
#define cpu_to_le64 htole64
#define access_ok(p, n) ((p) != NULL)
/* All that the module reaches goes through these: outside of guest memory is the end. */
#define copy_from_user(to, from, n) (must_be_guest(from, n), memcpy(to, from, n), 0ul)
#define copy_to_user(to, from, n) (must_be_guest(to, n), memcpy(to, from, n), 0ul)
#define get_user(v, p) (must_be_guest(p, sizeof(*(p))), memcpy(&(v), p, sizeof(*(p))), 0)
#define put_user(v, p) (must_be_guest(p, sizeof(*(p))), *(p) = (v), 0)

static void must_be_guest(const void *p, size_t n);

/* NOLINTBEGIN(bugprone-suspicious-include): they are built for this kernel of ours */
#include "kmod/ring.c"
#include "kmod/packet.c"
/* NOLINTEND(bugprone-suspicious-include) */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LOW_GPA 0x1000u
#define LOW_BYTES 0x2000u
#define HIGH_GPA 0x100000000ull
#define HIGH_BYTES 0x1000u
#define SEGMENTS 6u
#define ORDERS_MAX 300

static uint8_t *low, *high;

static bool in(const uint8_t *region, size_t bytes, const void *p, size_t n)
{
	const uint8_t *at = p;

	return at >= region && n <= bytes && (size_t)(at - region) <= bytes - n;
}

static void must_be_guest(const void *p, size_t n)
{
	if (!in(low, LOW_BYTES, p, n) && !in(high, HIGH_BYTES, p, n))
		abort();
}

struct input {
	const uint8_t *at, *end;
};

static uint64_t take(struct input *i, unsigned int bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | (i->at < i->end ? *i->at++ : 0);
	return v;
}

static void check_chain(const struct ring *r, const struct ring_chain *c, struct input *in)
{
	struct iovec cut[SEGMENTS], *at = cut;
	uint64_t out = 0, all = 0, left = 0;
	size_t skip = take(in, 2), len = take(in, 2);
	char buf[256];
	unsigned int n, k;

	if (c->out_n + c->in_n > SEGMENTS || c->out_n + c->in_n > r->size || c->head >= r->size)
		abort();
	for (n = 0; n < c->out_n + c->in_n; n++) {
		must_be_guest(c->iov[n].iov_base, c->iov[n].iov_len);
		all += c->iov[n].iov_len;
		out += n < c->out_n ? c->iov[n].iov_len : 0;
	}
	if (out != c->out_bytes || all - out != c->in_bytes)
		abort();
	memcpy(cut, c->iov, n * sizeof(cut[0]));
	n = iov_cut(&at, n, skip, len);
	for (k = 0; k < n; k++) {
		must_be_guest(at[k].iov_base, at[k].iov_len);
		left += at[k].iov_len;
	}
	if (left != (all <= skip ? 0 : min(len, all - skip)))
		abort();
	if (iov_read(buf, c->iov, c->out_n, min(len, sizeof(buf))) != (out < min(len, sizeof(buf)) ? -EFAULT : 0))
		abort();
	iov_write(c->iov + c->out_n, c->in_n, buf, min(len, 64));
}

/* No count is ever past what it counts, whatever the guest says. */
static void credit(struct credit *c, const struct packet *p, struct input *in)
{
	uint32_t free_bytes;

	credit_heard(c, p->buf_alloc, p->fwd_cnt);
	credit_receive(c, p->len);
	if (c->received - c->forwarded > c->buf_alloc || !credit_sane(c))
		abort();
	c->forwarded += (uint32_t)take(in, 2) % (c->received - c->forwarded + 1);
	if (credit_tell(c))
		c->told = c->forwarded;
	free_bytes = credit_free(c);
	if (free_bytes && c->sent - c->peer_forwarded + free_bytes > c->peer_buf_alloc)
		abort();
	c->sent += free_bytes ? (uint32_t)take(in, 4) % free_bytes : 0;
}

static void order(struct ring *r, struct credit *c, struct input *in)
{
	struct iovec iov[SEGMENTS];
	struct virtio_vsock_hdr wire, again;
	struct ring_chain chain;
	struct packet p;
	uint8_t what = (uint8_t)take(in, 1);
	uint16_t at;

	switch (what % 8) {
	case 0:
	case 1:
		if (ring_pop(r, &chain, iov, what & 8 ? SEGMENTS : 2) > 0) {
			check_chain(r, &chain, in);
			if (what & 16)
				ring_unpop(r, 1);
			else
				ring_push(r, chain.head, chain.in_bytes);
		}
		break;
	case 2: ring_flush(r); break;
	case 3: ring_kicks_off(r); break;
	case 4: ring_kicks_on(r); break;
	case 5: /* the guest writes */
		at = (uint16_t)take(in, 2) % (LOW_BYTES - 8);
		memcpy(low + at, &(uint64_t){ take(in, 8) }, 8);
		break;
	case 6: /* and makes available */
		at = (uint16_t)(r->last_avail + what / 8);
		memcpy(&r->avail->idx, &at, 2);
		break;
	default:
		memcpy(&wire, low + take(in, 2) % (LOW_BYTES - sizeof(wire)), sizeof(wire));
		packet_decode(&p, &wire);
		packet_encode(&p, &again);
		if (memcmp(&wire, &again, sizeof(wire)))
			abort();
		credit(c, &p, in);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	struct microvm_memory memory = { .regions_n = 2 };
	struct microvm_queue q = { 0 };
	struct mem_map map;
	struct ring r;
	struct credit c = { 0 };
	int i;

	low = calloc(1, LOW_BYTES);
	high = calloc(1, HIGH_BYTES);
	memory.regions[0] = (struct microvm_region){ LOW_GPA, LOW_BYTES, (uintptr_t)low };
	memory.regions[1] = (struct microvm_region){ HIGH_GPA, HIGH_BYTES, (uintptr_t)high };
	if (!low || !high || mem_map_init(&map, &memory))
		abort();
	q.size = 1u << take(&in, 1) % 12;
	q.desc_gpa = LOW_GPA + take(&in, 2) * 16;
	q.avail_gpa = LOW_GPA + take(&in, 2) * 2;
	q.used_gpa = LOW_GPA + take(&in, 2) * 4;
	c.buf_alloc = 4096u << take(&in, 1) % 9;
	if (!ring_init(&r, &map, &q, take(&in, 1) << VIRTIO_RING_F_INDIRECT_DESC)) {
		/* Descriptors that mean something, as far as the input goes. */
		for (i = 0; i < 16 && i < (int)q.size; i++) {
			r.desc[i].addr = htole64(LOW_GPA + 0x1000 + take(&in, 2) % 0x1100);
			r.desc[i].len = htole32((uint32_t)take(&in, 2) % 0x400);
			r.desc[i].flags = htole16((uint16_t)take(&in, 1) & 7);
			r.desc[i].next = htole16((uint16_t)take(&in, 1) % 17);
		}
		for (i = 0; i < ORDERS_MAX && in.at < in.end; i++)
			order(&r, &c, &in);
	}
	free(low);
	free(high);
	return 0;
}
