/* SPDX-License-Identifier: Apache-2.0 */
/* The register state machine, by way of the smallest device. */
#include <fcntl.h>
#include <pthread.h>

#include "tests/unit/virtio_mmio_fixture.h"

Suite *test_suite(void);

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
	tcase_add_test(t, vcpus_and_io_thread_do_not_wait_for_each_other_forever);
	tcase_add_test(t, a_machine_that_cannot_be_made_says_why);
	suite_add_tcase(s, t);
	return s;
}
