/* SPDX-License-Identifier: Apache-2.0 */
/*
 * On whose behalf: new files get the caller's owner through the thread's file system ids (setfsuid(2)), so there is no
 * moment at which they belong to another. Capabilities stay as they are meanwhile (SECBIT_NO_SETUID_FIXUP): what the
 * caller may do was decided in the guest, whose groups and capabilities are not known here.
 */
#include "fsd/fs_internal.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int change_fsetid(const struct fs *fs, bool on)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2] = { fs->caps[0], fs->caps[1] };

	if (!on)
		caps[0].effective &= ~(1u << CAP_FSETID);
	return syscall(SYS_capset, &head, caps) ? -errno : 0;
}

int fs_prepare(struct fs *fs, struct err *e)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	int bits, r = 0;

	fs->root = geteuid() == 0;
	if (!fs->root)
		return 0;
	bits = prctl(PR_GET_SECUREBITS);
	/* A jail may have set and locked it already, and dropped the right to do so. */
	if (bits < 0 || (!(bits & SECBIT_NO_SETUID_FIXUP) && prctl(PR_SET_SECUREBITS, bits | SECBIT_NO_SETUID_FIXUP)))
		return err_errno(e, errno, "PR_SET_SECUREBITS");
	if (syscall(SYS_capget, &head, fs->caps))
		return err_errno(e, errno, "capget");
	if (change_fsetid(fs, false) == 0) {
		r = loop_personality(fs->loop);
		change_fsetid(fs, true);
	}
	if (r < 0)
		return err_errno(e, r, "io_uring: credentials of writes");
	fs->personality = r;
	return 0;
}

void caller_drop_fsetid(struct fs *fs)
{
	if (fs->root)
		change_fsetid(fs, false);
}

void caller_restore_fsetid(struct fs *fs)
{
	if (fs->root)
		change_fsetid(fs, true);
}

int caller_enter(struct fs *fs, const struct fs_call *c, uint32_t mask)
{
	uint32_t uid, gid;
	int r;

	/* The mask is the process's; it hardly ever changes. */
	if ((mask & 0777) != fs->umask) {
		fs->umask = mask & 0777;
		umask(fs->umask);
	}
	r = idmap_to_host(&fs->config->uids, c->req->head.uid, &uid);
	if (!r)
		r = idmap_to_host(&fs->config->gids, c->req->head.gid, &gid);
	if (r || !fs->root)
		return r;
	if (gid != fs->fsgid) {
		setfsgid(gid);
		fs->fsgid = gid;
	}
	if (uid != fs->fsuid) {
		setfsuid(uid);
		fs->fsuid = uid;
	}
	return 0;
}

void caller_leave(struct fs *fs)
{
	if (fs->fsuid) {
		setfsuid(0);
		fs->fsuid = 0;
	}
	if (fs->fsgid) {
		setfsgid(0);
		fs->fsgid = 0;
	}
}

uint32_t caller_mode(struct fs *fs, const struct fs_call *c, uint32_t mode)
{
	struct statx stx;
	bool own;
	uint32_t gid;
	int fd;

	if (!(mode & S_ISGID) || S_ISDIR(mode) || !c->req->head.uid)
		return mode;
	fd = inode_fd(fs, c->inode, &own);
	if (fd < 0 || fs_statx(fd, "", &stx)) {
		inode_put_fd(fs, fd, own);
		return mode & ~(uint32_t)S_ISGID;
	}
	inode_put_fd(fs, fd, own);
	gid = stx.stx_mode & S_ISGID ? idmap_to_guest(&fs->config->gids, stx.stx_gid) : c->req->head.gid;
	if (gid == c->req->head.gid || gid == c->group)
		return mode;
	return mode & ~(uint32_t)S_ISGID;
}
