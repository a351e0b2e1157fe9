/* SPDX-License-Identifier: Apache-2.0 */
/* What a front end asks for. Field names and meanings are those of docker's options of the same name. */
#ifndef SANDBOX_OPTIONS_H
#define SANDBOX_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/util.h"
#include "sandbox/strv.h"

/* Where things are on this host; NULL: the default, or what the environment says (paths.h). */
struct sandbox_paths {
	const char *state; /* MICROVM_STATE, /run/microvm */
	const char *store; /* MICROVM_STORE, /var/lib/microvm */
};

/* A process: of `run` and of `exec`. Not owned, unless a front end says so. */
struct process_options {
	struct strv env;      /* NAME=VALUE, or NAME: from our own environment */
	struct strv env_file; /* paths of files with one such line each */
	char *workdir, *user;
	bool interactive; /* -i: our stdin is its stdin */
	bool tty;
	bool detach;
	bool privileged;
	/* What an engine asks for. The process that is left behind lives as long as the container's and ends as it did. */
	bool inherit;	      /* with detach: the streams are those that we were given, and stay so */
	char *console_socket; /* of a detached terminal: where its master goes; NULL: none */
	char *pid_file;	      /* gets the pid of the process that is left behind; NULL: none */
	char *process_file;   /* exec: an OCI process object in place of the options; NULL: none */
};

#define SANDBOX_MEM_DEFAULT (256ull << 20)
#define SANDBOX_MEM_MIN (48ull << 20) /* the kernel's own tables and the agent; less does not reach its init */
#define SANDBOX_BOOT_TIMEOUT_NS 60000000000ull
#define SANDBOX_STOP_TIMEOUT_NS 10000000000ull

struct bundle;
struct state_ref;

struct run_options {
	struct process_options process;
	char *image;		     /* any reference image_get takes; not looked at with rootfs */
	char *rootfs;		     /* FOLDER[:O] of the host as the container's root (shares.h); NULL: the image's */
	char **command;		     /* NULL-terminated; may be empty */
	char *name;		     /* NULL: made up */
	char *hostname, *domainname; /* NULL: the id's first 12 digits */
	char *entrypoint;	     /* NULL: the image's; "": none */
	char *config;		     /* an OCI config.json in place of all that follows up to `labels`; NULL: none */
	struct strv cap_add, cap_drop, security_opt, tmpfs, ulimit, sysctl, group_add, annotation, add_host,
		storage_opt;
	bool read_only;
	int64_t pids_limit; /* 0 or -1: none */
	char *oom_score_adj;
	uint64_t shm_bytes; /* 0: 64 MiB */
	struct strv labels;
	struct strv volume, mount, disk; /* shares.h has their syntax */
	char *rootfs_device;		 /* how the guest has the image: NULL or "blk", or "pmem" */

	uint64_t mem_bytes;	  /* of the whole VM */
	uint64_t mem_min_bytes;	  /* left to it when the host is short of memory; 0: all */
	char *balloon;		  /* module_path.h; NULL: whatever is best */
	uint64_t nano_cpus;	  /* 0: one vCPU, no quota */
	char *kernel, *initramfs; /* NULL: those installed */
	char *kernel_args;	  /* behind our own */
	char *vsock;		  /* module_path.h; NULL: whatever is best */
	uint64_t boot_timeout_ns;
	bool debug_console; /* the guest's console comes to our stderr */

	char *stop_signal; /* NULL: the image's, else SIGTERM */
	uint64_t stop_timeout_ns;
	uint64_t timeout_ns; /* of the whole run; 0: none */
	char *network;	     /* NULL or "none" */
	char *cidfile;
	bool remove;		      /* --rm */
	struct bundle *bundle;	      /* what the container is, in place of image, rootfs and config; NULL: none */
	const struct state_ref *join; /* the sandbox whose VM it is to be in (join.h); NULL: it gets one of its own */
	bool hold;		      /* with detach: created only, until sandbox_start() */
	bool sig_proxy;
};

/* Has the guest its image as memory? */
static inline bool rootfs_is_pmem(const struct run_options *o)
{
	return str_eq(o->rootfs_device, "pmem");
}

#define RUN_OPTIONS_INIT                                                                      \
	{                                                                                     \
		.mem_bytes = SANDBOX_MEM_DEFAULT, .boot_timeout_ns = SANDBOX_BOOT_TIMEOUT_NS, \
		.stop_timeout_ns = SANDBOX_STOP_TIMEOUT_NS, .sig_proxy = true                 \
	}

#endif
