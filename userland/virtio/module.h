/* SPDX-License-Identifier: Apache-2.0 */
/* Devices that the kernel's module serves (kmod/uapi/microvm.h): guest memory and queues as it wants them. */
#ifndef VIRTIO_MODULE_H
#define VIRTIO_MODULE_H

#include "kmod/uapi/microvm.h"
#include "virtio/virtio.h"

/* Once for each session, and after the jail, as the module acts with the caller's rights then. 0 or negative errno. */
int virtio_module_set_memory(int module_fd, const struct guest_mem *mem);
/* Size 0 for a queue that the driver does not have. */
struct microvm_queue virtio_module_queue(const struct virtio_device *dev, unsigned int queue);

#endif
