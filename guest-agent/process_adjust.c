/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/ioprio.h>
#include <linux/sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "guest-agent/process.h"

/* As the kernel has it; C libraries don't declare it. */
struct sched_attributes {
	uint32_t size;
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static const struct {
	const char *name;
	int resource;
} limits[] = {
	{ "RLIMIT_AS", RLIMIT_AS },
	{ "RLIMIT_CORE", RLIMIT_CORE },
	{ "RLIMIT_CPU", RLIMIT_CPU },
	{ "RLIMIT_DATA", RLIMIT_DATA },
	{ "RLIMIT_FSIZE", RLIMIT_FSIZE },
	{ "RLIMIT_LOCKS", RLIMIT_LOCKS },
	{ "RLIMIT_MEMLOCK", RLIMIT_MEMLOCK },
	{ "RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE },
	{ "RLIMIT_NICE", RLIMIT_NICE },
	{ "RLIMIT_NOFILE", RLIMIT_NOFILE },
	{ "RLIMIT_NPROC", RLIMIT_NPROC },
	{ "RLIMIT_RSS", RLIMIT_RSS },
	{ "RLIMIT_RTPRIO", RLIMIT_RTPRIO },
	{ "RLIMIT_RTTIME", RLIMIT_RTTIME },
	{ "RLIMIT_SIGPENDING", RLIMIT_SIGPENDING },
	{ "RLIMIT_STACK", RLIMIT_STACK },
};

static int set_rlimit(pid_t pid, const Microvm__Rlimit *l, struct err *e)
{
	struct rlimit v = { .rlim_cur = l->soft, .rlim_max = l->hard };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(limits); i++)
		if (str_eq(l->type, limits[i].name))
			break;
	if (i == ARRAY_SIZE(limits))
		return err_set(e, EINVAL, "rlimits: there is no \"%s\"", l->type);
	if (prlimit(pid, (enum __rlimit_resource)limits[i].resource, &v, NULL) < 0)
		return err_errno(e, errno, "%s of %llu:%llu", l->type, (unsigned long long)l->soft,
				 (unsigned long long)l->hard);
	return 0;
}

static int set_oom_score_adj(pid_t pid, int64_t value, struct err *e)
{
	_cleanup_close_ int fd = -1;
	char path[64], text[32];
	int n = snprintf(text, sizeof(text), "%lld", (long long)value);

	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, (size_t)n) < 0)
		return err_errno(e, errno, "oomScoreAdj of %s", text);
	return 0;
}

static int set_scheduler(pid_t pid, const Microvm__Scheduler *s, struct err *e)
{
	static const struct {
		const char *name;
		uint32_t policy;
	} policies[] = {
		{ "SCHED_OTHER", SCHED_NORMAL }, { "SCHED_FIFO", SCHED_FIFO }, { "SCHED_RR", SCHED_RR },
		{ "SCHED_BATCH", SCHED_BATCH },	 { "SCHED_IDLE", SCHED_IDLE }, { "SCHED_DEADLINE", SCHED_DEADLINE },
	};
	static const struct {
		const char *name;
		uint64_t flag;
	} flags[] = {
		{ "SCHED_FLAG_RESET_ON_FORK", SCHED_FLAG_RESET_ON_FORK },
		{ "SCHED_FLAG_RECLAIM", SCHED_FLAG_RECLAIM },
		{ "SCHED_FLAG_DL_OVERRUN", SCHED_FLAG_DL_OVERRUN },
		{ "SCHED_FLAG_KEEP_POLICY", SCHED_FLAG_KEEP_POLICY },
		{ "SCHED_FLAG_KEEP_PARAMS", SCHED_FLAG_KEEP_PARAMS },
		{ "SCHED_FLAG_UTIL_CLAMP_MIN", SCHED_FLAG_UTIL_CLAMP_MIN },
		{ "SCHED_FLAG_UTIL_CLAMP_MAX", SCHED_FLAG_UTIL_CLAMP_MAX },
	};
	struct sched_attributes a = {
		.size = sizeof(a),
		.nice = s->nice,
		.priority = (uint32_t)s->priority,
		.runtime = s->runtime,
		.deadline = s->deadline,
		.period = s->period,
	};
	size_t i, k;

	for (i = 0; i < ARRAY_SIZE(policies); i++)
		if (str_eq(s->policy, policies[i].name))
			break;
	if (i == ARRAY_SIZE(policies))
		return err_set(e, EINVAL, "scheduler.policy: there is no \"%s\"", s->policy);
	a.policy = policies[i].policy;
	for (k = 0; k < s->n_flags; k++) {
		for (i = 0; i < ARRAY_SIZE(flags); i++)
			if (str_eq(s->flags[k], flags[i].name))
				break;
		if (i == ARRAY_SIZE(flags))
			return err_set(e, EINVAL, "scheduler.flags: there is no \"%s\"", s->flags[k]);
		a.flags |= flags[i].flag;
	}
	if (syscall(SYS_sched_setattr, pid, &a, 0) < 0)
		return err_errno(e, errno, "scheduler %s", s->policy);
	return 0;
}

static int set_io_priority(pid_t pid, const Microvm__IOPriority *p, struct err *e)
{
	static const struct {
		const char *name;
		int class;
	} classes[] = {
		{ "IOPRIO_CLASS_RT", IOPRIO_CLASS_RT },
		{ "IOPRIO_CLASS_BE", IOPRIO_CLASS_BE },
		{ "IOPRIO_CLASS_IDLE", IOPRIO_CLASS_IDLE },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(classes); i++)
		if (str_eq(p->class_, classes[i].name))
			break;
	if (i == ARRAY_SIZE(classes) || p->priority < 0 || p->priority > 7)
		return err_set(e, EINVAL, "ioPriority: \"%s\" with priority %d is not possible", p->class_,
			       p->priority);
	if (syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, IOPRIO_PRIO_VALUE(classes[i].class, p->priority)) < 0)
		return err_errno(e, errno, "ioPriority %s %d", p->class_, p->priority);
	return 0;
}

int process_adjust(pid_t pid, const Microvm__Process *p, struct err *e)
{
	size_t i;
	int r = 0;

	for (i = 0; !r && i < p->n_rlimits; i++)
		r = set_rlimit(pid, p->rlimits[i], e);
	/* The agent's own score, which spares it, is nobody else's. */
	if (!r)
		r = set_oom_score_adj(pid, p->oom_score_adj ? p->oom_score_adj->value : 0, e);
	if (!r && p->scheduler)
		r = set_scheduler(pid, p->scheduler, e);
	if (!r && p->io_priority)
		r = set_io_priority(pid, p->io_priority, e);
	return r;
}
