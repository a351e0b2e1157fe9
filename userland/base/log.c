/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

static const char *program_name = "microvm";
static enum log_level max_level = LOG_WARN;
static int log_fd = 2;
static atomic_uint guest_lines;

void log_init(const char *program, enum log_level level)
{
	program_name = program;
	max_level = level;
}

void log_to_fd(int fd)
{
	log_fd = fd;
}

static void put_line(const char *fmt, va_list ap)
{
	char line[1200];
	int used, more;

	used = snprintf(line, sizeof(line), "%s: ", program_name);
	more = vsnprintf(line + used, sizeof(line) - used - 1, fmt, ap);
	if (more < 0)
		return;
	used += more;
	if (used > (int)sizeof(line) - 2)
		used = sizeof(line) - 2;
	line[used++] = '\n';
	/* One write a line, so that lines of several processes don't mix. A lost log line is no error. */
	if (write(log_fd, line, used) < 0)
		return;
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	if (level > max_level)
		return;
	va_start(ap, fmt);
	put_line(fmt, ap);
	va_end(ap);
}

void log_guest(const char *fmt, ...)
{
	unsigned int n = atomic_fetch_add_explicit(&guest_lines, 1, memory_order_relaxed);
	va_list ap;

	if (n >= 10 && n % 1000)
		return;
	va_start(ap, fmt);
	put_line(fmt, ap);
	va_end(ap);
}
