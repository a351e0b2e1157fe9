/* SPDX-License-Identifier: Apache-2.0 */
/* One sandbox as the process that runs it has it. pipeline.c says what is made when; each stage's file says how. */
#ifndef SANDBOX_SANDBOX_PRIVATE_H
#define SANDBOX_SANDBOX_PRIVATE_H

#define SANDBOX_PROCESS_FILE "process.pb" /* in the sandbox's folder: a packed Microvm__Process */

#include <signal.h>

#include "agent/agent.h"
#include "base/vmspec.h"
#include "image/image.h"
#include "io/loop.h"
#include "sandbox/console.h"
#include "sandbox/host_cgroup.h"
#include "sandbox/network.h"
#include "sandbox/sandbox.h"
#include "sandbox/shares.h"
#include "sandbox/slots.h"
#include "sandbox/stdio.h"
#include "sandbox/timing.h"
#include "sandbox/vmm.h"

struct sandbox;

/* A guest that is asked for its first answer. */
struct boot {
	struct loop_op limit_op;
	bool asked, answered, late;
	uint64_t cpu_ns; /* of its VMM, when its time was up last */
	struct err e;
	void (*done)(struct sandbox *s); /* NULL: whoever waits looks at answered */
};

struct sandbox {
	const struct sandbox_paths *paths;
	const struct run_options *options;
	struct timing timing;

	/* host */
	struct state *state;
	int kvm_fd;
	char *vmm_program;
	uint64_t host_mem_bytes;
	struct shares shares;

	/* image */
	struct image_store *store;
	struct image *image;

	/* background: of a detached one, in the supervisor; -1 otherwise */
	int ready_fd;
	struct loop_op ready_op;

	/* engine: of a bundle */
	struct host_cgroup cgroup;
	int host_netns_fd;
	int control_listen_fd, control_conn;
	struct loop_op control_op;
	bool holding;	   /* created, and told so: waits for */
	bool start_wanted; /* … this */
	bool created;	   /* whoever asked for it deletes it */

	/* identity */
	struct loop *loop;
	bool own_loop;
	struct state_sandbox home;
	struct sandbox_record record;
	char *cidfile; /* written: to be removed if nothing starts */

	/* signals */
	int signal_fd;
	struct loop_op signal_op;
	struct signalfd_siginfo *signal_info;
	sigset_t signals_before;
	int cancelled_by; /* the signal that ended the start, or the whole sandbox; 0: none */
	bool gave_up;	  /* who wanted to know of the start is gone */
	unsigned int end_requests;
	struct loop_op timeout_op;
	bool timed_out;

	/* network: what the engine made for the container */
	struct network network;

	/* storage */
	const Microvm__Linux *pod_linux; /* whose sysctls are the guest's own; NULL: none; until its boot */
	size_t first_share;		 /* the number of its first share; another one's VM has others, too */
	bool grows;	       /* a pod: shares come and go while it runs, in a tree on its folder (share_tree.h) */
	struct vmm fsd;	       /* microvm-fsd */
	int fsd_fd;	       /* the VMM's end of the connection to it; -1: there is no share */
	struct loop_op fsd_op; /* waits for its end */
	struct console fsd_log;
	bool fsd_gone;
	int *volume_fds; /* locked as long as they are in use */
	int *fill_fds;	 /* of those that get the image's files; -1: the others */
	size_t volumes_n;
	int *disk_fds;
	size_t disks_n;
	struct slots slots; /* of a pod */

	/* vmspec */
	int kernel_fd, initramfs_fd, listen_fd, seq_listen_fd, balloon_fd, module_fd, balloon_module_fd, self_fd;
	int control_fd, control_guest_fd;
	int call_fd;	    /* where the agent calls by vhost-vsock; -1: it has the other end of control_fd */
	uint32_t vhost_cid; /* and the guest's CID; 0: streams go otherwise */
	int report_fd, report_vmm_fd;
	int log_vmm_fd;
	struct vmspec *vmspec;

	/* spawn */
	struct vmm vmm;
	struct vm_report report;
	struct loop_op report_op;
	size_t report_len;
	bool vmm_gone;
	struct console console;

	/* spec */
	Microvm__Spec *spec;

	/* boot and on */
	struct agent *agent;
	struct boot boot;
	void (*vmm_ended)(struct sandbox *s); /* told from the loop; NULL: whoever waits looks at vmm_gone */
	bool boot_over;
	struct output_log output; /* of a detached one */
	struct stdio stdio;
	bool exec_failed; /* the command itself could not be started */
	bool started;
	bool wait_over; /* the agent said how the first process ended, or that it can't */
	bool exited;	/* it did: */
	int exit_status;
	bool oom_killed;
	struct err wait_error;
};

struct stage {
	const char *name;
	int (*make)(struct sandbox *s, struct err *e);
	void (*undo)(struct sandbox *s); /* NULL: nothing to undo */
};
void sandbox_init(struct sandbox *s, const struct sandbox_paths *paths, const struct run_options *o);
/* In order until one fails; *made: how many were begun, which are undone in reverse. */
int sandbox_make(struct sandbox *s, const struct stage *list, size_t n, size_t *made, struct err *e);
void sandbox_undo(struct sandbox *s, const struct stage *list, size_t made);

/* ---- stages, in the order of pipeline.c; undo takes back what there is of it -------------------------------------- */

int stage_host(struct sandbox *s, struct err *e);
void undo_host(struct sandbox *s);
int stage_image(struct sandbox *s, struct err *e);
void undo_image(struct sandbox *s);
int stage_background(struct sandbox *s, struct err *e);
int stage_identity(struct sandbox *s, struct err *e);
void undo_identity(struct sandbox *s);
/* Before the first stage: until the signals are events, one that asks for an end is the end, and nothing is left over. */
void signals_begin(void);
int stage_signals(struct sandbox *s, struct err *e);
void undo_signals(struct sandbox *s);
int stage_engine(struct sandbox *s, struct err *e);
void undo_engine(struct sandbox *s);
/* Ours, and so of the processes that are started from then on. An engine may deny it devices: they are open before. */
int engine_enter_cgroup(struct sandbox *s, struct err *e);
int stage_hooks(struct sandbox *s, struct err *e);
/* After the hooks, as some make interfaces. */
int stage_network(struct sandbox *s, struct err *e);
void undo_network(struct sandbox *s);
int stage_hold(struct sandbox *s, struct err *e);
/* The container runs: poststart hooks. */
void engine_started(struct sandbox *s);
int stage_storage(struct sandbox *s, struct err *e);
void undo_storage(struct sandbox *s);
/* Nobody but the VMM has these from now on. */
void storage_close_vmm_ends(struct sandbox *s);
/* The process that serves the shares, if there are any; its log goes where the VMM's goes (fileserver.c). */
int fileserver_start(struct sandbox *s, struct err *e);
/* From here on its end is the sandbox's. */
void fileserver_watch(struct sandbox *s);
/* If it has failed: how and why, as an error, its last words included. 0: it has not. */
int fileserver_error(struct sandbox *s, struct err *e);
/* It has ended when this returns. */
void fileserver_end(struct sandbox *s);
/* The container is made, and what is new among its volumes has the image's files. */
int storage_filled(struct sandbox *s, struct err *e);
/* Of a bind mount of config.json: is it a file or folder; nothing else works in a guest. */
int share_check_spec_source(const char *source, size_t mount, struct err *e);
/* Mounts and devices into the container's spec. */
void storage_fill_spec(struct sandbox *s);
int stage_vmspec(struct sandbox *s, struct err *e);
void undo_vmspec(struct sandbox *s);
int stage_spawn(struct sandbox *s, struct err *e);
void undo_spawn(struct sandbox *s);
int stage_spec(struct sandbox *s, struct err *e);
void undo_spec(struct sandbox *s);
int stage_boot(struct sandbox *s, struct err *e);
void undo_boot(struct sandbox *s);
/* Its halves, for who does not wait: asks, and boot.done comes from the loop; then why it failed, or 0. */
int boot_ask(struct sandbox *s, struct err *e);
int boot_result(struct sandbox *s, struct err *e);
/* In place of all that makes a VM (join.c). */
int stage_join(struct sandbox *s, struct err *e);
void undo_join(struct sandbox *s);
int stage_stdio(struct sandbox *s, struct err *e);
void undo_stdio(struct sandbox *s);
int stage_create(struct sandbox *s, struct err *e);
int stage_start(struct sandbox *s, struct err *e);
/* The container runs: until it has ended and its output is delivered. */
int stage_io(struct sandbox *s, struct err *e);

/* ---- between them ------------------------------------------------------------------------------------------------- */

/* 126 or 127 for what the agent says of a command that it can't start, else 125. */
int sandbox_exec_status(int code);
/* Why the VM is not there any more, as an error. */
int sandbox_vm_error(struct sandbox *s, struct err *e);
/* A call to the agent failed with e: if the VM ended, or somebody wanted the end, that is the reason. */
int sandbox_call_error(struct sandbox *s, struct err *e);
/* Listens at a socket of that name in the sandbox's folder. */
int sandbox_listen(struct sandbox *s, int type, const char *name, int *fd, struct err *e);
/* The end, as if by that signal; our terminal's size goes to the container. */
void signals_cancel(struct sandbox *s, int number);
void signals_resize(struct sandbox *s);
/* Runs the loop until *flag, or the VM's end or a cancel. */
int sandbox_run_until(struct sandbox *s, const bool *flag, struct err *e);

/* The supervisor's end of the detached pair: tells who waits that it runs, or (when all is undone) why not; e is said then. */
void background_ready(struct sandbox *s);
void background_failed(struct sandbox *s, int status, struct err *e);

#endif
