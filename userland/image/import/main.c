/* SPDX-License-Identifier: Apache-2.0 */
/*
 * microvm-import: one image into the store. image_get runs it when an image isn't there yet; spawn.h has what it says
 * and where. Run by hand it writes to stderr.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "image/import/cancel.h"
#include "image/import/confine.h"
#include "image/import/import.h"
#include "image/spawn.h"

#define REPORT_INTERVAL_NS 100000000u

struct reporter {
	int fd; /* -1: stderr, for people */
	uint64_t last_ns;
	char last[16]; /* verb */
};

static void on_signal(int sig)
{
	import_cancel();
}

static void catch_signals(void)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct sigaction sa = { .sa_handler = on_signal }; /* no SA_RESTART: waits are to end */
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ends); i++)
		sigaction(ends[i], &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* Whoever started us and has gone since wants no image any more. */
static void report_line(const struct reporter *rep, const char *line, size_t len)
{
	if (write_full(rep->fd < 0 ? 2 : rep->fd, line, len) == -EPIPE)
		import_cancel();
}

static void report(void *opaque, const char *what, uint64_t done, uint64_t total)
{
	struct reporter *rep = opaque;
	uint64_t now = monotonic_ns();
	char line[256];
	int n;

	if (now - rep->last_ns < REPORT_INTERVAL_NS && strncmp(what, rep->last, sizeof(rep->last) - 1) == 0)
		return;
	rep->last_ns = now;
	snprintf(rep->last, sizeof(rep->last), "%s", what);
	if (rep->fd >= 0) {
		n = snprintf(line, sizeof(line), "P %llu %llu %.200s\n", (unsigned long long)done,
			     (unsigned long long)total, what);
		report_line(rep, line, (size_t)n);
	}
}

static int usage(void)
{
	fputs("usage: microvm-import [--report-fd=N] STORE IMAGE\n"
	      "Imports an image into an image store; `microvm run` does this by itself.\n",
	      stderr);
	return 125;
}

static int import(const char *root, const char *name, struct reporter *rep, struct err *e)
{
	_cleanup_(image_reference_free) struct image_reference ref = { 0 };
	struct import imp = { .ref = &ref, .report = report, .opaque = rep };
	int r = image_reference_parse(name, &ref, e);

	if (r)
		return r;
	if (ref.transport == IMAGE_STORED)
		return err_set(e, EINVAL, "%s: nothing to import; give a source such as oci:DIR:TAG", name);
	r = image_limits_get(&imp.limits, e);
	if (!r)
		r = image_store_open(root, &imp.store, e);
	if (r)
		return r;
	import_confine(imp.store->root, ref.path);
	r = image_import(&imp, e);
	image_store_close(imp.store);
	return r;
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "report-fd", required_argument, NULL, 'r' },
						 { "help", no_argument, NULL, 'h' },
						 { NULL, 0, NULL, 0 } };
	struct reporter rep = { .fd = -1 };
	struct err e = ERR_INIT;
	char line[IMPORT_LINE_MAX];
	uint64_t fd;
	int c, n;

	log_init("microvm-import", LOG_WARN);
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c != 'r' || parse_u64(optarg, 3, 1023, &fd))
			return usage();
		rep.fd = (int)fd;
		fcntl(rep.fd, F_SETFD, FD_CLOEXEC);
	}
	if (argc - optind != 2)
		return usage();
	umask(077);
	catch_signals();
	/* Started by image_get: its caller's end is ours, in order. By hand, the shell's end is a SIGHUP anyway. */
	if (rep.fd >= 0)
		prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (import(argv[optind], argv[optind + 1], &rep, &e) == 0)
		return 0;
	if (rep.fd < 0)
		n = snprintf(line, sizeof(line), "microvm-import: %s\n", e.msg);
	else
		n = snprintf(line, sizeof(line), "E %d %s\n", e.code, e.msg);
	report_line(&rep, line, (size_t)n);
	return 1;
}
