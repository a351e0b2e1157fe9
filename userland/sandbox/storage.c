/* SPDX-License-Identifier: Apache-2.0 */
/* Disks, volumes and shared folders of a sandbox: opened and locked, given to the VMM, put into the container's spec. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/guest.h"
#include "base/util.h"
#include "oci/pb.h"
#include "sandbox/sandbox_private.h"
#include "sandbox/volumes.h"

/* ---- disks -------------------------------------------------------------------------------------------------------- */

static int open_disk(const struct disk *d, struct err *e)
{
	/* It lasts as long as the VMM has the file, whoever else has gone. */
	struct flock lock = { .l_type = d->read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };
	_cleanup_close_ int fd =
		open(d->path, (d->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | (d->direct ? O_DIRECT : 0));
	struct stat st;

	if (fd < 0)
		return d->direct && errno == EINVAL
			       ? err_set(e, EINVAL, "--disk %s: its file system has no O_DIRECT; leave out 'direct'",
					 d->path)
			       : err_errno(e, errno, "--disk %s", d->path);
	if (fstat(fd, &st) < 0)
		return err_errno(e, errno, "--disk %s", d->path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(e, EINVAL,
			       "--disk %s: it is neither a file nor a block device; share a folder by --volume",
			       d->path);
	if (S_ISREG(st.st_mode) && (!st.st_size || st.st_size % (d->direct ? 4096 : 512)))
		return err_set(e, EINVAL,
			       "--disk %s: a raw disk of %lld bytes is no multiple of %d; enlarge it (truncate)",
			       d->path, (long long)st.st_size, d->direct ? 4096 : 512);
	if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
		return errno == EAGAIN || errno == EACCES ? err_set(e, EBUSY,
								    "--disk %s: it is in use; share it read-only (:ro) "
								    "by all, or end the other one",
								    d->path)
							  : err_errno(e, errno, "--disk %s: locking it", d->path);
	if (fcntl(fd, F_SETFL, d->direct ? O_DIRECT : 0) < 0)
		return err_errno(e, errno, "--disk %s", d->path);
	return take_fd(&fd);
}

static int open_disks(struct sandbox *s, struct err *e)
{
	s->disk_fds = xcalloc(s->shares.disks_n + 1, sizeof(*s->disk_fds));
	while (s->disks_n < s->shares.disks_n) {
		int fd = open_disk(&s->shares.disks[s->disks_n], e);

		if (fd < 0)
			return fd;
		s->disk_fds[s->disks_n++] = fd;
	}
	return 0;
}

/* ---- shares ------------------------------------------------------------------------------------------------------- */

static int find_source(struct sandbox *s, struct share *share, struct err *e)
{
	struct stat st;
	char *path = NULL;
	int r;

	if (share->kind == SHARE_VOLUME) {
		r = volume_use(sandbox_store_path(s->paths), share->source, &s->volume_fds[s->volumes_n], &path, e);
		if (r)
			return r;
		s->volumes_n++;
		free(share->source);
		share->source = path;
		return 0;
	}
	if (!stat(share->source, &st))
		return share->kind == SHARE_ROOTFS && !S_ISDIR(st.st_mode)
			       ? err_set(e, ENOTDIR, "--rootfs %s: it is not a folder; what is in one is a root",
					 share->source)
			       : 0;
	if (share->kind == SHARE_ROOTFS)
		return err_errno(e, errno, "--rootfs %s", share->source);
	if (errno != ENOENT || !share->make_source)
		return errno == ENOENT ? err_set(e, ENOENT,
						 "invalid mount config for type \"bind\": bind source path "
						 "does not exist: %s",
						 share->source)
				       : err_errno(e, errno, "%s", share->source);
	r = mkdir_p(AT_FDCWD, share->source, 0755);
	return r ? err_errno(e, r, "making %s, which is to be shared", share->source) : 0;
}

int stage_storage(struct sandbox *s, struct err *e)
{
	size_t i;
	int r = open_disks(s, e);

	s->volume_fds = xcalloc(s->shares.n + 1, sizeof(*s->volume_fds));
	for (i = 0; !r && i < s->shares.n; i++)
		if (s->shares.v[i].kind != SHARE_TMPFS)
			r = find_source(s, &s->shares.v[i], e);
	return r;
}

void storage_close_vmm_ends(struct sandbox *s)
{
	while (s->disks_n)
		close(s->disk_fds[--s->disks_n]);
	cleanup_closep(&s->fsd_fd);
}

void undo_storage(struct sandbox *s)
{
	storage_close_vmm_ends(s);
	fileserver_end(s);
	while (s->volumes_n)
		close(s->volume_fds[--s->volumes_n]);
	free(s->volume_fds);
	free(s->disk_fds);
	s->volume_fds = s->disk_fds = NULL;
}

/* ---- the container's spec ----------------------------------------------------------------------------------------- */

static void add_mount(Microvm__Spec *spec, const struct share *share, size_t number)
{
	Microvm__Mount *m = pb_new(Microvm__Mount, microvm__mount);
	_cleanup_free_ char *options = share->options ? xstrdup(share->options) : NULL;
	char *rest = options, *word;

	m->destination = xstrdup(share->target);
	if (share->kind == SHARE_TMPFS) {
		m->type = xstrdup("tmpfs");
		m->source = xstrdup("tmpfs");
		pb_append(m->n_options, m->options, xstrdup("noexec"));
		pb_append(m->n_options, m->options, xstrdup("nosuid"));
		pb_append(m->n_options, m->options, xstrdup("nodev"));
		while ((word = strsep(&rest, ",")))
			pb_append(m->n_options, m->options, xstrdup(word));
		pb_append(spec->n_mounts, spec->mounts, m);
		return;
	}
	m->type = xstrdup("bind");
	m->source = xasprintf(GUEST_SHARE_PATH "/%zu", number);
	pb_append(m->n_options, m->options, xstrdup("rbind"));
	pb_append(m->n_options, m->options, xstrdup(share->read_only ? "ro" : "rw"));
	pb_append(m->n_options, m->options, xstrdup("rprivate"));
	pb_append(spec->n_mounts, spec->mounts, m);
}

/* The guest's names go by order, the image's disk being the first; in the container they do so in any case. */
static void add_disk(struct sandbox *s, size_t number)
{
	const bool image_is_disk = s->image->rootfs_fd >= 0;
	Microvm__Device *d = pb_new(Microvm__Device, microvm__device);

	d->path = xasprintf("/dev/vd%c", (int)('b' + number));
	d->source = xasprintf("/dev/vd%c", (int)('a' + image_is_disk + number));
	d->file_mode = pb_u64(0660);
	pb_append(s->spec->linux->n_devices, s->spec->linux->devices, d);
}

void storage_fill_spec(struct sandbox *s)
{
	size_t i;

	for (i = 0; i < s->shares.n; i++)
		if (s->shares.v[i].kind != SHARE_ROOTFS)
			add_mount(s->spec, &s->shares.v[i], i);
	if (s->shares.disks_n && !s->spec->linux)
		s->spec->linux = pb_new(Microvm__Linux, microvm__linux);
	for (i = 0; i < s->shares.disks_n; i++)
		add_disk(s, i);
}
