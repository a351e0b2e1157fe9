/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gives each file of a corpus to a fuzz target, without a fuzzer: replay_X NAME DIR. A file that breaks the target ends
 * the program (the sanitizers do that), so its name is said before it is tried.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

#define SEED_MAX (16u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

/* Data in an allocation of exactly its size, so that the sanitizer sees a read past its end. */
static int replay(int dir, const char *name)
{
	_cleanup_free_ char *data = NULL;
	_cleanup_free_ uint8_t *exact = NULL;
	size_t len = 0;
	int r = read_file(dir, name, SEED_MAX, &data, &len);

	if (r < 0)
		return r;
	exact = malloc(len ? len : 1);
	if (!exact)
		return -ENOMEM;
	memcpy(exact, data, len);
	LLVMFuzzerTestOneInput(exact, len);
	return 0;
}

int main(int argc, char **argv)
{
	_cleanup_closedir_ DIR *dir = NULL;
	static const uint8_t nothing[1];
	struct dirent *entry;
	int seeds_n = 0;

	if (argc != 3) {
		fprintf(stderr, "usage: %s NAME CORPUS\n", argv[0]);
		return 2;
	}
	if (LLVMFuzzerInitialize)
		LLVMFuzzerInitialize(&argc, &argv);
	dir = opendir(argv[2]);
	if (!dir) {
		printf("not ok %s: %s: %s\n", argv[1], argv[2], strerror(errno));
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("trying the empty input\n");
	LLVMFuzzerTestOneInput(nothing, 0);
	while ((entry = readdir(dir))) {
		int r;

		if (entry->d_name[0] == '.')
			continue;
		printf("trying %s/%s\n", argv[2], entry->d_name);
		r = replay(dirfd(dir), entry->d_name);
		if (r < 0) {
			printf("not ok %s: %s: %s\n", argv[1], entry->d_name, strerror(-r));
			return 1;
		}
		seeds_n++;
	}
	if (!seeds_n) {
		printf("not ok %s: %s has no file\n", argv[1], argv[2]);
		return 1;
	}
	printf("ok %s\n", argv[1]);
	return 0;
}
