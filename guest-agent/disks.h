/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that come and go while the guest runs: virtio-mmio devices that the command line has not named. */
#ifndef GUEST_AGENT_DISKS_H
#define GUEST_AGENT_DISKS_H

#include <stdint.h>

#include "base/err.h"

struct disk {
	uint32_t irq;  /* 0: there is none */
	char node[32]; /* "/dev/vdX" */
};

/* The disk at that address, with that GSI. -ENODEV: there is none. On failure there is nothing to be taken back. */
int disk_plug(struct disk *d, uint64_t gpa, uint32_t irq, struct err *e);
/* It is not mounted any more: nobody has it from now on. Harmless where there is none. */
void disk_unplug(struct disk *d);

#endif
