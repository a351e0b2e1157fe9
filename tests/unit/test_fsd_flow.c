/* SPDX-License-Identifier: Apache-2.0 */
/* How requests and answers go: which are done at once, which wait for company, what is read ahead of folders. */
#include <errno.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "tests/unit/fsd_calls.h"

Suite *test_suite(void);

static void setup_without_locks(void)
{
	start(&(struct fs_config){ .cache = FS_CACHE_AUTO, .attr_timeout_ns = UINT64_MAX });
}

static uint16_t used(void)
{
	return __atomic_load_n(&((struct vring_used *)(f.mem + FRONT_USED))->idx, __ATOMIC_ACQUIRE);
}

/* The ring's worker threads may take their time on a busy machine. */
static void wait_for_all(unsigned int n)
{
	unsigned int i, come = 0;

	for (i = 0; i < 100 && come < n; i++)
		come += front_wait(&f, n - come);
	ck_assert_uint_eq(come, n);
}

static uint64_t open_folder(uint64_t id)
{
	struct fuse_open_in in = { 0 };
	struct fuse_open_out out;

	ck_assert_int_eq(front_call(&f, FUSE_OPENDIR, id, &in, sizeof(in), NULL, NULL, &out, sizeof(out)), sizeof(out));
	return out.fh;
}

static void put_forget(unsigned int slot, uint64_t id)
{
	struct {
		struct fuse_in_header head;
		struct fuse_forget_in in;
	} req = { .head = { .len = sizeof(req), .opcode = FUSE_FORGET, .nodeid = id }, .in.nlookup = 1 };

	front_put(&f, slot, &req, sizeof(req), 0);
}

static void put_getattr(unsigned int slot)
{
	struct {
		struct fuse_in_header head;
		struct fuse_getattr_in in;
	} req = { .head = { .len = sizeof(req), .opcode = FUSE_GETATTR, .nodeid = ROOT } };

	front_put(&f, slot, &req, sizeof(req), 200);
}

/* A FORGET is done at once, but shown with the next answer: one interrupt for both. */
START_TEST(shows_what_nobody_waits_for_with_the_next)
{
	eventfd_t calls;
	uint16_t before;

	host_file("a", "");
	put_forget(1, node(ROOT, "a"));
	front_settle(&f);
	eventfd_read(f.call_fd, &calls);
	before = used();
	eventfd_write(f.kick_fd, 1);
	front_settle(&f);
	ck_assert_uint_eq(fs_inodes(f.fs), 1);
	ck_assert_uint_eq(used(), before);
	put_getattr(2);
	ck_assert_uint_eq(front_wait(&f, 2), 2);
	front_settle(&f);
	ck_assert_int_eq(eventfd_read(f.call_fd, &calls), 0);
	ck_assert_uint_eq(calls, 1);
}
END_TEST

/* Linux waits for the end of RELEASE within close(2), so it is no such answer. */
START_TEST(answers_a_release_at_once)
{
	struct {
		struct fuse_in_header head;
		struct fuse_release_in in;
	} req = { .head = { .len = sizeof(req), .opcode = FUSE_RELEASE } };
	uint16_t before;

	host_file("a", "");
	req.head.nodeid = node(ROOT, "a");
	ck_assert_int_eq(open_node(req.head.nodeid, O_RDONLY, &req.in.fh), 0);
	front_settle(&f);
	before = used();
	front_put(&f, 1, &req, sizeof(req), 64);
	eventfd_write(f.kick_fd, 1);
	front_settle(&f);
	ck_assert_uint_eq((uint16_t)(used() - before), 1);
}
END_TEST

/* With nothing else to say it is shown all the same, a little later. */
START_TEST(shows_it_in_the_end)
{
	host_file("a", "");
	put_forget(1, node(ROOT, "a"));
	ck_assert_uint_eq(front_wait(&f, 1), 1);
}
END_TEST

/* A driver gets its places back before a queue is full of such answers, and all of them before the queue is taken away. */
START_TEST(holds_back_only_some)
{
	struct vhost_user_vring_state st = { .index = FRONT_QUEUE };
	uint16_t before = used();
	unsigned int i;

	for (i = 1; i <= FRONT_SIZE / 4; i++)
		put_forget(i % 8, 0xdead);
	eventfd_write(f.kick_fd, 1);
	front_settle(&f);
	ck_assert_uint_eq((uint16_t)(used() - before), FRONT_SIZE / 4);
	put_forget(1, 0xdead);
	eventfd_write(f.kick_fd, 1);
	front_settle(&f);
	front_send(&f, VHOST_USER_GET_VRING_BASE, 0, &st, sizeof(st), NULL, 0);
	ck_assert_int_eq(front_reply(&f, &st, sizeof(st)), sizeof(st));
	ck_assert_uint_eq((uint16_t)(used() - before), FRONT_SIZE / 4 + 1);
}
END_TEST

/* Alone on the spot, together by the ring: the answers are the same. */
START_TEST(reads_the_same_alone_and_together)
{
	struct {
		struct fuse_in_header head;
		struct fuse_read_in in;
	} req = { .head = { .len = sizeof(req), .opcode = FUSE_READ } };
	static const uint64_t offsets[] = { 0, 3, 4090, 4096, 9990, 10000, 20000, 5 };
	uint8_t alone[8][128];
	struct fuse_out_header head[8];
	char text[10001];
	uint64_t id, fh;
	unsigned int i;
	int r;

	for (i = 0; i < sizeof(text) - 1; i++)
		text[i] = (char)('a' + i % 23);
	text[i] = 0;
	host_file("a", text);
	id = node(ROOT, "a");
	ck_assert_int_eq(open_node(id, O_RDONLY, &fh), 0);
	for (i = 0; i < 8; i++) {
		r = read_at(id, fh, offsets[i], 100, (char *)alone[i]);
		ck_assert_int_eq(r, offsets[i] >= 10000 ? 0 : min_t(int, 100, (int)(10000 - offsets[i])));
		ck_assert_int_eq(memcmp(alone[i], text + min_t(uint64_t, offsets[i], 10000), (size_t)r), 0);
	}
	req.head.nodeid = id;
	for (i = 0; i < 8; i++) {
		req.in = (struct fuse_read_in){ .fh = fh, .size = 100, .offset = offsets[i] };
		front_put(&f, i, &req, sizeof(req), 16 + 100);
	}
	wait_for_all(8);
	for (i = 0; i < 8; i++) {
		memcpy(&head[i], front_answer(&f, i), sizeof(head[i]));
		ck_assert_int_eq(head[i].error, 0);
		ck_assert_uint_eq(head[i].len - 16, offsets[i] >= 10000 ? 0 : min_t(uint32_t, 100, 10000 - offsets[i]));
		ck_assert_int_eq(memcmp(front_answer(&f, i) + 16, alone[i], head[i].len - 16), 0);
	}
}
END_TEST

START_TEST(writes_the_same_alone_and_together)
{
	struct {
		struct fuse_in_header head;
		struct fuse_write_in in;
		char text[4];
	} req = { .head = { .len = sizeof(req), .opcode = FUSE_WRITE } };
	char alone[64] = { 0 }, together[64] = { 0 };
	uint64_t id, fh;
	unsigned int i;
	int fd;

	for (i = 0; i < 8; i++) {
		char text[5];

		snprintf(text, sizeof(text), "%04u", i * 77);
		if (!i) {
			host_file("a", "");
			id = node(ROOT, "a");
			ck_assert_int_eq(open_node(id, O_RDWR, &fh), 0);
		}
		ck_assert_int_eq(write_at(id, fh, 4ull * i, text), 4);
	}
	ck_assert_int_eq(read_at(id, fh, 0, 64, alone), 32);
	host_file("b", "");
	id = node(ROOT, "b");
	ck_assert_int_eq(open_node(id, O_RDWR, &fh), 0);
	req.head.nodeid = id;
	for (i = 0; i < 8; i++) {
		req.in = (struct fuse_write_in){ .fh = fh, .size = 4, .offset = 4ull * i };
		snprintf(together, sizeof(together), "%04u", i * 77);
		memcpy(req.text, together, 4);
		/* The structure's end is padded. */
		req.head.len = sizeof(req.head) + sizeof(req.in) + 4;
		front_put(&f, i, &req, req.head.len, 16 + 8);
	}
	wait_for_all(8);
	fd = open(host("b"), O_RDONLY | O_CLOEXEC);
	memset(together, 0, sizeof(together));
	ck_assert_int_eq(read(fd, together, 64), 32);
	ck_assert_int_eq(memcmp(together, alone, 32), 0);
	close(fd);
}
END_TEST

/* A write in the name of one who may not keep them takes set-id bits away, on the spot as by the ring. */
START_TEST(takes_set_id_bits_away)
{
	struct {
		struct fuse_write_in in;
		char text;
	} req = { .in = { .size = 1, .write_flags = FUSE_WRITE_KILL_SUIDGID }, .text = 'x' };
	struct fuse_write_out out;
	struct stat st;
	uint64_t id, fh;

	host_file("a", "text");
	ck_assert_int_eq(chmod(host("a"), 06755), 0);
	id = node(ROOT, "a");
	ck_assert_int_eq(open_node(id, O_RDWR, &fh), 0);
	req.in.fh = fh;
	if (!geteuid()) {
		ck_assert_int_eq(write_at(id, fh, 0, "y"), 1);
		ck_assert_int_eq(stat(host("a"), &st), 0);
		ck_assert_uint_eq(st.st_mode & 07777, 06755);
	}
	ck_assert_int_eq(front_call_raw(&f, FUSE_WRITE, id, &req, sizeof(req.in) + 1, &out, sizeof(out)), sizeof(out));
	ck_assert_int_eq(stat(host("a"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0755);
}
END_TEST

static int list_some(uint64_t fh, uint64_t *off, char names[][32])
{
	struct fuse_read_in in = { .fh = fh, .offset = *off, .size = 200 };
	char buf[200];
	int n = front_call(&f, FUSE_READDIR, ROOT, &in, sizeof(in), NULL, NULL, buf, sizeof(buf)), at, count = 0;

	for (at = 0; at < n; count++) {
		struct fuse_dirent d;

		memcpy(&d, buf + at, FUSE_NAME_OFFSET);
		snprintf(names[count], 32, "%.*s", (int)min_t(uint32_t, d.namelen, 31), buf + at + FUSE_NAME_OFFSET);
		*off = d.off;
		at += (int)FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + d.namelen);
	}
	return n < 0 ? n : count;
}

/* More listings at a time than are read ahead, each in its own place: every one has every name once. */
START_TEST(lists_many_folders_at_a_time)
{
	enum { LISTS = 7, FILES = 200 };
	uint64_t fh[LISTS], off[LISTS] = { 0 };
	static uint8_t seen[LISTS][FILES];
	char name[32], names[8][32];
	int i, k, n, busy = LISTS;

	memset(seen, 0, sizeof(seen));
	for (i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "%d", i);
		host_file(name, "");
	}
	for (i = 0; i < LISTS; i++)
		fh[i] = open_folder(ROOT);
	while (busy)
		for (i = 0, busy = 0; i < LISTS; i++) {
			n = list_some(fh[i], &off[i], names);
			ck_assert_int_ge(n, 0);
			busy += n > 0;
			for (k = 0; k < n; k++)
				if (names[k][0] != '.')
					seen[i][atoi(names[k])]++;
		}
	for (i = 0; i < LISTS; i++)
		for (k = 0; k < FILES; k++)
			ck_assert_uint_eq(seen[i][k], 1);
}
END_TEST

/* From its start a folder is read as it is now; from a place in it, on from there. */
START_TEST(lists_anew_from_the_start)
{
	char names[8][32], again[8][32];
	uint64_t fh, off = 0, at;
	int i, n;
	char name[32];

	for (i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "file-%d", i);
		host_file(name, "");
	}
	fh = open_folder(ROOT);
	ck_assert_int_eq(count_entries(fh, FUSE_READDIR, 4096), 42);
	ck_assert_int_gt(list_some(fh, &off, names), 0);
	at = off;
	n = list_some(fh, &off, names);
	ck_assert_int_gt(n, 0);
	list_some(fh, &off, again);
	/* Back to a place that was left. */
	off = at;
	ck_assert_int_eq(list_some(fh, &off, again), n);
	ck_assert_str_eq(names[0], again[0]);
	for (i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "file-%d", i);
		ck_assert_int_eq(unlink(host(name)), 0);
	}
	host_file("new", "");
	ck_assert_int_eq(count_entries(fh, FUSE_READDIR, 4096), 3);
	ck_assert_int_eq(count_entries(fh, FUSE_READDIRPLUS, 4096), 3);
}
END_TEST

/* Names that are new and names that are known, in turns, and one that has become another file. */
START_TEST(knows_names_again)
{
	uint64_t a, b;
	char from[128];

	host_file("a", "");
	host_file("b", "");
	a = node(ROOT, "a");
	ck_assert_uint_eq(node(ROOT, "a"), a);
	b = node(ROOT, "b");
	ck_assert_uint_eq(node(ROOT, "b"), b);
	ck_assert_uint_eq(node(ROOT, "a"), a);
	snprintf(from, sizeof(from), "%s", host("a"));
	ck_assert_int_eq(rename(from, host("b")), 0);
	ck_assert_uint_eq(node(ROOT, "b"), a);
	host_file("a", "");
	ck_assert(node(ROOT, "a") != a);
	ck_assert_uint_eq(fs_inodes(f.fs), 4);
}
END_TEST

/* Where close(2) has nothing to say of a file, the guest need not ask; our guest's kernel does so where that ends locks. */
START_TEST(asks_for_a_flush_where_it_says_something)
{
	struct fuse_open_in in = { .flags = O_WRONLY };
	struct fuse_open_out out;
	struct statfs st;
	bool local;

	host_file("a", "");
	ck_assert_int_eq(statfs(host("a"), &st), 0);
	local = st.f_type == EXT4_SUPER_MAGIC || st.f_type == TMPFS_MAGIC || st.f_type == XFS_SUPER_MAGIC ||
		st.f_type == BTRFS_SUPER_MAGIC || st.f_type == F2FS_SUPER_MAGIC;
	front_call(&f, FUSE_OPEN, node(ROOT, "a"), &in, sizeof(in), NULL, NULL, &out, sizeof(out));
	ck_assert_int_eq(!!(out.open_flags & FOPEN_NOFLUSH), local);
	teardown();
	start(&(struct fs_config){ .locks = FS_LOCKS_REMOTE });
	host_file("a", "");
	front_call(&f, FUSE_OPEN, node(ROOT, "a"), &in, sizeof(in), NULL, NULL, &out, sizeof(out));
	ck_assert_int_eq(!!(out.open_flags & FOPEN_NOFLUSH), local);
	release(FUSE_RELEASE, node(ROOT, "a"), out.fh);
	/* Any other kernel than ours. */
	ck_assert_int_eq(front_init(&f, ~0ull >> 1, NULL), sizeof(struct fuse_init_out));
	front_call(&f, FUSE_OPEN, node(ROOT, "a"), &in, sizeof(in), NULL, NULL, &out, sizeof(out));
	ck_assert_int_eq(out.open_flags & FOPEN_NOFLUSH, 0);
}
END_TEST

static uint32_t open_flags(uint64_t id)
{
	struct fuse_open_in in = { .flags = O_RDONLY };
	struct fuse_open_out out;

	ck_assert_int_eq(front_call(&f, FUSE_OPEN, id, &in, sizeof(in), NULL, NULL, &out, sizeof(out)), sizeof(out));
	release(FUSE_RELEASE, id, out.fh);
	return out.open_flags;
}

/* A time later, as file systems' clocks tick, the guest may keep what it has of a file; until somebody changes it. */
START_TEST(keeps_what_has_not_changed)
{
	struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	uint64_t id;
	struct statfs st;
	int i;

	host_file("a", "one");
	id = node(ROOT, "a");
	ck_assert_int_eq(statfs(host("a"), &st), 0);
	if (st.f_type != EXT4_SUPER_MAGIC && st.f_type != TMPFS_MAGIC)
		return;
	/* It has just changed, and may once more without another time. */
	ck_assert_uint_eq(open_flags(id) & FOPEN_KEEP_CACHE, 0);
	for (i = 0; i < 1000 && !(open_flags(id) & FOPEN_KEEP_CACHE); i++)
		usleep(10000);
	ck_assert_uint_eq(open_flags(id) & FOPEN_KEEP_CACHE, FOPEN_KEEP_CACHE);
	host_file("a", "two");
	ck_assert_uint_eq(open_flags(id) & FOPEN_KEEP_CACHE, 0);
	for (i = 0; i < 1000 && !(open_flags(id) & FOPEN_KEEP_CACHE); i++)
		usleep(10000);
	/* The same length, and a time that was set back. */
	host_file("a", "six");
	ck_assert_int_eq(utimensat(AT_FDCWD, host("a"), old, 0), 0);
	ck_assert_uint_eq(open_flags(id) & FOPEN_KEEP_CACHE, 0);
	teardown();
	start(&(struct fs_config){ .cache = FS_CACHE_NONE });
	host_file("a", "one");
	id = node(ROOT, "a");
	for (i = 0; i < 20; i++) {
		ck_assert_uint_eq(open_flags(id) & FOPEN_KEEP_CACHE, 0);
		usleep(10000);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("fsd_flow");
	TCase *c = tcase_create("requests");

	tcase_add_checked_fixture(c, setup_without_locks, teardown);
	tcase_add_test(c, shows_what_nobody_waits_for_with_the_next);
	tcase_add_test(c, answers_a_release_at_once);
	tcase_add_test(c, shows_it_in_the_end);
	tcase_add_test(c, holds_back_only_some);
	tcase_add_test(c, reads_the_same_alone_and_together);
	tcase_add_test(c, writes_the_same_alone_and_together);
	tcase_add_test(c, takes_set_id_bits_away);
	tcase_add_test(c, lists_many_folders_at_a_time);
	tcase_add_test(c, lists_anew_from_the_start);
	tcase_add_test(c, knows_names_again);
	tcase_add_test(c, keeps_what_has_not_changed);
	tcase_add_test(c, asks_for_a_flush_where_it_says_something);
	suite_add_tcase(s, c);
	return s;
}
