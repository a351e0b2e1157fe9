/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/container_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "oci/pb.h"

#define BUSYBOX "/bin/busybox"
#define CGROUP_NAME "/sys/fs/cgroup"

static char box_id[32]; /* not the same twice: a test that failed may have left its own */
static char *busybox;
static size_t busybox_len;

static void must(bool ok, const char *what)
{
	if (!ok)
		ck_abort_msg("%s: %s", what, strerror(errno));
}

void fixture_begin(void)
{
	ck_assert_msg(geteuid() == 0, "these tests make containers and need root");
	must(unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS) == 0, "unshare");
	must(mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) == 0, "private mounts");
	must(mount("tmpfs", "/run", "tmpfs", 0, "mode=0755") == 0, "/run");
	/* For nobody else, as the agent makes it. */
	must(mkdir(CONTAINER_RUN, 0700) == 0, CONTAINER_RUN);
	/* The machine may have v1 there. */
	must(mount("cgroup2", CGROUP_NAME, "cgroup2", 0, NULL) == 0, "cgroup2");
	snprintf(box_id, sizeof(box_id), "box-%d", getpid());
	if (!busybox)
		ck_assert_int_eq(read_file(AT_FDCWD, BUSYBOX, 8u << 20, &busybox, &busybox_len), 0);
	/* As the agent does; its children have to undo it. */
	signal(SIGPIPE, SIG_IGN);
}

struct box *box_new(const char *script, const struct oci_options *o)
{
	struct box *b = xcalloc(1, sizeof(*b));
	char *args[] = { "/bin/sh", "-c", (char *)script, NULL };
	struct oci_options own = { 0 };

	if (o)
		own = *o;
	if (!own.args)
		own.args = args;
	ck_assert_msg(!oci_spec_default(&own, &b->spec, &b->e), "%s", b->e.msg);
	microvm__rootfs__init(&b->rootfs);
	b->rootfs.source = "none";
	b->rootfs.fstype = "tmpfs";
	b->rootfs.overlay = true;
	b->rootfs.writable_bytes = 64u << 20;
	b->rootfs.files = xcalloc(ARRAY_SIZE(b->files), sizeof(*b->rootfs.files));
	b->io.console_master = b->out = -1;
	microvm__root_file__init(&b->files[0]);
	b->files[0].path = "/bin/sh";
	b->files[0].data.data = (uint8_t *)busybox;
	b->files[0].data.len = busybox_len;
	b->files[0].mode = 0755;
	b->rootfs.files[b->rootfs.n_files++] = &b->files[0];
	return b;
}

void box_file(struct box *b, const char *path, const char *text, unsigned int mode)
{
	Microvm__RootFile *f = &b->files[b->rootfs.n_files];

	ck_assert_uint_lt(b->rootfs.n_files, ARRAY_SIZE(b->files));
	microvm__root_file__init(f);
	f->path = (char *)path;
	f->data.data = (uint8_t *)text;
	f->data.len = strlen(text);
	f->mode = mode;
	b->rootfs.files[b->rootfs.n_files++] = f;
}

/* The child's ends, and ours of its output. */
static void wire(struct box *b)
{
	int out[2];

	b->io.stdio[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
	must(b->io.stdio[0] >= 0 && pipe2(out, O_CLOEXEC) == 0, "pipe");
	b->io.stdio[1] = out[1];
	b->io.stdio[2] = fcntl(out[1], F_DUPFD_CLOEXEC, 3);
	cleanup_closep(&b->out);
	b->out = out[0];
}

static void unwire(struct box *b)
{
	int i;

	for (i = 0; i < 3; i++)
		cleanup_closep(&b->io.stdio[i]);
}

void box_mount(struct box *b, const char *destination, const char *type, const char *source, char *const *options)
{
	Microvm__Mount *m = pb_new(Microvm__Mount, microvm__mount);

	m->destination = xstrdup(destination);
	m->type = xstrdup(type);
	m->source = xstrdup(source);
	for (; *options; options++)
		pb_append(m->n_options, m->options, xstrdup(*options));
	pb_append(b->spec->n_mounts, b->spec->mounts, m);
}

int box_create(struct box *b)
{
	Microvm__CreateContainerRequest req = MICROVM__CREATE_CONTAINER_REQUEST__INIT;
	int r;

	req.id = box_id;
	req.rootfs = &b->rootfs;
	req.spec = b->spec;
	wire(b);
	r = container_create(&b->c, &req, &b->io, &b->pid, &b->e);
	unwire(b);
	if (r)
		b->c = NULL;
	return r;
}

int box_start(struct box *b)
{
	return container_start(b->c, &b->e);
}

/* Through the terminal if there is one, which ends with EIO. */
static void read_output(struct box *b)
{
	int fd = b->io.console_master >= 0 ? b->io.console_master : b->out;
	size_t used = 0;
	ssize_t n;

	while (used < sizeof(b->output) - 1 && (n = read(fd, b->output + used, sizeof(b->output) - 1 - used)) > 0)
		used += (size_t)n;
	b->output[used] = '\0';
}

int box_finish(struct box *b, pid_t pid)
{
	int status;

	read_output(b);
	must(waitpid(pid, &status, 0) == pid, "waitpid");
	container_exited(b->c, pid);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int box_run(struct box *b)
{
	int r = box_create(b);

	if (r)
		return r;
	r = box_start(b);
	if (r) {
		box_finish(b, b->pid);
		return r;
	}
	return box_finish(b, b->pid);
}

int box_exec(struct box *b, char *const *args, const char *user, pid_t *pid)
{
	struct oci_exec_options o = { .args = args, .user = user };
	Microvm__Process *p;
	int r;

	ck_assert_msg(!oci_process_exec(b->spec->process, &o, &p, &b->e), "%s", b->e.msg);
	wire(b);
	r = container_exec(b->c, p, "exec", &b->io, pid, &b->e);
	unwire(b);
	oci_process_free(p);
	return r;
}

void check_nothing_left(void)
{
	_cleanup_free_ char *mounts = NULL;
	char path[128];
	pid_t pid;

	ck_assert_int_eq(read_file(AT_FDCWD, "/proc/self/mountinfo", 1u << 20, &mounts, NULL), 0);
	ck_assert_msg(!strstr(mounts, CONTAINER_RUN), "mounts are left:\n%s", mounts);
	snprintf(path, sizeof(path), CONTAINER_RUN "/%s", box_id);
	ck_assert_int_ne(access(path, F_OK), 0);
	snprintf(path, sizeof(path), CGROUP_NAME "/" CONTAINER_CGROUP "/%s", box_id);
	ck_assert_int_ne(access(path, F_OK), 0);
	/* Zombies are the caller's to reap, but none may run. */
	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
		;
	ck_assert_msg(pid < 0 && errno == ECHILD, "a process is left");
}

void box_free(struct box *b)
{
	struct err e = ERR_INIT;

	if (b->c)
		ck_assert_msg(!container_remove(b->c, &e), "%s", e.msg);
	cleanup_closep(&b->out);
	cleanup_closep(&b->io.console_master);
	oci_spec_free(b->spec);
	free(b->rootfs.files);
	free(b);
	check_nothing_left();
}

void box_expect(struct box *b, const char *want)
{
	const Microvm__Process *p = b->spec->process;
	int r = box_run(b);

	ck_assert_msg(r == 0, "`%s` gave %d: %s\n%s", p->args[p->n_args - 1], r, b->e.msg, b->output);
	ck_assert_str_eq(b->output, want);
	box_free(b);
}

void expect_output(const char *script, const struct oci_options *o, const char *want)
{
	box_expect(box_new(script, o), want);
}

void box_expect_refused(struct box *b, int code, const char *says)
{
	ck_assert_int_eq(box_create(b), code);
	ck_assert_msg(strstr(b->e.msg, says), "%s", b->e.msg);
	box_free(b);
}

void make_folder(const char *path, mode_t mode)
{
	ck_assert_int_eq(mkdir_p(AT_FDCWD, path, 0755), 0);
	ck_assert_int_eq(chmod(path, mode), 0);
}

void make_file(const char *path, const char *text)
{
	ck_assert_int_eq(write_file_atomic(AT_FDCWD, path, text, strlen(text), 0644), 0);
}
