/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host that swaps folders and files of the share for links to what lies beside it, as fast as it can, while requests
 * name them: raw ones, as no guest's cache is between. The jail, which would hold by itself, is left out. What is beside
 * the share is never read, never changed, and nothing is made there.
 */
#include <check.h>
#include <errno.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/unit/fsd_front.h"

Suite *test_suite(void);

#define ROOT FUSE_ROOT_ID
#define ROUNDS 800u
#define BOTH 20u /* how often folder and link are to be met */

static struct front f;
static pid_t attacker;
static unsigned int folders, links, done;
static struct fuse_entry_out entry;

static int in_dir(const char *below)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", f.dir, below);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	return fd;
}

static void put(int dir, const char *name, const char *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) < 0 || fchmod(fd, 0644))
		abort();
	close(fd);
}

static _Noreturn void attack(int share)
{
	umask(0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		renameat2(share, "folder", share, "link", RENAME_EXCHANGE);
		if (symlinkat("../beside/secret", share, "fresh") || renameat(share, "fresh", share, "file"))
			abort();
		renameat2(share, "folder", share, "link", RENAME_EXCHANGE);
		put(share, "fresh", "inside");
		if (renameat(share, "fresh", share, "file"))
			abort();
		/* A folder in use gets another parent. */
		renameat(share, "folder/deep", share, "deep");
		renameat(share, "deep", share, "folder/deep");
	}
}

static void setup(void)
{
	int top, share, beside;

	front_new(&f, &(struct fs_config){ .cache = FS_CACHE_NONE,
					   .attr_timeout_ns = UINT64_MAX,
					   .xattr = true,
					   .locks = FS_LOCKS_REMOTE });
	umask(0);
	top = in_dir("");
	ck_assert(!mkdirat(top, "beside", 0777) && !mkdirat(top, "beside/deep", 0777));
	beside = in_dir("beside");
	put(beside, "secret", "OUTSIDE");
	share = in_dir("share");
	ck_assert(!mkdirat(share, "folder", 0777) && !mkdirat(share, "folder/deep", 0777));
	ck_assert(!symlinkat("../beside", share, "link"));
	put(share, "folder/secret", "inside");
	put(share, "file", "inside");
	umask(0777);
	attacker = fork();
	if (!attacker)
		attack(share);
	close(share);
	close(beside);
	close(top);
	front_connect(&f);
	ck_assert_int_eq(front_init(&f, ~0ull, NULL), sizeof(struct fuse_init_out));
}

static void teardown(void)
{
	kill(attacker, SIGKILL);
	waitpid(attacker, NULL, 0);
	front_free(&f);
}

/* ---- what a guest can ask for; what fails is nothing to it ---------------------------------------------------------- */

static int ask(uint32_t op, uint64_t id, const void *arg, size_t len, const char *name, const char *name2)
{
	uint8_t answer[512];
	int r = front_call(&f, op, id, arg, len, name, name2, answer, sizeof(answer));

	ck_assert_int_gt(r, -1000);
	done += r >= 0;
	return r;
}

static uint64_t find(uint64_t dir, const char *name)
{
	if (front_call(&f, FUSE_LOOKUP, dir, NULL, 0, name, NULL, &entry, sizeof(entry)) < 0)
		return 0;
	return entry.nodeid;
}

static void forget(uint64_t id)
{
	struct fuse_forget_in in = { .nlookup = 1 };

	if (id)
		front_call(&f, FUSE_FORGET, id, &in, sizeof(in), NULL, NULL, NULL, 0);
}

static void change_open(uint64_t id, uint64_t fh)
{
	struct fuse_read_in in = { .fh = fh, .size = 64 };
	struct fuse_release_in end = { .fh = fh };
	char text[65] = "";

	if (front_call(&f, FUSE_READ, id, &in, sizeof(in), NULL, NULL, text, 64) > 0)
		ck_assert_ptr_null(strstr(text, "OUTSIDE"));
	ask(FUSE_RELEASE, id, &end, sizeof(end), NULL, NULL);
}

static void open_and_change(uint64_t dir, const char *name)
{
	struct fuse_setattr_in attr = { .valid = FATTR_MODE | FATTR_UID | FATTR_SIZE | FATTR_MTIME,
					.mode = 0777,
					.uid = 3 };
	struct fuse_open_in in = { .flags = O_RDWR };
	struct fuse_open_out out;
	uint64_t id = find(dir, name);

	if (!id)
		return;
	if (front_call(&f, FUSE_OPEN, id, &in, sizeof(in), NULL, NULL, &out, sizeof(out)) >= 0)
		change_open(id, out.fh);
	ask(FUSE_SETATTR, id, &attr, sizeof(attr), NULL, NULL);
	ask(FUSE_LINK, dir, &(struct fuse_link_in){ id }, sizeof(struct fuse_link_in), "hard", NULL);
	ask(FUSE_UNLINK, dir, NULL, 0, "hard", NULL);
	forget(id);
}

static void create(uint64_t dir, const char *name, uint32_t flags)
{
	struct fuse_create_in in = { .flags = O_RDWR | O_CREAT | flags, .mode = S_IFREG | 0666 };
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out;

	if (front_call(&f, FUSE_CREATE, dir, &in, sizeof(in), name, NULL, &out, sizeof(out)) < 0)
		return;
	done++;
	change_open(out.entry.nodeid, out.open.fh);
	forget(out.entry.nodeid);
}

static void make_and_move(uint64_t dir, uint64_t other)
{
	create(dir, "made", 0);
	ask(FUSE_RENAME, dir, &(struct fuse_rename_in){ other }, sizeof(struct fuse_rename_in), "made", "moved");
	ask(FUSE_RENAME, other, &(struct fuse_rename_in){ dir }, sizeof(struct fuse_rename_in), "moved", "made");
	ask(FUSE_UNLINK, dir, NULL, 0, "made", NULL);
	if (ask(FUSE_MKDIR, dir, &(struct fuse_mkdir_in){ 0777, 0 }, sizeof(struct fuse_mkdir_in), "made", NULL) >= 0)
		ask(FUSE_RMDIR, dir, NULL, 0, "made", NULL);
	ask(FUSE_SYMLINK, dir, NULL, 0, "made", "x");
	ask(FUSE_UNLINK, dir, NULL, 0, "made", NULL);
	ask(FUSE_MKNOD, dir, &(struct fuse_mknod_in){ .mode = S_IFIFO | 0666 }, sizeof(struct fuse_mknod_in), "made",
	    NULL);
	ask(FUSE_UNLINK, dir, NULL, 0, "made", NULL);
}

static void list(uint64_t dir)
{
	struct fuse_read_in in = { .size = 2048 };
	struct fuse_release_in end = { 0 };
	struct fuse_open_out out;
	uint8_t answer[2048];
	int r;

	if (front_call(&f, FUSE_OPENDIR, dir, &(struct fuse_open_in){ 0 }, sizeof(struct fuse_open_in), NULL, NULL,
		       &out, sizeof(out)) < 0)
		return;
	in.fh = end.fh = out.fh;
	r = front_call(&f, FUSE_READDIRPLUS, dir, &in, sizeof(in), NULL, NULL, answer, sizeof(answer));
	if (r > 0)
		ck_assert_ptr_null(memmem(answer, (size_t)r, "beside", 6));
	ask(FUSE_RELEASEDIR, dir, &end, sizeof(end), NULL, NULL);
}

static void one_round(unsigned int round)
{
	uint64_t folder = find(ROOT, "folder"), deep, link;

	folders += folder && S_ISDIR(entry.attr.mode);
	links += folder && S_ISLNK(entry.attr.mode);
	if (folder) {
		deep = find(folder, "deep");
		open_and_change(folder, "secret");
		make_and_move(folder, ROOT);
		if (deep)
			make_and_move(deep, folder);
		list(folder);
		forget(deep);
	}
	link = find(ROOT, "link");
	if (link)
		make_and_move(link, ROOT);
	forget(link);
	open_and_change(ROOT, "file");
	create(ROOT, "file", round % 2 ? O_TRUNC : 0);
	forget(folder);
}

START_TEST(reaches_nothing_beside_the_share)
{
	unsigned int round;
	char text[16] = "";
	struct stat before, after;
	int beside = in_dir("beside"), fd;

	ck_assert(!fstat(beside, &before));
	for (round = 0; round < 100 * ROUNDS && (round < ROUNDS || folders < BOTH || links < BOTH); round++)
		one_round(round);
	printf("# %u rounds: folder %u times, link %u times, %u requests done\n", round, folders, links, done);
	ck_assert_uint_ge(folders, BOTH);
	ck_assert_uint_ge(links, BOTH);
	ck_assert_uint_ge(done, ROUNDS);
	/* It has its own times, owner and number of links, and what is in it, too. */
	ck_assert(!fstat(beside, &after));
	ck_assert(!memcmp(&before.st_ctim, &after.st_ctim, sizeof(before.st_ctim)) &&
		  before.st_nlink == after.st_nlink);
	ck_assert(!fstatat(beside, "deep", &after, 0));
	ck_assert(after.st_nlink == 2 && after.st_mode == (S_IFDIR | 0777) &&
		  after.st_mtim.tv_sec <= before.st_mtim.tv_sec);
	ck_assert(!fstatat(beside, "secret", &after, 0));
	ck_assert(after.st_nlink == 1 && after.st_mode == (S_IFREG | 0644) && after.st_uid == 0);
	fd = openat(beside, "secret", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(read(fd, text, sizeof(text)), 7);
	ck_assert_str_eq(text, "OUTSIDE");
	close(fd);
	close(beside);
	ck_assert_int_eq(waitpid(attacker, NULL, WNOHANG), 0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("fsd_race");
	TCase *c = tcase_create("race");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_set_timeout(c, 120);
	tcase_add_test(c, reaches_nothing_beside_the_share);
	suite_add_tcase(s, c);
	return s;
}
