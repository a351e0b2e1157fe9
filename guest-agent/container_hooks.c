/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "guest-agent/container.h"
#include "guest-agent/container_setup.h"
#include "guest-agent/process.h"

static Microvm__Hook *const *hooks_of(const char *kind, const Microvm__Spec *spec, size_t *n)
{
	const Microvm__Hooks *h = spec->hooks;

	*n = 0;
	if (!h)
		return NULL;
	if (str_eq(kind, "createContainer")) {
		*n = h->n_create_container;
		return h->create_container;
	}
	if (str_eq(kind, "startContainer")) {
		*n = h->n_start_container;
		return h->start_container;
	}
	if (str_eq(kind, "poststart")) {
		*n = h->n_poststart;
		return h->poststart;
	}
	*n = h->n_poststop;
	return h->poststop;
}

static void put_string(FILE *f, const char *s)
{
	fputc('"', f);
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			fprintf(f, "\\%c", c);
		else if (c < 0x20)
			fprintf(f, "\\u%04x", c);
		else
			fputc(c, f);
	}
	fputc('"', f);
}

/* The state of the runtime spec. */
static char *state_json(const Microvm__Spec *spec, const char *id, const char *status, pid_t pid)
{
	char *text = NULL;
	size_t len, i;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	fputs("{\"ociVersion\":", f);
	put_string(f, spec->oci_version[0] ? spec->oci_version : "1.1.0");
	fputs(",\"id\":", f);
	put_string(f, id);
	fprintf(f, ",\"status\":\"%s\"", status);
	if (pid > 0)
		fprintf(f, ",\"pid\":%d", pid);
	fprintf(f, ",\"bundle\":\"%s/%s\",\"annotations\":{", CONTAINER_RUN, id);
	for (i = 0; i < spec->n_annotations; i++) {
		if (i)
			fputc(',', f);
		put_string(f, spec->annotations[i]->name);
		fputc(':', f);
		put_string(f, spec->annotations[i]->value);
	}
	fputs("}}", f);
	return fclose(f) ? NULL : text;
}

int container_hooks(const char *kind, const Microvm__Spec *spec, const char *id, const char *status, pid_t pid,
		    struct err *e)
{
	_cleanup_free_ char *state = NULL;
	Microvm__Hook *const *hooks;
	size_t n;

	hooks = hooks_of(kind, spec, &n);
	if (!n)
		return 0;
	state = state_json(spec, id, status, pid);
	if (!state)
		return err_set(e, ENOMEM, "out of memory");
	return hooks_run(kind, hooks, n, state, e);
}

unsigned int container_hooks_limit_s(const char *kind, const Microvm__Spec *spec)
{
	size_t n;
	Microvm__Hook *const *hooks = hooks_of(kind, spec, &n);

	return hooks_limit_s(hooks, n);
}
