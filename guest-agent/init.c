/* SPDX-License-Identifier: Apache-2.0 */
#include "guest-agent/init.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "guest-agent/container.h"

#define CMDLINE_MAX 4096
#define FILES_MAX 1048576ul /* the kernel's own nr_open; containers lower it for themselves */

static int mount_at(const char *source, const char *target, const char *type, unsigned long flags, const char *data,
		    struct err *e)
{
	if (mkdir(target, 0755) < 0 && errno != EEXIST)
		return err_errno(e, errno, "mkdir %s", target);
	/* The kernel may have done it (devtmpfs). */
	if (mount(source, target, type, flags, data) < 0 && errno != EBUSY)
		return err_errno(e, errno, "mount %s on %s", type, target);
	return 0;
}

static bool has_word(const char *line, const char *word)
{
	size_t len = strlen(word);

	while (*line) {
		size_t n = strcspn(line, " \n");

		if (n == len && memcmp(line, word, len) == 0)
			return true;
		line += n;
		line += strspn(line, " \n");
	}
	return false;
}

/* The number behind a word that ends with "=", or 0. */
static uint32_t number_of(const char *line, const char *word)
{
	const char *at = strstr(line, word);

	return at ? (uint32_t)strtoul(at + strlen(word), NULL, 10) : 0;
}

int init_early(struct init_words *words, struct err *e)
{
	char line[CMDLINE_MAX];
	_cleanup_close_ int fd = -1;
	ssize_t n;
	int r;

	/* Without a console the kernel starts us with no fds at all; what comes next must not become a standard stream. */
	if (fcntl(2, F_GETFL) < 0)
		do
			fd = open("/", O_RDONLY | O_DIRECTORY);
		while (fd >= 0 && fd < 2);
	else /* a console that nobody reads must not stop us */
		fcntl(2, F_SETFL, fcntl(2, F_GETFL) | O_NONBLOCK);
	r = mount_at("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, e);
	if (r < 0)
		return r;
	fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
	if (n < 0)
		return err_errno(e, errno, "/proc/cmdline");
	line[n] = '\0';
	words->debug = has_word(line, "microvm.debug");
	words->port = number_of(line, "microvm.port=");
	words->ready_reboot = has_word(line, "microvm.ready=reboot");
	return 0;
}

static int write_string(const char *path, const char *s)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, s, strlen(s)) < 0 ? -errno : 0;
}

static int mount_all(struct err *e)
{
	static const struct {
		const char *source, *target, *type;
		unsigned long flags;
		const char *data;
	} mounts[] = {
		{ "sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL },
		{ "devtmpfs", "/dev", "devtmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755" },
		{ "devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5" },
		{ "tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777" },
		{ "mqueue", "/dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL },
		{ "tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755" },
		{ "tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777" },
		{ "cgroup2", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		  "nsdelegate,memory_recursiveprot" },
	};
	static const struct {
		const char *target, *path;
	} links[] = {
		{ "/proc/self/fd", "/dev/fd" },
		{ "/proc/self/fd/0", "/dev/stdin" },
		{ "/proc/self/fd/1", "/dev/stdout" },
		{ "/proc/self/fd/2", "/dev/stderr" },
	};
	size_t i;
	int r = 0;

	for (i = 0; i < ARRAY_SIZE(mounts) && !r; i++)
		r = mount_at(mounts[i].source, mounts[i].target, mounts[i].type, mounts[i].flags, mounts[i].data, e);
	for (i = 0; i < ARRAY_SIZE(links) && !r; i++)
		if (symlink(links[i].target, links[i].path) < 0 && errno != EEXIST)
			r = err_errno(e, errno, "symlink %s", links[i].path);
	return r;
}

/* Every controller that the kernel has, for the containers' cgroups. */
static int enable_controllers(struct err *e)
{
	char have[512], line[512];
	_cleanup_close_ int fd = open("/sys/fs/cgroup/cgroup.controllers", O_RDONLY | O_CLOEXEC);
	char *name, *save;
	ssize_t n = fd < 0 ? -1 : read(fd, have, sizeof(have) - 1);
	size_t used = 0;
	int r;

	if (n < 0)
		return err_errno(e, errno, "cgroup.controllers");
	have[n] = '\0';
	line[0] = '\0';
	for (name = strtok_r(have, " \n", &save); name; name = strtok_r(NULL, " \n", &save))
		used += snprintf(line + used, sizeof(line) - used, "%s+%s", used ? " " : "", name);
	r = write_string("/sys/fs/cgroup/cgroup.subtree_control", line);
	if (r < 0)
		return err_errno(e, r, "cgroup.subtree_control: %s", line);
	if (mkdir("/sys/fs/cgroup/" CONTAINER_CGROUP, 0755) < 0 && errno != EEXIST)
		return err_errno(e, errno, "cgroup %s", CONTAINER_CGROUP);
	r = write_string("/sys/fs/cgroup/" CONTAINER_CGROUP "/cgroup.subtree_control", line);
	return r < 0 ? err_errno(e, r, "cgroup %s: %s", CONTAINER_CGROUP, line) : 0;
}

static int loopback_up(struct err *e)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING | IFF_LOOPBACK };

	if (fd < 0)
		return errno == EAFNOSUPPORT ? 0 : err_errno(e, errno, "lo");
	return ioctl(fd, SIOCSIFFLAGS, &ifr) < 0 ? err_errno(e, errno, "lo") : 0;
}

/* fds 0 to 2 are there for whoever expects them: /dev/null where the kernel gave none. */
static int standard_fds(struct err *e)
{
	_cleanup_close_ int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct stat st;
	int i;

	if (fd < 0)
		return err_errno(e, errno, "/dev/null");
	for (i = 0; i < 3; i++)
		if (fstat(i, &st) < 0 || S_ISDIR(st.st_mode))
			dup2(fd, i);
	return 0;
}

int init_late(struct err *e)
{
	const struct rlimit files = { FILES_MAX, FILES_MAX };
	int r;

	/* A fault of the agent itself is left to the kernel: its panic names it, and the VMM tells the user. */
	signal(SIGPIPE, SIG_IGN);
	umask(022);
	r = mount_all(e);
	if (!r)
		r = standard_fds(e);
	if (!r)
		r = enable_controllers(e);
	if (!r)
		r = loopback_up(e);
	if (r < 0)
		return r;
	if (mkdir(CONTAINER_RUN, 0700) < 0 && errno != EEXIST)
		return err_errno(e, errno, "mkdir %s", CONTAINER_RUN);
	/* The out-of-memory killer is for containers. */
	if (write_string("/proc/self/oom_score_adj", "-1000") < 0)
		log_warn("oom_score_adj: %s", strerror(errno));
	if (setrlimit(RLIMIT_NOFILE, &files) < 0)
		log_warn("RLIMIT_NOFILE: %s", strerror(errno));
	return 0;
}
