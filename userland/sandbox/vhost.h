/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's side of a guest whose streams go by the kernel's vhost-vsock: its CID, which is one of the whole host's, and the
 * port at which the agent calls. Streams to the guest are sockets of AF_VSOCK (agent/agent.h).
 */
#ifndef SANDBOX_VHOST_H
#define SANDBOX_VHOST_H

#include <stdint.h>

#include "base/err.h"

#define VHOST_DEVICE "/dev/vhost-vsock"

int vhost_open(int *fd, struct err *e);
/* A CID that no other guest has; it is the file's until that is closed. */
int vhost_take_cid(int fd, uint32_t *cid, struct err *e);
/* Names the guest at dirfd/name, for who wants to connect to it. */
int vhost_publish(int dirfd, const char *name, uint32_t cid, struct err *e);
/* Listens at a port that is free. */
int vhost_listen(int *fd, uint32_t *port, struct err *e);
/* A stream that waits at the port: an fd, -EAGAIN for one that is not that guest's, or what accept4(2) says. */
int vhost_accept(int listen_fd, uint32_t cid);

#endif
