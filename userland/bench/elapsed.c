/* SPDX-License-Identifier: Apache-2.0 */
/*
 * elapsed [-n RUNS] [-w WARM] [-s STATUS] COMMAND [ARG…]: the median time from the start of a command to its end, in
 * seconds, on stdout. WARM runs (1) come first and don't count. The command's own output goes to stderr. Ends with 1 when a
 * run ends with another status than STATUS (0).
 */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"

#define RUNS_MAX 1000u

extern char **environ;

static int compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int run_once(char **argv, uint64_t *ns)
{
	const uint64_t start = monotonic_ns();
	posix_spawn_file_actions_t actions;
	int r, status;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", 0, 0);
	posix_spawn_file_actions_adddup2(&actions, 2, 1);
	r = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r) {
		fprintf(stderr, "elapsed: %s: %s\n", argv[0], strerror(r));
		return 127;
	}
	if (waitpid(pid, &status, 0) != pid)
		return 127;
	*ns = monotonic_ns() - start;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

struct options {
	uint64_t runs, warm, status;
};

static int parse(int argc, char **argv, struct options *o)
{
	int c;

	while ((c = getopt(argc, argv, "+n:w:s:")) >= 0) {
		uint64_t *v = c == 'n' ? &o->runs : c == 'w' ? &o->warm : c == 's' ? &o->status : NULL;

		if (!v || parse_u64(optarg, c == 'n', RUNS_MAX, v))
			return -EINVAL;
	}
	return optind < argc ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
	struct options o = { .runs = 1, .warm = 1 };
	uint64_t *ns, median, i;

	if (parse(argc, argv, &o)) {
		fprintf(stderr, "usage: elapsed [-n RUNS] [-w WARM] [-s STATUS] COMMAND [ARG…]\n");
		return 2;
	}
	ns = xcalloc(o.runs + o.warm, sizeof(*ns));
	for (i = 0; i < o.runs + o.warm; i++) {
		int status = run_once(argv + optind, &ns[i]);

		if (status != (int)o.status) {
			fprintf(stderr, "elapsed: %s ended with %d\n", argv[optind], status);
			return 1;
		}
	}
	qsort(ns + o.warm, o.runs, sizeof(*ns), compare);
	median = ns[o.warm + o.runs / 2];
	printf("%.6f\n", (double)median / 1e9);
	free(ns);
	return 0;
}
