/* SPDX-License-Identifier: Apache-2.0 */
/* What a running sandbox uses, and what it may use from now on: the agent knows the container, the VMM the guest's memory. */
#include "sandbox/resources.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "oci/pb.h"
#include "sandbox/bundle.h"
#include "sandbox/remote.h"
#include "sandbox/vmspec_build.h"

#define ANSWER_TIMEOUT_S 3
#define CPU_PERIOD_US 100000u

/* ---- the VMM ------------------------------------------------------------------------------------------------------- */

int sandbox_balloon(const struct state_ref *ref, enum balloon_op op, uint64_t target_bytes,
		    struct balloon_answer *answer, struct err *e)
{
	const struct balloon_request req = { .op = op, .target_bytes = target_bytes };
	ssize_t n;
	int r = remote_check_running(ref, e);

	if (r)
		return r;
	n = remote_ask(ref, STATE_BALLOON_SOCKET, ANSWER_TIMEOUT_S, &req, sizeof(req), answer, sizeof(*answer));
	if (n < 0)
		return err_errno(e, (int)n, "%s: its VMM can't be asked about memory", ref->record.name);
	if (n != sizeof(*answer))
		return err_set(e, EPROTO, "%s: its VMM is of another version, or gone", ref->record.name);
	return answer->error ? err_errno(e, answer->error, "%s: its VMM refuses", ref->record.name) : 0;
}

/* ---- statistics ----------------------------------------------------------------------------------------------------- */

static int ask_stats(struct agent *agent, const char *id, void *arg, struct err *e)
{
	struct sandbox_stats *out = arg;
	Microvm__ContainerRequest req;
	Microvm__Stats *s;
	int r;

	microvm__container_request__init(&req);
	req.id = (char *)(uintptr_t)id;
	r = agent_stats_container(agent, &req, &s, e);
	if (r)
		return r;
	out->cpu_ns = s->cpu_usage_ns;
	out->memory_bytes = s->memory_usage_bytes;
	out->memory_file_bytes = s->memory_file_bytes;
	/* "max" is no number. */
	out->memory_limit_bytes = s->memory_limit_bytes ? s->memory_limit_bytes : UINT64_MAX;
	out->pids = s->pids;
	out->io_read_bytes = s->io_read_bytes;
	out->io_write_bytes = s->io_write_bytes;
	agent_reply_free(s);
	return 0;
}

int sandbox_stats(const struct state_ref *ref, struct sandbox_stats *out, struct err *e)
{
	int r;

	*out = (struct sandbox_stats){ .at_ns = monotonic_ns() };
	r = remote_call(ref, ask_stats, out, e);
	return r ? r : sandbox_balloon(ref, BALLOON_STATE, 0, &out->vm, e);
}

/* ---- changes -------------------------------------------------------------------------------------------------------- */

static int send_update(struct agent *agent, const char *id, void *arg, struct err *e)
{
	const struct resource_update *u = arg;
	Microvm__UpdateRequest req;
	Microvm__Resources res;
	Microvm__Int64Value pids, quota;
	Microvm__UInt64Value period;
	Microvm__CPU cpu;

	microvm__update_request__init(&req);
	microvm__resources__init(&res);
	microvm__int64_value__init(&pids);
	microvm__int64_value__init(&quota);
	microvm__uint64_value__init(&period);
	microvm__cpu__init(&cpu);
	req.id = (char *)(uintptr_t)id;
	req.resources = &res;
	if (u->pids_limit) {
		pids.value = u->pids_limit > 0 ? u->pids_limit : -1;
		res.pids_limit = &pids;
	}
	if (u->nano_cpus) {
		period.value = CPU_PERIOD_US;
		quota.value = (int64_t)(u->nano_cpus / (1000000000 / CPU_PERIOD_US));
		cpu.quota = &quota;
		cpu.period = &period;
		res.cpu = &cpu;
	}
	return agent_update_container(agent, &req, NULL, e);
}

static int check_update(const struct state_ref *ref, const struct resource_update *u, struct err *e)
{
	const struct sandbox_record *r = &ref->record;

	if (u->mem_bytes && u->mem_bytes < SANDBOX_MEM_MIN)
		return err_set(e, EINVAL, "%s: --memory: %llu MiB is too small for a guest; give at least %llum",
			       r->name, (unsigned long long)(u->mem_bytes >> 20),
			       (unsigned long long)(SANDBOX_MEM_MIN >> 20));
	if (u->mem_bytes > r->mem_bytes)
		return err_set(
			e, EINVAL,
			"%s: --memory: its VM was made with %llu MiB and can't get more; start it with the most it "
			"will ever need, and take from that",
			r->name, (unsigned long long)(r->mem_bytes >> 20));
	if (u->nano_cpus && (u->nano_cpus < 10000000 || u->nano_cpus > r->vcpus * 1000000000ull))
		return err_set(e, ERANGE, "%s: --cpus: its VM has %u, so 0.01 to %u will do", r->name, r->vcpus,
			       r->vcpus);
	return 0;
}

int sandbox_update(const struct state_ref *ref, const struct resource_update *u, struct err *e)
{
	struct balloon_answer answer;
	int r = remote_check_running(ref, e);

	if (!r)
		r = check_update(ref, u, e);
	if (!r && (u->nano_cpus || u->pids_limit))
		r = remote_call(ref, send_update, (void *)(uintptr_t)u, e);
	if (!r && u->mem_bytes)
		r = sandbox_balloon(ref, BALLOON_TARGET, ALIGN_UP(u->mem_bytes, 4096), &answer, e);
	return r;
}

static int send_resources(struct agent *agent, const char *id, void *arg, struct err *e)
{
	Microvm__UpdateRequest req;

	microvm__update_request__init(&req);
	req.id = (char *)(uintptr_t)id;
	req.resources = arg;
	return agent_update_container(agent, &req, NULL, e);
}

/* Do others live in its VM, whose memory a limit of its own says nothing about? */
static int is_joined(struct state *state, const struct state_ref *ref, bool *joined, struct err *e)
{
	struct state_ref *list;
	size_t n, i;
	int r = state_list(state, &list, &n, e);

	if (r)
		return r;
	*joined = false;
	for (i = 0; i < n; i++)
		*joined = *joined || (list[i].alive && list[i].record.vm && str_eq(list[i].record.vm, ref->record.id));
	state_list_free(list, n);
	return 0;
}

int sandbox_update_resources(struct state *state, const struct state_ref *ref, const Microvm__Resources *res,
			     struct err *e)
{
	const uint64_t limit = bundle_mem_limit(res);
	uint64_t target = ref->record.mem_bytes;
	struct balloon_answer answer;
	bool joined = false;
	int r;

	if (limit > ref->record.mem_bytes)
		return err_set(
			e, ERANGE,
			"%s: memory.limit: its VM was made with %llu MiB and can't get more; say at creation what it "
			"will need at most",
			ref->record.name, (unsigned long long)(ref->record.mem_bytes >> 20));
	r = remote_call(ref, send_resources, (void *)(uintptr_t)res, e);
	/* Another one's VM is not this one's to make smaller. */
	if (r || !limit || ref->record.vm)
		return r;
	r = is_joined(state, ref, &joined, e);
	if (r)
		return r;
	/* What its limit leaves over is not the guest's any more, either. */
	if (!joined)
		target = ALIGN_UP(min_t(uint64_t, bundle_mem_for_limit(limit), target), 4096);
	return sandbox_balloon(ref, BALLOON_TARGET, target, &answer, e);
}

static int ask_processes(struct agent *agent, const char *id, void *arg, struct err *e)
{
	Microvm__ProcessList **list = arg;
	Microvm__ContainerRequest req;

	microvm__container_request__init(&req);
	req.id = (char *)(uintptr_t)id;
	return agent_list_processes(agent, &req, list, e);
}

int sandbox_processes(const struct state_ref *ref, uint32_t **pids, size_t *n, struct err *e)
{
	Microvm__ProcessList *list;
	int r = remote_call(ref, ask_processes, &list, e);

	if (r)
		return r;
	*n = list->n_pids;
	*pids = xcalloc(list->n_pids + 1, sizeof(**pids));
	if (list->n_pids)
		memcpy(*pids, list->pids, list->n_pids * sizeof(**pids));
	agent_reply_free(list);
	return 0;
}
