/* SPDX-License-Identifier: Apache-2.0 */
/* containerd-shim-microvm-v2: what containerd starts for the runtime io.containerd.microvm.v2. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "shim/commands.h"
#include "userland/shim/info.pb-c.h"

#define PROGRAM "containerd-shim-microvm-v2"
#define RUNTIME "io.containerd.microvm.v2"

static const struct command {
	const char *name, *help;
	int (*run)(const struct shim_options *o, struct err *e);
} commands[] = {
	{ "start", "leave a shim for the container of the bundle, or find that of its pod; print its address",
	  shim_start },
	{ "delete", "take away what is left of the container, and print a DeleteResponse", shim_delete },
};

static int print_info(struct err *e)
{
	Microvm__Shim__RuntimeInfo info;
	Microvm__Shim__RuntimeVersion version;
	uint8_t packed[256];
	int r;

	microvm__shim__runtime_info__init(&info);
	microvm__shim__runtime_version__init(&version);
	version.version = (char *)MICROVM_VERSION;
	info.name = (char *)RUNTIME;
	info.version = &version;
	r = write_full(1, packed, microvm__shim__runtime_info__pack(&info, packed));
	return r ? err_errno(e, r, "cannot answer") : 0;
}

static void print_help(FILE *f)
{
	size_t i;

	fputs("usage: " PROGRAM " -namespace NAME -id ID [-bundle DIR] [-debug] COMMAND\n"
	      "       " PROGRAM " -v | -info\n\n"
	      "containerd runs it, in the folder of a bundle:\n\n",
	      f);
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(f, "  %-8s %s\n", commands[i].name, commands[i].help);
}

static int run(const struct shim_options *o, struct err *e)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(commands); i++)
		if (str_eq(commands[i].name, o->command))
			return commands[i].run(o, e);
	return err_set(e, EINVAL, "%s%.50s%s; there are start and delete, and containerd says them",
		       o->command ? "'" : "no command", o->command ? o->command : "",
		       o->command ? "' is not a command" : "");
}

int main(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct shim_options o;

	log_init(PROGRAM, LOG_WARN);
	if (!shim_options_parse(argc, argv, &o, &e)) {
		if (o.debug)
			log_init(PROGRAM, LOG_DEBUG);
		if (o.help)
			print_help(stdout);
		else if (o.version)
			printf(PROGRAM ":\n  Version:  %s\n", MICROVM_VERSION);
		else if (o.info)
			print_info(&e);
		else
			run(&o, &e);
	}
	if (!e.code && fflush(stdout))
		err_set(&e, EIO, "cannot answer");
	if (e.code)
		fprintf(stderr, PROGRAM ": %s\n", e.msg);
	return e.code ? 1 : 0;
}
