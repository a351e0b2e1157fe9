/* SPDX-License-Identifier: Apache-2.0 */
/* Extended attributes, POSIX ACLs among them. By path, as an O_PATH fd has none: "N" in /proc/self/fd, where we are. */
#include "fsd/fs_internal.h"

#include <errno.h>
#include <sys/xattr.h>

#define ACL_PREFIX "system.posix_acl_"

/* The host's name for the guest's, and the inode's path. */
struct target {
	int fd;
	bool own;
	char path[12], name[XATTR_NAME_BYTES];
};

static int check_name(const struct fs *fs, const char *name, char *host)
{
	size_t len = strlen(name);

	if (!len || len >= XATTR_NAME_BYTES)
		return -ERANGE;
	/* Without the guest's knowing their meaning, ACLs would be a second opinion on who may do what. */
	if (str_starts(name, ACL_PREFIX))
		return fs->config->posix_acl ? (memcpy(host, name, len + 1), 0) : -EOPNOTSUPP;
	return xattrmap_to_host(fs->config->xattrmap, name, host);
}

static int target_get(struct fs *fs, struct fs_call *c, const char *name, struct target *t)
{
	int r = name ? check_name(fs, name, t->name) : 0;

	if (r)
		return r;
	t->fd = inode_fd(fs, c->inode, &t->own);
	if (t->fd < 0)
		return t->fd;
	fd_path(t->fd, t->path);
	return 0;
}

int fs_op_setxattr(struct fs *fs, struct fs_call *c)
{
	/* FUSE_SETXATTR_EXT was agreed on by every kernel that sends the long form; the short one has 8 bytes. */
	struct fuse_setxattr_in in = { .size = 0 };
	size_t head = fs->setxattr_ext ? sizeof(in) : FUSE_COMPAT_SETXATTR_IN_SIZE;
	const char *name;
	const uint8_t *end;
	struct target t;
	bool kill;
	int r;

	if (c->rest_len < head)
		return -EINVAL;
	memcpy(&in, c->rest, head);
	name = (const char *)c->rest + head;
	end = memchr(name, 0, c->rest_len - head);
	if (!end || c->rest + c->rest_len - (end + 1) != in.size)
		return -EINVAL;
	if (in.flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	r = target_get(fs, c, name, &t);
	if (r)
		return r;
	kill = in.setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID;
	if (kill)
		caller_drop_fsetid(fs);
	r = setxattr(t.path, t.name, end + 1, in.size, (int)in.flags) ? -errno : 0;
	if (kill)
		caller_restore_fsetid(fs);
	inode_put_fd(fs, t.fd, t.own);
	return r;
}

/* n bytes of an answer are in the buffer, or, when the guest only asks for the length, would be. */
static int answer(struct fs_call *c, ssize_t n, uint32_t size)
{
	struct fuse_getxattr_out *out = c->reply;

	if (n < 0)
		return (int)n;
	if (size)
		return n > size ? -ERANGE : (int)n;
	if (c->reply_max < sizeof(*out))
		return -EINVAL;
	*out = (struct fuse_getxattr_out){ .size = (uint32_t)n };
	return sizeof(*out);
}

int fs_op_getxattr(struct fs *fs, struct fs_call *c)
{
	const struct fuse_getxattr_in *in = c->arg;
	struct target t;
	ssize_t n;
	int r = target_get(fs, c, c->name[0], &t);

	if (r)
		return r;
	n = getxattr(t.path, t.name, c->reply, in->size ? min_t(uint32_t, in->size, c->reply_max) : 0);
	n = n < 0 ? -errno : n;
	inode_put_fd(fs, t.fd, t.own);
	return answer(c, n, in->size);
}

int fs_op_listxattr(struct fs *fs, struct fs_call *c)
{
	const struct fuse_getxattr_in *in = c->arg;
	char *list = (char *)fs->scratch, *out = c->reply, *at;
	uint32_t used = 0, room = in->size ? min_t(uint32_t, in->size, c->reply_max) : FS_REPLY_MAX;
	struct target t;
	ssize_t n;
	int r = target_get(fs, c, NULL, &t);

	if (r)
		return r;
	n = listxattr(t.path, list, sizeof(fs->scratch));
	n = n < 0 ? -errno : n;
	inode_put_fd(fs, t.fd, t.own);
	for (at = list; n > 0 && at < list + n; at += strlen(at) + 1) {
		bool acl = str_starts(at, ACL_PREFIX);
		const char *name =
			acl ? (fs->config->posix_acl ? at : NULL) : xattrmap_to_guest(fs->config->xattrmap, at);
		size_t len = name ? strlen(name) + 1 : 0;

		if (!name)
			continue;
		if (len > room - used)
			return -ERANGE;
		memcpy(out + used, name, len);
		used += (uint32_t)len;
	}
	return answer(c, n < 0 ? n : (ssize_t)used, in->size);
}

int fs_op_removexattr(struct fs *fs, struct fs_call *c)
{
	struct target t;
	int r = target_get(fs, c, c->name[0], &t);

	if (r)
		return r;
	r = removexattr(t.path, t.name) ? -errno : 0;
	inode_put_fd(fs, t.fd, t.own);
	return r;
}
