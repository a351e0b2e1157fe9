/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/devices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "virtio/mmio.h"

const struct virtio_device_ops *const virtio_devices[] = {
	&virtio_blk,  &virtio_rng, &virtio_console, &virtio_vsock,
	&virtio_pmem, &virtio_fs,  &virtio_balloon, &virtio_net,
};
const size_t virtio_devices_n = ARRAY_SIZE(virtio_devices);

#define MACHINE_DEVICES_MAX (GUEST_GSI_LAST - GUEST_GSI_FIRST + 1) /* a GSI each */

struct virtio_machine {
	struct loop *loop;
	unsigned int windows_n;
	uint64_t window_gpa; /* where the next one goes */
	size_t n;
	struct virtio_mmio *devices[MACHINE_DEVICES_MAX];
};

static const struct virtio_device_ops *find_ops(uint32_t id)
{
	size_t i;

	for (i = 0; i < virtio_devices_n; i++)
		if (virtio_devices[i]->id == id)
			return virtio_devices[i];
	return NULL;
}

/* The kernel finds devices by these words alone (virtio 1.2, 4.2.1): size, address, interrupt. */
static int append_word(char *cmdline, size_t size, uint64_t base, unsigned int gsi, struct err *e)
{
	size_t used = strnlen(cmdline, size);
	int n = snprintf(cmdline + used, size - used, " virtio_mmio.device=4K@0x%llx:%u", (unsigned long long)base,
			 gsi);

	if (n < 0 || (size_t)n >= size - used)
		return err_set(e, E2BIG, "no room on the kernel's command line for its devices; make it shorter");
	return 0;
}

/* Above all RAM and the hole, at multiples of 2 MiB: less a guest's memory map can't take (Linux: subsections of memory). */
static uint64_t first_window(const struct guest_mem *mem)
{
	const struct guest_mem_region *regions;
	size_t n = guest_mem_regions(mem, &regions);
	const uint64_t end = regions[n - 1].gpa + regions[n - 1].len_bytes;

	return max_t(uint64_t, end, GUEST_HOLE_END);
}

static int place_window(struct virtio_machine *m, struct virtio_device *dev, struct guest_mem *mem,
			const struct irq_ops *irq, struct err *e)
{
	int r;

	if (!dev->window.hva)
		return 0;
	dev->window.gpa = m->window_gpa;
	r = irq->add_memory ? irq->add_memory(irq->arg, m->windows_n, dev->window.gpa, dev->window.hva,
					      dev->window.len_bytes, dev->window.read_only)
			    : -ENOTSUP;
	/* A program that writes from its own text (O_DIRECT, zero copy) has its device read from there. */
	if (r == 0)
		r = guest_mem_add_readable(mem, dev->window.gpa, dev->window.hva, dev->window.len_bytes);
	if (r < 0)
		return err_errno(e, r, "%s: %llu MiB of memory at 0x%llx", dev->ops->name,
				 (unsigned long long)(dev->window.len_bytes >> 20),
				 (unsigned long long)dev->window.gpa);
	m->windows_n++;
	m->window_gpa += dev->window.len_bytes;
	return 0;
}

static int add_device(struct virtio_machine *m, const struct vmspec_device *spec, struct guest_mem *mem,
		      struct bus *bus, const struct irq_ops *irq, char *cmdline, size_t cmdline_size, struct err *e)
{
	const struct virtio_device_ops *ops = find_ops(spec->type);
	uint64_t base = GUEST_MMIO_BASE + m->n * GUEST_MMIO_STRIDE;
	unsigned int gsi = GUEST_GSI_FIRST + m->n;
	struct virtio_device *dev;
	int r;

	if (!ops)
		return err_set(e, ENODEV, "there is no device of type %u", spec->type);
	if (m->n >= MACHINE_DEVICES_MAX)
		return err_set(e, ENOSPC, "more than %u devices", MACHINE_DEVICES_MAX);
	/* An empty slot is nobody's to look at before something is in it. */
	if (spec->type != VMSPEC_BLK || !(spec->flags & VMSPEC_BLK_SLOT)) {
		r = append_word(cmdline, cmdline_size, base, gsi, e);
		if (r < 0)
			return r;
	}
	r = ops->create(spec, &dev, e);
	if (r < 0)
		return r;
	r = place_window(m, dev, mem, irq, e);
	if (r < 0) {
		dev->ops->destroy(dev);
		return r;
	}
	r = virtio_mmio_new(&m->devices[m->n], dev, base, gsi, mem, bus, irq, m->loop, e);
	if (r < 0)
		return r;
	m->n++;
	return 0;
}

int virtio_machine_new(struct virtio_machine **out, const struct vmspec *spec, struct guest_mem *mem, struct bus *bus,
		       const struct irq_ops *irq, struct loop *loop, char *cmdline, size_t cmdline_size, struct err *e)
{
	struct virtio_machine *m = calloc(1, sizeof(*m));
	uint32_t i;
	int r;

	if (!m)
		return err_set(e, ENOMEM, "no memory for devices");
	m->loop = loop;
	m->window_gpa = first_window(mem);
	for (i = 0; i < spec->devices_n; i++) {
		r = add_device(m, &spec->devices[i], mem, bus, irq, cmdline, cmdline_size, e);
		if (r < 0) {
			virtio_machine_free(m);
			return err_wrap(e, "device %u", i);
		}
	}
	*out = m;
	return 0;
}

void virtio_machine_start(struct virtio_machine *m)
{
	size_t i;

	for (i = 0; i < m->n; i++)
		virtio_mmio_start(m->devices[i]);
}

void virtio_machine_stop_request(struct virtio_machine *m)
{
	struct virtio_device *dev;
	size_t i;

	for (i = 0; i < m->n; i++) {
		dev = virtio_mmio_device(m->devices[i]);
		if (dev->ops->stop_request)
			dev->ops->stop_request(dev);
	}
}

void virtio_machine_drain(struct virtio_machine *m)
{
	struct virtio_device *dev;
	size_t i;

	for (i = 0; i < m->n; i++) {
		dev = virtio_mmio_device(m->devices[i]);
		if (dev->ops->drain)
			dev->ops->drain(dev);
	}
}

void virtio_machine_on_console_line(struct virtio_machine *m, void (*fn)(void *arg, const char *line), void *arg)
{
	struct virtio_device *dev;
	size_t i;

	for (i = 0; i < m->n; i++) {
		dev = virtio_mmio_device(m->devices[i]);
		if (dev->ops == &virtio_console)
			virtio_console_on_line(dev, fn, arg);
	}
}

static bool quiesce(struct virtio_machine *m)
{
	bool idle = true;
	size_t i;

	for (i = 0; i < m->n; i++)
		if (!virtio_mmio_quiesce(m->devices[i]))
			idle = false;
	return idle;
}

void virtio_machine_free(struct virtio_machine *m)
{
	size_t i;

	if (!m)
		return;
	while (!quiesce(m))
		if (loop_run_once(m->loop, true) < 0)
			break;
	for (i = m->n; i--;)
		virtio_mmio_free(m->devices[i]);
	free(m);
}
