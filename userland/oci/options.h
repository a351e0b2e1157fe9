/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the OCI room: one function per kind of option, each changing the spec that defaults.c has begun. */
#ifndef OCI_OPTIONS_H
#define OCI_OPTIONS_H

#include "oci/defaults.h"

/* What --security-opt says, all of its words together. */
struct oci_security {
	bool no_new_privileges;
	bool systempaths_unconfined;
	const char *seccomp; /* NULL: the default profile */
};

int oci_options_security(char *const *words, struct oci_security *s, struct err *e);
int oci_options_caps(const struct oci_options *o, uint64_t base, uint64_t *caps, struct err *e);
/* Merges list (NULL is fine) into the process' environment: a name that is there gets the new value in its old place. */
int oci_options_env(Microvm__Process *p, const char *what, char *const *list, struct err *e);
int oci_options_tmpfs(Microvm__Spec *spec, char *const *list, struct err *e);
int oci_options_sysctl(Microvm__Linux *l, char *const *list, struct err *e);
int oci_options_ulimit(Microvm__Process *p, char *const *list, struct err *e);
/* A tmpfs over path, in place of the mount that is there. options: comma-separated. */
void oci_mount_tmpfs(Microvm__Spec *spec, const char *path, const char *options);

/* The five sets of a process with these capabilities: none is inheritable or ambient. */
Microvm__Capabilities *oci_caps_message(uint64_t caps);
uint64_t oci_caps_bounding(const Microvm__Capabilities *c); /* 0 for NULL */
/* Splits at commas; appends what isn't empty. */
void oci_mount_options(Microvm__Mount *m, const char *options);

#endif
