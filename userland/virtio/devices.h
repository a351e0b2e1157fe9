/* SPDX-License-Identifier: Apache-2.0 */
/* Every device there is; the table is in devices.c. */
#ifndef VIRTIO_DEVICES_H
#define VIRTIO_DEVICES_H

#include "virtio/virtio.h"

extern const struct virtio_device_ops virtio_balloon;
extern const struct virtio_device_ops virtio_blk;
extern const struct virtio_device_ops virtio_console;
extern const struct virtio_device_ops virtio_fs;
extern const struct virtio_device_ops virtio_net;
extern const struct virtio_device_ops virtio_pmem;
extern const struct virtio_device_ops virtio_rng;
extern const struct virtio_device_ops virtio_vsock;

/* console.c: who is given the guest's lines. */
void virtio_console_on_line(struct virtio_device *dev, void (*fn)(void *arg, const char *line), void *arg);

#endif
