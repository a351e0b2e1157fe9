/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sandbox whose containers come and go while it runs, driven from the caller's event loop: nothing here waits for the guest.
 * The VM, its file server and the connection to its agent are the stages of pipeline.c; containers are made, started and
 * watched by calls to the agent (agent/agent.h).
 */
#ifndef SANDBOX_POD_H
#define SANDBOX_POD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/agent.h"
#include "base/err.h"
#include "io/loop.h"
#include "sandbox/bundle.h"
#include "sandbox/options.h"
#include "sandbox/share_tree.h"

struct pod;

struct pod_config {
	const struct sandbox_paths *paths;
	struct loop *loop;
	const struct bundle *bundle; /* of its first container: how large the VM is, its host name */
	const char *name;	     /* for `microvm ps`; NULL: made up */
	/* Called from the loop, once each. ready: the agent answers (e NULL), or never will. ended: the VM is gone, e says why. */
	void (*ready)(void *arg, const struct err *e);
	void (*ended)(void *arg, const struct err *e);
	void *arg;
};

/*
 * Starts the VM; the calling process is its supervisor, and leaves the host's mount namespace. On failure nothing is left.
 * paths and loop outlive the pod.
 */
int pod_new(struct pod **out, const struct pod_config *config, struct err *e);
/* Ends the VM, at once, and all that belongs to it. Not from within a callback of the loop. */
void pod_free(struct pod *pod);
/* Ends the VM at once, without a word to ended(); the rest stays until pod_free(). */
void pod_end(struct pod *pod);
/* NULL: not ready, or ended. */
struct agent *pod_agent(struct pod *pod);
/* How the guest is reached for streams (stdio.h). */
const char *pod_socket(const struct pod *pod);
pid_t pod_vmm_pid(const struct pod *pod);
uint64_t pod_mem_bytes(const struct pod *pod);
unsigned int pod_vcpus(const struct pod *pod);
/* So many CPUs are the guest's from now on, at least one; more than it was made with are all of them. fewer: even if it has more. */
void pod_set_cpus(struct pod *pod, uint64_t n, bool fewer);
/* What its guest is to do with from now on; more than it was made with is all of that. */
void pod_set_memory(struct pod *pod, uint64_t bytes);

/* The files of a container: its root, and the bind mounts of its config.json. */
struct pod_files {
	size_t *numbers; /* of shares */
	size_t n;
	int slot;		/* of the disk that the root is on in place of a share; -1: none */
	Microvm__Rootfs rootfs; /* for the agent */
};
/* Is there something of it that has to be written out in the guest before that ends? */
static inline bool pod_files_on_disk(const struct pod_files *f)
{
	return f->numbers && f->slot >= 0;
}
/*
 * Makes them shares of a pod that is ready (before, its file server may miss them), and b->spec say where the guest has them.
 * No mounts: the root is the bundle's own folder. On failure nothing is left.
 */
int pod_files_add(struct pod *pod, struct bundle *b, const struct share_mount *mounts, size_t n, struct pod_files *f,
		  struct err *e);
/* pod NULL: it has ended, and they with it. */
void pod_files_remove(struct pod *pod, struct pod_files *f);

#endif
