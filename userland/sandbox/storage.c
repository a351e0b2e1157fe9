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
#include "oci/options.h"
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

/* ---- volumes ------------------------------------------------------------------------------------------------------ */

#define FILL_WAIT_NS 600000000000ull
#define FILL_PAUSE_NS 50000000ull

struct pause {
	struct loop_op op;
	bool over;
};

static void on_pause_over(struct loop_op *op, int res)
{
	container_of(op, struct pause, op)->over = true;
}

/* Lets the loop run for that long; an end that is asked for ends it. */
static int pause_for(struct sandbox *s, uint64_t ns, struct err *e)
{
	struct pause p = { .over = false };
	int r;

	loop_op_init(&p.op, on_pause_over);
	loop_timer(s->loop, &p.op, ns);
	r = sandbox_run_until(s, &p.over, e);
	if (loop_op_busy(&p.op))
		loop_cancel(s->loop, &p.op);
	while (loop_op_busy(&p.op) && loop_run_once(s->loop, true) >= 0)
		;
	return r;
}

/* Of a volume that was just taken into use. Another sandbox that copies into it is waited for: then it is not empty any more. */
static int begin_fill(struct sandbox *s, struct share *share, const char *name, struct err *e)
{
	const uint64_t end_ns = monotonic_ns() + FILL_WAIT_NS;
	int *fd = &s->fill_fds[s->volumes_n - 1];
	size_t i;
	int r;

	*fd = -1;
	/* Nothing can be written to a read-only one, and what is there twice is filled once. */
	if (share->no_copy || share->read_only)
		return 0;
	for (i = 0; i + 1 < s->record.volumes.n; i++)
		if (s->fill_fds[i] >= 0 && str_eq(s->record.volumes.v[i], name))
			return 0;
	while ((r = volume_fill_begin(sandbox_store_path(s->paths), name, fd, e)) == -EAGAIN) {
		if (monotonic_ns() > end_ns)
			return err_set(
				e, EBUSY,
				"volume %s: another sandbox is still copying its image's files into it; end that "
				"one, or say nocopy",
				name);
		r = pause_for(s, FILL_PAUSE_NS, e);
		if (r)
			return r;
	}
	share->fill = *fd >= 0;
	return r;
}

static int use_volume(struct sandbox *s, struct share *share, struct err *e)
{
	_cleanup_free_ char *name = NULL;
	char id[65], *path = NULL;
	int r;

	random_id(id);
	name = xstrdup(share->source && *share->source ? share->source : id);
	r = volume_use(sandbox_store_path(s->paths), name, &s->volume_fds[s->volumes_n], &path, e);
	if (r)
		return r;
	s->volumes_n++;
	strv_push(&s->record.volumes, name);
	if (str_eq(name, id))
		strv_push(&s->record.anonymous, name);
	free(share->source);
	share->source = path;
	return begin_fill(s, share, name, e);
}

/* ---- shares ------------------------------------------------------------------------------------------------------- */

int share_check_spec_source(const char *source, size_t mount, struct err *e)
{
	struct stat st;

	if (stat(source, &st) < 0 || S_ISDIR(st.st_mode) || S_ISREG(st.st_mode))
		return 0; /* what isn't there is told by who wants it */
	return err_set(e, ENOTSUP,
		       "config.json: mounts[%zu]: %s is a %s of the host, which works in no guest; leave it out", mount,
		       source,
		       S_ISSOCK(st.st_mode)   ? "socket"
		       : S_ISFIFO(st.st_mode) ? "pipe"
					      : "device");
}

static int find_source(struct sandbox *s, struct share *share, struct err *e)
{
	struct stat st;
	int r;

	if (share->kind == SHARE_VOLUME)
		return use_volume(s, share, e);
	if (share->kind == SHARE_SPEC && (r = share_check_spec_source(share->source, share->mount, e)))
		return r;
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
	s->fill_fds = xcalloc(s->shares.n + 1, sizeof(*s->fill_fds));
	for (i = 0; !r && i < s->shares.n; i++)
		if (s->shares.v[i].kind != SHARE_TMPFS)
			r = find_source(s, &s->shares.v[i], e);
	/* The record is there already: who looks at it may want to know. */
	return r || !s->record.volumes.n ? r : state_save(&s->home, &s->record, e);
}

int storage_filled(struct sandbox *s, struct err *e)
{
	size_t i;

	for (i = 0; i < s->volumes_n; i++) {
		int r = volume_fill_end(&s->fill_fds[i]);

		if (r)
			return err_errno(e, r, "volume %s: what was copied can't be kept", s->record.volumes.v[i]);
	}
	return 0;
}

void storage_close_vmm_ends(struct sandbox *s)
{
	while (s->disks_n)
		close(s->disk_fds[--s->disks_n]);
	cleanup_closep(&s->fsd_fd);
}

void undo_storage(struct sandbox *s)
{
	size_t i;

	storage_close_vmm_ends(s);
	fileserver_end(s);
	while (s->volumes_n) {
		close(s->volume_fds[--s->volumes_n]);
		cleanup_closep(&s->fill_fds[s->volumes_n]);
	}
	/* With the container that they were made for; one that somebody else uses by now stays. */
	for (i = 0; i < s->record.anonymous.n; i++)
		if (s->record.remove || !s->record.started_ns)
			volume_remove(sandbox_store_path(s->paths), s->record.anonymous.v[i], NULL);
	free(s->volume_fds);
	free(s->fill_fds);
	free(s->disk_fds);
	s->volume_fds = s->fill_fds = s->disk_fds = NULL;
}

/* ---- the container's spec ----------------------------------------------------------------------------------------- */

static Microvm__Mount *tmpfs_mount(const struct share *share)
{
	Microvm__Mount *m = pb_new(Microvm__Mount, microvm__mount);

	m->type = xstrdup("tmpfs");
	m->source = xstrdup("tmpfs");
	oci_mount_options(m, "noexec,nosuid,nodev");
	oci_mount_options(m, share->options);
	return m;
}

static Microvm__Mount *share_mount(const struct share *share, size_t number, bool fill)
{
	Microvm__Mount *m = pb_new(Microvm__Mount, microvm__mount);

	m->type = xstrdup("bind");
	m->source = xasprintf(GUEST_SHARE_PATH "/%zu", number);
	oci_mount_options(m, share->read_only ? "rbind,ro,rprivate" : "rbind,rw,rprivate");
	if (fill)
		oci_mount_options(m, "copyup");
	return m;
}

static bool is_below(const char *path, const char *folder)
{
	const size_t n = strlen(folder);

	return !strncmp(path, folder, n) && path[n] == '/';
}

/* In front of what lies below it, which it would hide; the order of the others, which may be a config.json's, stays. */
static void insert_mount(Microvm__Spec *spec, Microvm__Mount *m, const char *target)
{
	size_t i, at = spec->n_mounts;

	m->destination = xstrdup(target);
	for (i = spec->n_mounts; i-- > 0;)
		if (is_below(spec->mounts[i]->destination, target))
			at = i;
	pb_append(spec->n_mounts, spec->mounts, m);
	memmove(&spec->mounts[at + 1], &spec->mounts[at], (spec->n_mounts - 1 - at) * sizeof(*spec->mounts));
	spec->mounts[at] = m;
}

/* The guest's names go by order, the image's disk being the first; in the container they do so in any case. */
static void add_disk(struct sandbox *s, size_t number)
{
	const bool image_is_disk = s->image->rootfs_fd >= 0 && !rootfs_is_pmem(s->options);
	Microvm__Device *d = pb_new(Microvm__Device, microvm__device);

	d->path = xasprintf("/dev/vd%c", (int)('b' + number));
	d->source = xasprintf("/dev/vd%c", (int)('a' + image_is_disk + number));
	d->file_mode = pb_u64(0660);
	pb_append(s->spec->linux->n_devices, s->spec->linux->devices, d);
}

void storage_fill_spec(struct sandbox *s)
{
	/* In a user namespace the agent's files are nobody's, and can't be copied. */
	const bool fills = !s->spec->linux || !s->spec->linux->n_uid_mappings;
	size_t i;

	for (i = 0; i < s->shares.n; i++) {
		const struct share *share = &s->shares.v[i];

		if (share->kind == SHARE_SPEC) {
			share_spec_mount(s->spec->mounts[share->mount], s->first_share + i);
		} else if (share->kind != SHARE_ROOTFS) {
			insert_mount(s->spec,
				     share->kind == SHARE_TMPFS ? tmpfs_mount(share)
								: share_mount(share, i, fills && share->fill),
				     share->target);
		}
	}
	if (s->shares.disks_n && !s->spec->linux)
		s->spec->linux = pb_new(Microvm__Linux, microvm__linux);
	for (i = 0; i < s->shares.disks_n; i++)
		add_disk(s, i);
}
