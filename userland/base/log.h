/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Diagnostics to stderr, "PROGRAM: message". Errors that end a command go through struct err instead.
 * What a guest can trigger is logged through log_guest, which lets 10 lines pass and then one in 1,000.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* program must outlive all logging. Messages above level are dropped; the default is LOG_WARN. */
void log_init(const char *program, enum log_level level);
/* Where lines go; 2 unless set, nowhere for -1. */
void log_to_fd(int fd);
/* A copy of each line goes to fd, too, as an engine's --log has them: text, or one JSON object a line. -1: no more. */
void log_copy_to_fd(int fd, bool json);
void log_msg(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_guest(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define log_error(...) log_msg(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_msg(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_msg(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_msg(LOG_DEBUG, __VA_ARGS__)

#endif
