/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Places of a VM for disks that come while its guest runs (base/blk_slot.h): roots of a pod's containers that the engine has as a
 * file system on a block device, or in a file. The guest mounts it, and no kernel of the host has to.
 */
#ifndef SANDBOX_SLOTS_H
#define SANDBOX_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/vmspec.h"
#include "sandbox/share_tree.h"

#define SLOTS_MAX 4u

struct slots {
	int fds[SLOTS_MAX], vmm_fds[SLOTS_MAX]; /* the two ends of each one's socket; -1: none */
	unsigned int first;			/* its number among the devices of the vmspec */
	bool taken[SLOTS_MAX];
};

/* Before anything else; then slots_end() is harmless. */
void slots_init(struct slots *s);
int slots_open(struct slots *s, struct err *e);
void slots_add_devices(struct slots *s, struct vmspec *spec);
/* The VMM has its ends. */
void slots_close_vmm_ends(struct slots *s);
void slots_end(struct slots *s);

/* Is a place free, and is it a mount of a file system that the guest's kernel has, on a block device or in a file (option "loop")? */
bool slots_take(const struct slots *s, const struct share_mount *m);
/* As its options or its file system have it. */
bool slots_read_only(const struct share_mount *m);
/*
 * Opens what is to be mounted, and gives it to the VMM: the number of its slot. -EBUSY: all are taken. It waits for the VMM's word,
 * which comes at once, or for two seconds.
 */
int slots_plug(struct slots *s, const struct share_mount *m, bool read_only, struct err *e);
void slots_unplug(struct slots *s, unsigned int slot);
/* Where the guest finds it, and with which GSI. */
uint64_t slots_gpa(const struct slots *s, unsigned int slot);
uint32_t slots_gsi(const struct slots *s, unsigned int slot);

#endif
