/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/mount.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "base/util.h"
#include "guest-agent/mounts.h"

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

/* Attributes of a mount. Each has a twin with "r" before it, for all mounts below as well. */
static const struct {
	const char *name;
	uint64_t set, clear;
} attributes[] = {
	{ "ro", MOUNT_ATTR_RDONLY, 0 },
	{ "rw", 0, MOUNT_ATTR_RDONLY },
	{ "nosuid", MOUNT_ATTR_NOSUID, 0 },
	{ "suid", 0, MOUNT_ATTR_NOSUID },
	{ "nodev", MOUNT_ATTR_NODEV, 0 },
	{ "dev", 0, MOUNT_ATTR_NODEV },
	{ "noexec", MOUNT_ATTR_NOEXEC, 0 },
	{ "exec", 0, MOUNT_ATTR_NOEXEC },
	{ "nodiratime", MOUNT_ATTR_NODIRATIME, 0 },
	{ "diratime", 0, MOUNT_ATTR_NODIRATIME },
	{ "nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0 },
	{ "symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW },
	/* These four exclude each other: a field, not bits. */
	{ "noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME },
	{ "relatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME },
	{ "strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME },
	{ "atime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME },
	{ "norelatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME },
	{ "nostrictatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME },
};

/* Nothing to do for them here: the kernel's default, a matter of its log, or a thing of mount(8). */
static const char *const ignored[] = { "defaults", "silent", "loud", "nofail", "auto", "noauto", "_netdev" };

/* Of the file system as a whole; a bind mount can't have them. */
static const char *const superblock[] = {
	"sync", "async", "dirsync", "mand", "nomand", "lazytime", "nolazytime", "iversion", "noiversion",
};

static bool in_list(const char *const *list, size_t n, const char *s)
{
	while (n--)
		if (str_eq(list[n], s))
			return true;
	return false;
}

uint64_t mount_propagation(const char *name, bool *recursive)
{
	static const struct {
		const char *name;
		uint64_t flag;
	} kinds[] = {
		{ "private", MS_PRIVATE },
		{ "shared", MS_SHARED },
		{ "slave", MS_SLAVE },
		{ "unbindable", MS_UNBINDABLE },
	};
	size_t i;

	*recursive = false;
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (str_eq(name, kinds[i].name))
			return kinds[i].flag;
		if (name[0] == 'r' && str_eq(name + 1, kinds[i].name)) {
			*recursive = true;
			return kinds[i].flag;
		}
	}
	return 0;
}

/* A later option wins over an earlier one. */
static void set_attribute(uint64_t *set, uint64_t *clear, uint64_t s, uint64_t c)
{
	/* mount_setattr takes atime only with its whole field in the mask. */
	*set &= ~c;
	*clear &= ~(s & ~(uint64_t)MOUNT_ATTR__ATIME);
	*set |= s;
	*clear |= c;
}

static bool take_attribute(struct mount_plan *p, const char *o)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(attributes); i++) {
		bool all = o[0] == 'r' && str_eq(o + 1, attributes[i].name);

		if (!all && !str_eq(o, attributes[i].name))
			continue;
		/* "relatime" is not "r" and "elatime"; "ro" and "rw" are themselves. */
		if (all)
			set_attribute(&p->set_all, &p->clear_all, attributes[i].set, attributes[i].clear);
		else
			set_attribute(&p->set, &p->clear, attributes[i].set, attributes[i].clear);
		if (attributes[i].set == MOUNT_ATTR_RDONLY || attributes[i].clear == MOUNT_ATTR_RDONLY)
			p->read_only = attributes[i].set == MOUNT_ATTR_RDONLY;
		return true;
	}
	return false;
}

static bool take_kind(struct mount_plan *p, const char *o)
{
	if (str_eq(o, "bind"))
		p->bind = true;
	else if (str_eq(o, "rbind"))
		p->bind = p->recursive = true;
	else if (str_eq(o, "remount"))
		p->remount = true;
	else if (str_eq(o, "tmpcopyup"))
		p->copy_up = true;
	else if (str_eq(o, "copyup"))
		p->fill = true;
	else if (str_eq(o, "idmap"))
		p->idmap = true;
	else if (str_eq(o, "ridmap"))
		p->idmap = p->idmap_recursive = true;
	else
		return in_list(ignored, ARRAY_SIZE(ignored), o);
	return true;
}

static int check(const Microvm__Mount *m, const struct mount_plan *p, struct err *e)
{
	if (p->bind && p->data_n)
		return err_set(e, EINVAL, "mount %s: option \"%s\" is not for a bind mount", m->destination,
			       p->data[0]);
	if (p->bind && !p->remount && m->source[0] != '/')
		return err_set(e, EINVAL, "mount %s: source \"%s\" is not an absolute path of the guest",
			       m->destination, m->source);
	if (p->copy_up && !str_eq(m->type, "tmpfs"))
		return err_set(e, EINVAL, "mount %s: tmpcopyup is for tmpfs, not %s", m->destination, m->type);
	if (p->fill && !p->bind)
		return err_set(e, EINVAL, "mount %s: copyup is for bind mounts, not %s", m->destination, m->type);
	if (p->idmap && !p->bind)
		return err_set(e, EINVAL, "mount %s: idmap is for bind mounts", m->destination);
	return 0;
}

int mount_plan_parse(const Microvm__Mount *m, struct mount_plan *p, struct err *e)
{
	size_t i;
	int r;

	memset(p, 0, sizeof(*p));
	p->bind = str_eq(m->type, "bind");
	p->data = xcalloc(m->n_options + 1, sizeof(*p->data));
	p->idmap = m->n_uid_mappings || m->n_gid_mappings;
	for (i = 0; i < m->n_options; i++) {
		const char *o = m->options[i];
		bool all;

		if (mount_propagation(o, &all)) {
			p->propagation = mount_propagation(o, &p->propagation_all);
			continue;
		}
		if (!*o || take_attribute(p, o) || take_kind(p, o))
			continue;
		if (p->remount && in_list(superblock, ARRAY_SIZE(superblock), o)) {
			mount_plan_free(p);
			return err_set(e, ENOTSUP, "mount %s: \"%s\" can't be changed by a remount", m->destination, o);
		}
		p->data[p->data_n++] = o;
	}
	r = check(m, p, e);
	if (r)
		mount_plan_free(p);
	return r;
}

void mount_plan_free(struct mount_plan *p)
{
	free(p->data);
	p->data = NULL;
	p->data_n = 0;
}
