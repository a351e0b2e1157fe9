/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spec of a container that was asked for as with `docker run`: docker's defaults, the image's configuration over
 * them, the user's options over that.
 */
#ifndef OCI_DEFAULTS_H
#define OCI_DEFAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "guest-agent/agent.pb-c.h"

/* What an image says. Lists are NULL-terminated; NULL (list or string) where it says nothing. */
struct oci_image_defaults {
	char *const *env;
	char *const *entrypoint;
	char *const *cmd;
	const char *user;
	const char *cwd;
	const char *stop_signal;
	char *const *volumes; /* paths; each becomes a folder of the writable layer, kept with the container */
};

/* What the user says, in the syntax of docker's flags. All zero: nothing. Lists are NULL-terminated or NULL. */
struct oci_options {
	struct oci_image_defaults image;
	char *const *args;	/* the words after IMAGE */
	const char *entrypoint; /* --entrypoint; also resets the image's cmd; "": no entrypoint */
	char *const *env;	/* "NAME=VALUE" sets; "NAME" alone removes (the front end has put its own value in) */
	const char *cwd;
	const char *user; /* NAME|UID[:GROUP|GID] */
	char *const *group_add;
	const char *hostname;
	const char *domainname;
	char *const *cap_add; /* "NET_ADMIN", "CAP_NET_ADMIN", "ALL" */
	char *const *cap_drop;
	char *const *security_opt; /* no-new-privileges[=true|false], seccomp=unconfined|default|FILE, … */
	char *const *tmpfs;	   /* PATH[:OPTION,…] */
	char *const *sysctl;	   /* NAME=VALUE */
	char *const *ulimit;	   /* NAME=SOFT[:HARD] */
	bool terminal;
	bool privileged;
	bool read_only;
	uint32_t console_rows, console_cols; /* 0: not known */
	int64_t pids_limit;		     /* 0: none; -1: unlimited */
	uint64_t memory_bytes;		     /* cgroup limit; 0: none but the guest's own memory */
	uint64_t nano_cpus;		     /* --cpus times 10^9; 0: no quota */
	uint64_t cpu_shares;		     /* 0: default */
	uint64_t shm_bytes;		     /* of /dev/shm; 0: 64 MiB */
	const char *oom_score_adj;	     /* NULL: not set */
};

/*
 * Makes the spec. On success *out is the caller's (oci_spec_free in spec.h). -EINVAL with a message that names the flag
 * and what is wrong with it; -ENOENT: the seccomp profile's file; -ENOTSUP: known to docker, but not for a guest.
 */
int oci_spec_default(const struct oci_options *o, Microvm__Spec **out, struct err *e);

struct oci_exec_options {
	char *const *args; /* at least one word */
	char *const *env;  /* as above, over the container's */
	const char *cwd;   /* NULL: the container's */
	const char *user;  /* NULL: the container's */
	bool terminal;
	bool privileged;
	uint32_t console_rows, console_cols;
};

/* A further process for a container whose first one is base. *out: oci_process_free in spec.h. */
int oci_process_exec(const Microvm__Process *base, const struct oci_exec_options *o, Microvm__Process **out,
		     struct err *e);

/* "TERM", "SIGTERM", "15", "RTMIN+3" to a number of 1..64; -EINVAL. */
int oci_signal_parse(const char *name, int *signal, struct err *e);

#endif
