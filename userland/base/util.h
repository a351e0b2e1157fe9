/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_UTIL_H
#define BASE_UTIL_H

#include <dirent.h>
#include <endian.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include "base/err.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
/* clang-format off */
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))
#define min_t(t, a, b) __extension__({ t _a = (a), _b = (b); _a < _b ? _a : _b; })
#define max_t(t, a, b) __extension__({ t _a = (a), _b = (b); _a > _b ? _a : _b; })
#define ALIGN_UP(x, a) (((x) + (a) - 1) & ~((__typeof__(x))(a) - 1))
#define ALIGN_DOWN(x, a) ((x) & ~((__typeof__(x))(a) - 1))
/* clang-format on */

static inline bool str_eq(const char *a, const char *b)
{
	return a && b && strcmp(a, b) == 0;
}

static inline bool str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* Memory for control code: never NULL, the process ends if there is none. strdup_x(NULL) is NULL. */
void *xcalloc(size_t n, size_t size);
void *xreallocarray(void *p, size_t n, size_t size);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Reads or writes all of len bytes, through EINTR and short counts. Return 0, or negative errno (-ENODATA: end of file early). */
int read_full(int fd, void *buf, size_t len);
int write_full(int fd, const void *buf, size_t len);
int pread_full(int fd, void *buf, size_t len, off_t off);

/* opendir(3) of a path as openat(2) has it, O_CLOEXEC; flags: 0 or O_NOFOLLOW. NULL and errno. */
DIR *open_dir(int dirfd, const char *path, int flags);

/*
 * Reads a whole file of at most max bytes into *data (malloc, a NUL behind it), its length into *len (may be NULL).
 * -EFBIG if it is larger. dirfd as in openat(2).
 */
int read_file(int dirfd, const char *path, size_t max, char **data, size_t *len);

/* Crash-safe: a temporary file beside it, fsync, rename, fsync of the folder. Returns negative errno. */
int write_file_atomic(int dirfd, const char *path, const void *data, size_t len, mode_t mode);

/* mkdir -p below dirfd; existing folders are fine. */
int mkdir_p(int dirfd, const char *path, mode_t mode);

/* Removes path and all below it, crossing no mount point and following no symlink. A path that is not there is fine. */
int remove_tree(int dirfd, const char *path);

/* "64m", "1G", "4096" (docker: b k m g, powers of 1,024) to bytes. -EINVAL if it is not one, -ERANGE if it overflows. */
int parse_size(const char *s, uint64_t *bytes);

/* "90", "90s", "1m30s", "1h", "250ms" to nanoseconds. A bare number is seconds. -EINVAL, -ERANGE. */
int parse_duration(const char *s, uint64_t *ns);

/* A whole decimal number within [lo, hi], nothing else around it. -EINVAL, -ERANGE. */
int parse_u64(const char *s, uint64_t lo, uint64_t hi, uint64_t *v);

uint64_t monotonic_ns(void);

/* 64 lower-case hex digits and NUL from getrandom: a container's id, as docker's. */
void random_id(char id[65]);

/* Whether Linux ends a process by that signal, 1..64, when it has said nothing else (signal(7)). */
bool signal_ends(uint32_t number);

#endif
