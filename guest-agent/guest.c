/* SPDX-License-Identifier: Apache-2.0 */
#include "guest-agent/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <linux/random.h>

#include "base/cleanup.h"
#include "base/guest.h"
#include "base/util.h"

#define NS_PER_S 1000000000ll
#define MEMINFO_MAX 8192

/* What a host may rely on beyond the calls of the contract's first version. */
static const char *const features[] = { "cgroup2", "seccomp-bpf", "stdio-streams", "oom-events" };

int guest_set_time(int64_t time_ns, struct err *e)
{
	struct timespec ts = { .tv_sec = time_ns / NS_PER_S, .tv_nsec = time_ns % NS_PER_S };

	if (time_ns <= 0)
		return err_set(e, EINVAL, "time: %lld ns is none", (long long)time_ns);
	if (clock_settime(CLOCK_REALTIME, &ts) < 0)
		return err_errno(e, errno, "time: clock_settime");
	return 0;
}

int guest_add_entropy(const uint8_t *data, size_t len, struct err *e)
{
	_cleanup_close_ int fd = -1;
	struct {
		struct rand_pool_info info;
		uint8_t data[GUEST_ENTROPY_MAX];
	} pool;

	if (!len || len > GUEST_ENTROPY_MAX)
		return err_set(e, EINVAL, "entropy: %zu bytes; give 1 to %u", len, GUEST_ENTROPY_MAX);
	fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, errno, "entropy: /dev/urandom");
	pool.info.entropy_count = len * 8;
	pool.info.buf_size = len;
	memcpy(pool.data, data, len);
	if (ioctl(fd, RNDADDENTROPY, &pool) < 0)
		return err_errno(e, errno, "entropy: RNDADDENTROPY");
	explicit_bzero(&pool, sizeof(pool));
	return 0;
}

int guest_set_hostname(const char *name, struct err *e)
{
	size_t len = strlen(name);

	if (len > HOST_NAME_MAX)
		return err_set(e, EINVAL, "hostname: it has %zu bytes, at most %d are possible", len, HOST_NAME_MAX);
	if (sethostname(name, len) < 0)
		return err_errno(e, errno, "hostname %s", name);
	return 0;
}

int guest_set_sysctl(const char *name, const char *value, struct err *e)
{
	char path[256] = "/proc/sys/", *p;
	_cleanup_close_ int fd = -1;
	size_t len = strlen(name);

	if (!len || len > sizeof(path) - strlen(path) - 1 || name[0] == '/' || strstr(name, ".."))
		return err_set(e, EINVAL, "sysctl %.200s: this is no name of one", name);
	memcpy(path + strlen(path), name, len + 1);
	/* With a slash in it the name is a path already, and dots belong to interface names. */
	if (!strchr(name, '/'))
		for (p = path + strlen("/proc/sys/"); *p; p++)
			if (*p == '.')
				*p = '/';
	fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_errno(e, errno, "sysctl %s", name);
	if (write(fd, value, strlen(value)) < 0)
		return err_errno(e, errno, "sysctl %s=%.200s", name, value);
	return 0;
}

int guest_set_online_cpus(uint32_t count, struct err *e)
{
	unsigned int cpu;

	if (!count)
		return err_set(e, EINVAL, "online CPUs: a guest needs one at least");
	/* CPU 0 can't be taken away, and has no such file. */
	for (cpu = 1;; cpu++) {
		const char *want = cpu < count ? "1" : "0";
		char path[64], is[2] = "";
		_cleanup_close_ int fd = -1;

		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online", cpu);
		fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0 && errno == ENOENT)
			return 0;
		if (fd < 0 || pread(fd, is, 1, 0) < 0 || (!str_eq(is, want) && pwrite(fd, want, 1, 0) < 0))
			return err_errno(e, errno, "%s=%s", path, want);
	}
}

int guest_mount_share(const char *tag, struct err *e)
{
	if (mkdir(GUEST_SHARE_PATH, 0700) < 0 && errno != EEXIST)
		return err_errno(e, errno, "share: " GUEST_SHARE_PATH);
	if (mount(tag, GUEST_SHARE_PATH, "virtiofs", 0, NULL) < 0)
		return err_errno(e, errno, "share: virtiofs %.64s", tag);
	return 0;
}

/* "MemTotal:     123 kB"; 0 if it is not there. */
static uint64_t meminfo_bytes(const char *meminfo, const char *key)
{
	const char *at = strstr(meminfo, key);

	return at ? strtoull(at + strlen(key), NULL, 10) << 10 : 0;
}

void guest_get_details(struct guest_details *d)
{
	_cleanup_free_ char *meminfo = NULL;
	cpu_set_t cpus;

	microvm__guest_details__init(&d->message);
	d->message.agent_version = (char *)MICROVM_VERSION;
	if (uname(&d->uts) == 0)
		d->message.kernel_release = d->uts.release;
	if (read_file(AT_FDCWD, "/proc/meminfo", MEMINFO_MAX, &meminfo, NULL) == 0) {
		d->message.mem_total_bytes = meminfo_bytes(meminfo, "MemTotal:");
		d->message.mem_available_bytes = meminfo_bytes(meminfo, "MemAvailable:");
	}
	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
		d->message.vcpus = CPU_COUNT(&cpus);
	d->message.features = (char **)features;
	d->message.n_features = ARRAY_SIZE(features);
}
