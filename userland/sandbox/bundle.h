/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An OCI bundle as an engine hands it over: a folder with config.json and a root. Read once, before anything is made; what a
 * VM of its own can't give is refused here, by its name in config.json.
 */
#ifndef SANDBOX_BUNDLE_H
#define SANDBOX_BUNDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "guest-agent/agent.pb-c.h"
#include "sandbox/options.h"

/* Annotations that size the VM where the engine's limits don't say enough: "512m", "2". */
#define BUNDLE_MEMORY "io.microvm.memory"
#define BUNDLE_CPUS "io.microvm.cpus"
/* The same as containerd's CRI plugin says it of a pod: bytes, microseconds, shares. */
#define BUNDLE_POD_MEMORY "io.kubernetes.cri.sandbox-memory"
#define BUNDLE_POD_CPU_QUOTA "io.kubernetes.cri.sandbox-cpu-quota"
#define BUNDLE_POD_CPU_PERIOD "io.kubernetes.cri.sandbox-cpu-period"
#define BUNDLE_POD_CPU_SHARES "io.kubernetes.cri.sandbox-cpu-shares"
/* A container of a pod names it so (containerd's CRI plugin). */
#define BUNDLE_POD_ID "io.kubernetes.cri.sandbox-id"
#define BUNDLE_CONTAINER_TYPE "io.kubernetes.cri.container-type" /* "sandbox": the pod's own */
/* Of the VM of a container that others are expected to join, and that has no limit of its own. */
#define BUNDLE_POD_MEM (512ull << 20)
/* What a guest needs besides its container's limit: kernel, agent, page tables. */
#define BUNDLE_MEM_OVERHEAD (64ull << 20)

struct bundle {
	char *path;	       /* of the folder, absolute */
	char *config;	       /* the text of config.json: kept with the sandbox, as what it said at creation counts */
	char *rootfs;	       /* absolute */
	Microvm__Spec *spec;   /* what the agent gets; taken by the sandbox */
	Microvm__Hooks *hooks; /* the host's: all but startContainer; NULL: none */
	bool joins;   /* may join others' VMs: a path of /proc/PID/ns stays, which may be that of a container */
	bool in_pod;  /* its namespaces with a path are those of a pod's first container */
	bool pause;   /* of a pod: the container that stands for it, and has no work to do */
	char *cgroup; /* of the host, below that of all cgroups; NULL: none is named */
	char *netns;  /* a network namespace of the engine's; NULL: a new one */
	uint64_t mem_bytes, nano_cpus; /* of the VM; 0: the default */
};

/* path NULL: the current folder. -ENOENT: no config.json or root; -ENOTSUP: not for a VM; else as oci_spec_parse. */
int bundle_load(const char *path, struct bundle *b, struct err *e);
/*
 * The same for who has pods. Of a container with BUNDLE_POD_ID, b->in_pod then, a path of an ipc, uts or pid namespace means that of the pod's first container, and the
 * network namespace is the pod's.
 */
int bundle_load_in_pod(const char *path, struct bundle *b, struct err *e);
/* The same before there is a root. */
int bundle_load_config(const char *path, struct bundle *b, struct err *e);
/* What all of a pod share is the guest's own, but for pids: its ipc and uts namespace, with the host name and sysctls. */
void bundle_leave_to_vm(struct bundle *b);
bool bundle_joins_pid(const struct bundle *b);
/* The paths become those of that process in the guest. */
void bundle_enter_pod(struct bundle *b, uint32_t guest_pid);
/* Whose namespace of that type it is, by its path ("/proc/7/ns/ipc": 7); 0: that is none of a process. Pure. */
pid_t bundle_namespace_pid(const Microvm__Namespace *ns);
/* It becomes that of a process of the guest. */
void bundle_join_namespace(Microvm__Namespace *ns, uint32_t guest_pid);
/* -ENOTSUP, by its name. */
int bundle_refuse_namespace(const Microvm__Namespace *ns, struct err *e);
/* No network namespace of its own: it has the guest's, as all containers of a pod have. */
void bundle_share_network(struct bundle *b);
void bundle_free(struct bundle *b);
/* How large its VM is to be: into o, whose other members stay. */
void bundle_size(const struct bundle *b, struct run_options *o);
/* What a VM needs whose containers have that limit of memory, in bytes; and the limit of one, 0: none. */
uint64_t bundle_mem_for_limit(uint64_t limit);
uint64_t bundle_mem_limit(const Microvm__Resources *resources);
/* Its quota of CPU time, in thousandths of a CPU, rounded up; 0: none. */
uint64_t bundle_cpu_limit(const Microvm__Resources *resources);
/* NULL: it isn't there. */
const char *bundle_annotation(const struct bundle *b, const char *name);
/* Pure: the text of config.json, of a bundle at `path`. b->in_pod and b->joins are looked at; the rest of b is zero. */
int bundle_parse(const char *path, const char *text, size_t len, struct bundle *b, struct err *e);
/* Options of a sandbox that is this bundle: they point into b. */
void bundle_options(struct bundle *b, struct run_options *o);
/* Whether its source is a file or folder of the host. */
bool bundle_mount_is_bind(const Microvm__Mount *m);
/* Of a saved config.json what its end needs: the hooks of the host, and the cgroup; both may be NULL. */
int bundle_saved(const char *text, size_t len, Microvm__Hooks **hooks, char **cgroup, struct err *e);
void bundle_hooks_free(Microvm__Hooks *hooks);

#endif
