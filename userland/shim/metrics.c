/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/metrics.h"

#include "base/util.h"

#define METRICS(Name) Io__Containerd__Cgroups__V2__##Name
#define NS_PER_US 1000u

static void fill_cpu(METRICS(CPUStat) * cpu, const Microvm__Stats *s)
{
	io__containerd__cgroups__v2__cpustat__init(cpu);
	cpu->usage_usec = s->cpu_usage_ns / NS_PER_US;
	cpu->user_usec = s->cpu_user_ns / NS_PER_US;
	cpu->system_usec = s->cpu_system_ns / NS_PER_US;
	cpu->nr_periods = s->cpu_periods;
	cpu->nr_throttled = s->cpu_throttled_periods;
	cpu->throttled_usec = s->cpu_throttled_ns / NS_PER_US;
}

static void fill_memory(METRICS(MemoryStat) * memory, METRICS(MemoryEvents) * events, const Microvm__Stats *s)
{
	io__containerd__cgroups__v2__memory_stat__init(memory);
	io__containerd__cgroups__v2__memory_events__init(events);
	memory->usage = s->memory_usage_bytes;
	/* "max" is no number; cgroups have the largest one for it. */
	memory->usage_limit = s->memory_limit_bytes ? s->memory_limit_bytes : UINT64_MAX;
	memory->anon = s->memory_anon_bytes;
	memory->file = s->memory_file_bytes;
	events->oom_kill = s->oom_kills;
}

void metrics_pack(const Microvm__Stats *s, Google__Protobuf__Any *any)
{
	METRICS(Metrics) m;
	METRICS(PidsStat) pids;
	METRICS(CPUStat) cpu;
	METRICS(MemoryStat) memory;
	METRICS(MemoryEvents) events;
	METRICS(IOStat) io;
	METRICS(IOEntry) entry, *entries[] = { &entry };

	io__containerd__cgroups__v2__metrics__init(&m);
	io__containerd__cgroups__v2__pids_stat__init(&pids);
	io__containerd__cgroups__v2__iostat__init(&io);
	io__containerd__cgroups__v2__ioentry__init(&entry);
	pids.current = s->pids;
	pids.limit = s->pids_limit;
	fill_cpu(&cpu, s);
	fill_memory(&memory, &events, s);
	entry.rbytes = s->io_read_bytes;
	entry.wbytes = s->io_write_bytes;
	entry.rios = s->io_reads;
	entry.wios = s->io_writes;
	io.usage = entries;
	io.n_usage = ARRAY_SIZE(entries);
	m.pids = &pids;
	m.cpu = &cpu;
	m.memory = &memory;
	m.memory_events = &events;
	m.io = &io;
	google__protobuf__any__init(any);
	any->type_url = (char *)(uintptr_t)m.base.descriptor->name;
	any->value.data = xcalloc(1, protobuf_c_message_get_packed_size(&m.base) + 1);
	any->value.len = protobuf_c_message_pack(&m.base, any->value.data);
}
