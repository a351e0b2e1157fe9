/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/iov.h"

#include "base/util.h"

static size_t copy(const struct iovec *iov, unsigned int n, size_t skip, void *to, const void *from, size_t len)
{
	size_t done = 0, part;
	unsigned int i;

	for (i = 0; i < n && done < len; i++) {
		if (skip >= iov[i].iov_len) {
			skip -= iov[i].iov_len;
			continue;
		}
		part = min_t(size_t, iov[i].iov_len - skip, len - done);
		if (to)
			memcpy((char *)to + done, (char *)iov[i].iov_base + skip, part);
		else
			memcpy((char *)iov[i].iov_base + skip, (const char *)from + done, part);
		done += part;
		skip = 0;
	}
	return done;
}

size_t iov_get(const struct iovec *iov, unsigned int n, size_t skip, void *buf, size_t len)
{
	return copy(iov, n, skip, buf, NULL, len);
}

size_t iov_put(const struct iovec *iov, unsigned int n, size_t skip, const void *buf, size_t len)
{
	return copy(iov, n, skip, NULL, buf, len);
}

struct iovec *iov_advance(struct iovec *iov, unsigned int *n, size_t len)
{
	while (*n && len >= iov->iov_len) {
		len -= iov->iov_len;
		iov++;
		--*n;
	}
	if (*n) {
		iov->iov_base = (char *)iov->iov_base + len;
		iov->iov_len -= len;
	}
	return iov;
}

unsigned int iov_truncate(struct iovec *iov, unsigned int n, size_t len)
{
	unsigned int i;

	for (i = 0; i < n && len; i++) {
		if (iov[i].iov_len > len)
			iov[i].iov_len = len;
		len -= iov[i].iov_len;
	}
	return i;
}
