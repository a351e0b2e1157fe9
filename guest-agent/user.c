/* SPDX-License-Identifier: Apache-2.0 */
#include "guest-agent/user.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "guest-agent/mounts.h"

#define ID_MAX 0xfffffffeu /* (uid_t)-1 means "leave as it is" to the kernel */
#define FIELDS 7

/* A part of a text: not NUL-terminated. */
struct part {
	const char *s;
	size_t len;
};

static bool part_is(struct part p, const char *s)
{
	return strlen(s) == p.len && !memcmp(p.s, s, p.len);
}

static bool part_id(struct part p, uint32_t *id)
{
	char buf[16];
	uint64_t v;

	if (!p.len || p.len >= sizeof(buf))
		return false;
	memcpy(buf, p.s, p.len);
	buf[p.len] = '\0';
	if (parse_u64(buf, 0, ID_MAX, &v))
		return false;
	*id = (uint32_t)v;
	return true;
}

/* The next line of *text, split at colons into at most FIELDS parts, the last of which has the rest. False at its end. */
static bool next_line(const char **text, struct part f[FIELDS], size_t *n)
{
	const char *s = *text, *end;

	if (!*s)
		return false;
	end = s + strcspn(s, "\n");
	*text = *end ? end + 1 : end;
	for (*n = 0; *n < FIELDS; (*n)++, s++) {
		const char *colon = *n == FIELDS - 1 ? NULL : memchr(s, ':', (size_t)(end - s));

		f[*n].s = s;
		f[*n].len = (size_t)((colon ? colon : end) - s);
		if (!colon) {
			(*n)++;
			break;
		}
		s = colon;
	}
	return true;
}

/* passwd: name:password:uid:gid:gecos:home:shell. By name first in the file's order; a number matches names and ids. */
static bool find_user(const char *passwd, const char *want, const uint32_t *id, struct user *u, char *name, size_t size)
{
	struct part f[FIELDS];
	size_t n;

	while (next_line(&passwd, f, &n)) {
		uint32_t uid, gid;

		if (n < 4 || !f[0].len || f[0].s[0] == '#' || !part_id(f[2], &uid) || !part_id(f[3], &gid))
			continue;
		if (!(want && part_is(f[0], want)) && !(id && uid == *id))
			continue;
		u->uid = uid;
		u->gid = gid;
		if (n > 5 && f[5].len && f[5].len < sizeof(u->home)) {
			memcpy(u->home, f[5].s, f[5].len);
			u->home[f[5].len] = '\0';
		}
		snprintf(name, size, "%.*s", (int)f[0].len, f[0].s);
		return true;
	}
	return false;
}

/* group: name:password:gid:member,member… */
static bool find_group(const char *group, const char *want, const uint32_t *id, gid_t *found)
{
	struct part f[FIELDS];
	size_t n;

	while (next_line(&group, f, &n)) {
		uint32_t gid;

		if (n < 3 || !f[0].len || f[0].s[0] == '#' || !part_id(f[2], &gid))
			continue;
		if (part_is(f[0], want) || (id && gid == *id)) {
			*found = gid;
			return true;
		}
	}
	return false;
}

static int add_group(struct user *u, gid_t gid, struct err *e)
{
	size_t i;

	for (i = 0; i < u->groups_n; i++)
		if (u->groups[i] == gid)
			return 0;
	if (u->groups_n >= USER_GROUPS_MAX)
		return err_set(e, E2BIG, "more than %u additional groups", USER_GROUPS_MAX);
	/* Grown by halves would save little: files name a handful. */
	if (!(u->groups_n & (u->groups_n - 1)))
		u->groups = xreallocarray(u->groups, u->groups_n ? u->groups_n * 2 : 1, sizeof(*u->groups));
	u->groups[u->groups_n++] = gid;
	return 0;
}

static bool is_member(struct part members, const char *name)
{
	const char *s = members.s, *end = members.s + members.len;

	while (s < end) {
		const char *comma = memchr(s, ',', (size_t)(end - s));
		struct part p = { s, (size_t)((comma ? comma : end) - s) };

		if (part_is(p, name))
			return true;
		s = comma ? comma + 1 : end;
	}
	return false;
}

static int add_memberships(struct user *u, const char *group, const char *name, struct err *e)
{
	struct part f[FIELDS];
	size_t n;
	int r = 0;

	while (!r && next_line(&group, f, &n)) {
		uint32_t gid;

		if (n >= 4 && part_id(f[2], &gid) && is_member(f[3], name))
			r = add_group(u, gid, e);
	}
	return r;
}

static int resolve_name(const char *spec, const char *passwd, const char *group, struct user *u, struct err *e)
{
	_cleanup_free_ char *user = xstrndup(spec, strcspn(spec, ":"));
	const char *group_name = strchr(spec, ':');
	char name[256] = "";
	uint32_t id;
	bool numeric = part_id((struct part){ user, strlen(user) }, &id);

	if (!*user) {
		id = 0;
		numeric = true;
	}
	if (!find_user(passwd, user, numeric ? &id : NULL, u, name, sizeof(name))) {
		if (!numeric)
			return err_set(e, ENOENT,
				       "no user \"%s\" in the container's /etc/passwd; give its number instead", user);
		u->uid = id;
	}
	if (group_name && group_name[1]) {
		group_name++;
		numeric = part_id((struct part){ group_name, strlen(group_name) }, &id);
		if (find_group(group, group_name, numeric ? &id : NULL, &u->gid))
			return 0;
		if (!numeric)
			return err_set(e, ENOENT,
				       "no group \"%s\" in the container's /etc/group; give its number instead",
				       group_name);
		u->gid = id;
		return 0;
	}
	return *name ? add_memberships(u, group, name, e) : 0;
}

int user_resolve(const Microvm__User *m, const char *passwd, const char *group, struct user *u, struct err *e)
{
	char name[256];
	size_t i;
	int r = 0;

	memset(u, 0, sizeof(*u));
	strcpy(u->home, "/");
	if (m && m->name[0]) {
		r = resolve_name(m->name, passwd, group, u, e);
	} else {
		struct user known = { .home = "/" };
		uint32_t id = m ? m->uid : 0;

		u->uid = id;
		u->gid = m ? m->gid : 0;
		if (find_user(passwd, NULL, &id, &known, name, sizeof(name)))
			memcpy(u->home, known.home, sizeof(u->home));
	}
	for (i = 0; !r && m && i < m->n_additional_gids; i++)
		r = add_group(u, m->additional_gids[i], e);
	for (i = 0; !r && m && i < m->n_additional_groups; i++) {
		const char *g = m->additional_groups[i];
		uint32_t id;
		bool numeric = part_id((struct part){ g, strlen(g) }, &id);
		gid_t gid = id;

		if (!find_group(group, g, numeric ? &id : NULL, &gid) && !numeric)
			r = err_set(e, ENOENT, "no group \"%s\" in the container's /etc/group; give its number instead",
				    g);
		else
			r = add_group(u, gid, e);
	}
	if (!r && u->home[0] != '/')
		strcpy(u->home, "/");
	if (r)
		user_free(u);
	return r;
}

/* An empty text if there's no such file. */
static int read_text(int root, const char *path, char **text, struct err *e)
{
	/* Not by read_file(): a FIFO or a device in its place must not block or be touched. */
	_cleanup_close_ int fd = rootfs_open(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	_cleanup_free_ char *buf = NULL;
	struct stat st;
	int r;

	if (fd == -ENOENT || fd == -ENOTDIR) {
		*text = xstrdup("");
		return 0;
	}
	if (fd < 0)
		return err_errno(e, -fd, "the container's %s", path);
	if (fstat(fd, &st) < 0)
		return err_errno(e, errno, "the container's %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "the container's %s is no regular file", path);
	if (st.st_size > USER_FILE_MAX)
		return err_set(e, EFBIG, "the container's %s is larger than the %u bytes that are read", path,
			       USER_FILE_MAX);
	buf = xcalloc((size_t)st.st_size + 1, 1);
	r = read_full(fd, buf, (size_t)st.st_size);
	if (r && r != -ENODATA)
		return err_errno(e, -r, "the container's %s", path);
	*text = take_ptr(buf);
	return 0;
}

int user_lookup(int root, const Microvm__User *m, struct user *u, struct err *e)
{
	/* Numbers stand for themselves: then only the home is looked up, and files that can't be read matter to nobody. */
	bool names = m && (m->name[0] || m->n_additional_groups);
	_cleanup_free_ char *passwd = NULL, *group = NULL;
	int r = read_text(root, "/etc/passwd", &passwd, names ? e : NULL);

	if (!r && names)
		r = read_text(root, "/etc/group", &group, e);
	return r && names ? r : user_resolve(m, passwd ? passwd : "", group ? group : "", u, e);
}

void user_free(struct user *u)
{
	free(u->groups);
	u->groups = NULL;
	u->groups_n = 0;
}
