/* SPDX-License-Identifier: Apache-2.0 */
/* The shim's command line, as containerd writes it: flags with one dash or two, `-name value` or `-name=value`, then a command. */
#ifndef SHIM_OPTIONS_H
#define SHIM_OPTIONS_H

#include <stdbool.h>

#include "base/err.h"

struct shim_options {
	const char *namespace, *id, *bundle; /* bundle NULL: the current folder */
	const char *address, *publish_binary, *socket;
	bool debug, version, info, help;
	const char *command; /* NULL: none */
};

/* Pure; strings stay argv's. -EINVAL. */
int shim_options_parse(int argc, char **argv, struct shim_options *o, struct err *e);

#endif
