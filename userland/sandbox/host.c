/* SPDX-License-Identifier: Apache-2.0 */
/* Stages before there is a VM: what the host must have, the image, going into the background, an identity. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "oci/defaults.h"
#include "sandbox/bundle.h"
#include "sandbox/kvm.h"
#include "sandbox/paths.h"
#include "sandbox/sandbox_private.h"

#define LOOP_ENTRIES 64u

static int check_options(const struct run_options *o, struct err *e)
{
	int number;

	if (o->network && !str_eq(o->network, "none"))
		return err_set(e, ENOTSUP, "--network %s: a sandbox has no network device yet, only none is there",
			       o->network);
	if (o->stop_signal && oci_signal_parse(o->stop_signal, &number, e))
		return err_wrap(e, "--stop-signal");
	if (o->config && *o->command)
		return err_set(e, EINVAL, "--config says what to run; leave '%.100s' out, or change process.args there",
			       o->command[0]);
	if (o->rootfs && !o->config && !o->bundle && !*o->command && !(o->entrypoint && *o->entrypoint))
		return err_set(e, EINVAL, "no command: --rootfs %s names none, so give one behind the options",
			       o->rootfs);
	if (o->name && !state_name_valid(o->name))
		return err_set(
			e, EINVAL,
			"--name '%s': letters, digits, '_', '.' and '-' make a name, the first a letter or digit",
			o->name);
	if (!o->boot_timeout_ns || o->boot_timeout_ns > SANDBOX_BOOT_TIMEOUT_NS)
		return err_set(e, ERANGE, "--boot-timeout: it is at most %llus, and more than 0",
			       SANDBOX_BOOT_TIMEOUT_NS / 1000000000);
	if (o->rootfs_device && !str_eq(o->rootfs_device, "blk") && !rootfs_is_pmem(o))
		return err_set(e, EINVAL, "--rootfs-device %s: there are blk and pmem", o->rootfs_device);
	if (o->rootfs && o->rootfs_device)
		return err_set(e, EINVAL,
			       "--rootfs-device is how a guest has an image, and --rootfs a folder; leave one out");
	return stdio_check(o->process.interactive, o->process.tty, o->process.detach, e);
}

int stage_host(struct sandbox *s, struct err *e)
{
	struct sysinfo info;
	int r = check_options(s->options, e);

	if (!r)
		r = shares_parse(s->options, &s->shares, e);
	if (!r)
		r = state_open(s->paths->state, &s->state, e);
	if (!r)
		r = kvm_device_open(&s->kvm_fd, e);
	if (r)
		return r;
	s->vmm_program = paths_program("microvm-vmm", e);
	if (!s->vmm_program)
		return -e->code;
	if (sysinfo(&info) < 0)
		return err_errno(e, errno, "sysinfo");
	s->host_mem_bytes = (uint64_t)info.totalram * info.mem_unit;
	return 0;
}

void undo_host(struct sandbox *s)
{
	cleanup_closep(&s->kvm_fd);
	free(s->vmm_program);
	s->vmm_program = NULL;
	shares_free(&s->shares);
	state_close(s->state);
	s->state = NULL;
}

/* ---- image -------------------------------------------------------------------------------------------------------- */

struct progress {
	char what[96];
	uint64_t shown_ns;
	bool on_line;
};

/* One line that is written over, on a terminal only. */
static void show_progress(void *opaque, const char *what, uint64_t done, uint64_t total)
{
	struct progress *p = opaque;

	snprintf(p->what, sizeof(p->what), "%s", what);
	if (total)
		fprintf(stderr, "\r\033[K%s: %llu%%", p->what, (unsigned long long)(done * 100 / total));
	else
		fprintf(stderr, "\r\033[K%s: %llu MB", p->what, (unsigned long long)(done / 1000000));
	p->on_line = true;
}

const char *sandbox_store_path(const struct sandbox_paths *paths)
{
	const char *store = paths->store ? paths->store : getenv("MICROVM_STORE");

	return store && *store ? store : IMAGE_STORE_DEFAULT;
}

/* A root that is a folder brings no configuration: the options say it all. */
static struct image *no_image(void)
{
	struct image *image = xcalloc(1, sizeof(*image));

	image->rootfs_fd = -1;
	return image;
}

int stage_image(struct sandbox *s, struct err *e)
{
	struct progress p = { .on_line = false };
	const struct image_get_options o = {
		.progress = isatty(2) ? show_progress : NULL,
		.opaque = &p,
	};
	int r;

	if (shares_root(&s->shares) || s->grows) {
		s->image = no_image();
		return 0;
	}
	if (!*s->options->image)
		return err_set(e, EINVAL, "the image's name is empty");
	r = image_store_open(sandbox_store_path(s->paths), &s->store, e);
	if (!r)
		r = image_get(s->store, s->options->image, &o, &s->image, e);
	if (p.on_line)
		fprintf(stderr, "\r\033[K");
	return r;
}

void undo_image(struct sandbox *s)
{
	image_free(s->image);
	s->image = NULL;
	if (s->store)
		image_store_close(s->store);
	s->store = NULL;
}

/* ---- identity ----------------------------------------------------------------------------------------------------- */

static void fill_bundle(struct sandbox_record *r, const struct bundle *b)
{
	const Microvm__Spec *spec = b->spec;
	size_t i;

	r->bundle = xstrdup(b->path);
	r->oci_version = xstrdup(spec->oci_version);
	for (i = 0; i < spec->n_annotations; i++)
		strv_push_take(&r->annotations,
			       xasprintf("%s=%s", spec->annotations[i]->name, spec->annotations[i]->value));
}

static void fill_record(struct sandbox *s)
{
	const struct run_options *o = s->options;
	struct sandbox_record *r = &s->record;

	random_id(r->id);
	r->name = xstrdup(o->name);
	r->image = xstrdup(o->rootfs ? shares_root(&s->shares)->source : o->image);
	r->image_id = xstrdup(s->image->id);
	strv_push_all(&r->labels, o->labels.v);
	r->hostname = o->hostname ? xstrdup(o->hostname) : xstrndup(r->id, 12);
	r->created_ns = realtime_ns();
	r->remove = o->remove;
	r->tty = o->process.tty;
	r->detached = o->process.detach;
	r->mem_bytes = o->mem_bytes;
	r->nano_cpus = o->nano_cpus;
	r->supervisor_pid = getpid();
	r->stop_signal = xstrdup(o->stop_signal			? o->stop_signal
				 : s->image->config.stop_signal ? s->image->config.stop_signal
								: "SIGTERM");
	r->stop_timeout_ns = o->stop_timeout_ns;
	if (o->bundle)
		fill_bundle(r, o->bundle);
}

static int write_cidfile(struct sandbox *s, struct err *e)
{
	const char *path = s->options->cidfile;
	_cleanup_close_ int fd = -1;
	int r;

	if (!path)
		return 0;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_errno(e, errno, "--cidfile %s", path);
	s->cidfile = xstrdup(path);
	r = write_full(fd, s->record.id, STATE_ID_LEN);
	return r ? err_errno(e, r, "--cidfile %s", path) : 0;
}

int stage_identity(struct sandbox *s, struct err *e)
{
	int r = 0;

	s->own_loop = !s->loop;
	if (s->own_loop)
		r = loop_new(&s->loop, LOOP_ENTRIES, 0);
	if (r)
		return err_errno(e, r, "cannot make an io_uring%s",
				 r == -EPERM || r == -ENOSYS ? "; 'sysctl kernel.io_uring_disabled=0' allows them"
							     : "");
	fill_record(s);
	r = state_create(s->state, &s->record, &s->home, e);
	return r ? r : write_cidfile(s, e);
}

void undo_identity(struct sandbox *s)
{
	if (s->home.state) {
		/* One that never ran is not listed; an engine's is the engine's to delete as soon as it was told of it. */
		bool all = s->record.remove || (!s->record.started_ns && !s->created);

		s->record.status = SANDBOX_EXITED;
		s->record.finished_ns = realtime_ns();
		s->record.oom_killed = s->oom_killed;
		if (!all)
			state_save(&s->home, &s->record, NULL);
		state_publish_exit(&s->home, s->record.exit_status);
		state_finish(&s->home, &s->record, all);
	}
	if (s->cidfile && !s->record.started_ns)
		unlink(s->cidfile);
	free(s->cidfile);
	sandbox_record_free(&s->record);
	if (s->loop && s->own_loop)
		loop_free(s->loop);
	s->loop = NULL;
}
