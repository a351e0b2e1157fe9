/* SPDX-License-Identifier: Apache-2.0 */
/* The vhost-user side: messages, memory, queues that start and stop; and the small parts: ids, names, options. */
#include <check.h>
#include <errno.h>

#include "fsd/idmap.h"
#include "fsd/memory.h"
#include "fsd/options.h"
#include "fsd/xattrmap.h"
#include "tests/unit/fsd_front.h"

Suite *test_suite(void);

static struct front f;

static void setup(void)
{
	front_new(&f, &(struct fs_config){ .cache = FS_CACHE_AUTO, .attr_timeout_ns = UINT64_MAX });
}

static void teardown(void)
{
	front_free(&f);
}

/* The server has hung up. */
static bool gone(void)
{
	return loop_run(f.loop) == 1;
}

START_TEST(decodes_by_its_table)
{
	struct vhost_user_header h = { VHOST_USER_SET_FEATURES, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY, 8 };
	uint64_t payload[64] = { 5 };
	struct vhost_user_msg m;
	const char *why;

	ck_assert_int_eq(vhost_user_decode(&h, payload, 0, &m, &why), 0);
	ck_assert(m.need_reply && m.u64 == 5);
	ck_assert_int_eq(vhost_user_decode(&h, payload, 1, &m, &why), -EPROTO);
	h.size = 7;
	ck_assert_int_eq(vhost_user_decode(&h, payload, 0, &m, &why), -EPROTO);
	h = (struct vhost_user_header){ VHOST_USER_SET_FEATURES, 2, 8 };
	ck_assert_int_eq(vhost_user_decode(&h, payload, 0, &m, &why), -EPROTO);
	h = (struct vhost_user_header){ VHOST_USER_SET_FEATURES, VHOST_USER_VERSION | VHOST_USER_REPLY, 8 };
	ck_assert_int_eq(vhost_user_check_header(&h, &why), -EPROTO);
	h = (struct vhost_user_header){ 6, VHOST_USER_VERSION, 0 };
	ck_assert_int_eq(vhost_user_check_header(&h, &why), -EPROTO);
	h = (struct vhost_user_header){ UINT32_MAX, VHOST_USER_VERSION, 0 };
	ck_assert_int_eq(vhost_user_check_header(&h, &why), -EPROTO);
	/* A table of 2 regions is 72 bytes long and comes with 2 files. */
	payload[0] = 2;
	h = (struct vhost_user_header){ VHOST_USER_SET_MEM_TABLE, VHOST_USER_VERSION, 72 };
	ck_assert_int_eq(vhost_user_decode(&h, payload, 2, &m, &why), 0);
	ck_assert_int_eq(vhost_user_decode(&h, payload, 1, &m, &why), -EPROTO);
	payload[0] = 0x20000000000002ull & 0xffffffff;
	h.size = 71;
	ck_assert_int_eq(vhost_user_decode(&h, payload, 2, &m, &why), -EPROTO);
	payload[0] = 0x80000002; /* times 32 would be 64 again */
	h.size = 72;
	ck_assert_int_eq(vhost_user_decode(&h, payload, 2, &m, &why), -EPROTO);
}
END_TEST

START_TEST(maps_memory_within_bounds)
{
	struct vhost_user_region r = { .gpa = 0x1000, .len_bytes = 0x2000, .user_addr = 0x9000, .fd_offset = 0x1000 };
	struct memory mem = { .n = 0 };

	ck_assert_int_eq(memory_add(&mem, &r, f.mem_fd), 0);
	ck_assert_ptr_null(memory_slice(&mem, 0xfff, 1));
	ck_assert_ptr_nonnull(memory_slice(&mem, 0x1000, 0x2000));
	ck_assert_ptr_null(memory_slice(&mem, 0x1000, 0x2001));
	ck_assert_ptr_null(memory_slice(&mem, 0x1000, 0));
	ck_assert_ptr_null(memory_slice(&mem, 0x2000, UINT64_MAX));
	ck_assert_ptr_null(memory_slice(&mem, UINT64_MAX, 2));
	ck_assert_ptr_eq(memory_user_slice(&mem, 0x9010, 1), (uint8_t *)memory_slice(&mem, 0x1000, 1) + 0x10);
	memcpy(memory_slice(&mem, 0x1000, 2), "ab", 2);
	ck_assert_int_eq(memcmp(f.mem + 0x1000, "ab", 2), 0);
	ck_assert_int_eq(memory_add(&mem, &r, f.mem_fd), -EINVAL); /* there is one already */
	r.gpa = 0x10000;
	r.fd_offset = FRONT_MEM - 0x1000; /* past the file's end */
	ck_assert_int_eq(memory_add(&mem, &r, f.mem_fd), -EINVAL);
	r.fd_offset = UINT64_MAX - 0xfff;
	ck_assert_int_eq(memory_add(&mem, &r, f.mem_fd), -EINVAL);
	r = (struct vhost_user_region){ .gpa = UINT64_MAX - 0xfff, .len_bytes = 0x2000 };
	ck_assert_int_eq(memory_add(&mem, &r, f.mem_fd), -EINVAL);
	r = (struct vhost_user_region){ .gpa = 0x1000, .len_bytes = 0x2000, .user_addr = 0x9000 };
	ck_assert_int_eq(memory_remove(&mem, &r), 0);
	ck_assert_int_eq(memory_remove(&mem, &r), -ENOENT);
	memory_clear(&mem);
}
END_TEST

START_TEST(says_what_it_can)
{
	uint64_t v = 0;

	front_send(&f, VHOST_USER_GET_FEATURES, 0, NULL, 0, NULL, 0);
	ck_assert_int_eq(front_reply(&f, &v, sizeof(v)), 8);
	ck_assert(v & 1ull << VIRTIO_F_VERSION_1 && v & 1ull << VHOST_USER_F_PROTOCOL_FEATURES);
	front_send(&f, VHOST_USER_GET_QUEUE_NUM, 0, NULL, 0, NULL, 0);
	ck_assert_int_eq(front_reply(&f, &v, sizeof(v)), 8);
	ck_assert_uint_eq(v, 5);
	/* Acknowledgements come when they were agreed on and asked for. */
	front_u64(&f, VHOST_USER_SET_PROTOCOL_FEATURES, 1ull << VHOST_USER_PROTOCOL_F_REPLY_ACK, -1);
	v = 1ull << VIRTIO_F_VERSION_1;
	front_send(&f, VHOST_USER_SET_FEATURES, VHOST_USER_NEED_REPLY, &v, sizeof(v), NULL, 0);
	ck_assert_int_eq(front_reply(&f, &v, sizeof(v)), 8);
	ck_assert_uint_eq(v, 0);
}
END_TEST

START_TEST(takes_messages_in_pieces)
{
	struct vhost_user_header h = { VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0 };
	uint64_t v = 0;
	size_t i;

	for (i = 0; i < sizeof(h); i++) {
		ck_assert_int_eq(send(f.sock, (char *)&h + i, 1, 0), 1);
		front_settle(&f);
	}
	ck_assert_int_eq(front_reply(&f, &v, sizeof(v)), 8);
}
END_TEST

START_TEST(stops_a_queue_where_it_is)
{
	struct vhost_user_vring_state st = { FRONT_QUEUE, 0 };
	struct fuse_entry_out out;

	front_connect(&f);
	ck_assert_int_eq(front_init(&f, 0, NULL), sizeof(struct fuse_init_out));
	ck_assert_int_eq(front_call(&f, FUSE_LOOKUP, 1, NULL, 0, "a", NULL, &out, sizeof(out)), -ENOENT);
	front_send(&f, VHOST_USER_GET_VRING_BASE, 0, &st, sizeof(st), NULL, 0);
	ck_assert_int_eq(front_reply(&f, &st, sizeof(st)), sizeof(st));
	ck_assert(st.index == FRONT_QUEUE && st.num == 2);
	/* Nothing is taken from a queue that was stopped. */
	front_put(&f, 0, &(struct fuse_in_header){ .len = 40 }, 40, 16);
	eventfd_write(f.kick_fd, 1);
	front_settle(&f);
	ck_assert_uint_eq(((struct vring_used *)(f.mem + FRONT_USED))->idx, 2);
	/* ... until it goes on, in other memory. */
	front_memory(&f);
	front_queue(&f, 2);
	ck_assert_uint_eq(front_wait(&f, 1), 1);
}
END_TEST

START_TEST(waits_for_enable)
{
	front_connect(&f);
	front_state(&f, VHOST_USER_SET_VRING_ENABLE, FRONT_QUEUE, 0);
	front_put(&f, 0, &(struct fuse_in_header){ .len = 40 }, 40, 16);
	eventfd_write(f.kick_fd, 1);
	front_settle(&f);
	ck_assert_uint_eq(((struct vring_used *)(f.mem + FRONT_USED))->idx, 0);
	front_state(&f, VHOST_USER_SET_VRING_ENABLE, FRONT_QUEUE, 1);
	ck_assert_uint_eq(front_wait(&f, 1), 1);
}
END_TEST

START_TEST(hangs_up_on_nonsense)
{
	static const struct {
		uint32_t request, len;
		uint64_t payload[5];
		unsigned int fds;
	} bad[] = {
		{ 6, 0, { 0 }, 0 },
		{ VHOST_USER_SET_FEATURES, 8, { ~0ull }, 0 },
		{ VHOST_USER_SET_FEATURES, 4, { 0 }, 0 },
		{ VHOST_USER_SET_OWNER, 300, { 0 }, 0 },
		{ VHOST_USER_SET_VRING_NUM, 8, { 99 }, 0 },
		{ VHOST_USER_SET_VRING_NUM, 8, { 1 | 3ull << 32 }, 0 },
		{ VHOST_USER_SET_VRING_NUM, 8, { 1 | 65536ull << 32 }, 0 },
		{ VHOST_USER_SET_VRING_KICK, 8, { 1 }, 0 },
		{ VHOST_USER_SET_VRING_KICK, 8, { 1 | VHOST_USER_VRING_NOFD }, 0 },
		{ VHOST_USER_SET_VRING_KICK, 8, { 77 }, 1 },
		{ VHOST_USER_GET_VRING_BASE, 8, { 77 }, 0 },
		{ VHOST_USER_SET_MEM_TABLE, 40, { 1, 0, 1ull << 40, 0, 0 }, 1 },
		{ VHOST_USER_ADD_MEM_REG, 40, { 0, 0, 0, 0, 0 }, 1 },
		{ VHOST_USER_SET_VRING_CALL, 8, { 1 }, 3 },
	};
	int fds[3] = { f.mem_fd, f.mem_fd, f.mem_fd };

	front_send(&f, bad[_i].request, 0, bad[_i].payload, bad[_i].len, fds, bad[_i].fds);
	ck_assert(gone());
}
END_TEST

START_TEST(refuses_queues_outside_of_memory)
{
	struct vhost_user_vring_addr addr = {
		.index = FRONT_QUEUE, .desc = FRONT_USER + FRONT_MEM - 16, .avail = FRONT_USER, .used = FRONT_USER
	};

	front_memory(&f);
	front_state(&f, VHOST_USER_SET_VRING_NUM, FRONT_QUEUE, FRONT_SIZE);
	front_send(&f, VHOST_USER_SET_VRING_ADDR, 0, &addr, sizeof(addr), NULL, 0);
	front_send(&f, VHOST_USER_SET_VRING_KICK, 0, &(uint64_t){ FRONT_QUEUE }, 8, &f.kick_fd, 1);
	ck_assert(gone());
}
END_TEST

START_TEST(maps_ids)
{
	struct idmap map = { .n = 0 };
	uint32_t id;

	ck_assert_int_eq(idmap_add(&map, "0:1000:1"), 0);
	ck_assert_int_eq(idmap_add(&map, "1:100000:65535"), 0);
	ck_assert_int_eq(idmap_add(&map, "65535:1:2"), -EINVAL);
	ck_assert_int_eq(idmap_add(&map, "70000:100010:1"), -EINVAL);
	ck_assert_int_eq(idmap_add(&map, "1:2"), -EINVAL);
	ck_assert_int_eq(idmap_add(&map, "70000:2:3:4"), -EINVAL);
	ck_assert_int_eq(idmap_add(&map, "70000:4294967295:1"), -EINVAL);
	ck_assert_int_eq(idmap_to_host(&map, 0, &id), 0);
	ck_assert_uint_eq(id, 1000);
	ck_assert_int_eq(idmap_to_host(&map, 65536, &id), -EOVERFLOW);
	ck_assert_uint_eq(idmap_to_guest(&map, 100001), 2);
	ck_assert_uint_eq(idmap_to_guest(&map, 0), IDMAP_NOBODY);
}
END_TEST

START_TEST(maps_names_of_attributes)
{
	struct err e = ERR_INIT;
	struct xattrmap *map = NULL;
	char host[XATTR_NAME_BYTES];

	ck_assert_int_eq(xattrmap_parse(":map:trusted.:user.guest.:", &map, &e), 0);
	ck_assert_int_eq(xattrmap_to_host(map, "trusted.a", host), 0);
	ck_assert_str_eq(host, "user.guest.trusted.a");
	ck_assert_int_eq(xattrmap_to_host(map, "user.b", host), 0);
	ck_assert_str_eq(host, "user.b");
	ck_assert_int_eq(xattrmap_to_host(map, "user.guest.trusted.a", host), -EPERM);
	ck_assert_str_eq(xattrmap_to_guest(map, "user.guest.trusted.a"), "trusted.a");
	xattrmap_free(map);
	ck_assert_int_eq(xattrmap_parse("/prefix/all//user.x./ /bad/all///", &map, &e), 0);
	ck_assert_int_eq(xattrmap_to_host(map, "security.capability", host), 0);
	ck_assert_str_eq(host, "user.x.security.capability");
	ck_assert_ptr_null(xattrmap_to_guest(map, "user.other"));
	xattrmap_free(map);
	ck_assert_int_eq(xattrmap_parse(":ok:all:", &map, &e), -EINVAL);
	ck_assert_int_eq(xattrmap_parse("", &map, &e), -EINVAL);
	ck_assert_int_eq(xattrmap_parse(":maybe:all:::", &map, &e), -EINVAL);
}
END_TEST

START_TEST(reads_options)
{
	char *good[] = { "fsd", "--shared-dir", "/x",	 "--fd=3",	   "--cache", "none", "--readonly", "--queues",
			 "4",	"--uid-map",	"0:1:2", "--attr-timeout", "250ms",   NULL };
	static char *bad[][6] = {
		{ "fsd", "--fd=3" },
		{ "fsd", "--shared-dir=/x" },
		{ "fsd", "--shared-dir=/x", "--fd=3", "--socket-path=/y" },
		{ "fsd", "--shared-dir=/x", "--fd=3", "--cache=some" },
		{ "fsd", "--shared-dir=/x", "--fd=3", "--posix-acl" },
		{ "fsd", "--shared-dir=/x", "--fd=3", "--readonly=1" },
		{ "fsd", "--shared-dir=/x", "--fd" },
		{ "fsd", "--shared-dir=/x", "--fd=3", "--unknown" },
		{ "fsd", "--shared-dir=/x", "--fd=3", "extra" },
		{ "fsd", "--shared-dir=/x", "--fd=3", "--writeback", "--cache=none" },
	};
	struct err e = ERR_INIT;
	struct options o;
	size_t i;
	int n;

	ck_assert_int_eq(options_parse(ARRAY_SIZE(good) - 1, good, &o, &e), 0);
	ck_assert(o.fd == 3 && o.queues == 4 && o.fs.read_only && o.fs.cache == FS_CACHE_NONE && o.fs.uids.n == 1);
	ck_assert_uint_eq(o.fs.attr_timeout_ns, 250000000);
	options_free(&o);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		for (n = 0; n < 6 && bad[i][n]; n++)
			;
		ck_assert_int_eq(options_parse(n, bad[i], &o, &e), -EINVAL);
		options_free(&o);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("fsd_vhost_user");
	TCase *c = tcase_create("session"), *parts = tcase_create("parts");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, maps_memory_within_bounds);
	tcase_add_test(c, says_what_it_can);
	tcase_add_test(c, takes_messages_in_pieces);
	tcase_add_test(c, stops_a_queue_where_it_is);
	tcase_add_test(c, waits_for_enable);
	tcase_add_loop_test(c, hangs_up_on_nonsense, 0, 14);
	tcase_add_test(c, refuses_queues_outside_of_memory);
	suite_add_tcase(s, c);
	tcase_add_test(parts, decodes_by_its_table);
	tcase_add_test(parts, maps_ids);
	tcase_add_test(parts, maps_names_of_attributes);
	tcase_add_test(parts, reads_options);
	suite_add_tcase(s, parts);
	return s;
}
