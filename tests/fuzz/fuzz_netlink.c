/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of rtnetlink, taken apart and made into the agent's message: datagrams of a length of two bytes each. */
#include <stdint.h>
#include <stdlib.h>

#include "base/util.h"
#include "sandbox/network_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As a dump of each kind would be; the type of a message is its own. */
static int scan(const struct nlmsghdr *msg, void *arg)
{
	int r = network_scan_link(msg, arg);

	if (!r)
		r = network_scan_address(msg, arg);
	if (!r)
		r = network_scan_neighbour(msg, arg);
	return r ? r : network_scan_route(msg, arg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	struct network_scan s = { .e = &e };
	uint8_t *packed;
	size_t len;

	while (size > 2) {
		len = min_t(size_t, data[0] | data[1] << 8, size - 2);
		/* A copy, so that what is read behind its end is seen. */
		packed = xcalloc(1, len + !len);
		memcpy(packed, data + 2, len);
		netlink_each(packed, len, scan, &s);
		free(packed);
		data += 2 + len;
		size -= 2 + len;
	}
	network_scan_sort(&s);
	if (s.network) {
		packed = xcalloc(1, microvm__network__get_packed_size(s.network) + 1);
		microvm__network__pack(s.network, packed);
		free(packed);
	}
	network_scan_clear(&s);
	return 0;
}
