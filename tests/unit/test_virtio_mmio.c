/* SPDX-License-Identifier: Apache-2.0 */
/* The register state machine and the queue walk, by way of the smallest device: entropy. */
#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/cleanup.h"
#include "tests/unit/virtio_driver.h"
#include "virtio/iov.h"
#include "virtio/virtq.h"

Suite *test_suite(void);

static struct drv d;

static void setup(void)
{
	struct err e = ERR_INIT;

	memset(&d, 0, sizeof(d));
	vmspec_init(&d.spec);
	vmspec_add(&d.spec, VMSPEC_RNG)->rng.fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	strcpy(d.cmdline, "console=hvc0");
	ck_assert_msg(drv_open(&d, &e) == 0, "%s", e.msg);
}

static void teardown(void)
{
	drv_close(&d);
}

static bool is_zero(const uint8_t *p, size_t n)
{
	while (n--)
		if (*p++)
			return false;
	return true;
}

static void expect_entropy(void)
{
	uint16_t head = drv_add(&d, 0, &(struct drv_buf){ DRV_DATA, 64, true }, 1), got;

	memset(drv_at(&d, DRV_DATA), 0, 64);
	drv_kick(&d, 0);
	ck_assert_int_eq(drv_next_used(&d, 0, &got), 64);
	ck_assert_uint_eq(got, head);
	ck_assert(!is_zero(drv_at(&d, DRV_DATA), 64));
}

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

/* ---- registers ---- */

START_TEST(identifies_itself)
{
	uint8_t byte = 0xaa;
	uint32_t word = 0xffffffff;
	char want[80];

	snprintf(want, sizeof(want), "console=hvc0 virtio_mmio.device=4K@0x%llx:%u", GUEST_MMIO_BASE, GUEST_GSI_FIRST);
	ck_assert_str_eq(d.cmdline, want);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_VERSION), 2);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_DEVICE_ID), VMSPEC_RNG);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_SHM_LEN_LOW), UINT32_MAX);
	ck_assert_uint_eq(drv_read(&d, 0xff0), 0);
	/* With and without KVM in between. */
	bus_read(&d.bus, d.base + 2, &byte, 1);
	ck_assert_uint_eq(byte, 'r');
	bus_read(&d.bus, d.base + 2, &word, 4);
	ck_assert_uint_eq(word, 0x00027472);
	ck_assert_mem_eq(d.page, "virt\2\0\0\0", 8);
	/* Registers are written as words; anything else changes nothing. */
	byte = 1;
	bus_write(&d.bus, d.base + VIRTIO_MMIO_STATUS, &byte, 1);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_STATUS), 0);
}
END_TEST

START_TEST(works_with_each_set_of_ring_features)
{
	uint64_t f = 1ull << VIRTIO_F_VERSION_1;
	int i;

	for (i = 0; i < 4; i++) {
		drv_up(&d, 1, 8,
		       f | (uint64_t)(i & 1) << VIRTIO_RING_F_EVENT_IDX |
			       (uint64_t)(i >> 1) << VIRTIO_RING_F_INDIRECT_DESC);
		expect_entropy();
		ck_assert_uint_eq(drv_interrupt(&d), VIRTIO_MMIO_INT_VRING);
		/* It stays, so that nobody needs to hear of the acknowledgement; a reset takes it away. */
		ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
		drv_write(&d, VIRTIO_MMIO_STATUS, 0);
		ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	}
}
END_TEST

START_TEST(status_goes_in_order)
{
	drv_write(&d, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER); /* not acknowledged */
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_STATUS), 0);
	drv_write(&d, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	drv_write(&d, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE); /* takes a bit back */
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_STATUS), 3);
	drv_write(&d, VIRTIO_MMIO_STATUS, 3 | VIRTIO_CONFIG_S_DRIVER_OK); /* without FEATURES_OK */
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_STATUS), 3);
	drv_write(&d, VIRTIO_MMIO_STATUS, 0x10000 | 3);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_STATUS), 3);
	drv_write(&d, VIRTIO_MMIO_STATUS, 3 | VIRTIO_CONFIG_S_FAILED);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_STATUS), 3 | VIRTIO_CONFIG_S_FAILED);
	drv_write(&d, VIRTIO_MMIO_STATUS, 0);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_STATUS), 0);
}
END_TEST

START_TEST(refuses_features_it_does_not_have)
{
	/* A driver of before virtio 1.0 has no VERSION_1. */
	drv_features(&d, 1ull << VIRTIO_RING_F_EVENT_IDX);
	ck_assert(!(drv_read(&d, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK));
	/* And one that takes what was not offered. */
	drv_write(&d, VIRTIO_MMIO_STATUS, 0);
	drv_write(&d, VIRTIO_MMIO_STATUS, 3);
	drv_write(&d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	drv_write(&d, VIRTIO_MMIO_DRIVER_FEATURES, UINT32_MAX);
	drv_write(&d, VIRTIO_MMIO_STATUS, 3 | VIRTIO_CONFIG_S_FEATURES_OK);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_STATUS), 3);
	/* Selectors past 1 have nothing, and bits are settled once FEATURES_OK stands. */
	drv_write(&d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 7);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_DEVICE_FEATURES), 0);
	drv_up(&d, 1, 8, DRV_FEATURES);
	drv_write(&d, VIRTIO_MMIO_DRIVER_FEATURES, 0);
	expect_entropy();
}
END_TEST

static void try_queue(uint32_t num, uint64_t desc, uint64_t avail, uint64_t used, uint32_t ready)
{
	drv_features(&d, DRV_FEATURES);
	drv_write(&d, VIRTIO_MMIO_QUEUE_SEL, 0);
	drv_write(&d, VIRTIO_MMIO_QUEUE_NUM, num);
	drv_write(&d, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)desc);
	drv_write(&d, VIRTIO_MMIO_QUEUE_DESC_HIGH, desc >> 32);
	drv_write(&d, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)avail);
	drv_write(&d, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, avail >> 32);
	drv_write(&d, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)used);
	drv_write(&d, VIRTIO_MMIO_QUEUE_USED_HIGH, used >> 32);
	drv_write(&d, VIRTIO_MMIO_QUEUE_READY, 1);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_QUEUE_READY), ready);
	drv_ok(&d);
	if (!ready)
		drv_kick(&d, 0);
	drv_turns(&d);
}

START_TEST(checks_a_queue_before_it_is_ready)
{
	const uint64_t at = DRV_RINGS;

	try_queue(16, at, at + 0x1000, at + 0x2000, 1);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_QUEUE_NUM_MAX), 16);
	try_queue(0, at, at + 0x1000, at + 0x2000, 0);
	try_queue(3, at, at + 0x1000, at + 0x2000, 0);
	try_queue(32, at, at + 0x1000, at + 0x2000, 0);
	try_queue(0x10010, at, at + 0x1000, at + 0x2000, 0);
	try_queue(16, at + 8, at + 0x1000, at + 0x2000, 0);
	try_queue(16, at, at + 0x1001, at + 0x2000, 0);
	try_queue(16, at, at + 0x1000, at + 0x2002, 0);
	try_queue(16, DRV_MEM - 16 * 16 + 16, at + 0x1000, at + 0x2000, 0);
	try_queue(16, at, DRV_MEM, at + 0x2000, 0);
	try_queue(16, at, at + 0x1000, UINT64_MAX - 15, 0);
	try_queue(16, at | 1ull << 63, at + 0x1000, at + 0x2000, 0);
}
END_TEST

START_TEST(queues_are_fixed_while_the_device_runs)
{
	drv_up(&d, 1, 8, DRV_FEATURES);
	drv_write(&d, VIRTIO_MMIO_QUEUE_DESC_LOW, 0xfffffff0);
	drv_write(&d, VIRTIO_MMIO_QUEUE_NUM, 2);
	drv_write(&d, VIRTIO_MMIO_QUEUE_READY, 0);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_QUEUE_READY), 1);
	expect_entropy();
	/* There is no queue 1. */
	drv_write(&d, VIRTIO_MMIO_QUEUE_SEL, 1);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	drv_write(&d, VIRTIO_MMIO_QUEUE_READY, 1);
	ck_assert_uint_eq(drv_read(&d, VIRTIO_MMIO_QUEUE_READY), 0);
	drv_write(&d, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	drv_write(&d, VIRTIO_MMIO_QUEUE_NOTIFY, UINT32_MAX);
	expect_entropy();
}
END_TEST

START_TEST(kick_by_register_works_too)
{
	drv_up(&d, 1, 8, DRV_FEATURES);
	drv_add(&d, 0, &(struct drv_buf){ DRV_DATA, 16, true }, 1);
	drv_write(&d, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	ck_assert_int_eq(drv_next_used(&d, 0, NULL), 16);
}
END_TEST

START_TEST(nothing_is_served_before_driver_ok)
{
	drv_features(&d, DRV_FEATURES);
	drv_queue(&d, 0, 8);
	drv_add(&d, 0, &(struct drv_buf){ DRV_DATA, 16, true }, 1);
	drv_kick(&d, 0);
	drv_turns(&d);
	ck_assert_uint_eq(drv_used_idx(&d, 0), 0);
	/* The kick is gone, the buffer is not lost. */
	drv_ok(&d);
	ck_assert_int_eq(drv_next_used(&d, 0, NULL), 16);
	/* After a reset nothing is served either. */
	drv_write(&d, VIRTIO_MMIO_STATUS, 0);
	drv_add(&d, 0, &(struct drv_buf){ DRV_DATA, 16, true }, 1);
	drv_kick(&d, 0);
	drv_turns(&d);
	ck_assert_uint_eq(drv_used_idx(&d, 0), 1);
}
END_TEST

/* ---- hostile rings ---- */

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

/* What lies side by side is one segment, but never across the border between what is read and what is written. */
START_TEST(walk_joins_neighbours)
{
	const struct virtq_mem mem = { .slice = slice, .arg = d.mem };
	const struct drv_buf bufs[] = { { DRV_DATA, 16, false },     { DRV_DATA + 16, 16, false },
					{ DRV_DATA + 32, 32, true }, { DRV_DATA + 64, 64, true },
					{ DRV_DATA + 256, 1, true }, { DRV_DATA + 255, 1, true } };
	struct virtq_chain c;
	struct iovec iov[4];
	struct virtq vq;

	drv_features(&d, DRV_FEATURES);
	drv_queue(&d, 0, 8);
	ck_assert_int_eq(virtq_start(&vq, &mem, 8, d.q[0].desc_gpa, d.q[0].avail_gpa, d.q[0].used_gpa, 0), 0);
	drv_add(&d, 0, bufs, ARRAY_SIZE(bufs));
	ck_assert_int_eq(virtq_pop(&vq, &c, iov, 4), 1);
	ck_assert_uint_eq(c.out_n, 1);
	ck_assert_uint_eq(c.in_n, 3);
	ck_assert_uint_eq(c.out_bytes, 32);
	ck_assert_uint_eq(c.in_bytes, 98);
	ck_assert_uint_eq(iov[0].iov_len, 32);
	ck_assert_ptr_eq(iov[1].iov_base, drv_at(&d, DRV_DATA + 32));
	ck_assert_uint_eq(iov[1].iov_len, 96);
	ck_assert_ptr_eq(iov[2].iov_base, drv_at(&d, DRV_DATA + 256));
	ck_assert_ptr_eq(iov[3].iov_base, drv_at(&d, DRV_DATA + 255));
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
	for (i = 0; i < 20000; i++) {
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

/* ---- threads ---- */

static int stop_loop(void *arg)
{
	loop_stop(d.loop, 0);
	return 0;
}

/* What several vCPUs do to one device, all at once: set-ups, resets, kicks, odd writes. */
static void *vcpu_thread(void *arg)
{
	unsigned int seed = (uintptr_t)arg;
	int i;

	for (i = 0; i < 3000; i++) {
		uint32_t offset = (rand_r(&seed) % 0x41) * 4, value = rand_r(&seed) % 16;

		if (i % 16 == 0)
			drv_features(&d, DRV_FEATURES);
		else if (i % 16 == 8)
			drv_ok(&d);
		else if (i % 2)
			drv_write(&d, offset, value);
		else
			drv_read(&d, offset);
		if (i % 32 == 5)
			drv_write(&d, VIRTIO_MMIO_STATUS, 0);
	}
	return NULL;
}

static void *all_vcpus_thread(void *arg)
{
	pthread_t vcpu[4];
	uintptr_t i;

	for (i = 0; i < 4; i++)
		pthread_create(&vcpu[i], NULL, vcpu_thread, (void *)(i + 1));
	for (i = 0; i < 4; i++)
		pthread_join(vcpu[i], NULL);
	loop_call(d.loop, stop_loop, NULL);
	return NULL;
}

START_TEST(vcpus_and_io_thread_do_not_wait_for_each_other_forever)
{
	pthread_t vcpus;

	drv_up(&d, 1, 8, DRV_FEATURES);
	/* A ring belongs to the thread that made it, so this one is the io thread. */
	ck_assert_int_eq(pthread_create(&vcpus, NULL, all_vcpus_thread, NULL), 0);
	ck_assert_int_eq(loop_run(d.loop), 0);
	pthread_join(vcpus, NULL);
}
END_TEST

START_TEST(a_machine_that_cannot_be_made_says_why)
{
	struct vmspec_device *dev;
	struct err e = ERR_INIT;
	struct drv other = { .irq_fd = -1 };

	vmspec_init(&other.spec);
	dev = vmspec_add(&other.spec, VMSPEC_RNG);
	dev->type = 99;
	ck_assert_int_eq(drv_open(&other, &e), -ENODEV);
	ck_assert_str_eq(e.msg, "device 0: there is no device of type 99");
	loop_free(other.loop);
	guest_mem_free(other.mem);

	memset(&other, 0, sizeof(other));
	vmspec_init(&other.spec);
	vmspec_add(&other.spec, VMSPEC_RNG)->rng.fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	memset(other.cmdline, 'x', sizeof(other.cmdline) - 8);
	ck_assert_int_eq(drv_open(&other, &e), -E2BIG);
	close(other.spec.devices[0].rng.fd);
	loop_free(other.loop);
	guest_mem_free(other.mem);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("virtio-mmio");
	TCase *t = tcase_create("all");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, identifies_itself);
	tcase_add_test(t, works_with_each_set_of_ring_features);
	tcase_add_test(t, status_goes_in_order);
	tcase_add_test(t, refuses_features_it_does_not_have);
	tcase_add_test(t, checks_a_queue_before_it_is_ready);
	tcase_add_test(t, queues_are_fixed_while_the_device_runs);
	tcase_add_test(t, kick_by_register_works_too);
	tcase_add_test(t, nothing_is_served_before_driver_ok);
	tcase_add_test(t, survives_descriptors_outside_of_memory);
	tcase_add_test(t, survives_cycles);
	tcase_add_test(t, survives_indices_past_the_ring);
	tcase_add_test(t, follows_indirect_tables);
	tcase_add_test(t, survives_indirect_tables_of_every_wrong_kind);
	tcase_add_test(t, survives_wrong_directions);
	tcase_add_test(t, a_storm_of_kicks_is_harmless);
	tcase_add_test(t, notifies_when_asked_to);
	tcase_add_test(t, walk_gives_segments_and_bounds_what_is_in_flight);
	tcase_add_test(t, walk_joins_neighbours);
	tcase_add_test(t, walk_refuses_chains_over_4_gib);
	tcase_add_test(t, walk_uses_what_it_checked);
	tcase_add_test(t, iov_helpers_cut_anywhere);
	tcase_add_test(t, vcpus_and_io_thread_do_not_wait_for_each_other_forever);
	tcase_add_test(t, a_machine_that_cannot_be_made_says_why);
	suite_add_tcase(s, t);
	return s;
}
