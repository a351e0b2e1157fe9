/* SPDX-License-Identifier: Apache-2.0 */
/* Runs one VM with a payload guest, and looks at how it ends. */
#ifndef TESTS_BOOT_H
#define TESTS_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/vmspec.h"
#include "sandbox/vmm.h"

#define LIMIT_MS 60000

struct run {
	struct vmspec spec;
	struct vmm vmm;
	int log_fd, report_fd; /* our ends */
	int console_fd;	       /* -1: no console */
	char log[65536];
	size_t log_n;
	struct vm_report report;
	bool reported;
	char why[1024];	  /* of a failure; "" if none */
	const char *skip; /* why it can't run here; NULL: it can */
};

/* A run of payload `cmdline` with 1 vCPU and 16 MiB, to be changed before run_start. */
void run_init(struct run *run, const char *cmdline);
/* Adds a disk of 64 KiB whose sector n is filled with 'A' + n % 16. */
void run_add_disk(struct run *run, unsigned int flags);
bool run_start(struct run *run);
/* Reads the log until it holds words. false: the VMM ended, or LIMIT_MS passed. */
bool run_wait_log(struct run *run, const char *words);
/* Until the VMM has ended; then report and log are complete. */
bool run_finish(struct run *run);
void run_free(struct run *run);
/* Notes the first failure; returns false. */
bool run_fail(struct run *run, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* tests of what the process may do, jail.c */
void test_jail(struct run *run);
void test_denied(struct run *run, const char *thread);
void test_parent_death(struct run *run);

/* a vhost-user file server behind the VMM, fs.c */
void test_fs(struct run *run);
void test_fs_killed(struct run *run);

#endif
