/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer onto a tree, as a layer and as an archive of files. Whatever the archive is, nothing is made beside the tree,
 * and no more than the limits allow.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "image/import/layer.h"
#include "image/import/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char top[64];

static void must(int ok)
{
	if (!ok)
		abort();
}

static void clean_up(void)
{
	remove_tree(AT_FDCWD, top);
}

static void only_the_tree_is_there(int top_fd)
{
	_cleanup_closedir_ DIR *d = fdopendir(dup(top_fd));
	struct dirent *ent;

	must(d != NULL);
	rewinddir(d);
	while ((ent = readdir(d)))
		must(str_eq(ent->d_name, ".") || str_eq(ent->d_name, "..") || str_eq(ent->d_name, "tree"));
}

static void unpack(int top_fd, const uint8_t *data, size_t size, bool plain)
{
	struct layer_budget budget = {
		.limits = { .unpacked_bytes = 1 << 20, .entries = 100, .ratio = 50, .ratio_from_bytes = 1 << 16 },
	};
	_cleanup_close_ int root = -1, fd = memfd_create("layer", MFD_CLOEXEC);
	struct layer l = { .name = "layer", .packed_bytes = size, .plain = plain };
	struct err e = ERR_INIT;
	struct tree *tree;

	must(fd >= 0 && write_full(fd, data, size) == 0 && lseek(fd, 0, SEEK_SET) == 0);
	must(mkdirat(top_fd, "tree", 0755) == 0);
	root = openat(top_fd, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(root >= 0);
	l.fd = fd;
	tree = tree_new(root);
	if (layer_unpack(tree, &l, &budget, &e) == 0)
		must(tree_finish(tree, &e) == 0);
	else
		must(e.code && e.msg[0]);
	tree_free(tree);
	must(budget.entries <= 101 && budget.bytes <= 1 << 20);
	only_the_tree_is_there(top_fd);
	must(remove_tree(top_fd, "tree") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int top_fd = -1;

	if (top_fd < 0) {
		snprintf(top, sizeof(top), "%s/fuzz-tar-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
		must(mkdtemp(top) != NULL);
		top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		must(top_fd >= 0);
		atexit(clean_up);
	}
	unpack(top_fd, data, size, false);
	unpack(top_fd, data, size, true);
	return 0;
}
