/* SPDX-License-Identifier: Apache-2.0 */
#include "image/import/entry.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"

#define WHITEOUT ".wh."
#define WHITEOUT_META ".wh..wh." /* aufs's own files; only the opaque mark means something to us */
#define WHITEOUT_OPAQUE ".wh..wh..opq"
#define XATTRS_MAX 256
#define XATTR_VALUE_MAX 65536 /* XATTR_SIZE_MAX */

/*
 * trusted.* and user.overlay.* would be taken for an overlay's own marks; ACLs and labels of security modules mean
 * nothing in the guest.
 */
static bool xattr_is_kept(const char *name)
{
	return str_eq(name, "security.capability") || (str_starts(name, "user.") && !str_starts(name, "user.overlay."));
}

/* A path that reaches the file itself, a symlink too, by way of its folder's fd. */
static void proc_path(const struct tree_place *p, char *buf, size_t size)
{
	snprintf(buf, size, "/proc/self/fd/%d/%s", p->dirfd, *p->name ? p->name : ".");
}

/* tmpfs has no user.* before Linux 6.6, symlinks never have: the image is more use without than not at all. */
static void warn_of_lost_xattr(const char *name)
{
	static bool said;

	if (!said)
		log_warn("the store's file system has no '%.64s' attributes; the image's are left out", name);
	said = true;
}

static int set_xattrs(const struct tree_place *p, struct archive_entry *ent, struct err *e)
{
	char path[IMAGE_COMPONENT_MAX + 64];
	int n = archive_entry_xattr_reset(ent);
	const char *name;
	const void *value;
	size_t len;

	if (n > XATTRS_MAX)
		return err_set(e, E2BIG, "%d extended attributes, %d is the limit", n, XATTRS_MAX);
	proc_path(p, path, sizeof(path));
	while (archive_entry_xattr_next(ent, &name, &value, &len) == ARCHIVE_OK) {
		if (!name || !xattr_is_kept(name))
			continue;
		if (len > XATTR_VALUE_MAX)
			return err_set(e, E2BIG, "extended attribute '%.64s' of %zu bytes", name, len);
		if (lsetxattr(path, name, value, len, 0) == 0)
			continue;
		if (errno != EOPNOTSUPP)
			return err_errno(e, errno, "setting extended attribute '%.64s'", name);
		warn_of_lost_xattr(name);
	}
	return 0;
}

static struct timespec entry_mtime(struct archive_entry *ent)
{
	struct timespec ts = { 0 };

	if (archive_entry_mtime_is_set(ent)) {
		ts.tv_sec = archive_entry_mtime(ent);
		ts.tv_nsec = archive_entry_mtime_nsec(ent);
	}
	if (ts.tv_nsec < 0 || ts.tv_nsec > 999999999)
		ts.tv_nsec = 0;
	return ts;
}

static bool id_is_valid(int64_t id)
{
	return id >= 0 && id < UINT32_MAX; /* -1 means "don't change" to chown(2) */
}

/* Owner, mode, attributes, time; in this order, as a change of owner takes setuid bits and capabilities away. */
static int set_metadata(struct tree *t, const struct layer *l, const struct tree_place *p, struct archive_entry *ent,
			struct err *e)
{
	struct timespec times[2] = { entry_mtime(ent), entry_mtime(ent) };
	mode_t type = archive_entry_filetype(ent);
	const char *name = *p->name ? p->name : ".";
	int r;

	if (!l->plain) {
		int64_t uid = archive_entry_uid(ent), gid = archive_entry_gid(ent);

		if (!id_is_valid(uid) || !id_is_valid(gid))
			return err_set(e, EINVAL, "owner %lld:%lld is out of range", (long long)uid, (long long)gid);
		if (fchownat(p->dirfd, name, (uid_t)uid, (gid_t)gid, AT_SYMLINK_NOFOLLOW) < 0)
			return err_errno(e, errno, "setting its owner");
	}
	if (type != AE_IFLNK &&
	    fchmodat(p->dirfd, name, l->plain ? (type == AE_IFDIR ? 0700 : 0600) : archive_entry_perm(ent) & 07777, 0) <
		    0)
		return err_errno(e, errno, "setting its mode");
	if (l->plain)
		return 0;
	r = set_xattrs(p, ent, e);
	if (r)
		return r;
	if (type == AE_IFDIR)
		tree_note_time(t, p, times[0]);
	else if (utimensat(p->dirfd, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return err_errno(e, errno, "setting its time");
	return 0;
}

static int write_at(int fd, const char *data, size_t len, off_t off)
{
	while (len) {
		ssize_t n = pwrite(fd, data, len, off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
		off += n;
	}
	return 0;
}

/* The data, with holes where the archive has them. libarchive keeps offsets and sizes within the entry's size. */
static int write_data(struct archive *a, int fd, int64_t size, struct err *e)
{
	for (;;) {
		const void *data;
		la_int64_t off = 0;
		size_t len = 0;
		int r = archive_read_data_block(a, &data, &len, &off);

		if (r == ARCHIVE_EOF)
			break;
		if (r == ARCHIVE_RETRY)
			continue;
		if (r < ARCHIVE_WARN)
			return err_set(e, EBADMSG, "bad tar archive: %s", archive_error_string(a) ?: "damaged");
		if (off < 0 || off > size || len > (uint64_t)(size - off))
			return err_set(e, EBADMSG, "bad tar archive: data beyond the file's end");
		r = write_at(fd, data, len, off);
		if (r)
			return err_errno(e, r, "writing");
	}
	if (ftruncate(fd, size) < 0)
		return err_errno(e, errno, "writing");
	return 0;
}

static int make_file(const struct tree_place *p, const struct layer *l, struct layer_budget *budget, struct archive *a,
		     struct archive_entry *ent, struct err *e)
{
	int64_t size = archive_entry_size(ent);
	_cleanup_close_ int fd = -1;

	if (size < 0)
		return err_set(e, EBADMSG, "bad tar archive: a negative size");
	/* The size counts, not the data: a hole takes no space here, but it would in the file system image. */
	if ((uint64_t)size > budget->limits.unpacked_bytes - budget->bytes)
		return layer_over_limit(e, budget->limits.unpacked_bytes, "bytes unpacked", IMAGE_ENV_MAX_BYTES);
	if (layer_over_ratio(l, &budget->limits, (uint64_t)size, e))
		return -E2BIG;
	budget->bytes += (uint64_t)size;
	fd = openat(p->dirfd, p->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_errno(e, errno, "making the file");
	return write_data(a, fd, size, e);
}

static int make_folder(const struct tree_place *p, struct err *e)
{
	if (*p->name && mkdirat(p->dirfd, p->name, 0700) < 0 && errno != EEXIST)
		return err_errno(e, errno, "making the folder");
	return 0;
}

static int make_symlink(const struct tree_place *p, struct archive_entry *ent, struct err *e)
{
	const char *target = archive_entry_symlink(ent) ?: archive_entry_symlink_utf8(ent);

	if (!target || !*target || strlen(target) >= PATH_MAX)
		return err_set(e, EINVAL, "a symlink with %s target", target && *target ? "too long a" : "no");
	if (symlinkat(target, p->dirfd, p->name) < 0)
		return err_errno(e, errno, "making the symlink");
	return 0;
}

static int make_node(const struct tree_place *p, struct archive_entry *ent, mode_t type, struct err *e)
{
	dev_t dev = type == AE_IFIFO ? 0
				     : makedev((unsigned int)archive_entry_rdevmajor(ent),
					       (unsigned int)archive_entry_rdevminor(ent));

	if (mknodat(p->dirfd, p->name, type | 0600, dev) < 0)
		return err_errno(e, errno, "making the device or fifo");
	return 0;
}

/* The existing file a hard link names: never followed if it's a symlink, never outside, never a folder. */
static int open_link_target(struct tree *t, const char *raw, struct err *e)
{
	_cleanup_free_ char *path = NULL;
	struct tree_place p;
	struct stat st;
	int fd, r = tree_clean_path("hard link to", raw, &path, e);

	if (!r)
		r = tree_find(t, path, false, &p, e);
	if (r)
		return r;
	fd = openat(p.dirfd, *p.name ? p.name : ".", O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, errno, "hard link to '%.256s'", raw);
	if (fstat(fd, &st) < 0 || S_ISDIR(st.st_mode)) {
		close(fd);
		return err_set(e, EINVAL, "hard link to '%.256s': a folder", raw);
	}
	return fd;
}

static bool same_file(const struct tree_place *p, int fd)
{
	struct stat a, b;

	return fstatat(p->dirfd, p->name, &a, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &b) == 0 && a.st_ino == b.st_ino &&
	       a.st_dev == b.st_dev;
}

static int unpack_hardlink(struct tree *t, const char *path, const char *raw_target, struct err *e)
{
	_cleanup_close_ int target = open_link_target(t, raw_target, e);
	struct tree_place p;
	int r;

	if (target < 0)
		return target;
	r = tree_find(t, path, true, &p, e);
	if (r)
		return r;
	if (!*p.name)
		return err_set(e, EINVAL, "a hard link in place of the image's root");
	/* A link to itself must not lose the file. */
	if (!same_file(&p, target)) {
		r = tree_clear(t, &p, e);
		if (r)
			return r;
		if (linkat(target, "", p.dirfd, p.name, AT_EMPTY_PATH) < 0)
			return err_errno(e, errno, "making the hard link to '%.256s'", raw_target);
	}
	tree_note_made(t, &p);
	return 0;
}

/* 1: it was a whiteout and is done. */
static int unpack_whiteout(struct tree *t, const char *path, struct err *e)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	struct tree_place p;
	struct err ignored = ERR_INIT;
	int r;

	if (!str_starts(name, WHITEOUT))
		return 0;
	if (str_starts(name, WHITEOUT_META) && !str_eq(name, WHITEOUT_OPAQUE))
		return 1;
	r = tree_find(t, path, false, &p, &ignored);
	if (r == -ENOENT)
		return 1; /* nothing there to hide */
	if (r)
		return err_set(e, r, "%s", ignored.msg);
	if (str_eq(name, WHITEOUT_OPAQUE)) {
		r = tree_hide_below(t, &p, e);
	} else {
		p.name += strlen(WHITEOUT);
		if (!*p.name || str_eq(p.name, ".") || str_eq(p.name, ".."))
			return err_set(e, EINVAL, "a whiteout of nothing");
		r = tree_hide(t, &p, e);
	}
	return r ? r : 1;
}

static bool is_folder(const struct tree_place *p)
{
	struct stat st;

	return !*p->name || (fstatat(p->dirfd, p->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode));
}

static int unpack_other(struct tree *t, const struct layer *l, struct layer_budget *budget, struct archive *a,
			struct archive_entry *ent, const char *path, struct err *e)
{
	mode_t type = archive_entry_filetype(ent);
	struct tree_place p;
	int r = tree_find(t, path, true, &p, e);

	if (r)
		return r;
	if (!*p.name && type != AE_IFDIR)
		return err_set(e, EINVAL, "the image's root is no folder");
	/* The last entry of a name wins; only a folder over a folder adds to it. */
	if (type != AE_IFDIR || !is_folder(&p)) {
		r = tree_clear(t, &p, e);
		if (r)
			return r;
	}
	switch (type) {
	case AE_IFREG: r = make_file(&p, l, budget, a, ent, e); break;
	case AE_IFDIR: r = make_folder(&p, e); break;
	case AE_IFLNK: r = make_symlink(&p, ent, e); break;
	default: r = make_node(&p, ent, type, e); break;
	}
	if (!r)
		r = set_metadata(t, l, &p, ent, e);
	if (!r)
		tree_note_made(t, &p);
	return r;
}

static int unpack_named(struct tree *t, const struct layer *l, struct layer_budget *budget, struct archive *a,
			struct archive_entry *ent, const char *raw, struct err *e)
{
	mode_t type = archive_entry_filetype(ent);
	const char *target = archive_entry_hardlink(ent) ?: archive_entry_hardlink_utf8(ent);
	_cleanup_free_ char *path = NULL;
	int r = tree_clean_path("entry", raw, &path, e);

	if (r)
		return r;
	if (!l->plain) {
		r = unpack_whiteout(t, path, e);
		if (r)
			return r < 0 ? r : 0;
	}
	if (target)
		return unpack_hardlink(t, path, target, e);
	switch (type) {
	case AE_IFCHR:
	case AE_IFBLK:
	case AE_IFIFO:
		if (l->plain)
			return 0;
		break;
	case AE_IFREG:
	case AE_IFDIR:
	case AE_IFLNK: break;
	default: return err_set(e, EINVAL, "an entry of unknown type 0%o", type);
	}
	return unpack_other(t, l, budget, a, ent, path, e);
}

int entry_unpack(struct tree *t, const struct layer *l, struct layer_budget *budget, struct archive *a,
		 struct archive_entry *ent, struct err *e)
{
	const char *raw = archive_entry_pathname(ent) ?: archive_entry_pathname_utf8(ent);
	struct err inner = ERR_INIT;
	int r;

	if (!raw)
		return err_set(e, EBADMSG, "bad tar archive: an entry without a name");
	r = unpack_named(t, l, budget, a, ent, raw, &inner);
	if (!r)
		return 0;
	/* What comes from looking names up says the name already. */
	if (strstr(inner.msg, "entry '") == inner.msg)
		return err_set(e, r, "%s", inner.msg);
	return err_set(e, r, "entry '%.256s': %s", raw, inner.msg);
}
