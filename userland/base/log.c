/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *program_name = "microvm";
static enum log_level max_level = LOG_WARN;
static int log_fd = 2;
static int copy_fd = -1;
static bool copy_json;
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

void log_copy_to_fd(int fd, bool json)
{
	copy_fd = fd;
	copy_json = json;
}

/* RFC 8259 has no control characters in strings. What else is there is UTF-8 if the message was. */
static size_t escape(char *to, size_t size, const char *from)
{
	size_t n = 0;

	for (; *from && n + 7 < size; from++) {
		unsigned char c = (unsigned char)*from;

		if (c < 0x20)
			n += snprintf(to + n, size - n, "\\u%04x", c);
		else if (c == '"' || c == '\\')
			n += snprintf(to + n, size - n, "\\%c", c);
		else
			to[n++] = (char)c;
	}
	to[n] = '\0';
	return n;
}

static void put_copy(enum log_level level, const char *msg)
{
	static const char *const names[] = { "error", "warning", "info", "debug" };
	char text[4096], line[4300], when[40];
	time_t now = time(NULL);
	struct tm tm;
	int n;

	gmtime_r(&now, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	escape(text, sizeof(text), msg);
	n = snprintf(line, sizeof(line),
		     copy_json ? "{\"level\":\"%s\",\"msg\":\"%s\",\"time\":\"%s\"}\n"
			       : "level=%s msg=\"%s\" time=\"%s\"\n",
		     names[level], text, when);
	if (write(copy_fd, line, n) < 0)
		return;
}

static void put_line(enum log_level level, const char *fmt, va_list ap)
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
	line[used] = '\0';
	if (copy_fd >= 0)
		put_copy(level, line + strlen(program_name) + 2);
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
	put_line(level, fmt, ap);
	va_end(ap);
}

void log_guest(const char *fmt, ...)
{
	unsigned int n = atomic_fetch_add_explicit(&guest_lines, 1, memory_order_relaxed);
	va_list ap;

	if (n >= 10 && n % 1000)
		return;
	va_start(ap, fmt);
	put_line(LOG_WARN, fmt, ap);
	va_end(ap);
}
