/* SPDX-License-Identifier: Apache-2.0 */
/* Locks on the host: whose they are, when they end, who waits for them and for how long. */
#include <errno.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "tests/unit/fsd_calls.h"

Suite *test_suite(void);

#define WAITING 1 /* of an answer: there is none yet */

static uint64_t id, fh; /* of "a" */

static void setup_file(void)
{
	setup();
	host_file("a", "0123456789");
	id = node(ROOT, "a");
	ck_assert_int_eq(open_node(id, O_RDWR, &fh), 0);
}

static int lock_by(uint64_t handle, uint32_t op, uint64_t owner, uint32_t type)
{
	struct fuse_lk_in in = { .fh = handle, .owner = owner, .lk = { .start = 0, .end = 9, .type = type } };

	return front_call(&f, op, id, &in, sizeof(in), NULL, NULL, NULL, 0);
}

static int lock(uint64_t owner, uint32_t type)
{
	return lock_by(fh, FUSE_SETLK, owner, type);
}

static int whole_file(uint64_t handle, uint32_t type)
{
	struct fuse_lk_in in = { .fh = handle, .lk_flags = FUSE_LK_FLOCK, .lk = { .type = type } };

	return front_call(&f, FUSE_SETLK, id, &in, sizeof(in), NULL, NULL, NULL, 0);
}

static void flush(uint64_t owner)
{
	struct fuse_flush_in in = { .fh = fh, .lock_owner = owner };

	front_call(&f, FUSE_FLUSH, id, &in, sizeof(in), NULL, NULL, NULL, 0);
}

static void interrupt(uint64_t unique)
{
	struct fuse_interrupt_in in = { .unique = unique };

	front_call(&f, FUSE_INTERRUPT, 0, &in, sizeof(in), NULL, NULL, NULL, 0);
	front_settle(&f);
	f.used_seen = ((struct vring_used *)(f.mem + FRONT_USED))->idx;
}

static int error_of(unsigned int slot)
{
	return ((struct fuse_out_header *)front_answer(&f, slot))->error;
}

/* A lock is asked for in that slot, and not waited for here. */
static void put_wait(unsigned int slot, uint64_t unique, uint64_t owner, uint32_t flags)
{
	struct {
		struct fuse_in_header head;
		struct fuse_lk_in in;
	} req = { .head = { .len = sizeof(req), .opcode = FUSE_SETLKW, .unique = unique, .nodeid = id },
		  .in = { .fh = fh, .owner = owner, .lk_flags = flags, .lk = { .end = 9, .type = F_WRLCK } } };

	((struct fuse_out_header *)front_answer(&f, slot))->error = WAITING;
	front_put(&f, slot, &req, sizeof(req), 16);
	eventfd_write(f.kick_fd, 1);
	front_settle(&f);
	f.used_seen = ((struct vring_used *)(f.mem + FRONT_USED))->idx;
}

/* The server asks the host again after a while. */
static int wait_for(unsigned int slot)
{
	int i;

	for (i = 0; i < 5000 && error_of(slot) == WAITING; i++) {
		front_settle(&f);
		usleep(1000);
	}
	f.used_seen = ((struct vring_used *)(f.mem + FRONT_USED))->idx;
	return error_of(slot);
}

static int host_lock(int fd, int cmd, short type)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_len = 10 };

	return fcntl(fd, cmd, &fl) ? -errno : 0;
}

static int host_open(const char *name)
{
	int fd = open(host(name), O_RDWR | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

START_TEST(between_owners)
{
	struct fuse_lk_in in = { .fh = fh, .owner = 2, .lk = { .start = 0, .end = 9, .type = F_WRLCK } };
	struct fuse_lk_out out;

	ck_assert_int_eq(lock(1, F_WRLCK), 0);
	ck_assert_int_eq(lock(2, F_WRLCK), -EAGAIN);
	ck_assert_int_eq(front_call(&f, FUSE_GETLK, id, &in, sizeof(in), NULL, NULL, &out, sizeof(out)), sizeof(out));
	ck_assert_uint_eq(out.lk.type, F_WRLCK);
	in.owner = 9; /* which has asked for none so far */
	ck_assert_int_eq(front_call(&f, FUSE_GETLK, id, &in, sizeof(in), NULL, NULL, &out, sizeof(out)), sizeof(out));
	ck_assert_uint_eq(out.lk.type, F_WRLCK);
	ck_assert_int_eq(lock(1, 9), -EINVAL);
	ck_assert_int_eq(whole_file(fh, 9), -EINVAL);
	ck_assert_int_eq(lock(9, F_UNLCK), 0);
	/* One waits, until the first lets go. */
	put_wait(3, 77, 2, 0);
	ck_assert_int_eq(error_of(3), WAITING);
	ck_assert_int_eq(lock(3, F_WRLCK), -EAGAIN);
	flush(1);
	ck_assert_int_eq(wait_for(3), 0);
	/* Another waits, and is interrupted. */
	put_wait(3, 78, 4, 0);
	interrupt(77);
	ck_assert_int_eq(error_of(3), WAITING);
	interrupt(78);
	ck_assert_int_eq(error_of(3), -EINTR);
}
END_TEST

/* Queues are looked at in any order. */
START_TEST(an_interrupt_overtakes_its_request)
{
	ck_assert_int_eq(lock(1, F_WRLCK), 0);
	interrupt(77);
	put_wait(3, 77, 2, 0);
	ck_assert_int_eq(error_of(3), -EINTR);
	/* Once, and no other one; nor is it left for a kernel that starts anew, and counts anew. */
	put_wait(3, 77, 2, 0);
	ck_assert_int_eq(error_of(3), WAITING);
	interrupt(79);
	front_call(&f, FUSE_DESTROY, 0, NULL, 0, NULL, NULL, NULL, 0);
	wait_for(3);
	ck_assert_int_eq(error_of(3), -EINTR);
	ck_assert_int_eq(front_init(&f, ~0ull, NULL), sizeof(struct fuse_init_out));
	id = node(ROOT, "a");
	ck_assert_int_eq(open_node(id, O_RDWR, &fh), 0);
	ck_assert_int_eq(lock(1, F_WRLCK), 0);
	put_wait(3, 79, 2, 0);
	ck_assert_int_eq(error_of(3), WAITING);
}
END_TEST

START_TEST(with_the_host)
{
	int fd = host_open("a");

	ck_assert_int_eq(flock(fd, LOCK_EX), 0);
	ck_assert_int_eq(host_lock(fd, F_OFD_SETLK, F_WRLCK), 0);
	ck_assert_int_eq(whole_file(fh, F_RDLCK), -EAGAIN);
	ck_assert_int_eq(lock(1, F_RDLCK), -EAGAIN);
	put_wait(3, 77, 1, 0);
	put_wait(4, 78, 1, FUSE_LK_FLOCK);
	ck_assert_int_eq(flock(fd, LOCK_UN), 0);
	ck_assert_int_eq(wait_for(4), 0);
	ck_assert_int_eq(error_of(3), WAITING);
	ck_assert_int_eq(host_lock(fd, F_OFD_SETLK, F_UNLCK), 0);
	ck_assert_int_eq(wait_for(3), 0);
	/* And the other way round. */
	ck_assert_int_eq(host_lock(fd, F_OFD_SETLK, F_RDLCK), -EAGAIN);
	ck_assert_int_eq(flock(fd, LOCK_SH | LOCK_NB), -1);
	ck_assert_int_eq(whole_file(fh, F_UNLCK), 0);
	ck_assert_int_eq(flock(fd, LOCK_SH | LOCK_NB), 0);
	flush(2);
	ck_assert_int_eq(host_lock(fd, F_OFD_SETLK, F_RDLCK), -EAGAIN);
	flush(1);
	ck_assert_int_eq(host_lock(fd, F_OFD_SETLK, F_RDLCK), 0);
	close(fd);
}
END_TEST

/* Nobody is told of the end of F_OFD_SETLK's locks and of flock's but by RELEASE. */
START_TEST(end_with_the_open_file)
{
	uint64_t other;
	int fd = host_open("a");

	ck_assert_int_eq(open_node(id, O_RDWR, &other), 0);
	ck_assert_int_eq(lock_by(other, FUSE_SETLK, 5, F_WRLCK), 0);
	ck_assert_int_eq(whole_file(other, F_WRLCK), 0);
	ck_assert_int_eq(release(FUSE_RELEASE, id, other), 0);
	ck_assert_int_eq(host_lock(fd, F_OFD_SETLK, F_WRLCK), 0);
	ck_assert_int_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
	ck_assert_int_eq(host_lock(fd, F_OFD_SETLK, F_UNLCK), 0);
	ck_assert_int_eq(flock(fd, LOCK_UN), 0);
	/* One that is still waited with: nothing is had by it any more, neither the lock it has nor what it waits for. */
	ck_assert_int_eq(lock(1, F_WRLCK), 0);
	ck_assert_int_eq(open_node(id, O_RDWR, &other), 0);
	ck_assert_int_eq(whole_file(other, F_WRLCK), 0);
	put_wait(3, 77, 2, 0);
	ck_assert_int_eq(release(FUSE_RELEASE, id, fh), -1000); /* two chains came back */
	f.used_seen = ((struct vring_used *)(f.mem + FRONT_USED))->idx;
	ck_assert_int_eq(error_of(3), -EBADF);
	ck_assert_int_eq(host_lock(fd, F_OFD_SETLK, F_WRLCK), 0);
	ck_assert_int_eq(release(FUSE_RELEASE, id, other), 0);
	ck_assert_int_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
	ck_assert_uint_eq(fs_handles(f.fs), 0);
	close(fd);
}
END_TEST

static unsigned int answered;

static void done(struct fs_req *req, uint32_t written)
{
	answered++;
}

/* Each of them holds a place in a queue: there are some left for those who let go. */
START_TEST(only_so_many_wait)
{
	struct {
		struct fuse_in_header head;
		struct fuse_lk_in in;
	} body = { .head = { .len = sizeof(body), .opcode = FUSE_SETLKW, .nodeid = id },
		   .in = { .fh = fh, .owner = 2, .lk = { .end = 9, .type = F_WRLCK } } };
	static struct fuse_out_header out[200];
	static struct iovec iov[200][2];
	static struct fs_req reqs[200];
	unsigned int i;

	ck_assert_int_eq(lock(1, F_WRLCK), 0);
	answered = 0;
	for (i = 0; i < ARRAY_SIZE(reqs) && !answered; i++) {
		body.head.unique = 1000 + i;
		iov[i][0] = (struct iovec){ &body, sizeof(body) };
		iov[i][1] = (struct iovec){ &out[i], sizeof(out[i]) };
		reqs[i] = (struct fs_req){ .out = &iov[i][0], .out_n = 1, .in = &iov[i][1], .in_n = 1, .done = done };
		fs_serve(f.fs, &reqs[i]);
	}
	ck_assert_uint_ge(i, 65);
	ck_assert_uint_lt(i, 128);
	ck_assert_int_eq(out[i - 1].error, -ENOLCK);
	/* The session's end ends them, as a guest's death does. */
	fs_interrupt(f.fs);
	ck_assert_uint_eq(answered, i);
	ck_assert_int_eq(out[0].error, -EINTR);
}
END_TEST

/* A program that runs can't be opened for writing by anybody, and be locked as any other file. */
START_TEST(on_a_running_program)
{
	char text[256];
	int fds[2], fd;
	pid_t pid;

	snprintf(text, sizeof(text), "cp /bin/cat '%s'", host("program"));
	ck_assert_int_eq(system(text), 0);
	ck_assert_int_eq(chmod(host("program"), 0755), 0);
	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	if (!pid) {
		close(fds[1]);
		dup2(fds[0], 0);
		execl(host("program"), "program", NULL);
		_exit(1);
	}
	id = node(ROOT, "program");
	while ((fd = open(host("program"), O_WRONLY | O_CLOEXEC)) >= 0) {
		close(fd);
		usleep(1000);
	}
	ck_assert_int_eq(open_node(id, O_RDONLY, &fh), 0);
	ck_assert_int_eq(lock(1, F_RDLCK), 0);
	close(fds[0]);
	close(fds[1]);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
END_TEST

/* A wait that nothing can end is worse than locks that only the guest knows. */
START_TEST(stay_in_a_guest_that_interrupts_nobody)
{
	const uint64_t both = FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS;
	struct fuse_init_out out;

	teardown();
	start(&(struct fs_config){ .locks = FS_LOCKS_AUTO });
	host_file("a", "");
	id = node(ROOT, "a");
	ck_assert_int_eq(open_node(id, O_RDWR, &fh), 0);
	ck_assert_int_eq(lock(1, F_WRLCK), 0);
	ck_assert_int_eq(release(FUSE_RELEASE, id, fh), 0);
	ck_assert_int_eq(front_init(&f, ~0ull, &out), sizeof(out));
	ck_assert_uint_eq(out.flags & both, both);
	ck_assert_int_eq(front_init(&f, ~0ull >> 1, &out), sizeof(out));
	ck_assert_uint_eq(out.flags & both, 0);
	id = node(ROOT, "a");
	ck_assert_int_eq(open_node(id, O_RDWR, &fh), 0);
	ck_assert_int_eq(lock(1, F_WRLCK), -ENOSYS);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("fsd_locks");
	TCase *c = tcase_create("locks");

	tcase_add_checked_fixture(c, setup_file, teardown);
	tcase_add_test(c, between_owners);
	tcase_add_test(c, an_interrupt_overtakes_its_request);
	tcase_add_test(c, with_the_host);
	tcase_add_test(c, end_with_the_open_file);
	tcase_add_test(c, only_so_many_wait);
	tcase_add_test(c, on_a_running_program);
	tcase_add_test(c, stay_in_a_guest_that_interrupts_nobody);
	suite_add_tcase(s, c);
	return s;
}
