/* SPDX-License-Identifier: Apache-2.0 */
/* Resources that end with their scope. fds start at -1, pointers at NULL. */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static inline void cleanup_freep(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void cleanup_closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _cleanup_close_ _cleanup_(cleanup_closep)
#define _cleanup_free_ _cleanup_(cleanup_freep)
#define _cleanup_fclose_ _cleanup_(cleanup_fclosep)
#define _cleanup_closedir_ _cleanup_(cleanup_closedirp)

/* Hands the fd on: the variable it was in no longer owns it. */
static inline int take_fd(int *fd)
{
	int f = *fd;

	*fd = -1;
	return f;
}

/* Hands the pointer on likewise. */
/* clang-format off */
#define take_ptr(p) __extension__({ __typeof__(p) _taken = (p); (p) = NULL; _taken; })
/* clang-format on */

#endif
