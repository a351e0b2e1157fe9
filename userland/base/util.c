/* SPDX-License-Identifier: Apache-2.0 */
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

static void *or_die(void *p)
{
	if (!p) {
		static const char msg[] = "out of memory\n";

		if (write(2, msg, sizeof(msg) - 1) < 0)
			_exit(125);
		_exit(125);
	}
	return p;
}

void *xcalloc(size_t n, size_t size)
{
	return or_die(calloc(n ? n : 1, size ? size : 1));
}

void *xreallocarray(void *p, size_t n, size_t size)
{
	return or_die(reallocarray(p, n ? n : 1, size ? size : 1));
}

char *xstrdup(const char *s)
{
	return s ? or_die(strdup(s)) : NULL;
}

char *xstrndup(const char *s, size_t n)
{
	return or_die(strndup(s, n));
}

char *xasprintf(const char *fmt, ...)
{
	char *s = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	return or_die(n < 0 ? NULL : s);
}

int read_full(int fd, void *buf, size_t len)
{
	char *p = buf;

	while (len) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		p += n;
		len -= n;
	}
	return 0;
}

int write_full(int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= n;
	}
	return 0;
}

int pread_full(int fd, void *buf, size_t len, off_t off)
{
	char *p = buf;

	while (len) {
		ssize_t n = pread(fd, p, len, off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		p += n;
		off += n;
		len -= n;
	}
	return 0;
}

int read_file(int dirfd, const char *path, size_t max, char **data, size_t *len)
{
	_cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	_cleanup_free_ char *buf = NULL;
	size_t used = 0, size = 4096;

	if (fd < 0)
		return -errno;
	for (;;) {
		ssize_t n;

		if (size > max + 1)
			size = max + 1;
		buf = xreallocarray(buf, size + 1, 1);
		n = read(fd, buf + used, size - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		used += n;
		if (used > max)
			return -EFBIG;
		if (used == size)
			size *= 2;
	}
	buf[used] = '\0';
	*data = take_ptr(buf);
	if (len)
		*len = used;
	return 0;
}

static int fsync_parent(int dirfd, const char *path)
{
	_cleanup_free_ char *dir = xstrdup(path);
	_cleanup_close_ int fd = -1;
	char *slash = strrchr(dir, '/');

	if (slash)
		slash[slash == dir] = '\0';
	fd = openat(dirfd, slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return -errno;
	return 0;
}

int write_file_atomic(int dirfd, const char *path, const void *data, size_t len, mode_t mode)
{
	_cleanup_free_ char *tmp = NULL;
	_cleanup_close_ int fd = -1;
	uint64_t salt;
	int r;

	if (getrandom(&salt, sizeof(salt), 0) != sizeof(salt))
		return -EIO;
	tmp = xasprintf("%s.tmp-%016llx", path, (unsigned long long)salt);
	fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0)
		return -errno;
	r = write_full(fd, data, len);
	if (!r && fsync(fd) < 0)
		r = -errno;
	if (!r && renameat(dirfd, tmp, dirfd, path) < 0)
		r = -errno;
	if (r) {
		unlinkat(dirfd, tmp, 0);
		return r;
	}
	return fsync_parent(dirfd, path);
}

int mkdir_p(int dirfd, const char *path, mode_t mode)
{
	_cleanup_free_ char *p = xstrdup(path);
	char *s = p;

	while (*s == '/')
		s++;
	for (;;) {
		char saved;

		s += strcspn(s, "/");
		saved = *s;
		*s = '\0';
		if (*p && mkdirat(dirfd, p, mode) < 0 && errno != EEXIST)
			return -errno;
		if (!saved)
			return 0;
		*s++ = saved;
		s += strspn(s, "/");
		if (!*s)
			return 0;
	}
}

DIR *open_dir(int dirfd, const char *path, int flags)
{
	int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && fd >= 0)
		close(fd);
	return d;
}

static int remove_tree_at(int parent, const char *name, dev_t dev, bool top)
{
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *ent;
	struct stat st;
	int r = 0;

	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISDIR(st.st_mode))
		return unlinkat(parent, name, 0) < 0 && errno != ENOENT ? -errno : 0;
	if (!top && st.st_dev != dev)
		return -EBUSY;
	d = open_dir(parent, name, O_NOFOLLOW);
	if (!d)
		return -errno;
	while ((ent = readdir(d))) {
		int q;

		if (str_eq(ent->d_name, ".") || str_eq(ent->d_name, ".."))
			continue;
		q = remove_tree_at(dirfd(d), ent->d_name, st.st_dev, false);
		if (q)
			r = q;
	}
	if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT && !r)
		r = -errno;
	return r;
}

int remove_tree(int dirfd, const char *path)
{
	return remove_tree_at(dirfd, path, 0, true);
}

int parse_u64(const char *s, uint64_t lo, uint64_t hi, uint64_t *v)
{
	uint64_t n = 0;

	if (!s || !*s)
		return -EINVAL;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return -EINVAL;
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(*s - '0'), &n))
			return -ERANGE;
	}
	if (n < lo || n > hi)
		return -ERANGE;
	*v = n;
	return 0;
}

/* Digits at *s into *n; at least one. */
static int take_number(const char **s, uint64_t *n)
{
	const char *p = *s;

	*n = 0;
	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(*n, 10, n) || __builtin_add_overflow(*n, (uint64_t)(*p - '0'), n))
			return -ERANGE;
	if (p == *s)
		return -EINVAL;
	*s = p;
	return 0;
}

int parse_size(const char *s, uint64_t *bytes)
{
	unsigned int shift = 0;
	uint64_t n;
	int r = take_number(&s, &n);

	if (r)
		return r;
	switch (*s | 0x20) {
	case 'b': s++; break;
	case 'k':
		shift = 10;
		s++;
		break;
	case 'm':
		shift = 20;
		s++;
		break;
	case 'g':
		shift = 30;
		s++;
		break;
	case 't':
		shift = 40;
		s++;
		break;
	default: break;
	}
	if (shift) {
		if (*s == 'i')
			s++;
		if ((*s | 0x20) == 'b')
			s++;
	}
	if (*s)
		return -EINVAL;
	if (n > (UINT64_MAX >> shift))
		return -ERANGE;
	*bytes = n << shift;
	return 0;
}

int parse_duration(const char *s, uint64_t *ns)
{
	static const struct {
		const char *unit;
		uint64_t ns;
	} units[] = {
		{ "ms", 1000000ull },	   { "us", 1000ull },	    { "ns", 1ull },
		{ "h", 3600000000000ull }, { "m", 60000000000ull }, { "s", 1000000000ull },
	};
	uint64_t total = 0;

	if (!s || !*s)
		return -EINVAL;
	while (*s) {
		uint64_t n, part = 0;
		size_t i;
		int r = take_number(&s, &n);

		if (r)
			return r;
		for (i = 0; i < ARRAY_SIZE(units); i++)
			if (str_starts(s, units[i].unit))
				break;
		if (i == ARRAY_SIZE(units) && *s)
			return -EINVAL;
		if (__builtin_mul_overflow(n, i < ARRAY_SIZE(units) ? units[i].ns : 1000000000ull, &part) ||
		    __builtin_add_overflow(total, part, &total))
			return -ERANGE;
		s += i < ARRAY_SIZE(units) ? strlen(units[i].unit) : 0;
	}
	*ns = total;
	return 0;
}

uint64_t monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

void random_id(char id[65])
{
	unsigned char raw[32];
	size_t i;

	or_die(getrandom(raw, sizeof(raw), 0) == sizeof(raw) ? raw : NULL);
	for (i = 0; i < sizeof(raw); i++)
		snprintf(id + 2 * i, 3, "%02x", raw[i]);
}

bool signal_ends(uint32_t number)
{
	switch (number) {
	case SIGCHLD:
	case SIGCONT:
	case SIGURG:
	case SIGWINCH:
	case SIGSTOP:
	case SIGTSTP:
	case SIGTTIN:
	case SIGTTOU: return false;
	default: return number >= 1 && number <= 64;
	}
}
