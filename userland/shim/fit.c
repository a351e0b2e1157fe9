/* SPDX-License-Identifier: Apache-2.0 */
/* How much of its VM a pod's guest is to do with, by the limits of the containers in it. */
#include "base/util.h"
#include "shim/task.h"

static bool counts(const struct task *t)
{
	return t->in_guest && !t->bundle.pause;
}

static void fit_memory(struct shim *s)
{
	uint64_t sum = 0;
	const struct task *t;

	for (t = s->tasks; t; t = t->next) {
		if (!counts(t))
			continue;
		if (!t->mem_limit) {
			pod_set_memory(s->pod, UINT64_MAX);
			return;
		}
		sum += min_t(uint64_t, t->mem_limit, pod_mem_bytes(s->pod));
	}
	if (sum)
		pod_set_memory(s->pod, bundle_mem_for_limit(sum));
}

static void fit_cpus(struct shim *s, bool fewer)
{
	const unsigned int all = pod_vcpus(s->pod);
	uint64_t sum = 0;
	const struct task *t;

	for (t = s->tasks; t; t = t->next)
		if (counts(t))
			sum += t->cpu_limit ? min_t(uint64_t, t->cpu_limit, all * 1000ull) : all * 1000ull;
	if (sum)
		pod_set_cpus(s->pod, (sum + 999) / 1000, fewer);
}

void tasks_fit_vm(struct shim *s, bool fewer_cpus)
{
	fit_memory(s);
	fit_cpus(s, fewer_cpus);
}
