/* SPDX-License-Identifier: Apache-2.0 */
/* What a host must have, as a table: each row looks at one thing and says what it found and what to do. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "image/image.h"
#include "io/loop.h"
#include "sandbox/kvm.h"
#include "sandbox/module_path.h"
#include "sandbox/paths.h"
#include "sandbox/sandbox.h"

#define DISK_WANTED (1ull << 30)

typedef void check_fn(const struct sandbox_paths *paths, struct check *c);

static void found(struct check *c, enum check_result result, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void found(struct check *c, enum check_result result, const char *fmt, ...)
{
	va_list ap;

	c->result = result;
	va_start(ap, fmt);
	vsnprintf(c->found, sizeof(c->found), fmt, ap);
	va_end(ap);
}

static void remedy(struct check *c, const char *text)
{
	snprintf(c->remedy, sizeof(c->remedy), "%s", text);
}

static void check_root(const struct sandbox_paths *paths, struct check *c)
{
	if (!geteuid()) {
		found(c, CHECK_OK, "uid 0");
		return;
	}
	found(c, CHECK_MISSING, "uid %u", geteuid());
	remedy(c, "call microvm as root, with sudo for instance");
}

static void check_kernel(const struct sandbox_paths *paths, struct check *c)
{
	unsigned int major = 0, minor = 0;
	struct utsname u;

	uname(&u);
	if (sscanf(u.release, "%u.%u", &major, &minor) == 2 && (major > 6 || (major == 6 && minor >= 1))) {
		found(c, CHECK_OK, "Linux %.100s", u.release);
		return;
	}
	found(c, CHECK_MISSING, "Linux %.100s", u.release);
	remedy(c, "use a kernel from 6.1 on, as Debian 12 has");
}

static void check_kvm(const struct sandbox_paths *paths, struct check *c)
{
	struct err e = ERR_INIT;
	_cleanup_close_ int fd = -1;

	if (!kvm_device_open(&fd, &e)) {
		found(c, CHECK_OK, KVM_PATH ", version 12");
		return;
	}
	found(c, CHECK_MISSING, "%.200s", e.msg);
	remedy(c, "load kvm_intel or kvm_amd as root, or use the lab: tests/lab/lab -- COMMAND");
}

static void check_cpu(const struct sandbox_paths *paths, struct check *c)
{
	if (kvm_cpu_has_virtualization()) {
		found(c, CHECK_OK, "the CPU has svm or vmx");
		return;
	}
	found(c, CHECK_MISSING, "neither svm nor vmx: a KVM here is paravirtual and can't boot a stock kernel");
	remedy(c, "turn on (nested) virtualization, or use the lab: tests/lab/lab -- COMMAND");
}

static void check_io_uring(const struct sandbox_paths *paths, struct check *c)
{
	struct loop *loop;
	int r = loop_new(&loop, 8, 0);

	if (!r) {
		loop_free(loop);
		found(c, CHECK_OK, "usable");
		return;
	}
	found(c, CHECK_MISSING, "%s", strerror(-r));
	remedy(c, "sysctl kernel.io_uring_disabled=0, and no seccomp filter around this that forbids it");
}

static void check_memfd(const struct sandbox_paths *paths, struct check *c)
{
	_cleanup_close_ int fd = memfd_create("check", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd >= 0) {
		found(c, CHECK_OK, "sealed memfds");
		return;
	}
	found(c, CHECK_MISSING, "%s", strerror(errno));
	remedy(c, "use a kernel with CONFIG_MEMFD_CREATE");
}

static void check_cgroup(const struct sandbox_paths *paths, struct check *c)
{
	struct statfs fs;

	if (!statfs("/sys/fs/cgroup", &fs) && fs.f_type == CGROUP2_SUPER_MAGIC) {
		found(c, CHECK_OK, "cgroup v2 on /sys/fs/cgroup");
		return;
	}
	found(c, CHECK_OPTIONAL, "no cgroup v2 on /sys/fs/cgroup");
	remedy(c, "only who wants to limit microvm itself on the host needs it");
}

static void check_path(struct check *c, char *path, const struct err *e)
{
	if (path) {
		found(c, CHECK_OK, "%.250s", path);
	} else {
		found(c, CHECK_MISSING, "%.250s", e->msg);
		remedy(c, "make all && make install");
	}
	free(path);
}

static void check_vmlinux(const struct sandbox_paths *paths, struct check *c)
{
	struct err e = ERR_INIT;

	check_path(c, paths_guest("vmlinux", &e), &e);
}

static void check_initramfs(const struct sandbox_paths *paths, struct check *c)
{
	struct err e = ERR_INIT;

	check_path(c, paths_guest("initramfs.cpio", &e), &e);
}

static void check_vmm(const struct sandbox_paths *paths, struct check *c)
{
	struct err e = ERR_INIT;

	check_path(c, paths_program("microvm-vmm", &e), &e);
}

static void check_import(const struct sandbox_paths *paths, struct check *c)
{
	struct err e = ERR_INIT;

	check_path(c, paths_program("microvm-import", &e), &e);
}

static void check_mkfs(const struct sandbox_paths *paths, struct check *c)
{
	static const char *const folders[] = { "/usr/bin", "/usr/sbin", "/bin", "/usr/local/bin", "/usr/local/sbin" };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(folders); i++) {
		char path[64];

		snprintf(path, sizeof(path), "%s/mkfs.erofs", folders[i]);
		if (!access(path, X_OK)) {
			found(c, CHECK_OK, "%s", path);
			return;
		}
	}
	found(c, CHECK_MISSING, "there is no mkfs.erofs");
	remedy(c, "apt-get install erofs-utils");
}

static void check_memory(const struct sandbox_paths *paths, struct check *c)
{
	struct sysinfo info;
	uint64_t mib;

	sysinfo(&info);
	mib = (uint64_t)info.totalram * info.mem_unit >> 20;
	found(c, mib >= SANDBOX_MEM_DEFAULT >> 20 ? CHECK_OK : CHECK_MISSING, "%llu MiB", (unsigned long long)mib);
	if (c->result != CHECK_OK)
		remedy(c, "a sandbox has 256 MiB unless --memory says less");
}

static void check_space(struct check *c, const char *path, uint64_t wanted)
{
	struct statfs fs;
	uint64_t free_bytes;

	/* What is not there yet is made below what is. */
	_cleanup_free_ char *up = xstrdup(path);
	while (statfs(up, &fs) < 0) {
		char *slash = strrchr(up, '/');

		if (!slash || slash == up) {
			found(c, CHECK_MISSING, "%.200s: %s", path, strerror(errno));
			remedy(c, "name a folder that can be made");
			return;
		}
		*slash = '\0';
	}
	free_bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
	found(c, free_bytes >= wanted ? CHECK_OK : CHECK_OPTIONAL, "%.200s: %llu MiB free", path,
	      (unsigned long long)(free_bytes >> 20));
	if (free_bytes < wanted)
		remedy(c, "little is left; remove images (microvm rmi) or name another folder");
}

static void check_store(const struct sandbox_paths *paths, struct check *c)
{
	const char *env = getenv("MICROVM_STORE");

	check_space(c, paths->store ? paths->store : env && *env ? env : IMAGE_STORE_DEFAULT, DISK_WANTED);
}

static void check_state(const struct sandbox_paths *paths, struct check *c)
{
	struct err e = ERR_INIT;
	struct state *state;

	if (state_open(paths->state, &state, &e)) {
		found(c, CHECK_MISSING, "%.250s", e.msg);
		remedy(c, "root, and a folder of its own that root can write");
		return;
	}
	check_space(c, state_path(state), 16u << 20);
	state_close(state);
}

/* What a sandbox would have, by the environment and by what is there. */
static const char *path_of(enum module_part part, struct err *e)
{
	_cleanup_close_ int fd = -1;

	return module_path_choose(part, NULL, NULL, &fd, e);
}

static void check_module(const struct sandbox_paths *paths, struct check *c)
{
	_cleanup_close_ int fd = -1;
	struct err e = ERR_INIT, why = ERR_INIT;
	const char *vsock = path_of(MODULE_VSOCK, &e), *balloon = vsock ? path_of(MODULE_BALLOON, &e) : NULL;

	if (!balloon) {
		found(c, CHECK_MISSING, "%.250s", e.msg);
		remedy(c, "everything works without the module: unset MICROVM_VSOCK and MICROVM_BALLOON, or load it");
		return;
	}
	if (!module_open(MODULE_VSOCK, &fd, &why)) {
		cleanup_closep(&fd);
		module_open(MODULE_BALLOON, &fd, &why);
	}
	found(c, why.code ? CHECK_OPTIONAL : CHECK_OK, "%.150s; streams go by --vsock %s, memory by --balloon %s",
	      why.code ? why.msg : "/dev/microvm is there", vsock, balloon);
	if (why.code)
		remedy(c, "everything works without the module");
}

static const struct {
	const char *name;
	check_fn *fn;
} rows[] = {
	{ "root", check_root },	      { "kernel", check_kernel },	 { "kvm", check_kvm },
	{ "cpu", check_cpu },	      { "io_uring", check_io_uring },	 { "memfd", check_memfd },
	{ "cgroup", check_cgroup },   { "memory", check_memory },	 { "vmm", check_vmm },
	{ "import", check_import },   { "guest kernel", check_vmlinux }, { "initramfs", check_initramfs },
	{ "mkfs.erofs", check_mkfs }, { "store", check_store },		 { "state", check_state },
	{ "module", check_module },
};

const struct check *sandbox_check(const struct sandbox_paths *paths, size_t *n)
{
	static struct check checks[ARRAY_SIZE(rows)];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		checks[i] = (struct check){ .name = rows[i].name };
		rows[i].fn(paths, &checks[i]);
	}
	*n = ARRAY_SIZE(rows);
	return checks;
}
