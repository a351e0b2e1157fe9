/* SPDX-License-Identifier: Apache-2.0 */
/* Streams between guest and host: AF_VSOCK. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "base/cleanup.h"
#include "base/guest.h"
#include "guest-agent/init.h"
#include "guest-agent/server.h"

#define BACKLOG 64

static int vsock_listen(uint32_t port, void *arg)
{
	_cleanup_close_ int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct sockaddr_vm addr = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port };

	if (fd < 0 || bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	return take_fd(&fd);
}

static int vsock_connect(uint32_t port, void *arg)
{
	_cleanup_close_ int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const struct sockaddr_vm addr = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port };

	if (fd < 0 || (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 && errno != EINPROGRESS))
		return -errno;
	return take_fd(&fd);
}

/*
 * Containers share the guest's kernel, and could connect to the agent if vsock had a way within the guest. Behind vhost-vsock
 * any process of the host could: the ports below 1024 are root's there.
 */
static bool vsock_is_host(int fd, void *arg)
{
	const struct init_words *words = arg;
	struct sockaddr_vm addr;
	socklen_t len = sizeof(addr);

	return getpeername(fd, (struct sockaddr *)&addr, &len) == 0 && addr.svm_family == AF_VSOCK &&
	       addr.svm_cid == VMADDR_CID_HOST && (!words->port || addr.svm_port < GUEST_RESERVED_PORTS);
}

const struct transport transport_vsock = { .listen = vsock_listen, .connect = vsock_connect, .is_host = vsock_is_host };
