/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/ending.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"

enum { OPEN, WRITING, FINAL };

#define PANIC_WORDS "Kernel panic - not syncing"

static const int exit_statuses[] = {
	[VM_END_SHUTDOWN] = 0, [VM_END_STOPPED] = 0, [VM_END_RESET] = 3,   [VM_END_TRIPLE_FAULT] = 4,
	[VM_END_PANIC] = 5,    [VM_END_KILLED] = 6,  [VM_END_SECCOMP] = 7, [VM_END_ERROR] = 1,
};

void ending_init(struct ending *ending, int report_fd)
{
	memset(ending, 0, sizeof(*ending));
	ending->pid = getpid();
	ending->main_tid = gettid();
	ending->report_fd = report_fd;
}

void ending_set(struct ending *ending, enum vm_end end, const char *fmt, ...)
{
	unsigned int open = OPEN;
	va_list ap;

	if (!atomic_compare_exchange_strong(&ending->state, &open, WRITING))
		return;
	ending->end = end;
	va_start(ap, fmt);
	vsnprintf(ending->msg, sizeof(ending->msg), fmt, ap);
	va_end(ap);
	atomic_store_explicit(&ending->state, FINAL, memory_order_release);
	tgkill(ending->pid, ending->main_tid, ENDING_SIGNAL);
}

bool ending_is_set(struct ending *ending)
{
	return atomic_load_explicit(&ending->state, memory_order_acquire) == FINAL;
}

void ending_console_line(struct ending *ending, const char *line)
{
	const char *words = strstr(line, PANIC_WORDS);
	unsigned int open = OPEN;

	if (!words || !atomic_compare_exchange_strong(&ending->panic_state, &open, WRITING))
		return;
	snprintf(ending->panic, sizeof(ending->panic), "%s", words);
	atomic_store_explicit(&ending->panic_state, FINAL, memory_order_release);
}

void ending_report(struct ending *ending, struct vm_report *report)
{
	const bool panicked = atomic_load_explicit(&ending->panic_state, memory_order_acquire) == FINAL;

	memset(report, 0, sizeof(*report));
	report->end = ending->end;
	memcpy(report->msg, ending->msg, sizeof(report->msg));
	/* A guest that panics resets next, or faults on the way. */
	if (panicked && (report->end == VM_END_RESET || report->end == VM_END_TRIPLE_FAULT)) {
		report->end = VM_END_PANIC;
		snprintf(report->msg, sizeof(report->msg), "%s", ending->panic);
	}
}

void ending_send(struct ending *ending, const struct vm_report *report)
{
	if (ending->report_fd < 0 || atomic_exchange(&ending->reported, true))
		return;
	/* A parent that has gone, or does not read, loses its report. */
	if (write(ending->report_fd, report, sizeof(*report)) < 0)
		return;
}

int ending_exit_status(uint32_t end)
{
	return end < ARRAY_SIZE(exit_statuses) ? exit_statuses[end] : 1;
}
