/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pod.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/guest.h"
#include "base/log.h"
#include "base/util.h"
#include "oci/pb.h"
#include "sandbox/balloon_target.h"
#include "sandbox/loopback.h"
#include "sandbox/sandbox_private.h"
#include "sandbox/vmspec_build.h"

struct pod {
	struct sandbox s;
	struct run_options options;
	struct pod_config config;
	char *socket;
	size_t next_share;
	struct balloon_target memory;
	unsigned int cpus;	   /* that the guest has online; 0: it failed to do as it was told */
	struct loopback *loopback; /* NULL: it has no network namespace on the host, or the kernel can't */
	bool told_ready, told_end;
};

/* ---- the VM --------------------------------------------------------------------------------------------------------- */

static int stage_tree(struct sandbox *s, struct err *e)
{
	int r = share_tree_own_mounts(e);

	return r ? r : share_tree_make(s->home.path, true, e);
}

static void undo_tree(struct sandbox *s)
{
	undo_storage(s);
	share_tree_end(s->home.path);
}

static int stage_pod_network(struct sandbox *s, struct err *e)
{
	struct pod *p = container_of(s, struct pod, s);
	const char *path = p->config.bundle->netns;
	struct err none = ERR_INIT;

	if (!path)
		return 0;
	if (loopback_new(&p->loopback, path, &none))
		log_warn("port forwards don't reach this pod: %s", none.msg);
	return network_begin(&s->network, path, -1, vmspec_build_vcpus(s->options->nano_cpus), e);
}

static void undo_pod_network(struct sandbox *s)
{
	loopback_free(take_ptr(container_of(s, struct pod, s)->loopback));
	undo_network(s);
}

static const struct stage pod_stages[] = {
	{ "host", stage_host, undo_host },
	{ "image", stage_image, undo_image },
	{ "identity", stage_identity, undo_identity },
	{ "tree", stage_tree, undo_tree }, /* in storage's place: what is shared comes later */
	{ "network", stage_pod_network, undo_pod_network },
	{ "vmspec", stage_vmspec, undo_vmspec },
	{ "spawn", stage_spawn, undo_spawn },
	{ "boot", boot_ask, undo_boot },
};

static void tell_ready(struct pod *p, const struct err *e)
{
	if (p->told_ready)
		return;
	p->told_ready = true;
	p->config.ready(p->config.arg, e);
}

static bool stream_broke(const struct err *e)
{
	return e->code == EPIPE || e->code == ECANCELED || e->code == ECONNRESET;
}

static void on_booted(struct sandbox *s)
{
	struct pod *p = container_of(s, struct pod, s);

	/* The VMM's report, which comes by another way, says why. */
	if (stream_broke(&s->boot.e) || s->vmm_gone)
		return;
	s->boot_over = !s->boot.e.code;
	if (s->boot_over && p->loopback)
		loopback_serve(p->loopback, s->loop, p->socket);
	tell_ready(p, s->boot_over ? NULL : &s->boot.e);
}

static void on_vmm_ended(struct sandbox *s)
{
	struct pod *p = container_of(s, struct pod, s);
	struct err e = ERR_INIT;

	if (p->told_end)
		return;
	p->told_end = true;
	/* The engine takes the network away next. */
	network_end(&s->network);
	if (!s->boot.late || !boot_result(s, &e))
		sandbox_vm_error(s, &e);
	tell_ready(p, &e);
	p->config.ended(p->config.arg, &e);
}

int pod_new(struct pod **out, const struct pod_config *config, struct err *e)
{
	static char *no_command[] = { NULL };
	const struct bundle *b = config->bundle;
	struct pod *p = xcalloc(1, sizeof(*p));
	size_t made;
	int r;

	p->config = *config;
	p->options = (struct run_options)RUN_OPTIONS_INIT;
	p->options.command = no_command;
	p->options.image = b->rootfs;
	p->options.name = (char *)(uintptr_t)config->name;
	p->options.process.detach = true;
	p->options.remove = true;
	bundle_size(b, &p->options);
	if (b->spec->hostname[0])
		p->options.hostname = b->spec->hostname;
	sandbox_init(&p->s, config->paths, &p->options);
	p->s.loop = config->loop;
	p->s.grows = true;
	if (b->pause)
		p->s.pod_linux = b->spec->linux;
	p->s.boot.done = on_booted;
	p->s.vmm_ended = on_vmm_ended;
	r = sandbox_make(&p->s, pod_stages, ARRAY_SIZE(pod_stages), &made, e);
	/* They point to what the caller may free. */
	p->options.hostname = p->options.image = p->options.name = NULL;
	p->s.pod_linux = NULL;
	if (r) {
		p->told_ready = p->told_end = true;
		sandbox_undo(&p->s, pod_stages, made);
		free(p);
		return r;
	}
	balloon_target_begin(&p->memory, config->loop, p->s.home.dirfd, p->s.record.mem_bytes);
	p->cpus = pod_vcpus(p);
	p->socket = xasprintf("/proc/self/fd/%d/vsock", p->s.home.dirfd);
	*out = p;
	return 0;
}

void pod_free(struct pod *p)
{
	if (!p)
		return;
	p->told_ready = p->told_end = true;
	balloon_target_end(&p->memory);
	sandbox_undo(&p->s, pod_stages, ARRAY_SIZE(pod_stages));
	free(p->socket);
	free(p);
}

void pod_end(struct pod *p)
{
	p->told_ready = p->told_end = true;
	p->s.boot_over = false;
	vmm_kill(&p->s.vmm);
	vmm_kill(&p->s.fsd);
	network_end(&p->s.network);
}

struct agent *pod_agent(struct pod *p)
{
	return p->s.boot_over && !p->s.vmm_gone ? p->s.agent : NULL;
}

const char *pod_socket(const struct pod *p)
{
	return p->socket;
}

pid_t pod_vmm_pid(const struct pod *p)
{
	return p->s.record.vmm_pid;
}

uint64_t pod_mem_bytes(const struct pod *p)
{
	return p->s.record.mem_bytes;
}

void pod_set_memory(struct pod *p, uint64_t bytes)
{
	if (pod_agent(p))
		balloon_target_set(&p->memory, min_t(uint64_t, bytes, p->s.record.mem_bytes));
}

unsigned int pod_vcpus(const struct pod *p)
{
	return p->s.record.vcpus;
}

static void on_cpus_set(const ProtobufCMessage *reply, const struct err *e, void *arg)
{
	struct pod *p = arg;

	if (reply || e->code == ECANCELED)
		return;
	log_warn("the guest's CPUs are not as they should be: %s", e->msg);
	p->cpus = 0;
}

void pod_set_cpus(struct pod *p, uint64_t n, bool fewer)
{
	Microvm__SetOnlineCpusRequest req;
	struct agent *agent = pod_agent(p);
	const uint32_t most = (uint32_t)min_t(uint64_t, n, pod_vcpus(p)), count = max_t(uint32_t, most, 1);

	if (!agent || count == p->cpus || (count < p->cpus && !fewer))
		return;
	p->cpus = count;
	microvm__set_online_cpus_request__init(&req);
	req.count = count;
	agent_set_online_cpus_async(agent, &req, on_cpus_set, p);
}

/* ---- files of containers --------------------------------------------------------------------------------------------- */

/* A file system that is mounted by the guest and not by the host. */
static int add_disk(struct pod *p, const struct bundle *b, const struct share_mount *m, struct pod_files *f,
		    struct err *e)
{
	const bool read_only = b->spec->root->readonly || slots_read_only(m);
	int slot = slots_plug(&p->s.slots, m, read_only, e);

	if (slot < 0)
		return slot;
	f->slot = slot;
	f->rootfs.fstype = xstrdup(m->type);
	f->rootfs.disk_gpa = slots_gpa(&p->s.slots, (unsigned int)slot);
	f->rootfs.disk_gsi = slots_gsi(&p->s.slots, (unsigned int)slot);
	/* As that of an image: what can't be written to has a layer for it. */
	f->rootfs.overlay = read_only;
	return 0;
}

static int add_folder(struct pod *p, const struct bundle *b, const struct share_mount *mounts, size_t n,
		      struct pod_files *f, struct err *e)
{
	const size_t number = p->next_share;
	_cleanup_close_ int tree = -1;
	int r;

	if (n) {
		r = share_tree_mount(p->s.home.path, number, mounts, n, b->spec->root->readonly, e);
	} else {
		tree = share_tree_take(b->rootfs, e);
		r = tree < 0 ? tree
			     : share_tree_add(p->s.home.path, number, tree, b->rootfs, b->spec->root->readonly, e);
	}
	if (r)
		return r;
	f->numbers[f->n++] = p->next_share++;
	f->rootfs.fstype = xstrdup("bind");
	f->rootfs.source = xasprintf(GUEST_SHARE_PATH "/%zu", number);
	/* What is mounted on a root that nobody may write to needs places all the same. */
	f->rootfs.overlay = b->spec->root->readonly;
	return 0;
}

static int add_root(struct pod *p, const struct bundle *b, const struct share_mount *mounts, size_t n,
		    struct pod_files *f, struct err *e)
{
	return n == 1 && slots_take(&p->s.slots, mounts) ? add_disk(p, b, mounts, f, e)
							 : add_folder(p, b, mounts, n, f, e);
}

static int add_bind(struct pod *p, Microvm__Mount *m, size_t index, size_t number, struct err *e)
{
	_cleanup_close_ int tree = -1;
	int r = share_check_spec_source(m->source, index, e);

	if (r)
		return r;
	tree = share_tree_take(m->source, e);
	if (tree < 0)
		return err_wrap(e, "config.json: mounts[%zu]", index);
	r = share_tree_add(p->s.home.path, number, tree, m->source, share_spec_is_read_only(m), e);
	if (!r)
		share_spec_mount(m, number);
	return r;
}

int pod_files_add(struct pod *p, struct bundle *b, const struct share_mount *mounts, size_t n, struct pod_files *f,
		  struct err *e)
{
	Microvm__Spec *spec = b->spec;
	size_t i;
	int r;

	*f = (struct pod_files){ .numbers = xcalloc(SHARES_MAX, sizeof(*f->numbers)), .slot = -1 };
	microvm__rootfs__init(&f->rootfs);
	r = add_root(p, b, mounts, n, f, e);
	for (i = 0; !r && i < spec->n_mounts; i++) {
		if (!bundle_mount_is_bind(spec->mounts[i]))
			continue;
		if (f->n >= SHARES_MAX) {
			r = err_set(e, E2BIG, "config.json: mounts: more than %u are of files of the host",
				    SHARES_MAX - 1);
			break;
		}
		r = add_bind(p, spec->mounts[i], i, p->next_share, e);
		if (!r)
			f->numbers[f->n++] = p->next_share++;
	}
	if (r) {
		pod_files_remove(p, f);
		return r;
	}
	f->rootfs.writable_bytes = p->s.record.mem_bytes / 2;
	return 0;
}

void pod_files_remove(struct pod *p, struct pod_files *f)
{
	for (; p && f->n; f->n--)
		share_tree_remove(p->s.home.path, f->numbers[f->n - 1]);
	if (p && f->numbers && f->slot >= 0)
		slots_unplug(&p->s.slots, (unsigned int)f->slot);
	free(take_ptr(f->numbers));
	if (f->rootfs.source && *f->rootfs.source)
		free(f->rootfs.source);
	if (f->rootfs.fstype && *f->rootfs.fstype)
		free(f->rootfs.fstype);
	*f = (struct pod_files){ 0 };
}
