/* SPDX-License-Identifier: Apache-2.0 */
#include "guest-agent/disks.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/guest.h"
#include "base/log.h"
#include "base/util.h"

#define DEVICES "/sys/bus/platform/devices"
#define DRIVER "/sys/bus/platform/drivers/virtio-mmio"
#define PARAMETER "/sys/module/virtio_mmio/parameters/device"
#define NUMBER_FIRST 1000u /* the kernel counts those of the command line from 0 */
#define NAME_LEN 32
#define PATH_LEN 256

static void name_of(char name[NAME_LEN], uint32_t irq)
{
	snprintf(name, NAME_LEN, "virtio-mmio.%u", NUMBER_FIRST + irq);
}

static int write_text(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* The only entry of that folder that begins so. */
static int find_entry(const char *folder, const char *prefix, char *name, size_t size)
{
	_cleanup_closedir_ DIR *d = opendir(folder);
	struct dirent *ent;

	while (d && (ent = readdir(d)))
		if (ent->d_name[0] != '.' && str_starts(ent->d_name, prefix) &&
		    (size_t)snprintf(name, size, "%s", ent->d_name) < size)
			return 0;
	return -ENODEV;
}

static int find_node(struct disk *d, const char *name)
{
	char path[PATH_LEN], device[NAME_LEN], block[NAME_LEN - sizeof("/dev/")];
	int r;

	snprintf(path, sizeof(path), DEVICES "/%s", name);
	r = find_entry(path, "virtio", device, sizeof(device));
	if (r)
		return r;
	snprintf(path, sizeof(path), DEVICES "/%s/%s/block", name, device);
	r = find_entry(path, "vd", block, sizeof(block));
	if (!r)
		snprintf(d->node, sizeof(d->node), "/dev/%s", block);
	return r;
}

int disk_plug(struct disk *d, uint64_t gpa, uint32_t irq, struct err *e)
{
	char name[NAME_LEN], text[96];
	int r;

	if (irq < GUEST_GSI_FIRST || irq > GUEST_GSI_LAST || gpa % GUEST_MMIO_STRIDE)
		return err_set(e, EINVAL, "a disk with GSI %u: GSIs are %u to %u", irq, GUEST_GSI_FIRST,
			       GUEST_GSI_LAST);
	name_of(name, irq);
	snprintf(text, sizeof(text), DEVICES "/%s", name);
	if (!access(text, F_OK)) {
		/* There was one before. */
		r = write_text(DRIVER "/bind", name);
	} else {
		snprintf(text, sizeof(text), "4K@0x%llx:%u:%u", (unsigned long long)gpa, irq, NUMBER_FIRST + irq);
		r = write_text(PARAMETER, text);
	}
	if (r)
		return err_errno(e, r, "a disk with GSI %u", irq);
	d->irq = irq;
	r = find_node(d, name);
	if (!r)
		return 0;
	disk_unplug(d);
	return err_set(e, ENODEV, "a disk with GSI %u: the kernel finds none", irq);
}

void disk_unplug(struct disk *d)
{
	char name[NAME_LEN];
	int r;

	if (!d->irq)
		return;
	name_of(name, d->irq);
	r = write_text(DRIVER "/unbind", name);
	if (r && r != -ENODEV)
		log_warn("%s: it can't be given back: %s", d->node, strerror(-r));
	*d = (struct disk){ 0 };
}
