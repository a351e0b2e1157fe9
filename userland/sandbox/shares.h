/* SPDX-License-Identifier: Apache-2.0 */
/* What --rootfs, --volume, --mount and --disk say, in docker's and podman's words. Pure: no file is looked at. */
#ifndef SANDBOX_SHARES_H
#define SANDBOX_SHARES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/vmspec.h"
#include "guest-agent/agent.pb-c.h"
#include "sandbox/options.h"

#define SHARES_MAX 64u
#define DISKS_MAX 16u

enum share_kind { SHARE_BIND, SHARE_VOLUME, SHARE_TMPFS, SHARE_ROOTFS, SHARE_SPEC /* a bind mount of config.json */ };

struct share {
	enum share_kind kind;
	char *source; /* a path of the host, or a volume's name; NULL for a tmpfs and for a volume without a name */
	char *target; /* absolute, in the container */
	bool read_only;
	bool overlay;	  /* of a root: what the container writes is not written to source */
	bool make_source; /* a folder is made where source is not there, as -v does it */
	bool fill;	  /* not of the command line: the volume is new, and gets what the image has there */
	bool no_copy;	  /* a new volume stays empty, whatever the image has at its place */
	size_t mount;	  /* of config.json: which of its mounts it is */
	char *options;	  /* of a tmpfs, as --tmpfs has them */
};

struct disk {
	char *path;
	bool read_only, direct;
	char serial[VMSPEC_SERIAL_MAX + 1];
};

struct shares {
	struct share *v;
	size_t n;
	struct disk *disks;
	size_t disks_n;
};

/* [SOURCE:]TARGET[:OPTIONS]. -EINVAL; out is empty then. */
int share_parse_volume(const char *text, struct share *out, struct err *e);
/* type=bind|volume|tmpfs,source=…,target=…,… */
int share_parse_mount(const char *text, struct share *out, struct err *e);
/* FILE[:WORD,…]: ro, rw, direct, serial=TEXT */
int disk_parse(const char *text, struct disk *out, struct err *e);
/* FOLDER[:O], with podman's O for an overlay; a root that is read-only has one too, for what is mounted on it. */
int share_parse_rootfs(const char *text, bool read_only, struct share *out, struct err *e);
void share_free(struct share *s);
void disk_free(struct disk *d);

/* All of a run; outer targets come before inner ones, the root first. -EINVAL: a target is given twice. */
int shares_parse(const struct run_options *o, struct shares *out, struct err *e);
void shares_free(struct shares *s);
/* Of a bind mount of config.json. */
bool share_spec_is_read_only(const Microvm__Mount *m);
/* Makes it one of the share of that number in the guest. */
void share_spec_mount(Microvm__Mount *m, size_t number);
/* The root's share; NULL: the root is an image's. */
const struct share *shares_root(const struct shares *s);

#endif
