/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a layer hides of those below it (image-spec, layer.md, "Whiteouts"). An opaque mark may come after files of its
 * own layer in the same folder, and those stay: hence the set of names that the current layer has made.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "image/import/tree-internal.h"
#include "image/import/tree.h"

/* FNV-1a. Whoever makes two names collide keeps a file of his own image that he meant to hide. */
static uint64_t name_hash(ino_t dir, const char *name)
{
	uint64_t h = 0xcbf29ce484222325ull ^ (uint64_t)dir * 0x9e3779b97f4a7c15ull;

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 0x100000001b3ull;
	h ^= h >> 32;
	return h ? h : 1;
}

/* The slot of h, or the empty one where it belongs. */
static uint64_t *set_slot(const struct name_set *set, uint64_t h)
{
	size_t i = h & (set->room - 1);

	while (set->slots[i] && set->slots[i] != h)
		i = (i + 1) & (set->room - 1);
	return &set->slots[i];
}

static void set_add(struct name_set *set, uint64_t h)
{
	uint64_t *slot;

	if (set->used * 2 >= set->room) {
		struct name_set bigger = { .room = set->room ? 2 * set->room : 1024 };
		size_t i;

		bigger.slots = xcalloc(bigger.room, sizeof(*bigger.slots));
		for (i = 0; i < set->room; i++)
			if (set->slots[i])
				*set_slot(&bigger, set->slots[i]) = set->slots[i];
		bigger.used = set->used;
		free(set->slots);
		*set = bigger;
	}
	slot = set_slot(set, h);
	if (!*slot)
		set->used++;
	*slot = h;
}

static bool set_has(const struct name_set *set, uint64_t h)
{
	return set->room && *set_slot(set, h) == h;
}

void tree_next_layer(struct tree *t)
{
	free(t->made.slots);
	t->made = (struct name_set){ 0 };
}

void tree_note_made(struct tree *t, const struct tree_place *p)
{
	struct stat st;

	if (fstatat(p->dirfd, "", &st, AT_EMPTY_PATH) == 0)
		set_add(&t->made, name_hash(st.st_ino, p->name));
}

static int hide_below(struct tree *t, int parent, const char *name);

/* Hides one entry of a folder unless this layer made it. A folder that still holds something then stays. */
static int hide_entry(struct tree *t, int dirfd, ino_t dir, const char *name)
{
	bool ours = set_has(&t->made, name_hash(dir, name));
	struct stat st;
	int r;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISDIR(st.st_mode))
		return ours || unlinkat(dirfd, name, 0) == 0 ? 0 : -errno;
	r = hide_below(t, dirfd, name);
	if (r || ours)
		return r;
	return unlinkat(dirfd, name, AT_REMOVEDIR) == 0 || errno == ENOTEMPTY ? 0 : -errno;
}

static int hide_below(struct tree *t, int parent, const char *name)
{
	_cleanup_closedir_ DIR *d = open_dir(parent, name, O_NOFOLLOW);
	struct dirent *ent;
	struct stat st;

	if (!d || fstat(dirfd(d), &st) < 0)
		return -errno;
	while ((ent = readdir(d))) {
		int r;

		if (str_eq(ent->d_name, ".") || str_eq(ent->d_name, ".."))
			continue;
		r = hide_entry(t, dirfd(d), st.st_ino, ent->d_name);
		if (r)
			return r;
	}
	return 0;
}

int tree_hide(struct tree *t, const struct tree_place *p, struct err *e)
{
	struct stat st;
	int r;

	if (fstatat(p->dirfd, "", &st, AT_EMPTY_PATH) < 0)
		return err_errno(e, errno, "'/%.256s'", p->dir_path);
	r = hide_entry(t, p->dirfd, st.st_ino, p->name);
	return r ? err_errno(e, r, "hiding '/%.256s/%.128s'", p->dir_path, p->name) : 0;
}

int tree_hide_below(struct tree *t, const struct tree_place *p, struct err *e)
{
	int r = hide_below(t, p->dirfd, ".");

	return r == 0 ? 0 : err_errno(e, r, "hiding what is in '/%.256s'", p->dir_path);
}
