/* SPDX-License-Identifier: Apache-2.0 */
/* Cases of the module's test programs: the first check that fails ends the case's process. */
#ifndef TESTS_KMOD_H
#define TESTS_KMOD_H

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

extern const char *current_case;

#define check(x)                                                                                          \
	do {                                                                                              \
		if (!(x)) {                                                                               \
			fprintf(stderr, "%s:%d: %s (%s)\n", current_case, __LINE__, #x, strerror(errno)); \
			_exit(1);                                                                         \
		}                                                                                         \
	} while (0)

#endif
