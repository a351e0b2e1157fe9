/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <strings.h>

#include "base/util.h"
#include "oci/defaults.h"

/* Linux' numbers on x86; real-time signals count from 34, where glibc has SIGRTMIN, up to 64. */
#define RTMIN 34
#define RTMAX 64

static const char *const names[] = {
	[SIGHUP] = "HUP",	[SIGINT] = "INT",   [SIGQUIT] = "QUIT",	  [SIGILL] = "ILL",   [SIGTRAP] = "TRAP",
	[SIGABRT] = "ABRT",	[SIGBUS] = "BUS",   [SIGFPE] = "FPE",	  [SIGKILL] = "KILL", [SIGUSR1] = "USR1",
	[SIGSEGV] = "SEGV",	[SIGUSR2] = "USR2", [SIGPIPE] = "PIPE",	  [SIGALRM] = "ALRM", [SIGTERM] = "TERM",
	[SIGSTKFLT] = "STKFLT", [SIGCHLD] = "CHLD", [SIGCONT] = "CONT",	  [SIGSTOP] = "STOP", [SIGTSTP] = "TSTP",
	[SIGTTIN] = "TTIN",	[SIGTTOU] = "TTOU", [SIGURG] = "URG",	  [SIGXCPU] = "XCPU", [SIGXFSZ] = "XFSZ",
	[SIGVTALRM] = "VTALRM", [SIGPROF] = "PROF", [SIGWINCH] = "WINCH", [SIGIO] = "IO",     [SIGPWR] = "PWR",
	[SIGSYS] = "SYS",
};

static int realtime(const char *s)
{
	uint64_t n = 0;

	if (!strncasecmp(s, "RTMIN", 5) && (!s[5] || (s[5] == '+' && !parse_u64(s + 6, 0, RTMAX - RTMIN, &n))))
		return RTMIN + (int)n;
	if (!strncasecmp(s, "RTMAX", 5) && (!s[5] || (s[5] == '-' && !parse_u64(s + 6, 0, RTMAX - RTMIN, &n))))
		return RTMAX - (int)n;
	return 0;
}

int oci_signal_parse(const char *name, int *sig, struct err *e)
{
	const char *s = name;
	uint64_t n;
	size_t i;

	if (!parse_u64(s, 1, RTMAX, &n)) {
		*sig = (int)n;
		return 0;
	}
	if (!strncasecmp(s, "SIG", 3))
		s += 3;
	for (i = 1; i < ARRAY_SIZE(names); i++) {
		if (names[i] && !strcasecmp(s, names[i])) {
			*sig = (int)i;
			return 0;
		}
	}
	if (!strcasecmp(s, "IOT") || !strcasecmp(s, "POLL") || !strcasecmp(s, "CLD")) {
		*sig = (s[0] | 0x20) == 'i' ? SIGABRT : (s[0] | 0x20) == 'p' ? SIGIO : SIGCHLD;
		return 0;
	}
	*sig = realtime(s);
	if (*sig)
		return 0;
	return err_set(e, EINVAL, "no such signal as \"%s\"; signal(7) has their names and numbers", name);
}
