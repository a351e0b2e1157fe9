/* SPDX-License-Identifier: Apache-2.0 */
#include "guest-agent/process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <linux/filter.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/guest.h"
#include "base/util.h"
#include "guest-agent/mounts.h"
#include "guest-agent/process_caps.h"

#define ARGS_MAX 65536u

int process_personality(const char *domain, unsigned long *persona, struct err *e)
{
	if (str_eq(domain, "LINUX"))
		*persona = PER_LINUX;
	else if (str_eq(domain, "LINUX32"))
		*persona = PER_LINUX32;
	else
		return err_set(e, EINVAL, "personality: \"%s\" is no domain; there are LINUX and LINUX32", domain);
	return 0;
}

int process_check(const Microvm__Process *p, struct err *e)
{
	size_t i;

	if (!p || !p->n_args || !p->args[0][0])
		return err_set(e, EINVAL, "process.args: there is no program to start");
	if (p->n_args > ARGS_MAX || p->n_env > ARGS_MAX)
		return err_set(e, E2BIG, "process: more than %u arguments or variables", ARGS_MAX);
	if (p->cwd[0] && p->cwd[0] != '/')
		return err_set(e, EINVAL, "process.cwd: \"%s\" is not an absolute path", p->cwd);
	if (p->apparmor_profile[0] && !str_eq(p->apparmor_profile, "unconfined"))
		return err_set(e, ENOTSUP, "process.apparmorProfile: the guest's kernel has no AppArmor; leave it out");
	if (p->selinux_label[0])
		return err_set(e, ENOTSUP, "process.selinuxLabel: the guest's kernel has no SELinux; leave it out");
	for (i = 0; i < p->n_env; i++)
		if (!strchr(p->env[i], '=') || p->env[i][0] == '=')
			return err_set(e, EINVAL, "process.env[%zu]: \"%s\" is not NAME=VALUE", i, p->env[i]);
	return 0;
}

void process_reset_signals(void)
{
	sigset_t none;
	int s;

	for (s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/*
 * A program reopens its streams as /dev/stdout and the like, so they have to be the user's. What belongs to others
 * (/dev/null) or has no owner stays.
 */
static void own_stdio(const struct user *u)
{
	int fd;

	for (fd = 0; fd < 3; fd++) {
		struct stat st;

		if (fstat(fd, &st) < 0 || (S_ISCHR(st.st_mode) && major(st.st_rdev) == 1) || st.st_uid == u->uid)
			continue;
		if (fchown(fd, u->uid, (gid_t)-1) < 0)
			continue;
	}
}

static int make_env(const Microvm__Process *p, const struct user *u, char ***out)
{
	char **env = xcalloc(p->n_env + 2, sizeof(*env));
	bool home = false;
	size_t i;

	for (i = 0; i < p->n_env; i++) {
		env[i] = p->env[i];
		home |= str_starts(env[i], "HOME=") && env[i][5];
	}
	if (!home)
		env[i] = xasprintf("HOME=%s", u->home);
	*out = env;
	return 0;
}

/* Made if it isn't there, as docker does. Afterwards it must lie inside: nothing that leaked may have led out. */
static int enter_cwd(int root, const char *cwd, struct err *e)
{
	_cleanup_close_ int fd = rootfs_make(root, *cwd ? cwd : "/", true);
	char where[PATH_MAX];

	if (fd < 0)
		return err_errno(e, -fd, "working directory %s", cwd);
	if (fchdir(fd) < 0)
		return err_errno(e, errno, "working directory %s", cwd);
	/* The system call, as C libraries differ in what they make of "(unreachable)". */
	if (syscall(SYS_getcwd, where, sizeof(where)) < 0 || where[0] != '/')
		return err_set(e, ENOENT, "working directory %s is outside of the container", cwd);
	return 0;
}

int process_prepare(int root, const Microvm__Process *p, struct user *u, char ***env, struct err *e)
{
	int r = user_lookup(root, p->user, u, e);

	if (r)
		return r;
	own_stdio(u);
	make_env(p, u, env);
	umask(022);
	r = enter_cwd(root, p->cwd, e);
	umask(p->user && p->user->umask ? (mode_t)p->user->umask->value & 0777 : 022);
	return r;
}

static int install_seccomp(const Microvm__Seccomp *s, struct err *e)
{
	_cleanup_free_ struct sock_filter *filter = NULL;
	struct sock_fprog prog;

	if (!s || !s->bpf.len)
		return 0;
	if (s->bpf.len % sizeof(*filter) || s->bpf.len / sizeof(*filter) > BPF_MAXINSNS)
		return err_set(e, EINVAL, "seccomp: a program of %zu bytes is none", s->bpf.len);
	/* Aligned as its type wants it, whatever the message has. */
	filter = xcalloc(1, s->bpf.len);
	memcpy(filter, s->bpf.data, s->bpf.len);
	prog.filter = filter;
	prog.len = (unsigned short)(s->bpf.len / sizeof(*filter));
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, s->flags, &prog) < 0)
		return err_errno(e, errno, "seccomp: the kernel does not take the filter");
	return 0;
}

static int become(const struct user *u, struct err *e)
{
	/* So that permitted capabilities outlive the change of ids; execve clears the flag. */
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return err_errno(e, errno, "keeping capabilities");
	if (syscall(SYS_setgroups, u->groups_n, u->groups) < 0)
		return err_errno(e, errno, "additional groups");
	if (syscall(SYS_setresgid, u->gid, u->gid, u->gid) < 0)
		return err_errno(e, errno, "group %u", u->gid);
	if (syscall(SYS_setresuid, u->uid, u->uid, u->uid) < 0)
		return err_errno(e, errno, "user %u", u->uid);
	return 0;
}

int process_drop(const Microvm__Process *p, const struct user *u, const Microvm__Seccomp *seccomp, struct err *e)
{
	struct caps caps;
	int r;

	caps_parse(p->capabilities, &caps);
	if (p->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_errno(e, errno, "no_new_privs");
	/* With no_new_privs the filter comes last; without, it takes a capability that is about to go. */
	r = p->no_new_privileges ? 0 : install_seccomp(seccomp, e);
	if (!r)
		r = caps_drop_bounding(&caps, e);
	if (!r)
		r = become(u, e);
	if (!r)
		r = caps_apply(&caps, e);
	if (!r && p->no_new_privileges)
		r = install_seccomp(seccomp, e);
	return r;
}

static const char *env_get(char *const *env, const char *name)
{
	size_t n = strlen(name);

	for (; *env; env++)
		if (!strncmp(*env, name, n) && (*env)[n] == '=')
			return *env + n + 1;
	return NULL;
}

/* With the effective ids as they are just now. */
static int check_executable(const char *file)
{
	struct stat st;

	if (stat(file, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	return syscall(SYS_faccessat2, AT_FDCWD, file, X_OK, AT_EACCESS) < 0 ? -errno : 0;
}

static int search_path(const char *path, const char *program, char **file, struct err *e)
{
	bool denied = false;

	while (path && *path) {
		size_t n = strcspn(path, ":");
		char at[PATH_MAX];
		int r;

		/* An empty part would be the working directory, which is no place to look for programs. */
		if (n && (size_t)snprintf(at, sizeof(at), "%.*s/%s", (int)n, path, program) < sizeof(at)) {
			r = check_executable(at);
			if (!r) {
				*file = xstrdup(at);
				return 0;
			}
			denied |= r == -EACCES;
		}
		path += n + (path[n] == ':');
	}
	if (denied)
		return err_set(e, EACCES, GUEST_EXEC_ERROR "\"%s\": permission denied", program);
	return err_set(e, ENOENT, GUEST_EXEC_ERROR "\"%s\": executable file not found in $PATH", program);
}

static int find_program(const char *program, const char *path, char **file, struct err *e)
{
	int r;

	if (!strchr(program, '/'))
		return search_path(path, program, file, e);
	r = check_executable(program);
	if (r == -EISDIR)
		return err_set(e, EACCES, GUEST_EXEC_ERROR "\"%s\": is a directory", program);
	if (r)
		return err_errno(e, r, GUEST_EXEC_ERROR "\"%s\"", program);
	*file = xstrdup(program);
	return 0;
}

int process_find(const Microvm__Process *p, const struct user *u, char *const *env, char **file, struct err *e)
{
	const uint64_t all_files = 1ull << CAP_DAC_OVERRIDE;
	struct caps caps;
	bool as_user;
	int r;

	caps_parse(p->capabilities, &caps);
	as_user = u->uid && !(caps.effective & all_files);
	/* Only who files are looked at as, which takes those capabilities along; the rest of us has work to do yet. */
	if (as_user) {
		syscall(SYS_setgroups, u->groups_n, u->groups);
		setfsgid(u->gid);
		setfsuid(u->uid);
	}
	r = find_program(p->args[0], env_get(env, "PATH"), file, e);
	if (as_user) {
		setfsuid(0);
		setfsgid(0);
	}
	return r;
}

int process_exec(const Microvm__Process *p, const char *file, char *const *env, struct err *e)
{
	_cleanup_free_ char **args = xcalloc(p->n_args + 1, sizeof(*args));

	memcpy(args, p->args, p->n_args * sizeof(*args));
	execve(file, args, env);
	return err_errno(e, errno, GUEST_EXEC_ERROR "\"%s\"", file);
}
