/* SPDX-License-Identifier: Apache-2.0 */
#include "guest-agent/init_signal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"

#define STATUS_MAX 65536u

/* A mask of the status file: hexadecimal, signal 1 is bit 0. Without the line all bits are set: nothing is claimed then. */
static uint64_t mask(const char *status, const char *name)
{
	const char *line = strstr(status, name);

	return line ? strtoull(line + strlen(name), NULL, 16) : UINT64_MAX;
}

/* The last of the pids that it has, from the outermost namespace in. */
static bool is_first_of_namespace(const char *status)
{
	const char *line = strstr(status, "\nNSpid:"), *end, *last = NULL;

	if (!line)
		return false;
	line += strlen("\nNSpid:");
	end = line + strcspn(line, "\n");
	for (; line < end; line++)
		if (*line == '\t')
			last = line + 1;
	return last && end - last == 1 && *last == '1';
}

bool init_signal_spared_status(const char *status, int signal)
{
	uint64_t bit;

	/* SIGKILL: that one nobody is spared. */
	if (signal == SIGKILL || !signal_ends((uint32_t)signal) || !is_first_of_namespace(status))
		return false;
	bit = 1ull << (signal - 1);
	return !((mask(status, "\nSigBlk:") | mask(status, "\nSigIgn:") | mask(status, "\nSigCgt:")) & bit);
}

bool init_signal_spared(pid_t pid, int signal)
{
	_cleanup_free_ char *text = NULL;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (read_file(AT_FDCWD, path, STATUS_MAX, &text, NULL))
		return false;
	return init_signal_spared_status(text, signal);
}
