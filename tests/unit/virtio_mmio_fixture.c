/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/virtio_mmio_fixture.h"

#include <fcntl.h>

struct drv d;

void setup(void)
{
	struct err e = ERR_INIT;

	memset(&d, 0, sizeof(d));
	vmspec_init(&d.spec);
	vmspec_add(&d.spec, VMSPEC_RNG)->rng.fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	strcpy(d.cmdline, "console=hvc0");
	ck_assert_msg(drv_open(&d, &e) == 0, "%s", e.msg);
}

void teardown(void)
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

void expect_entropy(void)
{
	uint16_t head = drv_add(&d, 0, &(struct drv_buf){ DRV_DATA, 64, true }, 1), got;

	memset(drv_at(&d, DRV_DATA), 0, 64);
	drv_kick(&d, 0);
	ck_assert_int_eq(drv_next_used(&d, 0, &got), 64);
	ck_assert_uint_eq(got, head);
	ck_assert(!is_zero(drv_at(&d, DRV_DATA), 64));
}
