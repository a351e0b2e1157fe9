/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What programs expect of a file system: each line is a case and its answer. Run on two file systems, the answers are to
 * be the same; no answer here depends on time, on inode numbers or on the file system's kind.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int cases;
static int many = 300; /* files in one folder; fewer where each takes long */
static char buf[1 << 20];

/* One case: what a call returned, and why when it failed. */
static long say(const char *what, long r)
{
	int e = errno;

	if (r < 0)
		printf("case %d %s: %s\n", ++cases, what, strerrorname_np(e));
	else
		printf("case %d %s: %ld\n", ++cases, what, r);
	errno = 0;
	return r;
}
#define T(call) say(#call, (long)(call))

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644), r;

	if (fd < 0)
		return -1;
	r = write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -1;
	return close(fd) || r ? -1 : 0;
}

/* The content's sum, or -1. */
static long sum(const char *path)
{
	int fd = open(path, O_RDONLY);
	ssize_t n;
	long s = 0;

	if (fd < 0)
		return -1;
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		while (n--)
			s = (s * 31 + (unsigned char)buf[n]) % 1000003;
	close(fd);
	return n < 0 ? -1 : s;
}

static long size_of(const char *path)
{
	struct stat st;

	return lstat(path, &st) ? -1 : st.st_size;
}

static long mode_of(const char *path)
{
	struct stat st;

	return lstat(path, &st) ? -1 : (long)st.st_mode;
}

static long links_of(const char *path)
{
	struct stat st;

	return lstat(path, &st) ? -1 : (long)st.st_nlink;
}

static long owner_of(const char *path)
{
	struct stat st;

	return lstat(path, &st) ? -1 : (long)st.st_uid * 100000 + st.st_gid;
}

static long entries(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	long n = 0;

	if (!d)
		return -1;
	while ((e = readdir(d)))
		n += 1 + (e->d_type == DT_UNKNOWN ? 1000 : 0);
	closedir(d);
	return n;
}

/* fn in a process of its own, as a user: its result. */
static long as_user(uid_t uid, gid_t gid, long (*fn)(void))
{
	int pipe_fds[2], status;
	long v[2] = { -1, EIO };
	pid_t pid;

	fflush(stdout);
	if (pipe(pipe_fds))
		return -1;
	pid = fork();
	if (pid == 0) {
		if (syscall(SYS_setgroups, 0, NULL) || setgid(gid) || setuid(uid))
			_exit(1);
		errno = 0;
		v[0] = fn();
		v[1] = errno;
		_exit(write(pipe_fds[1], v, sizeof(v)) == sizeof(v) ? 0 : 1);
	}
	close(pipe_fds[1]);
	if (read(pipe_fds[0], v, sizeof(v)) != sizeof(v))
		v[0] = -1;
	close(pipe_fds[0]);
	waitpid(pid, &status, 0);
	errno = (int)v[1];
	return v[0];
}

static void names(void)
{
	char long_name[300];

	memset(long_name, 'n', sizeof(long_name));
	long_name[255] = 0;
	T(open("none", O_RDONLY));
	T(put("f", "hello"));
	T(size_of("f"));
	T(mode_of("f"));
	T(links_of("f"));
	T(sum("f"));
	T(close(open("f", O_RDONLY | O_CREAT | O_EXCL, 0600)));
	T(open("f", O_RDONLY | O_DIRECTORY));
	T(open("f/x", O_RDONLY));
	T(mkdir("f", 0755));
	T(mkdir("d", 0751));
	T(mode_of("d"));
	T(links_of("d"));
	T(mkdir("d", 0755));
	T(mkdir("none/d", 0755));
	T(open("d", O_WRONLY));
	T(rmdir("f"));
	T(unlink("none"));
	T(put(long_name, "x"));
	T(unlink(long_name));
	long_name[255] = 'n';
	long_name[256] = 0;
	T(put(long_name, "x"));
	T(put("d/g", "12"));
	T(rmdir("d"));
	T(entries("d"));
	T(link("f", "d/f2"));
	T(links_of("f"));
	T(link("f", "d/f2"));
	T(link("d", "d2"));
	T(link("none", "d2"));
	T(symlink("f", "s"));
	T(readlink("s", buf, sizeof(buf)));
	T(size_of("s"));
	T(mode_of("s"));
	T(sum("s"));
	T(symlink("f", "s"));
	T(symlink("/nowhere/at/all", "dangling"));
	T(sum("dangling"));
	T(open("s", O_RDONLY | O_NOFOLLOW));
	T(readlink("f", buf, sizeof(buf)));
	T(symlink("loop", "loop"));
	T(open("loop", O_RDONLY));
	T(link("s", "s2"));
	T(links_of("s"));
	T(put("s", "through the link"));
	T(size_of("f"));
	T(mkfifo("fifo", 0640));
	T(mode_of("fifo"));
	T(mknod("sock", S_IFSOCK | 0600, 0));
	T(mode_of("sock"));
	T(mknod("reg", S_IFREG | 0604, 0));
	T(mode_of("reg"));
	T(entries("."));
}

static void moves(void)
{
	T(mkdir("m", 0755));
	T(put("m/a", "aa"));
	T(put("m/b", "bbb"));
	T(rename("m/a", "m/c"));
	T(size_of("m/a"));
	T(size_of("m/c"));
	T(rename("m/c", "m/b"));
	T(size_of("m/b"));
	T(rename("m/none", "m/b"));
	T(renameat2(AT_FDCWD, "m/b", AT_FDCWD, "f", RENAME_NOREPLACE));
	T(renameat2(AT_FDCWD, "m/b", AT_FDCWD, "m/d", RENAME_NOREPLACE));
	T(renameat2(AT_FDCWD, "m/d", AT_FDCWD, "f", RENAME_EXCHANGE));
	T(size_of("f"));
	T(size_of("m/d"));
	T(renameat2(AT_FDCWD, "m/d", AT_FDCWD, "none", RENAME_EXCHANGE));
	T(mkdir("m/dir", 0755));
	T(rename("m/dir", "m/dir/below"));
	T(rename("m/dir", "m/d"));
	T(rename("m/d", "m/dir"));
	T(mkdir("m/dir2", 0755));
	T(put("m/dir2/x", "x"));
	T(rename("m/dir", "m/dir2"));
	T(rename("m/dir2", "m/dir"));
	T(entries("m/dir"));
	T(rename("m/dir", "moved"));
	T(entries("moved"));
	T(entries("m"));
	T(rename("m/d", "m/d"));
	T(unlink("moved"));
	T(unlink("moved/x"));
	T(rmdir("moved"));
	T(rmdir("moved"));
}

static void data(void)
{
	struct iovec iov[3] = { { "abc", 3 }, { "defgh", 5 }, { "i", 1 } };
	int fd = open("data", O_RDWR | O_CREAT | O_TRUNC, 0644), fd2, i;
	char *map;

	T(fd >= 0);
	T(pwrite(fd, "0123456789", 10, 0));
	T(pwrite(fd, "X", 1, 4095));
	T(size_of("data"));
	T(pread(fd, buf, 100, 4090));
	T(pread(fd, buf, 100, 5000));
	T(ftruncate(fd, 5));
	T(sum("data"));
	T(ftruncate(fd, 100000));
	T(sum("data"));
	T(ftruncate(fd, -1));
	T(truncate("data", 3));
	T(size_of("data"));
	T(truncate("d", 3));
	T(pwritev(fd, iov, 3, 1));
	T(sum("data"));
	T(lseek(fd, 0, SEEK_END));
	T(write(fd, "tail", 4));
	T(lseek(fd, -2, SEEK_CUR));
	T(read(fd, buf, 10));
	T(lseek(fd, -100, SEEK_SET));
	memset(buf, 'q', sizeof(buf));
	T(pwrite(fd, buf, sizeof(buf), 777));
	T(sum("data"));
	fd2 = open("data", O_WRONLY | O_APPEND);
	T(write(fd2, "end", 3));
	T(size_of("data"));
	T(read(fd2, buf, 1));
	T(close(fd2));
	fd2 = open("data", O_RDONLY);
	T(write(fd2, "end", 3));
	T(ftruncate(fd2, 0));
	T(close(fd2));
	T(fsync(fd));
	T(fdatasync(fd));
	T(fallocate(fd, 0, 0, 3 << 20));
	T(size_of("data"));
	T(fallocate(fd, FALLOC_FL_KEEP_SIZE, 3 << 20, 1 << 20));
	T(size_of("data"));
	T(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 65536));
	T(sum("data"));
	T(fallocate(fd, FALLOC_FL_ZERO_RANGE, 100000, 5000));
	T(sum("data"));
	T(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096));
	T(fallocate(fd, 0, 0, 0));
	T(close(fd));
	fd = open("sparse", O_RDWR | O_CREAT | O_TRUNC, 0644);
	T(pwrite(fd, "data", 4, 1 << 20));
	T(fsync(fd));
	T(lseek(fd, 0, SEEK_DATA));
	T(lseek(fd, 0, SEEK_HOLE));
	T(lseek(fd, (1 << 20) + 4, SEEK_DATA));
	T(lseek(fd, 1 << 20, SEEK_HOLE));
	fd2 = open("copy", O_RDWR | O_CREAT | O_TRUNC, 0644);
	T(copy_file_range(fd, &(loff_t){ 1 << 20 }, fd2, &(loff_t){ 2 }, 4, 0));
	T(size_of("copy"));
	T(sum("copy"));
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd2, 0);
	if (T(map != MAP_FAILED)) {
		map[0] = 'M';
		T(msync(map, 4096, MS_SYNC));
		T(sum("copy"));
		munmap(map, 4096);
	}
	T(close(fd2));
	T(close(fd));
	T(put("data", "short"));
	T(size_of("data"));
	fd = open("unlinked", O_RDWR | O_CREAT, 0600);
	T(unlink("unlinked"));
	T(write(fd, "still", 5));
	T(pread(fd, buf, 10, 0));
	T(ftruncate(fd, 2));
	T(fchmod(fd, 0640));
	T(close(fd));
	for (i = 0, fd = 0; i < many && fd >= 0; i++) {
		char name[32];

		snprintf(name, sizeof(name), "m/many-%d", i);
		fd = open(name, O_WRONLY | O_CREAT, 0600);
		close(fd);
	}
	T(entries("m"));
	for (i = 0; i < many; i++) {
		char name[32];

		snprintf(name, sizeof(name), "m/many-%d", i);
		unlink(name);
	}
	T(entries("m"));
	fd = open("m", O_TMPFILE | O_RDWR, 0600);
	T(fd >= 0);
	T(write(fd, "tmp", 3));
	snprintf(buf, 64, "/proc/self/fd/%d", fd);
	T(linkat(AT_FDCWD, buf, AT_FDCWD, "m/linked", AT_SYMLINK_FOLLOW));
	T(size_of("m/linked"));
	T(close(fd));
	fd = open("m", O_RDONLY | O_DIRECTORY);
	T(fsync(fd));
	T(syncfs(fd));
	T(close(fd));
}

static long user_makes(void)
{
	umask(027);
	return mkdir("open/ud", 0777) || put("open/uf", "mine") || symlink("uf", "open/us") || mkfifo("open/up", 0666);
}

static long user_reads_secret(void)
{
	return open("secret", O_RDONLY);
}

static long user_chmods(void)
{
	return chmod("f", 0777);
}

static long user_chowns(void)
{
	return chown("open/uf", 0, 0);
}

static long user_unlinks_sticky(void)
{
	return unlink("sticky/root");
}

static long user_writes_suid(void)
{
	int fd = open("suid", O_WRONLY);
	long r = fd < 0 ? -1 : write(fd, "x", 1);

	close(fd);
	return r;
}

static long user_sgid(void)
{
	umask(0);
	return close(open("sgid/uf", O_CREAT | O_WRONLY, 02775)) || mkdir("sgid/ud", 0755);
}

static void attributes(void)
{
	struct timespec ts[2] = { { 1000000000, 123456789 }, { 1100000000, 987654321 } };
	struct statvfs vfs;
	struct stat st;

	T(chmod("f", 0640));
	T(mode_of("f"));
	T(chmod("none", 0640));
	T(chmod("s", 0600));
	T(mode_of("s"));
	T(chown("f", 1234, 2345));
	T(owner_of("f"));
	T(lchown("s", 77, 88));
	T(owner_of("s"));
	T(owner_of("f"));
	T(utimensat(AT_FDCWD, "f", ts, 0));
	T(stat("f", &st));
	T(st.st_atim.tv_nsec);
	T(st.st_mtim.tv_sec);
	T(st.st_mtim.tv_nsec);
	ts[0].tv_nsec = UTIME_OMIT;
	ts[1].tv_sec = 1200000000;
	T(utimensat(AT_FDCWD, "s", ts, AT_SYMLINK_NOFOLLOW));
	T(lstat("s", &st));
	T(st.st_mtim.tv_sec);
	T(put("suid", "x"));
	T(chmod("suid", 06777));
	T(mode_of("suid"));
	T(as_user(1000, 1000, user_writes_suid));
	T(mode_of("suid"));
	T(chmod("suid", 06777));
	T(chown("suid", 5, 5));
	T(mode_of("suid"));
	T(mkdir("open", 0755));
	T(chmod("open", 0777));
	T(as_user(1000, 1001, user_makes));
	T(owner_of("open/ud"));
	T(mode_of("open/ud"));
	T(owner_of("open/uf"));
	T(mode_of("open/uf"));
	T(owner_of("open/us"));
	T(mode_of("open/up"));
	T(put("secret", "s"));
	T(chmod("secret", 0600));
	T(as_user(1000, 1000, user_reads_secret));
	T(as_user(1000, 1000, user_chmods));
	T(as_user(1000, 1001, user_chowns));
	T(mkdir("sticky", 0755));
	T(chmod("sticky", 01777));
	T(put("sticky/root", "r"));
	T(as_user(1000, 1000, user_unlinks_sticky));
	T(mkdir("sgid", 0755));
	T(chown("sgid", 0, 4321));
	T(chmod("sgid", 02777));
	T(as_user(1000, 1000, user_sgid));
	T(owner_of("sgid/uf"));
	T(mode_of("sgid/uf"));
	T(owner_of("sgid/ud"));
	T(mode_of("sgid/ud"));
	T(access("f", R_OK | W_OK));
	T(access("f", X_OK));
	T(statvfs(".", &vfs));
	T((long)vfs.f_namemax);
}

static long lock(int fd, int cmd, short type, off_t start, off_t len)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };

	return fcntl(fd, cmd, &fl);
}

static long other_locks(void)
{
	int fd = open("locked", O_RDWR);

	return lock(fd, F_SETLK, F_WRLCK, 5, 1);
}

static long other_flocks(void)
{
	return flock(open("locked", O_RDWR), LOCK_EX | LOCK_NB);
}

static void locks(void)
{
	int fd;

	T(put("locked", "0123456789"));
	T(chmod("locked", 0666));
	fd = open("locked", O_RDWR);
	T(lock(fd, F_SETLK, F_WRLCK, 0, 10));
	T(as_user(0, 0, other_locks));
	T(lock(fd, F_SETLK, F_UNLCK, 0, 6));
	T(as_user(0, 0, other_locks));
	T(close(fd));
	fd = open("locked", O_RDWR);
	T(flock(fd, LOCK_SH));
	T(as_user(0, 0, other_flocks));
	T(close(fd));
	T(as_user(0, 0, other_flocks));
}

int main(int argc, char **argv)
{
	if (argc > 2)
		many = atoi(argv[2]);
	if (argc < 2 || argc > 3 || chdir(argv[1])) {
		fprintf(stderr, "usage: %s FOLDER [FILES]\n", argv[0]);
		return 2;
	}
	umask(022);
	names();
	moves();
	data();
	attributes();
	locks();
	return 0;
}
