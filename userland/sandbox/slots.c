/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/slots.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/blk_slot.h"
#include "base/cleanup.h"
#include "base/guest.h"
#include "base/log.h"
#include "base/util.h"

#define ANSWER_MS 2000
#define SECTOR 512u
#define BEST_MAX (1u << 20)
#define ERRNO_MAX 4095

void slots_init(struct slots *s)
{
	unsigned int i;

	*s = (struct slots){ 0 };
	for (i = 0; i < SLOTS_MAX; i++)
		s->fds[i] = s->vmm_fds[i] = -1;
}

int slots_open(struct slots *s, struct err *e)
{
	unsigned int i;
	int pair[2];

	for (i = 0; i < SLOTS_MAX; i++) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
			return err_errno(e, errno, "a socket for a disk that comes later");
		s->fds[i] = pair[0];
		s->vmm_fds[i] = pair[1];
	}
	return 0;
}

void slots_add_devices(struct slots *s, struct vmspec *spec)
{
	unsigned int i;

	s->first = spec->devices_n;
	for (i = 0; i < SLOTS_MAX && s->vmm_fds[i] >= 0; i++) {
		struct vmspec_device *dev = vmspec_add(spec, VMSPEC_BLK);

		dev->flags = VMSPEC_BLK_SLOT;
		dev->blk.fd = s->vmm_fds[i];
		dev->blk.queues = 1;
		snprintf(dev->blk.serial, sizeof(dev->blk.serial), "slot%u", i);
	}
}

void slots_close_vmm_ends(struct slots *s)
{
	unsigned int i;

	for (i = 0; i < SLOTS_MAX; i++)
		cleanup_closep(&s->vmm_fds[i]);
}

void slots_end(struct slots *s)
{
	unsigned int i;

	slots_close_vmm_ends(s);
	for (i = 0; i < SLOTS_MAX; i++)
		cleanup_closep(&s->fds[i]);
}

/* ---- what goes into one ------------------------------------------------------------------------------------------------ */

static bool has_option(const struct share_mount *m, const char *option)
{
	size_t i;

	for (i = 0; i < m->options_n; i++)
		if (str_eq(m->options[i], option))
			return true;
	return false;
}

static unsigned int next_free(const struct slots *s, unsigned int i)
{
	for (; i < SLOTS_MAX && (s->taken[i] || s->fds[i] < 0); i++)
		;
	return i;
}

bool slots_take(const struct slots *s, const struct share_mount *m)
{
	struct stat st;

	if (next_free(s, 0) == SLOTS_MAX)
		return false;
	if ((!str_eq(m->type, "ext4") && !str_eq(m->type, "erofs")) || stat(m->source, &st) < 0)
		return false;
	return S_ISBLK(st.st_mode) || (S_ISREG(st.st_mode) && has_option(m, "loop"));
}

bool slots_read_only(const struct share_mount *m)
{
	return str_eq(m->type, "erofs") || has_option(m, "ro");
}

static int measure(int fd, struct blk_slot_request *req)
{
	unsigned int best;
	struct stat st;
	int block;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(fd, BLKGETSIZE64, &req->bytes) || ioctl(fd, BLKSSZGET, &block))
			return -errno;
		req->block_bytes = (uint32_t)block;
		req->best_bytes = ioctl(fd, BLKIOOPT, &best) || best > BEST_MAX ? 0 : best;
		return 0;
	}
	req->is_regular = S_ISREG(st.st_mode);
	req->block_bytes = SECTOR;
	/* A file's last block may not be whole, and what is beyond reads as nothing. */
	req->bytes = (uint64_t)st.st_size / SECTOR * SECTOR;
	return req->is_regular ? 0 : -EINVAL;
}

/* ---- the VMM ----------------------------------------------------------------------------------------------------------- */

/* fd -1: none goes along. */
static int ask(int slot_fd, const struct blk_slot_request *req, int fd)
{
	union {
		struct cmsghdr hdr;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)req, sizeof(*req) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct pollfd p = { .fd = slot_fd, .events = POLLIN };
	struct blk_slot_answer answer;
	int r;

	if (fd >= 0) {
		control.hdr.cmsg_level = SOL_SOCKET;
		control.hdr.cmsg_type = SCM_RIGHTS;
		control.hdr.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.hdr), &fd, sizeof(int));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
	}
	/* An answer that came too late is not the next one's. */
	while (recv(slot_fd, &answer, sizeof(answer), MSG_DONTWAIT) > 0)
		;
	if (sendmsg(slot_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	while ((r = poll(&p, 1, ANSWER_MS)) < 0 && errno == EINTR)
		;
	if (r <= 0)
		return r ? -errno : -ETIMEDOUT;
	if (recv(slot_fd, &answer, sizeof(answer), MSG_DONTWAIT) != sizeof(answer))
		return -EPIPE;
	/* It is a guest's VMM that says so. */
	return answer.error > 0 || answer.error < -ERRNO_MAX ? -EPROTO : answer.error;
}

int slots_plug(struct slots *s, const struct share_mount *m, bool read_only, struct err *e)
{
	struct blk_slot_request req = { .op = BLK_SLOT_PLUG, .flags = read_only ? VMSPEC_BLK_READONLY : 0 };
	_cleanup_close_ int fd = -1;
	unsigned int i;
	int r;

	fd = open(m->source, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return err_errno(e, errno, "%s", m->source);
	r = measure(fd, &req);
	if (r)
		return err_errno(e, r, "%s: how large it is", m->source);
	/* One that a guest has got hold of while it was empty is passed over. */
	i = next_free(s, 0);
	while (i < SLOTS_MAX && (r = ask(s->fds[i], &req, fd)) == -EBUSY)
		i = next_free(s, i + 1);
	if (i == SLOTS_MAX)
		return err_set(e, EBUSY, "%s: all %u places that the VM has for disks are taken", m->source, SLOTS_MAX);
	/* What may come late has its place for ever. */
	s->taken[i] = !r || r == -ETIMEDOUT;
	return r ? err_errno(e, r, "%s: microvm-vmm does not take it as a disk", m->source) : (int)i;
}

void slots_unplug(struct slots *s, unsigned int slot)
{
	const struct blk_slot_request req = { .op = BLK_SLOT_UNPLUG };
	const int r = s->fds[slot] < 0 ? -EPIPE : ask(s->fds[slot], &req, -1);

	/* Who is gone has closed it, too. */
	if (r && r != -EPIPE && r != -ECONNRESET)
		log_warn("a disk in slot %u stays until the VM's end: %s", slot, strerror(-r));
	else
		s->taken[slot] = false;
}

uint64_t slots_gpa(const struct slots *s, unsigned int slot)
{
	return GUEST_MMIO_BASE + (s->first + slot) * GUEST_MMIO_STRIDE;
}

uint32_t slots_gsi(const struct slots *s, unsigned int slot)
{
	return GUEST_GSI_FIRST + s->first + slot;
}
