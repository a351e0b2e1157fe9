/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to a file server in the same process, one function each, and the files of its share. Works on the one front f. */
#ifndef TESTS_UNIT_FSD_CALLS_H
#define TESTS_UNIT_FSD_CALLS_H

#include <check.h>

#include "tests/unit/fsd_front.h"

#define ROOT FUSE_ROOT_ID

static struct front f;

static inline void start(const struct fs_config *config)
{
	front_new(&f, config);
	front_connect(&f);
	ck_assert_int_eq(front_init(&f, ~0ull, NULL), sizeof(struct fuse_init_out));
}

static inline void setup(void)
{
	start(&(struct fs_config){
		.cache = FS_CACHE_AUTO, .attr_timeout_ns = UINT64_MAX, .xattr = true, .locks = FS_LOCKS_REMOTE });
}

static inline void teardown(void)
{
	front_free(&f);
}

static inline const char *host(const char *name)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/share/%s", f.dir, name);
	return path;
}

static inline void host_file(const char *name, const char *text)
{
	int fd = open(host(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	ck_assert_int_ge(fd, 0);
	fchmod(fd, 0644);
	ck_assert_int_eq(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static inline int lookup(uint64_t dir, const char *name, struct fuse_entry_out *out)
{
	return front_call(&f, FUSE_LOOKUP, dir, NULL, 0, name, NULL, out, sizeof(*out));
}

static inline uint64_t node(uint64_t dir, const char *name)
{
	struct fuse_entry_out out = { 0 };

	ck_assert_int_eq(lookup(dir, name, &out), sizeof(out));
	return out.nodeid;
}

static inline int open_node(uint64_t id, uint32_t flags, uint64_t *fh)
{
	struct fuse_open_in in = { .flags = flags };
	struct fuse_open_out out = { 0 };
	int r = front_call(&f, FUSE_OPEN, id, &in, sizeof(in), NULL, NULL, &out, sizeof(out));

	*fh = out.fh;
	return r < 0 ? r : 0;
}

static inline int read_at(uint64_t id, uint64_t fh, uint64_t off, uint32_t size, char *to)
{
	struct fuse_read_in in = { .fh = fh, .offset = off, .size = size };

	return front_call(&f, FUSE_READ, id, &in, sizeof(in), NULL, NULL, to, size);
}

static inline int write_at(uint64_t id, uint64_t fh, uint64_t off, const char *text)
{
	struct fuse_write_in in = { .fh = fh, .offset = off, .size = (uint32_t)strlen(text) };
	struct fuse_write_out out = { 0 };
	char buf[4096];
	int r;

	memcpy(buf, &in, sizeof(in));
	memcpy(buf + sizeof(in), text, in.size);
	r = front_call_raw(&f, FUSE_WRITE, id, buf, sizeof(in) + in.size, &out, sizeof(out));
	return r < 0 ? r : (int)out.size;
}

static inline int release(uint32_t op, uint64_t id, uint64_t fh)
{
	struct fuse_release_in in = { .fh = fh };

	return front_call(&f, op, id, &in, sizeof(in), NULL, NULL, NULL, 0);
}

/* Reads the root from its start on, `room` bytes (4096 at most) at a time; how many entries there are. */
static inline int count_entries(uint64_t fh, uint32_t op, uint32_t room)
{
	char buf[4096];
	uint64_t off = 0;
	int n, at, count = 0;

	do {
		struct fuse_read_in in = { .fh = fh, .offset = off, .size = room };
		int head = op == FUSE_READDIRPLUS ? (int)sizeof(struct fuse_entry_out) : 0;

		n = front_call(&f, op, ROOT, &in, sizeof(in), NULL, NULL, buf, room);
		ck_assert_int_ge(n, 0);
		for (at = 0; at < n; count++) {
			struct fuse_dirent d;

			memcpy(&d, buf + at + head, FUSE_NAME_OFFSET);
			off = d.off;
			at += (int)FUSE_DIRENT_ALIGN(head + FUSE_NAME_OFFSET + d.namelen);
		}
		ck_assert_int_eq(at, n);
	} while (n);
	return count;
}

#endif
