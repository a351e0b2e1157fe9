/* SPDX-License-Identifier: Apache-2.0 */
/* Where the other parts of this installation are: beside the program in a build tree, or as `make install` puts them. */
#ifndef SANDBOX_PATHS_H
#define SANDBOX_PATHS_H

#include "base/err.h"

/*
 * A program of ours: $MICROVM_LIBEXEC/NAME, else beside this program, else in ../libexec/microvm. malloc'd; NULL and e
 * set if it is in none of them.
 */
char *paths_program(const char *name, struct err *e);
/* A file that guests boot from: $MICROVM_GUEST/NAME, else ../share/microvm, else ../guest. Likewise. */
char *paths_guest(const char *name, struct err *e);

#endif
