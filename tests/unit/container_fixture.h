/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real containers on the machine that runs the tests: each test is root in a mount, pid and ipc namespace of its own, with
 * a cgroup2 of the machine's, and makes containers out of one busybox in an otherwise empty root. Machines whose cgroup2
 * has no controllers can't limit anything; what needs them is tested in the guest itself.
 */
#ifndef CONTAINER_FIXTURE_H
#define CONTAINER_FIXTURE_H

#include <check.h>
#include <stdbool.h>

#include "base/util.h"
#include "guest-agent/container.h"
#include "oci/defaults.h"
#include "oci/spec.h"

#define OUTPUT_MAX 65536
#define LIST(...) ((char *[]){ __VA_ARGS__, NULL })

/* A container that is being asked for; spec may be changed before it's made. */
struct box {
	Microvm__Spec *spec;
	Microvm__Rootfs rootfs;
	Microvm__RootFile files[8];
	struct container *c;
	struct container_io io;
	struct err e;
	pid_t pid;
	int out; /* what it writes, from here */
	char output[OUTPUT_MAX];
};

/* To be called first in each test: leaves the machine's namespaces. */
void fixture_begin(void);

/* A box with docker's defaults and `sh -c script`; o may be NULL. */
struct box *box_new(const char *script, const struct oci_options *o);
/* A file of the root: at most 7. */
void box_file(struct box *b, const char *path, const char *text, unsigned int mode);
void box_mount(struct box *b, const char *destination, const char *type, const char *source, char *const *options);
int box_create(struct box *b);
int box_start(struct box *b);
/* Reads all output into b->output, reaps pid: -> exit status as the agent tells it. */
int box_finish(struct box *b, pid_t pid);
/* create, start, finish: the status, or a negative errno with b->e. */
int box_run(struct box *b);
int box_exec(struct box *b, char *const *args, const char *user, pid_t *pid);
/* Removes the container, and checks that nothing is left of it. */
void box_free(struct box *b);

/* Runs and frees a box: the status has to be 0, the output that. */
void box_expect(struct box *b, const char *want);
/* The same, of a new box. */
void expect_output(const char *script, const struct oci_options *o, const char *want);
/* Making it fails with a negative errno, and an error that says so; it is freed. */
void box_expect_refused(struct box *b, int code, const char *says);

void check_nothing_left(void);

/* Files of the guest. */
void make_folder(const char *path, mode_t mode);
void make_file(const char *path, const char *text);

#endif
