/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of a chain, however the driver cut it into segments (virtio 1.2, 2.7.4: devices rely on no framing). */
#ifndef VIRTIO_IOV_H
#define VIRTIO_IOV_H

#include <stddef.h>
#include <sys/uio.h>

/* Copy up to len bytes from or to the segments, skip bytes in; return how many. */
size_t iov_get(const struct iovec *iov, unsigned int n, size_t skip, void *buf, size_t len);
size_t iov_put(const struct iovec *iov, unsigned int n, size_t skip, const void *buf, size_t len);
/* Drops len bytes in front, in place; returns the first segment that is left, and *n of them. */
struct iovec *iov_advance(struct iovec *iov, unsigned int *n, size_t len);
/* Drops all but the first len bytes; returns how many segments are left. */
unsigned int iov_truncate(struct iovec *iov, unsigned int n, size_t len);

#endif
