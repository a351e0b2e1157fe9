/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of sandboxes outside of the process that runs each:
 *
 *   sandboxes/ID/state.json   the record below, replaced atomically
 *   sandboxes/ID/lock         flock'd by the supervisor for its life, so a dead one is known at once; holds the exit
 *                             status at the end, for who waits
 *   sandboxes/ID/vsock        the VMM's socket: how other processes reach the guest's agent
 *   sandboxes/ID/balloon      the VMM's socket for what is asked and said about the guest's memory
 *   sandboxes/ID/process.pb   the container's process, on which exec builds
 *   sandboxes/ID/console.log  what the VMM and the guest's console said, bounded
 *   sandboxes/ID/output       stdout and stderr of a detached container, bounded (output_log.h)
 *   sandboxes/ID/config.json  an engine's container: what its bundle said at creation
 *   sandboxes/ID/control      its supervisor's socket, control.h
 *   names/NAME -> ID          who has a name; made with symlink(2), so it can't be given twice
 *   uids/N -> ID              who has a uid of the reserved range; likewise
 *   lock                      held while a sandbox is made or swept
 *
 * Everything is 0700 and root's. A sandbox whose supervisor died is swept by the next command that looks.
 */
#ifndef SANDBOX_STATE_H
#define SANDBOX_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "sandbox/strv.h"

/*
 * uids of VMMs: one each, so that two of them share nothing, not even ptrace or signals. "vM" and 16 bits, in the one
 * range below 2^31 that systemd's list of uids calls unused (1879048192..2147483647).
 */
#define STATE_UID_BASE 0x764d0000u
#define STATE_UID_COUNT 0x10000u
#define STATE_ID_LEN 64u
#define STATE_NAME_MAX 128u
#define STATE_BALLOON_SOCKET "balloon"
#define STATE_SEQPACKET_SOCKET "vsock-seqpacket" /* as "vsock", for connections of messages */
#define STATE_CONTROL_SOCKET "control"
#define STATE_CONFIG "config.json"

enum sandbox_status { SANDBOX_CREATED, SANDBOX_RUNNING, SANDBOX_PAUSED, SANDBOX_EXITED, SANDBOX_STATUS_N };
extern const char *const sandbox_status_names[SANDBOX_STATUS_N];

struct sandbox_record {
	char id[STATE_ID_LEN + 1];
	char *name;
	char *image, *image_id;
	struct strv command; /* entrypoint and arguments, as run */
	struct strv labels;
	struct strv volumes;   /* names of all that it has */
	struct strv anonymous; /* of them, those that were made for it without a name */
	char *hostname;
	enum sandbox_status status;
	int64_t created_ns, started_ns, finished_ns; /* CLOCK_REALTIME; 0: not yet */
	int exit_status;
	bool oom_killed;
	char *error; /* why it ended, when that was not the container's own doing */
	bool remove, tty, detached;
	/* Of an engine's container, which stays until it is deleted, however it ended; NULL and empty: it is none. */
	char *bundle, *oci_version;
	struct strv annotations; /* K=V */
	uint64_t mem_bytes, nano_cpus;
	uint32_t vcpus, uid;
	pid_t supervisor_pid, vmm_pid, fsd_pid, init_pid; /* 0: it has none of its own, or none yet */
	char *vm; /* the id of the sandbox whose VM it is in (join.h); NULL: its own */
	char *stop_signal;
	char *vsock;   /* the path of its streams, module_path.h */
	char *balloon; /* and of the pages it gives back, module_path.h */
	uint64_t stop_timeout_ns;
};
void sandbox_record_free(struct sandbox_record *r);

/* Pure: record to JSON text (malloc) and back. */
char *sandbox_record_to_json(const struct sandbox_record *r);
int sandbox_record_from_json(const char *text, size_t len, struct sandbox_record *r, struct err *e);

struct state;
/* Makes the folders, sweeps what dead supervisors left. NULL: MICROVM_STATE or /run/microvm. -EPERM without root. */
int state_open(const char *path, struct state **state, struct err *e);
void state_close(struct state *state);
const char *state_path(const struct state *state);

/* The supervisor's side: a sandbox of its own, locked. */
struct state_sandbox {
	struct state *state;
	int dirfd, lockfd;
	uint32_t uid;
	char *path; /* of the folder, absolute */
	bool name_held;
};
/*
 * Makes r->id's folder, takes r->name (or makes one up, into r->name) and a uid, and writes the record. -EEXIST: the name
 * is in use.
 */
int state_create(struct state *state, struct sandbox_record *r, struct state_sandbox *s, struct err *e);
/* Replaces the record. */
int state_save(struct state_sandbox *s, const struct sandbox_record *r, struct err *e);
/* For who waits: how it ended. Kept in the lock file, which outlives the folder for them. */
void state_publish_exit(struct state_sandbox *s, int exit_status);
/* The sandbox has ended: gives its uid back and removes what only a live one needs; or, with `all`, everything. Unlocks. */
void state_finish(struct state_sandbox *s, const struct sandbox_record *r, bool all);

/* Everyone else's side. */
struct state_ref {
	int dirfd, lockfd;
	char *path;
	bool alive; /* a supervisor holds the lock */
	struct sandbox_record record;
};
void state_ref_free(struct state_ref *ref);
/* By name, id, or an id's unambiguous beginning. -ENOENT, -EEXIST (ambiguous). */
int state_find(struct state *state, const char *text, struct state_ref *ref, struct err *e);
/* All, newest first. */
int state_list(struct state *state, struct state_ref **list, size_t *n, struct err *e);
void state_list_free(struct state_ref *list, size_t n);
/*
 * Of one that has ended: until ref is freed nobody else may remove it. Waits for who has it, and fails with -ENOENT if there is
 * nothing left then.
 */
int state_claim(struct state *state, struct state_ref *ref, struct err *e);
/* Removes the record of a sandbox that has ended. -EBUSY: it has not. */
int state_remove(struct state *state, struct state_ref *ref, struct err *e);
/* Blocks until the supervisor has ended; its exit status, or negative errno. */
int state_wait(struct state_ref *ref, struct err *e);

/* "[a-zA-Z0-9][a-zA-Z0-9_.-]*", at most STATE_NAME_MAX bytes. */
bool state_name_valid(const char *name);
/* "adjective_noun", `attempt` behind it from 1 on. */
char *state_name_random(unsigned int attempt);

int64_t realtime_ns(void);

#endif
