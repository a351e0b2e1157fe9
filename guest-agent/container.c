/* SPDX-License-Identifier: Apache-2.0 */
#include "guest-agent/container.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "guest-agent/cgroup.h"
#include "guest-agent/container_launch.h"
#include "guest-agent/devices.h"
#include "guest-agent/disks.h"
#include "guest-agent/mounts.h"
#include "guest-agent/process.h"

struct container {
	char *id;
	struct cgroup cgroup;
	pid_t pid; /* first process; as long as it isn't reaped */
	int pidfd;
	int sync; /* to the process that waits for its start; -1 afterwards */
	bool started, exited, paused;
	bool has_root;	     /* a root that was mounted here */
	struct disk disk;    /* that it is on, if it came for this container */
	uint64_t namespaces; /* CLONE_NEW* flags of those that an exec joins */
	uint64_t oom_taken;
	Microvm__Spec *kept; /* what is needed later: version, annotations, hooks, seccomp */
};

static int refuse(const Microvm__CreateContainerRequest *req, struct err *e)
{
	const Microvm__Spec *spec = req->spec;
	int r;

	if (!req->id[0] || strlen(req->id) > 128)
		return err_set(e, EINVAL, "container id \"%s\": 1 to 128 characters", req->id);
	if (!spec || !spec->linux || !req->rootfs)
		return err_set(e, EINVAL, "a container needs a rootfs and a spec with a linux section");
	if (spec->linux->mount_label[0])
		return err_set(e, ENOTSUP, "linux.mountLabel: the guest's kernel has no SELinux; leave it out");
	r = process_check(spec->process, e);
	return r ? r : 0;
}

static Microvm__Spec *copy_kept(const Microvm__Spec *spec)
{
	Microvm__Spec part = MICROVM__SPEC__INIT, *copy;
	Microvm__Linux linux_part = MICROVM__LINUX__INIT;
	uint8_t *buf;
	size_t len;

	part.oci_version = spec->oci_version;
	part.n_annotations = spec->n_annotations;
	part.annotations = spec->annotations;
	part.hooks = spec->hooks;
	part.linux = &linux_part;
	linux_part.seccomp = spec->linux->seccomp;
	len = microvm__spec__get_packed_size(&part);
	buf = xcalloc(1, len);
	microvm__spec__pack(&part, buf);
	copy = microvm__spec__unpack(NULL, len, buf);
	free(buf);
	return copy;
}

static void container_free(struct container *c)
{
	if (c->kept)
		microvm__spec__free_unpacked(c->kept, NULL);
	cleanup_closep(&c->sync);
	cleanup_closep(&c->pidfd);
	free(c->id);
	free(c);
}

/* On a disk that goes with it, what it wrote has to be there before. */
static void sync_root(const struct container *c)
{
	_cleanup_free_ char *path = xasprintf(CONTAINER_RUN "/%s/root", c->id);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || syncfs(fd) < 0)
		log_warn("%s: its root can't be synced: %s", c->id, strerror(errno));
}

/* Everything but memory, in the reverse of its making; goes on after a failure, and tells of the first one. */
static int undo(struct container *c, struct err *e)
{
	struct err ignored = ERR_INIT;
	int r = 0;

	if (c->cgroup.dir >= 0)
		r = cgroup_remove(&c->cgroup, e);
	if (c->has_root) {
		int r2;

		if (c->disk.irq)
			sync_root(c);
		r2 = rootfs_unmount(c->id, r ? &ignored : e);
		r = r ? r : r2;
	}
	disk_unplug(&c->disk);
	return r;
}

static int make(struct container *c, const Microvm__CreateContainerRequest *req, struct container_io *io, struct err *e)
{
	const Microvm__Spec *spec = req->spec;
	Microvm__Rootfs rootfs = *req->rootfs;
	struct launch l = {
		.id = c->id,
		.process = spec->process,
		.spec = spec,
		.rootfs = &rootfs,
		.seccomp = spec->linux->seccomp,
		.join = -1,
		.stdio = io->stdio,
	};
	uint64_t new_flags, joined;
	int r = namespaces_check(spec, &new_flags, &joined, e);

	if (r)
		return r;
	c->namespaces = new_flags | joined;
	r = devices_resolve(spec->linux, e);
	if (r)
		return r;
	r = cgroup_create(&c->cgroup, c->id, e);
	if (r)
		return r;
	r = cgroup_apply(&c->cgroup, spec->linux->resources, true, e);
	/* A mount namespace that is joined brings its own root. */
	if (!r && new_flags & CLONE_NEWNS && rootfs.disk_gsi) {
		r = disk_plug(&c->disk, rootfs.disk_gpa, rootfs.disk_gsi, e);
		rootfs.source = c->disk.node;
	}
	if (!r && new_flags & CLONE_NEWNS) {
		r = rootfs_mount(c->id, &rootfs, spec->linux, e);
		c->has_root = !r;
	}
	if (r)
		return r;
	l.cgroup = c->cgroup.dir;
	r = launch_prepare(&l, &c->sync, &io->console_master, &c->pid, e);
	if (r)
		return r;
	c->pidfd = pidfd_open(c->pid, 0);
	if (c->pidfd < 0) {
		r = err_errno(e, errno, "pidfd of the first process");
		kill(c->pid, SIGKILL);
		process_wait(c->pid, 1000, NULL);
		cleanup_closep(&io->console_master);
	}
	return r;
}

int container_create(struct container **out, const Microvm__CreateContainerRequest *req, struct container_io *io,
		     pid_t *pid, struct err *e)
{
	struct container *c;
	int r;

	io->console_master = -1;
	r = refuse(req, e);
	if (r)
		return r;
	c = xcalloc(1, sizeof(*c));
	c->id = xstrdup(req->id);
	c->cgroup = (struct cgroup)CGROUP_INIT;
	c->pidfd = c->sync = -1;
	c->kept = copy_kept(req->spec);
	r = c->kept ? make(c, req, io, e) : err_set(e, ENOMEM, "out of memory");
	if (r) {
		struct err ignored = ERR_INIT;

		if (undo(c, &ignored))
			log_warn("container %s: %s", c->id, ignored.msg);
		container_free(c);
		return r;
	}
	*out = c;
	*pid = c->pid;
	return 0;
}

int container_start(struct container *c, struct err *e)
{
	int sync = take_fd(&c->sync), r;

	if (sync < 0)
		return err_set(e, EALREADY, "container %s has been started already", c->id);
	if (c->exited) {
		close(sync);
		return err_set(e, ESRCH, "container %s has ended before it was started", c->id);
	}
	r = launch_go(sync, c->pid, container_hooks_limit_s("startContainer", c->kept), e);
	close(sync);
	if (r)
		return r;
	c->started = true;
	if (c->kept->hooks) {
		struct err hook = ERR_INIT;

		/* The program runs; the spec wants no more than a warning. */
		if (container_hooks("poststart", c->kept, c->id, "running", c->pid, &hook))
			log_warn("container %s: %s", c->id, hook.msg);
	}
	return 0;
}

int container_exec(struct container *c, const Microvm__Process *process, const char *exec_id, struct container_io *io,
		   pid_t *pid, struct err *e)
{
	struct launch l = {
		.id = c->id,
		.process = process,
		.seccomp = c->kept->linux->seccomp,
		.join = c->pidfd,
		.join_flags = c->namespaces,
		.cgroup = c->cgroup.dir,
		.stdio = io->stdio,
	};
	int sync, r;

	io->console_master = -1;
	if (c->exited || c->pidfd < 0)
		return err_set(e, ESRCH, "container %s is not running", c->id);
	if (c->paused)
		return err_set(e, EBUSY, "container %s is paused; resume it first", c->id);
	r = process_check(process, e);
	if (!r)
		r = launch_prepare(&l, &sync, &io->console_master, pid, e);
	if (r)
		return r;
	r = launch_go(sync, *pid, 0, e);
	close(sync);
	if (r) {
		/* Its pid was told to nobody, so it's not the caller's to reap. */
		kill(*pid, SIGKILL);
		process_wait(*pid, CONTAINER_SETUP_S * 1000, NULL);
		cleanup_closep(&io->console_master);
	}
	return r;
}

static int signal_one(void *opaque, pid_t pid)
{
	/* One that has ended meanwhile got what it could get. */
	kill(pid, *(const int *)opaque);
	return 0;
}

int container_signal(struct container *c, pid_t pid, int signal, bool all, struct err *e)
{
	if (signal < 1 || signal > 64)
		return err_set(e, EINVAL, "there is no signal %d", signal);
	if (all && signal == SIGKILL)
		return cgroup_kill(&c->cgroup, e);
	if (all)
		return cgroup_each_pid(&c->cgroup, signal_one, &signal, e);
	if (pid <= 1 || (pid == c->pid && c->exited))
		return err_set(e, ESRCH, "container %s: the process has ended", c->id);
	if (kill(pid, signal) < 0)
		return err_errno(e, errno, "container %s: signal %d", c->id, signal);
	return 0;
}

int container_pause(struct container *c, struct err *e)
{
	int r = c->exited ? err_set(e, ESRCH, "container %s is not running", c->id)
			  : cgroup_freeze(&c->cgroup, true, e);

	c->paused |= !r;
	return r;
}

int container_resume(struct container *c, struct err *e)
{
	int r = cgroup_freeze(&c->cgroup, false, e);

	if (!r)
		c->paused = false;
	return r;
}

int container_update(struct container *c, const Microvm__Resources *resources, struct err *e)
{
	/* No rules: the devices stay as they are. */
	return cgroup_apply(&c->cgroup, resources, resources && resources->n_devices, e);
}

int container_stats(struct container *c, Microvm__Stats *stats, struct err *e)
{
	cgroup_stats(&c->cgroup, stats);
	return 0;
}

struct pid_list {
	uint32_t *pids;
	size_t max, n;
};

static int list_one(void *opaque, pid_t pid)
{
	struct pid_list *l = opaque;

	if (l->n < l->max)
		l->pids[l->n++] = (uint32_t)pid;
	return 0;
}

int container_pids(struct container *c, uint32_t *pids, size_t max, size_t *n, struct err *e)
{
	struct pid_list l = { .pids = pids, .max = max };
	int r = cgroup_each_pid(&c->cgroup, list_one, &l, e);

	*n = l.n;
	return r;
}

int container_oom_fd(const struct container *c)
{
	return c->cgroup.events;
}

uint64_t container_oom_take(struct container *c)
{
	char drain[sizeof(struct inotify_event) * 64];
	uint64_t kills, fresh;

	if (c->cgroup.events < 0)
		return 0;
	while (read(c->cgroup.events, drain, sizeof(drain)) > 0)
		;
	kills = cgroup_oom_kills(&c->cgroup);
	fresh = kills - c->oom_taken;
	c->oom_taken = kills;
	return fresh;
}

bool container_oom_killed(const struct container *c)
{
	return c->oom_taken || (c->cgroup.dir >= 0 && cgroup_oom_kills(&c->cgroup));
}

void container_exited(struct container *c, pid_t pid)
{
	if (pid != c->pid || c->exited)
		return;
	c->exited = true;
	cleanup_closep(&c->pidfd);
	/* The kernel has killed the rest of a pid namespace with its first process; one that is shared goes on without. */
	cgroup_kill(&c->cgroup, NULL);
}

int container_remove(struct container *c, struct err *e)
{
	struct err hook = ERR_INIT;
	int r;

	cleanup_closep(&c->sync);
	r = undo(c, e);
	if (c->started && container_hooks("poststop", c->kept, c->id, "stopped", 0, &hook))
		log_warn("container %s: %s", c->id, hook.msg);
	container_free(c);
	return r;
}
