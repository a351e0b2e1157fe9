/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSD_OPTIONS_H
#define FSD_OPTIONS_H

#include <stdio.h>

#include "fsd/fs.h"

struct options {
	const char *shared_dir, *socket_path;
	int fd; /* -1: not given */
	uint32_t queues;
	bool no_jail, help, version;
	struct fs_config fs;
};

/* argv's strings stay in use. -EINVAL with a message that names the option. */
int options_parse(int argc, char **argv, struct options *o, struct err *e);
void options_free(struct options *o);
void options_help(FILE *f);

#endif
