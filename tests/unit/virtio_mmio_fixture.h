/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest device, entropy, on a machine. */
#ifndef VIRTIO_MMIO_FIXTURE_H
#define VIRTIO_MMIO_FIXTURE_H

#include <check.h>

#include "tests/unit/virtio_driver.h"

extern struct drv d;

void setup(void);
void teardown(void);
/* The device, which is up, works. */
void expect_entropy(void);

#endif
