/* SPDX-License-Identifier: Apache-2.0 */
/* Who a process is to be: "user[:group]" looked up in the container's /etc/passwd and /etc/group, as docker and runc do. */
#ifndef AGENT_USER_H
#define AGENT_USER_H

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "guest-agent/agent.pb-c.h"

#define USER_FILE_MAX (4u << 20) /* bytes of a passwd or group file */
#define USER_GROUPS_MAX 65536u	 /* the kernel's NGROUPS_MAX */
#define USER_HOME_MAX PATH_MAX

struct user {
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* additional ones, malloc'd */
	size_t groups_n;
	char home[USER_HOME_MAX]; /* "/" if nobody knows */
};

/*
 * Pure: passwd and group are the files' texts, NUL-terminated ("" where there is no file). Lines that make no sense are
 * passed over. -ENOENT: no such user or group. Free with user_free.
 */
int user_resolve(const Microvm__User *m, const char *passwd, const char *group, struct user *u, struct err *e);

/* The same with the files below root, which are read with care: no devices, no pipes, no more than USER_FILE_MAX. */
int user_lookup(int root, const Microvm__User *m, struct user *u, struct err *e);
void user_free(struct user *u);

#endif
