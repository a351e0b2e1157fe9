/* SPDX-License-Identifier: Apache-2.0 */
/* Stages of the container: its spec, its streams, made, started, watched. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/guest.h"
#include "base/util.h"
#include "oci/defaults.h"
#include "oci/spec.h"
#include "sandbox/bundle.h"
#include "sandbox/control.h"
#include "sandbox/process_env.h"
#include "sandbox/sandbox_private.h"
#include "sandbox/terminal.h"

/* ---- spec --------------------------------------------------------------------------------------------------------- */

static int spec_from_config(struct sandbox *s, struct err *e)
{
	const struct run_options *o = s->options;
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r = read_file(AT_FDCWD, o->config, OCI_SPEC_MAX, &text, &len);

	if (!r)
		r = oci_spec_parse(text, len, &s->spec, e);
	else
		err_errno(e, r, "cannot read it");
	if (r)
		return err_wrap(e, "--config %s", o->config);
	if (s->spec->process && s->spec->process->terminal != o->process.tty && o->process.tty)
		s->spec->process->terminal = true;
	return 0;
}

static int spec_from_options(struct sandbox *s, struct err *e)
{
	const struct run_options *o = s->options;
	const struct image_config *c = &s->image->config;
	struct strv env = { 0 };
	struct oci_options oci = {
		.image = {
			.env = c->env, .entrypoint = c->entrypoint, .cmd = c->cmd, .user = c->user, .cwd = c->working_dir,
			.stop_signal = c->stop_signal, .volumes = c->volumes,
		},
		.args = o->command, .entrypoint = o->entrypoint, .cwd = o->process.workdir, .user = o->process.user,
		.group_add = o->group_add.v, .hostname = s->record.hostname, .domainname = o->domainname,
		.cap_add = o->cap_add.v, .cap_drop = o->cap_drop.v, .security_opt = o->security_opt.v, .tmpfs = o->tmpfs.v,
		.sysctl = o->sysctl.v, .ulimit = o->ulimit.v, .terminal = o->process.tty, .privileged = o->process.privileged,
		.read_only = o->read_only, .pids_limit = o->pids_limit, .shm_bytes = o->shm_bytes,
		.oom_score_adj = o->oom_score_adj,
		/* Whole CPUs are the VM's; only a part of one needs a quota. */
		.nano_cpus = o->nano_cpus % 1000000000 ? o->nano_cpus : 0,
	};
	int r = process_env(&o->process, &env, e);

	oci.env = env.v;
	if (o->process.tty)
		terminal_size(0, &oci.console_rows, &oci.console_cols);
	if (!r)
		r = oci_spec_default(&oci, &s->spec, e);
	strv_clear(&env);
	return r;
}

static int add_annotations(struct sandbox *s, struct err *e)
{
	const struct strv *list = &s->options->annotation;
	Microvm__Spec *spec = s->spec;
	size_t i;

	for (i = 0; i < list->n; i++) {
		const char *eq = strchr(list->v[i], '=');
		Microvm__NameValue *nv;

		if (!eq || eq == list->v[i])
			return err_set(e, EINVAL, "--annotation '%s': expected KEY=VALUE", list->v[i]);
		nv = xcalloc(1, sizeof(*nv));
		microvm__name_value__init(nv);
		nv->name = xstrndup(list->v[i], eq - list->v[i]);
		nv->value = xstrdup(eq + 1);
		spec->annotations =
			xreallocarray(spec->annotations, spec->n_annotations + 1, sizeof(*spec->annotations));
		spec->annotations[spec->n_annotations++] = nv;
	}
	return 0;
}

int stage_spec(struct sandbox *s, struct err *e)
{
	size_t i;
	int r = 0;

	if (s->options->bundle)
		s->spec = take_ptr(s->options->bundle->spec);
	else
		r = s->options->config ? spec_from_config(s, e) : spec_from_options(s, e);
	if (!r)
		r = add_annotations(s, e);
	if (r)
		return r;
	if (!s->spec->process)
		return err_set(e, EINVAL, "--config %s: process: is missing", s->options->config);
	storage_fill_spec(s);
	for (i = 0; i < s->spec->process->n_args; i++)
		strv_push(&s->record.command, s->spec->process->args[i]);
	if ((s->options->config || s->options->bundle) && s->spec->hostname[0]) {
		free(s->record.hostname);
		s->record.hostname = xstrdup(s->spec->hostname);
	}
	s->record.tty = s->spec->process->terminal;
	if (s->spec->process->terminal && !s->spec->process->console_rows && !s->options->process.detach)
		terminal_size(0, &s->spec->process->console_rows, &s->spec->process->console_cols);
	return 0;
}

void undo_spec(struct sandbox *s)
{
	oci_spec_free(s->spec);
	s->spec = NULL;
}

/* ---- stdio -------------------------------------------------------------------------------------------------------- */

static struct stdio_options stdio_options(struct sandbox *s)
{
	bool detached = s->options->process.detach && !s->options->process.inherit;

	return (struct stdio_options){
		.interactive = s->options->process.interactive && !detached,
		.tty = s->record.tty,
		.inherit = s->options->process.inherit,
		.log = detached ? &s->output : NULL,
	};
}

int stage_stdio(struct sandbox *s, struct err *e)
{
	_cleanup_free_ char *socket = xasprintf("/proc/self/fd/%d/vsock", s->home.dirfd);
	struct stdio_options o;
	int r = 0;

	s->output.fd = -1;
	if (s->options->process.detach && !s->options->process.inherit)
		r = output_log_open(&s->output, s->home.dirfd, e);
	o = stdio_options(s);
	if (!r && stdio_open(&s->stdio, s->loop, socket, &o, e))
		r = sandbox_call_error(s, e);
	return r;
}

void undo_stdio(struct sandbox *s)
{
	stdio_close(&s->stdio);
	output_log_close(&s->output);
}

/* ---- create ------------------------------------------------------------------------------------------------------- */

static int writable_bytes(const struct sandbox *s, uint64_t *bytes, struct err *e)
{
	const struct run_options *o = s->options;
	size_t i;

	/* It is guest memory, so half of that is the most that can be asked for without starving the rest. */
	*bytes = s->record.mem_bytes / 2;
	for (i = 0; i < o->storage_opt.n; i++) {
		const char *opt = o->storage_opt.v[i];

		if (!str_starts(opt, "size=") || parse_size(opt + 5, bytes) || *bytes < 65536)
			return err_set(e, EINVAL, "--storage-opt '%s': expected size=SIZE of at least 64k", opt);
	}
	return 0;
}

/* What a host has in /etc for programs that look themselves up; NULL and e set when an option is none. */
static char *hosts_file(struct sandbox *s, struct err *e)
{
	const struct run_options *o = s->options;
	const char *domain = o->domainname;
	char *t = xasprintf("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t%s%s%s%s%s\n",
			    domain ? s->record.hostname : "", domain ? "." : "", domain ? domain : "",
			    domain ? " " : "", s->record.hostname);
	size_t i;

	for (i = 0; i < o->add_host.n; i++) {
		const char *entry = o->add_host.v[i];
		size_t name = strcspn(entry, ":=");
		char *more;

		if (!name || !entry[name] || !entry[name + 1] || strpbrk(entry, " \t\r\n#")) {
			free(t);
			err_set(e, EINVAL, "--add-host '%s': expected HOST:IP", entry);
			return NULL;
		}
		more = xasprintf("%s%s\t%.*s\n", t, entry + name + 1, (int)name, entry);
		free(t);
		t = more;
	}
	return t;
}

struct answer {
	bool there;
	struct err e;
	uint32_t pid;
};

static void on_created(const ProtobufCMessage *reply, const struct err *e, void *arg)
{
	struct answer *a = arg;

	a->there = true;
	if (reply)
		a->pid = ((const Microvm__ProcessReply *)reply)->pid;
	else
		a->e = *e;
}

static void on_started(const ProtobufCMessage *reply, const struct err *e, void *arg)
{
	struct answer *a = arg;

	a->there = true;
	if (!reply)
		a->e = *e;
}

/* Waits for a call that was sent. It refers to *a, so when the wait ends early the stream is ended first. */
static int await(struct sandbox *s, struct answer *a, struct err *e)
{
	int r = sandbox_run_until(s, &a->there, e);

	if (!a->there) {
		agent_free(s->agent);
		s->agent = NULL;
	}
	while (!a->there && loop_run_once(s->loop, true) >= 0)
		;
	if (!r && a->e.code) {
		*e = a->e;
		r = sandbox_call_error(s, e);
	}
	return r;
}

static int create(struct sandbox *s, Microvm__RootFile **files, size_t files_n, uint64_t writable, struct err *e)
{
	const bool pmem = rootfs_is_pmem(s->options);
	static char *dax[] = { (char *)"dax=always" };
	const struct share *root = shares_root(&s->shares);
	_cleanup_free_ char *folder = xasprintf(GUEST_SHARE_PATH "/%zu", s->first_share);
	Microvm__CreateContainerRequest req;
	Microvm__Rootfs rootfs;
	Microvm__Stdio stdio;
	struct answer answer = { .e = ERR_INIT };
	int r;

	microvm__rootfs__init(&rootfs);
	rootfs.fstype = (char *)"erofs";
	rootfs.source = (char *)(pmem ? "/dev/pmem0" : "/dev/vda");
	rootfs.options = dax;
	rootfs.n_options = pmem ? ARRAY_SIZE(dax) : 0;
	rootfs.overlay = true;
	if (root) {
		/* The first of the shares. */
		rootfs.fstype = (char *)"bind";
		rootfs.source = folder;
		rootfs.overlay = root->overlay;
	}
	rootfs.writable_bytes = writable;
	rootfs.files = files;
	rootfs.n_files = files_n;
	stdio_fill(&s->stdio, &stdio);
	microvm__create_container_request__init(&req);
	req.id = s->record.id;
	req.rootfs = &rootfs;
	req.spec = s->spec;
	req.stdio = &stdio;
	agent_create_container_async(s->agent, &req, on_created, &answer);
	r = await(s, &answer, e);
	s->exec_failed = r && str_starts(answer.e.msg, GUEST_EXEC_ERROR);
	s->record.init_pid = (pid_t)answer.pid;
	return r;
}

static void root_file(Microvm__RootFile *f, const char *path, char *text)
{
	microvm__root_file__init(f);
	f->path = (char *)(uintptr_t)path;
	f->data.data = (uint8_t *)text;
	f->data.len = strlen(text);
	f->mode = 0644;
}

int stage_create(struct sandbox *s, struct err *e)
{
	_cleanup_free_ char *hosts = NULL;
	_cleanup_free_ char *hostname = xasprintf("%s\n", s->record.hostname);
	Microvm__RootFile file[2], *files[2] = { &file[0], &file[1] };
	/* Who brings a config.json says all there is to say about the container. */
	size_t files_n = s->options->config || s->options->bundle ? 0 : ARRAY_SIZE(files);
	uint64_t writable;
	int r = writable_bytes(s, &writable, e);

	if (r)
		return r;
	hosts = hosts_file(s, e);
	if (!hosts)
		return -e->code;
	root_file(&file[0], "/etc/hostname", hostname);
	root_file(&file[1], "/etc/hosts", hosts);
	r = create(s, files, files_n, writable, e);
	return r ? r : storage_filled(s, e);
}

/* ---- start -------------------------------------------------------------------------------------------------------- */

/* exec builds on what the container's process has. */
static int save_process(struct sandbox *s, struct err *e)
{
	size_t len = microvm__process__get_packed_size(s->spec->process);
	_cleanup_free_ uint8_t *packed = xcalloc(1, len);
	_cleanup_close_ int fd = openat(s->home.dirfd, SANDBOX_PROCESS_FILE,
					O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r;

	microvm__process__pack(s->spec->process, packed);
	r = fd < 0 ? -errno : write_full(fd, packed, len);
	return r ? err_errno(e, r, "cannot write %s/" SANDBOX_PROCESS_FILE, s->home.path) : 0;
}

static void on_exit_status(const ProtobufCMessage *reply, const struct err *e, void *arg)
{
	struct sandbox *s = arg;
	const Microvm__WaitReply *w = (const Microvm__WaitReply *)reply;

	s->wait_over = true;
	if (!w) {
		s->wait_error = *e;
		return;
	}
	s->exited = true;
	s->exit_status = (int)(w->exit_status & 255);
	s->oom_killed = w->oom_killed;
}

int stage_start(struct sandbox *s, struct err *e)
{
	const struct stdio_options o = stdio_options(s);
	Microvm__ContainerRequest req;
	Microvm__ProcessRequest wait;
	struct answer answer = { .e = ERR_INIT };
	int r = save_process(s, e);

	if (!r)
		r = stdio_start(&s->stdio, &o, e);
	if (r)
		return r;
	microvm__container_request__init(&req);
	req.id = s->record.id;
	agent_start_container_async(s->agent, &req, on_started, &answer);
	r = await(s, &answer, e);
	s->exec_failed = r && answer.e.code;
	if (r)
		return r;
	s->started = true;
	s->record.status = SANDBOX_RUNNING;
	s->record.started_ns = realtime_ns();
	microvm__process_request__init(&wait);
	wait.id = s->record.id;
	agent_wait_process_async(s->agent, &wait, on_exit_status, s);
	r = state_save(&s->home, &s->record, e);
	if (r)
		return r;
	/* Its terminal may have got its size while nobody could be told. */
	if (s->record.tty && s->options->process.inherit)
		signals_resize(s);
	engine_started(s);
	s->created = true;
	background_ready(s);
	control_answer(s, NULL);
	return 0;
}

/* ---- io ----------------------------------------------------------------------------------------------------------- */

/* After the end output may still be under way. It comes without a pause, unless our own reader makes one. */
static void drain(struct sandbox *s)
{
	struct drain d;

	drain_start(&d, &s->stdio);
	while (!drain_over(&d) && !s->cancelled_by && !s->timed_out)
		if (loop_run_once(s->loop, true) < 0)
			break;
	drain_end(&d);
}

int stage_io(struct sandbox *s, struct err *e)
{
	int r = sandbox_run_until(s, &s->wait_over, e);

	if (!r && !s->exited) {
		*e = s->wait_error;
		r = sandbox_call_error(s, e);
	}
	stdio_stop_input(&s->stdio);
	drain(s);
	if (!r && s->stdio.write_error) {
		err_errno(e, s->stdio.write_error, "the container's output could not be written");
		s->exit_status = s->exit_status ? s->exit_status : SANDBOX_EXIT_ERROR;
		r = -e->code;
	}
	if (r && !s->cancelled_by) {
		free(s->record.error);
		s->record.error = xstrdup(e->msg);
	}
	return r;
}
