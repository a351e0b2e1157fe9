/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio devices (virtio 1.2) on the mmio transport (4.2, version 2). A device is one file with one const
 * struct virtio_device_ops, and one row in virtio_devices[] (devices.c). No device knows the VM: it has guest memory,
 * its queues, and the loop of the io thread, in which everything but register access runs.
 */
#ifndef VIRTIO_VIRTIO_H
#define VIRTIO_VIRTIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/vmspec.h"
#include "io/loop.h"
#include "virtio/virtq.h"
#include "vmm/bus.h"
#include "vmm/irq.h"
#include "vmm/memory.h"

#define VIRTIO_QUEUES_MAX 34u /* per device: 32 request queues and two of another kind */

struct virtio_device;

struct virtio_device_ops {
	const char *name; /* "blk" */
	uint32_t id;	  /* enum vmspec_device_type */
	/* Makes the device from its row of the vmspec; fds in it are the device's from then on. Before the jail. */
	int (*create)(const struct vmspec_device *spec, struct virtio_device **out, struct err *e);
	/* Before the jail, after create: mem, loop and transport are known. Registers fds (loop_add_fd). May be NULL. */
	int (*attach)(struct virtio_device *dev, struct err *e);
	/*
	 * Asked before the jail, and where the configuration changes: after virtio_config_changed() in the io thread, and
	 * for the words that config_write() was given in the vCPU's. May be NULL.
	 */
	void (*config_read)(struct virtio_device *dev, uint32_t offset, void *data, unsigned int len);
	/* In a vCPU's thread, under the device's lock. May be NULL. */
	void (*config_write)(struct virtio_device *dev, uint32_t offset, const void *data, unsigned int len);
	/* The rest in the io thread. */
	/* The loop is about to run: arms what does not wait for a driver. May be NULL. */
	void (*start)(struct virtio_device *dev);
	/* DRIVER_OK: features and queues are final. Negative errno: the device asks for a reset. May be NULL. */
	int (*activate)(struct virtio_device *dev);
	/* Serve a queue; comes once for each queue after activate, too. At most a queue's worth, then virtio_kick_later(). */
	void (*kick)(struct virtio_device *dev, unsigned int queue);
	/* Stop touching guest memory. true: done; false: requests are in flight, virtio_reset_done() follows. */
	bool (*reset)(struct virtio_device *dev);
	/* The VM was asked to stop: tell the guest if this device can. May be NULL. */
	void (*stop_request)(struct virtio_device *dev);
	/* Serves what is queued and waits until it has reached its file, a bounded time. May be NULL. */
	void (*drain)(struct virtio_device *dev);
	/* The end: cancels all operations in the loop; true: none is left. Called until it says so. May be NULL. */
	bool (*quiesce)(struct virtio_device *dev);
	void (*destroy)(struct virtio_device *dev);
};

/* Embedded first in every device's own structure; the ops' create() fills ops, queues_n, queue_size, features, config_len. */
struct virtio_device {
	const struct virtio_device_ops *ops;
	unsigned int queues_n;
	uint16_t queue_size[VIRTIO_QUEUES_MAX];
	uint64_t features; /* offered, device bits only; the transport adds its own */
	uint64_t lacks;	   /* of what the transport offers by itself: what this device can't do; final after attach */
	uint32_t config_len_bytes;
	/*
	 * Bit n: queue n is served elsewhere, by virtio_kick_fd() and virtio_call_fd(), and kick() never comes for it. Final
	 * after create.
	 */
	uint64_t external_queues;
	/* Memory that the device brings along (pmem). create() says what is where, then the machine where the guest has it. */
	struct {
		void *hva;	    /* NULL: none; it outlives the VM */
		uint64_t len_bytes; /* a multiple of 2 MiB */
		bool read_only;	    /* the guest's writes are dropped */
		uint64_t gpa;
	} window;
	/* filled by the transport */
	uint64_t driver_features;	     /* negotiated */
	struct virtq *vq[VIRTIO_QUEUES_MAX]; /* one each for queues_n; stopped unless the driver made it ready */
	const struct guest_mem *mem;
	struct loop *loop;
	void *transport;
};

extern const struct virtio_device_ops *const virtio_devices[];
extern const size_t virtio_devices_n;

/* ---- what devices ask of the transport, in the io thread ---------------------------------------------------------- */

/* Shows the driver what was pushed on the queue, and interrupts it if it wants that. */
void virtio_flush(struct virtio_device *dev, unsigned int queue);
/* kick(dev, queue) again in the loop's next round, so that one busy queue starves no other. */
void virtio_kick_later(struct virtio_device *dev, unsigned int queue);
/* The driver broke the rules: DEVICE_NEEDS_RESET, and no kick comes before the reset (virtio 1.2, 2.1.2). */
void virtio_broken(struct virtio_device *dev, const char *why);
/* The same without blame, for what is behind the device is gone; it has said so itself. */
void virtio_failed(struct virtio_device *dev);
/*
 * The device is another one from now on: features (with what the transport adds) and the configuration are shown anew. -EBUSY: a
 * driver has it, or touches it right now.
 */
int virtio_refit(struct virtio_device *dev, uint64_t features);
/* What config_read() says has changed, and the driver is to look at it again. */
void virtio_config_changed(struct virtio_device *dev);
/* For external queues: eventfds that the guest's notification signals, and whose signal is an interrupt (after activate). */
int virtio_kick_fd(const struct virtio_device *dev, unsigned int queue);
int virtio_call_fd(const struct virtio_device *dev);
/* The end of a reset that ops->reset left unfinished. */
void virtio_reset_done(struct virtio_device *dev);

/* virtq_pop on the device's queue, a broken queue breaks the device. true: there is a chain. */
bool virtio_pop(struct virtio_device *dev, unsigned int queue, struct virtq_chain *chain, struct iovec *iov,
		unsigned int iov_max);

/* ---- what vmm/main uses ------------------------------------------------------------------------------------ */

struct virtio_machine;

/*
 * Makes all devices of the spec, puts them on the bus, and appends " virtio_mmio.device=4K@0x…:gsi" words to cmdline
 * (cmdline_size bytes in all). Registers all fds with the loop (loop_add_fd), so that it works before and after the
 * jail. Undone by virtio_machine_free.
 */
int virtio_machine_new(struct virtio_machine **out, const struct vmspec *spec, struct guest_mem *mem, struct bus *bus,
		       const struct irq_ops *irq, struct loop *loop, char *cmdline, size_t cmdline_size, struct err *e);
/* In the io thread, first thing: arms the queues' eventfds. */
void virtio_machine_start(struct virtio_machine *m);
/* In the io thread: asks the guest to stop through the devices that can. */
void virtio_machine_stop_request(struct virtio_machine *m);
/* In the io thread but not from a done(), after the vCPUs have stopped: hands out what the guest had queued for the console. */
void virtio_machine_drain(struct virtio_machine *m);
/*
 * In the io thread but not from a done(), or before the loop ever ran: ends what is in flight, then closes all fds. The
 * loop must still be there.
 */
void virtio_machine_free(struct virtio_machine *m);
/* Console lines are given here too (one line, no newline, printable, at most 512 bytes), so that a panic is seen. */
void virtio_machine_on_console_line(struct virtio_machine *m, void (*fn)(void *arg, const char *line), void *arg);

#endif
