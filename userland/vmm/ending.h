/* SPDX-License-Identifier: Apache-2.0 */
/* How the VM ends: the first reason that any thread gives counts, and the main thread is told. */
#ifndef VMM_ENDING_H
#define VMM_ENDING_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/vmspec.h"

#define ENDING_SIGNAL SIGUSR2 /* sent to the main thread, which waits for it; blocked everywhere */

struct ending {
	pid_t pid, main_tid;
	int report_fd;	   /* -1: none */
	atomic_uint state; /* private: 0 open, 1 being written, 2 final */
	enum vm_end end;
	char msg[sizeof(((struct vm_report *)0)->msg)];
	atomic_uint panic_state; /* private, likewise */
	char panic[256];
	atomic_bool reported;
};

void ending_init(struct ending *ending, int report_fd);
/* From any thread. Later calls than the first do nothing. */
void ending_set(struct ending *ending, enum vm_end end, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool ending_is_set(struct ending *ending);
/* A line of the guest's console, from any thread: kept if it says that its kernel panicked. */
void ending_console_line(struct ending *ending, const char *line);
/* Fills the report: what was set, or a panic if the guest said so before it reset. Once the guest has stopped. */
void ending_report(struct ending *ending, struct vm_report *report);
/* Sends the report to the parent, once; async-signal-safe. */
void ending_send(struct ending *ending, const struct vm_report *report);
/* What microvm-vmm exits with: 0 for an end that was asked for. */
int ending_exit_status(uint32_t end);

#endif
