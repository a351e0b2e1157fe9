/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/image_get_fixture.h"

#include <dirent.h>

char top[64], dir[80], root[80], ref[120], importer[4096];
struct image_store *store;
struct image_get_options options;
struct err e;

/* ../../bin/microvm-import, seen from this program. */
static void find_importer(void)
{
	ssize_t n = readlink("/proc/self/exe", importer, sizeof(importer) - 64);
	int up;

	ck_assert_int_gt(n, 0);
	importer[n] = '\0';
	for (up = 0; up < 3; up++)
		*strrchr(importer, '/') = '\0';
	strcat(importer, "/bin/microvm-import");
	ck_assert_msg(access(importer, X_OK) == 0, "%s: build it first", importer);
	options.importer = importer;
}

void setup(void)
{
	snprintf(top, sizeof(top), "/tmp/test-image-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(top));
	snprintf(dir, sizeof(dir), "%s/layout", top);
	snprintf(root, sizeof(root), "%s/store", top);
	snprintf(ref, sizeof(ref), "oci:%s:t", dir);
	find_importer();
	ck_assert_msg(image_store_open(root, &store, &e) == 0, "%s", e.msg);
}

unsigned int count(const char *folder)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", root, folder);
	_cleanup_closedir_ DIR *d = opendir(path);
	unsigned int n = 0;
	struct dirent *ent;

	ck_assert_ptr_nonnull(d);
	while ((ent = readdir(d)))
		n += ent->d_name[0] != '.';
	return n;
}

void teardown(void)
{
	ck_assert_uint_eq(count("tmp"), 0);
	image_store_close(store);
	ck_assert_int_eq(remove_tree(AT_FDCWD, top), 0);
}

struct image *get(const char *text)
{
	struct image *image = NULL;

	ck_assert_msg(image_get(store, text, &options, &image, &e) == 0, "%s", e.msg);
	return image;
}

void assert_no(int code, const char *text, const char *words)
{
	struct image *image = NULL;
	int r = image_get(store, text, &options, &image, &e);

	ck_assert_msg(r == -code, "%d, not %d: %s", r, -code, e.msg);
	ck_assert_msg(strstr(e.msg, words) != NULL, "'%s' is not in: %s", words, e.msg);
	ck_assert_msg(!strstr(e.msg, "blob") || strstr(e.msg, "sha256:") || strstr(e.msg, "missing"), "%s", e.msg);
}

struct fx_image make_layout(void)
{
	struct fx_image image = { .dir = dir, .layers = { HELLO }, .filter = "gzip" };

	fx_layout(&image);
	return image;
}
