/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vhost.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/cleanup.h"
#include "base/util.h"

#define TRIES 64u /* that many guests can hardly have the numbers that chance gives */
#define CID_FIRST 3u
#define BACKLOG 4

int vhost_open(int *fd, struct err *e)
{
	*fd = open(VHOST_DEVICE, O_RDWR | O_CLOEXEC);
	if (*fd < 0 && (errno == ENOENT || errno == ENODEV))
		return err_set(e, errno, VHOST_DEVICE " is not there; 'modprobe vhost_vsock' makes it");
	return *fd < 0 ? err_errno(e, errno, "cannot open " VHOST_DEVICE) : 0;
}

int vhost_take_cid(int fd, uint32_t *cid, struct err *e)
{
	unsigned int i;

	for (i = 0; i < TRIES; i++) {
		uint64_t guest;

		if (getrandom(cid, sizeof(*cid), 0) != sizeof(*cid))
			return err_set(e, EIO, "no random numbers");
		*cid = CID_FIRST + *cid % (INT32_MAX - CID_FIRST);
		guest = *cid;
		if (!ioctl(fd, VHOST_VSOCK_SET_GUEST_CID, &guest))
			return 0;
		if (errno != EADDRINUSE)
			break;
	}
	return err_errno(e, errno, VHOST_DEVICE ": a CID for the guest");
}

int vhost_publish(int dirfd, const char *name, uint32_t cid, struct err *e)
{
	char target[32];

	snprintf(target, sizeof(target), AGENT_CID_LINK "%u", cid);
	return symlinkat(target, dirfd, name) ? err_errno(e, errno, "%s", name) : 0;
}

int vhost_listen(int *fd, uint32_t *port, struct err *e)
{
	struct sockaddr_vm addr = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = VMADDR_PORT_ANY };
	socklen_t len = sizeof(addr);

	/* Who calls can be gone before it is answered: then there is nothing to wait for. */
	*fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (*fd < 0 || bind(*fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(*fd, BACKLOG) ||
	    getsockname(*fd, (struct sockaddr *)&addr, &len))
		return err_errno(e, errno, "cannot listen for the guest's agent by AF_VSOCK");
	*port = addr.svm_port;
	return 0;
}

int vhost_accept(int listen_fd, uint32_t cid)
{
	struct sockaddr_vm peer = { 0 };
	socklen_t len = sizeof(peer);
	_cleanup_close_ int fd = accept4(listen_fd, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC);

	if (fd < 0)
		return -errno;
	return peer.svm_cid == cid ? take_fd(&fd) : -EAGAIN;
}
