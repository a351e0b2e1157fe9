/* SPDX-License-Identifier: Apache-2.0 */
/* The queue walk, by way of the smallest device and by itself. */
#include <pthread.h>
#include <stdatomic.h>

#include "tests/unit/virtio_mmio_fixture.h"
#include "virtio/iov.h"
#include "virtio/virtq.h"

Suite *test_suite(void);

/* ---- hostile rings ---- */

static void expect_broken(void)
{
	drv_kick(&d, 0);
	ck_assert(drv_wait(&d, drv_is_broken, NULL));
	ck_assert_uint_eq(drv_interrupt(&d) & VIRTIO_MMIO_INT_CONFIG, VIRTIO_MMIO_INT_CONFIG);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG, 0);
	ck_assert_uint_eq(drv_used_idx(&d, 0), d.q[0].used_seen);
	/* It is well again after a reset. */
	drv_up(&d, 1, 8, DRV_FEATURES);
	ck_assert(!drv_broken(&d));
	expect_entropy();
}

START_TEST(survives_descriptors_outside_of_memory)
{
	static const struct {
		uint64_t gpa;
		uint32_t len;
	} bad[] = {
		{ DRV_MEM, 1 },		{ DRV_MEM - 1, 2 },	  { UINT64_MAX, 1 },  { UINT64_MAX - 3, 8 },
		{ 0x1000, UINT32_MAX }, { GUEST_HOLE_START, 16 }, { 1ull << 63, 16 }, { DRV_DATA, 0 },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		drv_up(&d, 1, 8, DRV_FEATURES);
		drv_add(&d, 0, &(struct drv_buf){ bad[i].gpa, bad[i].len, true }, 1);
		expect_broken();
	}
}
END_TEST

START_TEST(survives_cycles)
{
	drv_up(&d, 1, 8, DRV_FEATURES);
	d.q[0].desc[0] = (struct vring_desc){ DRV_DATA, 16, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 0 };
	drv_avail(&d, 0, 0);
	expect_broken();
	drv_up(&d, 1, 8, DRV_FEATURES);
	d.q[0].desc[0] = (struct vring_desc){ DRV_DATA, 16, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1 };
	d.q[0].desc[1] = (struct vring_desc){ DRV_DATA, 16, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 0 };
	drv_avail(&d, 0, 0);
	expect_broken();
}
END_TEST

START_TEST(survives_indices_past_the_ring)
{
	drv_up(&d, 1, 8, DRV_FEATURES);
	drv_avail(&d, 0, 8);
	expect_broken();
	drv_up(&d, 1, 8, DRV_FEATURES);
	drv_avail(&d, 0, UINT16_MAX);
	expect_broken();
	drv_up(&d, 1, 8, DRV_FEATURES);
	d.q[0].desc[0] = (struct vring_desc){ DRV_DATA, 16, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 8 };
	drv_avail(&d, 0, 0);
	expect_broken();
	drv_up(&d, 1, 8, DRV_FEATURES);
	d.q[0].avail_idx += 8; /* nine entries in a ring of eight */
	drv_avail(&d, 0, 0);
	expect_broken();
	drv_up(&d, 1, 8, DRV_FEATURES);
	d.q[0].avail_idx -= 2; /* and a step back */
	drv_avail(&d, 0, 0);
	expect_broken();
}
END_TEST

static void indirect(uint64_t gpa, uint32_t len, uint16_t flags)
{
	drv_avail(&d, 0, drv_desc(&d, 0, gpa, len, VRING_DESC_F_INDIRECT | flags, 1));
}

START_TEST(follows_indirect_tables)
{
	struct vring_desc *t = drv_at(&d, DRV_DATA + 0x1008); /* 8: tables need no alignment */

	drv_up(&d, 1, 8, DRV_FEATURES);
	t[0] = (struct vring_desc){ DRV_DATA, 24, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 2 };
	t[1] = (struct vring_desc){ UINT64_MAX, 1, VRING_DESC_F_WRITE, 0 }; /* not in the chain */
	t[2] = (struct vring_desc){ DRV_DATA + 64, 8, VRING_DESC_F_WRITE, 0 };
	indirect(DRV_DATA + 0x1008, 3 * 16, VRING_DESC_F_WRITE); /* 2.7.5.3.2: the flag is ignored there */
	drv_kick(&d, 0);
	ck_assert_int_eq(drv_next_used(&d, 0, NULL), 24);
	/* Normal descriptors, then a table (2.7.5.3.2). */
	d.q[0].desc[1] = (struct vring_desc){ DRV_DATA, 16, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 2 };
	d.q[0].desc[2] = (struct vring_desc){ DRV_DATA + 0x1008, 48, VRING_DESC_F_INDIRECT, 0 };
	drv_avail(&d, 0, 1);
	drv_kick(&d, 0);
	ck_assert_int_eq(drv_next_used(&d, 0, NULL), 16);
	ck_assert(!drv_broken(&d));
}
END_TEST

START_TEST(survives_indirect_tables_of_every_wrong_kind)
{
	const uint64_t at = DRV_DATA + 0x1000;
	struct vring_desc *t = drv_at(&d, at);
	int i;

	for (i = 0; i < 9; i++) {
		drv_up(&d, 1, 8, i == 8 ? 1ull << VIRTIO_F_VERSION_1 : DRV_FEATURES);
		memset(t, 0, 0x1000);
		t[0] = (struct vring_desc){ DRV_DATA, 16, VRING_DESC_F_WRITE, 0 };
		switch (i) {
		case 0: indirect(at, 0, 0); break;
		case 1: indirect(at, 17, 0); break;
		case 2: indirect(DRV_MEM - 16, 32, 0); break;
		case 3: indirect(at, 16, VRING_DESC_F_NEXT); break;
		case 4: indirect(at, 0xfffffff0, 0); break;
		case 5: /* a table in a table */
			t[0] = (struct vring_desc){ at, 16, VRING_DESC_F_INDIRECT, 0 };
			indirect(at, 16, 0);
			break;
		case 6: /* a cycle */
			t[0] = (struct vring_desc){ DRV_DATA, 16, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 0 };
			indirect(at, 16, 0);
			break;
		case 7: /* next past the table */
			t[0] = (struct vring_desc){ DRV_DATA, 16, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1 };
			indirect(at, 16, 0);
			break;
		default: indirect(at, 16, 0); break; /* not negotiated */
		}
		expect_broken();
	}
}
END_TEST

START_TEST(survives_wrong_directions)
{
	const struct drv_buf order[] = { { DRV_DATA, 16, true }, { DRV_DATA, 16, false } };

	drv_up(&d, 1, 8, DRV_FEATURES);
	drv_add(&d, 0, order, 2);
	expect_broken();
	drv_up(&d, 1, 8, DRV_FEATURES);
	drv_add(&d, 0, &order[1], 1); /* entropy has nothing to read */
	expect_broken();
}
END_TEST

START_TEST(a_storm_of_kicks_is_harmless)
{
	int i;

	drv_up(&d, 1, 16, DRV_FEATURES);
	for (i = 0; i < 1000; i++) {
		drv_kick(&d, 0);
		if (i % 10 == 0)
			loop_run_once(d.loop, false);
	}
	expect_entropy();
	for (i = 0; i < 200; i++)
		expect_entropy();
}
END_TEST

START_TEST(notifies_when_asked_to)
{
	uint16_t event;
	int i;

	drv_up(&d, 1, 8, 1ull << VIRTIO_F_VERSION_1);
	d.q[0].avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	expect_entropy();
	ck_assert_uint_eq(drv_interrupt(&d), 0);
	d.q[0].avail->flags = 0;
	expect_entropy();
	ck_assert_uint_eq(drv_interrupt(&d), VIRTIO_MMIO_INT_VRING);

	drv_up(&d, 1, 8, DRV_FEATURES);
	d.q[0].avail->ring[8] = 2; /* used_event: after the third */
	for (i = 0; i < 5; i++) {
		expect_entropy();
		ck_assert_uint_eq(drv_interrupt(&d), i == 2 ? VIRTIO_MMIO_INT_VRING : 0);
	}
	/* avail_event, behind the used ring, says which kick the device waits for: the next. */
	memcpy(&event, &d.q[0].used->ring[8], sizeof(event));
	ck_assert_uint_eq(event, 5);
}
END_TEST

/* ---- the walk itself ---- */

static void *slice(const void *mem, uint64_t gpa, uint64_t len)
{
	return guest_mem_slice(mem, gpa, len);
}

START_TEST(walk_gives_segments_and_bounds_what_is_in_flight)
{
	const struct virtq_mem mem = { .slice = slice, .arg = d.mem };
	const struct drv_buf bufs[] = { { DRV_DATA, 16, false },
					{ DRV_DATA + 64, 100, true },
					{ DRV_DATA + 256, 1, true } };
	struct virtq_chain c;
	struct iovec iov[4];
	struct virtq vq;

	drv_features(&d, DRV_FEATURES);
	drv_queue(&d, 0, 4);
	ck_assert_int_eq(virtq_start(&vq, &mem, 4, d.q[0].desc_gpa, d.q[0].avail_gpa, d.q[0].used_gpa, 0), 0);
	ck_assert_int_eq(virtq_pop(&vq, &c, iov, 4), 0);
	drv_add(&d, 0, bufs, 3);
	ck_assert_int_eq(virtq_pop(&vq, &c, iov, 4), 1);
	ck_assert_uint_eq(c.out_n, 1);
	ck_assert_uint_eq(c.in_n, 2);
	ck_assert_uint_eq(c.out_bytes, 16);
	ck_assert_uint_eq(c.in_bytes, 101);
	ck_assert_ptr_eq(iov[1].iov_base, drv_at(&d, DRV_DATA + 64));
	virtq_unpop(&vq, 1);
	ck_assert_int_eq(virtq_pop(&vq, &c, iov, 4), 1);
	ck_assert_int_eq(virtq_pop(&vq, &c, iov, 4), 0);
	virtq_push(&vq, c.head, 7);
	ck_assert_uint_eq(drv_used_idx(&d, 0), 0);
	ck_assert(virtq_flush(&vq));
	ck_assert_uint_eq(drv_used_idx(&d, 0), 1);
	ck_assert(!virtq_flush(&vq));
	/* More segments than the caller has room for. */
	drv_add(&d, 0, bufs, 3);
	ck_assert_int_eq(virtq_pop(&vq, &c, iov, 2), -EPROTO);
	ck_assert_int_eq(virtq_pop(&vq, &c, iov, 4), -EPROTO);
	ck_assert_str_eq(vq.broken, "chain has more segments than the device takes");

	/* The same head again and again, without one given back. */
	drv_queue(&d, 0, 4);
	ck_assert_int_eq(virtq_start(&vq, &mem, 4, d.q[0].desc_gpa, d.q[0].avail_gpa, d.q[0].used_gpa, 0), 0);
	d.q[0].desc[0] = (struct vring_desc){ DRV_DATA, 16, 0, 0 };
	for (int i = 0; i < 4; i++) {
		drv_avail(&d, 0, 0);
		ck_assert_int_eq(virtq_pop(&vq, &c, iov, 4), 1);
	}
	drv_avail(&d, 0, 0);
	ck_assert_int_eq(virtq_pop(&vq, &c, iov, 4), -EPROTO);
}
END_TEST

START_TEST(walk_refuses_chains_over_4_gib)
{
	struct guest_mem *big;
	struct err e = ERR_INIT;
	struct virtq_mem mem = { .slice = slice };
	struct vring_desc *desc;
	struct virtq_chain c;
	struct iovec iov[8];
	struct virtq vq;
	int i;

	ck_assert_int_eq(guest_mem_new(&big, 2ull << 30, &e), 0);
	mem.arg = big;
	ck_assert_int_eq(virtq_start(&vq, &mem, 8, 0x1000, 0x2000, 0x3000, 0), 0);
	desc = guest_mem_slice(big, 0x1000, 128);
	for (i = 0; i < 4; i++)
		desc[i] = (struct vring_desc){ 0, 1u << 30, i < 3 ? VRING_DESC_F_NEXT : 0, i + 1 };
	((struct vring_avail *)guest_mem_slice(big, 0x2000, 8))->idx = 1;
	ck_assert_int_eq(virtq_pop(&vq, &c, iov, 8), -EPROTO);
	ck_assert_str_eq(vq.broken, "chain is over 4 GiB");
	guest_mem_free(big);
}
END_TEST

/* A driver that rewrites descriptors while they are walked: whatever is taken lies in memory. */
static atomic_bool rewriter_stop;

static void *rewriter(void *arg)
{
	volatile uint64_t *desc = (volatile uint64_t *)d.q[0].desc;

	while (!atomic_load(&rewriter_stop)) {
		desc[0] = UINT64_MAX - 4;
		desc[1] = 0xffffffffull | (uint64_t)VRING_DESC_F_WRITE << 32;
		desc[0] = DRV_DATA;
		desc[1] = 16 | (uint64_t)VRING_DESC_F_WRITE << 32;
	}
	return NULL;
}

START_TEST(walk_uses_what_it_checked)
{
	const struct virtq_mem mem = { .slice = slice, .arg = d.mem };
	const char *low = drv_at(&d, 0), *high = low + DRV_MEM;
	struct virtq_chain c;
	struct iovec iov[4];
	struct virtq vq;
	pthread_t t;
	int i, taken = 0;

	drv_features(&d, DRV_FEATURES);
	drv_queue(&d, 0, 4);
	ck_assert_int_eq(pthread_create(&t, NULL, rewriter, NULL), 0);
	/* Until it has taken some: on a busy machine the other thread may be late. */
	for (i = 0; i < 20000 || !taken; i++) {
		ck_assert_int_eq(virtq_start(&vq, &mem, 4, d.q[0].desc_gpa, d.q[0].avail_gpa, d.q[0].used_gpa, 0), 0);
		d.q[0].avail->idx = 1;
		if (virtq_pop(&vq, &c, iov, 4) != 1)
			continue;
		taken++;
		ck_assert((char *)iov[0].iov_base >= low && (char *)iov[0].iov_base + iov[0].iov_len <= high);
		ck_assert_uint_eq(iov[0].iov_len, c.in_bytes + c.out_bytes);
	}
	atomic_store(&rewriter_stop, true);
	pthread_join(t, NULL);
	ck_assert_int_gt(taken, 0);
}
END_TEST

START_TEST(iov_helpers_cut_anywhere)
{
	char a[3] = "abc", b[2] = "de", out[8];
	struct iovec iov[2] = { { a, 3 }, { b, 2 } }, *rest = iov;
	unsigned int n = 2;

	ck_assert_uint_eq(iov_get(iov, 2, 1, out, 8), 4);
	ck_assert_mem_eq(out, "bcde", 4);
	ck_assert_uint_eq(iov_put(iov, 2, 2, "XYZ", 3), 3);
	ck_assert_mem_eq(a, "abX", 3);
	ck_assert_mem_eq(b, "YZ", 2);
	ck_assert_uint_eq(iov_get(iov, 2, 9, out, 8), 0);
	rest = iov_advance(rest, &n, 4);
	ck_assert_uint_eq(n, 1);
	ck_assert_uint_eq(rest->iov_len, 1);
	iov_advance(rest, &n, 100);
	ck_assert_uint_eq(n, 0);
	iov[1] = (struct iovec){ b, 2 };
	ck_assert_uint_eq(iov_truncate(iov, 2, 4), 2);
	ck_assert_uint_eq(iov[1].iov_len, 1);
	ck_assert_uint_eq(iov_truncate(iov, 2, 3), 1);
	ck_assert_uint_eq(iov_truncate(iov, 2, 0), 0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("virtio-mmio-rings");
	TCase *t = tcase_create("all");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, survives_descriptors_outside_of_memory);
	tcase_add_test(t, survives_cycles);
	tcase_add_test(t, survives_indices_past_the_ring);
	tcase_add_test(t, follows_indirect_tables);
	tcase_add_test(t, survives_indirect_tables_of_every_wrong_kind);
	tcase_add_test(t, survives_wrong_directions);
	tcase_add_test(t, a_storm_of_kicks_is_harmless);
	tcase_add_test(t, notifies_when_asked_to);
	tcase_add_test(t, walk_gives_segments_and_bounds_what_is_in_flight);
	tcase_add_test(t, walk_refuses_chains_over_4_gib);
	tcase_add_test(t, walk_uses_what_it_checked);
	tcase_add_test(t, iov_helpers_cut_anywhere);
	suite_add_tcase(s, t);
	return s;
}
