/* SPDX-License-Identifier: Apache-2.0 */
/* What a process is given before its program starts; run in the process itself, but where it says otherwise. */
#ifndef AGENT_PROCESS_H
#define AGENT_PROCESS_H

#include <sys/types.h>

#include "base/err.h"
#include "guest-agent/agent.pb-c.h"
#include "guest-agent/user.h"

/* Refuses what can't be honoured, before anything is made. */
int process_check(const Microvm__Process *p, struct err *e);

/*
 * From outside, by the agent, while pid waits: rlimits, oom_score_adj, scheduler and I/O priority can need more than a
 * container's root is allowed.
 */
int process_adjust(pid_t pid, const Microvm__Process *p, struct err *e);

/* Stdio is there already (0 to 2). Looks up the user, prepares environment and working directory below root. */
int process_prepare(int root, const Microvm__Process *p, struct user *u, char ***env, struct err *e);

/* Groups, ids, capabilities, no_new_privs, umask and the filter (NULL: none). No way back. */
int process_drop(const Microvm__Process *p, const struct user *u, const Microvm__Seccomp *seccomp, struct err *e);

/*
 * Which file that user would execute: malloc'd, along env's PATH or below the working directory. -ENOENT, -EACCES, and a message
 * that begins with GUEST_EXEC_ERROR. The additional groups are the user's afterwards.
 */
int process_find(const Microvm__Process *p, const struct user *u, char *const *env, char **file, struct err *e);
/* Returns only if it fails: -ENOENT (its interpreter), -ENOEXEC … */
int process_exec(const Microvm__Process *p, const char *file, char *const *env, struct err *e);

/* The number of a personality's name: -EINVAL. */
int process_personality(const char *domain, unsigned long *persona, struct err *e);

/* ---- hooks (process_hooks.c) ---- */

#define HOOKS_MAX 64u

/* Runs them one after the other, each with state on its stdin; the first that fails is the end. */
int hooks_run(const char *kind, Microvm__Hook *const *hooks, size_t n, const char *state, struct err *e);
/* The longest they can take all together. */
unsigned int hooks_limit_s(Microvm__Hook *const *hooks, size_t n);
/* Waits for a child of the caller's, and kills it at the limit. -> *status of wait(2); -ETIMEDOUT. */
int process_wait(pid_t pid, unsigned int limit_ms, int *status);
/* Signals as a fresh program expects them: nothing blocked, nothing ignored. */
void process_reset_signals(void);

#endif
