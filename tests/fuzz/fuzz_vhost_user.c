/* SPDX-License-Identifier: Apache-2.0 */
/* A front end that says anything: messages on the socket, each byte of them the input's, some with files. */
#include "tests/unit/fsd_front.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct fs_config config = { .cache = FS_CACHE_AUTO, .attr_timeout_ns = UINT64_MAX };
	int cwd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), fds[16], i;
	struct front f;

	front_new(&f, &config);
	/* First byte: how many files; second: the request; third: payload bytes; then the payload. */
	while (size >= 3) {
		uint32_t len = min_t(size_t, data[2], size - 3);

		for (i = 0; i < 16; i++)
			fds[i] = data[0] & 16 ? f.kick_fd : f.mem_fd;
		front_send(&f, data[1], data[0] & 32 ? VHOST_USER_NEED_REPLY : 0, data + 3, len, fds, data[0] & 15);
		front_settle(&f);
		data += 3 + len;
		size -= 3 + len;
	}
	eventfd_write(f.kick_fd, 1);
	front_settle(&f);
	front_free(&f);
	if (fchdir(cwd))
		abort();
	close(cwd);
	return 0;
}
