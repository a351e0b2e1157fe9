/* SPDX-License-Identifier: Apache-2.0 */
/* state, list, ps: what there is. */
#include <errno.h>
#include <json-c/json_object.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/util.h"
#include "runtime/runtime.h"
#include "sandbox/oci_state.h"
#include "sandbox/resources.h"

/* What runc says besides the spec's members. */
static struct json_object *describe(const struct state_ref *ref)
{
	struct json_object *o = oci_state_json(&ref->record, oci_status_of(ref));
	const time_t created = ref->record.created_ns / 1000000000;
	char text[40] = "", all[64];
	struct tm tm;

	gmtime_r(&created, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(all, sizeof(all), "%s.%09lldZ", text, (long long)(ref->record.created_ns % 1000000000));
	json_object_object_add(o, "rootfs", json_object_new_string(ref->record.image ? ref->record.image : ""));
	json_object_object_add(o, "created", json_object_new_string(all));
	json_object_object_add(o, "owner", json_object_new_string("root"));
	return o;
}

static int print_state(struct state *state, struct state_ref *ref, void *arg, struct err *e)
{
	return runtime_print_json(describe(ref), true, e);
}

static int state_run(const struct runtime_global *g, void *options, int argc, char **argv, struct err *e)
{
	return runtime_with(g, argv[0], print_state, NULL, e);
}

struct list_options {
	char *format;
	bool quiet;
};

static int check_format(const char *format, struct err *e)
{
	return !format || str_eq(format, "table") || str_eq(format, "json")
		       ? 0
		       : err_set(e, EINVAL, "--format '%s': there are table and json", format);
}

static void print_row(const struct state_ref *ref, const struct list_options *o)
{
	struct json_object *d, *pid = NULL, *created = NULL;

	if (o->quiet) {
		printf("%s\n", ref->record.name);
		return;
	}
	d = describe(ref);
	json_object_object_get_ex(d, "pid", &pid);
	json_object_object_get_ex(d, "created", &created);
	printf("%-12s  %-8d  %-8s  %s  %s  root\n", ref->record.name, json_object_get_int(pid),
	       oci_status_names[oci_status_of(ref)], ref->record.bundle, json_object_get_string(created));
	json_object_put(d);
}

static int list_run(const struct runtime_global *g, void *options, int argc, char **argv, struct err *e)
{
	const struct list_options *o = options;
	struct json_object *all = json_object_new_array();
	bool json = str_eq(o->format, "json");
	struct state_ref *list;
	struct state *state;
	size_t n, i;
	int r = check_format(o->format, e);

	if (!r)
		r = state_open(runtime_root(g), &state, e);
	if (r) {
		json_object_put(all);
		return r;
	}
	r = state_list(state, &list, &n, e);
	if (!r && !json && !o->quiet)
		printf("%-12s  %-8s  %-8s  BUNDLE  CREATED  OWNER\n", "ID", "PID", "STATUS");
	for (i = 0; !r && i < n; i++)
		if (json)
			json_object_array_add(all, describe(&list[i]));
		else
			print_row(&list[i], o);
	if (!r)
		state_list_free(list, n);
	state_close(state);
	if (!r && json)
		return runtime_print_json(all, false, e);
	json_object_put(all);
	return r;
}

static int print_processes(struct state *state, struct state_ref *ref, void *arg, struct err *e)
{
	const char *format = arg;
	struct json_object *o;
	uint32_t *pids;
	size_t n, i;
	int r = sandbox_processes(ref, &pids, &n, e);

	if (r)
		return r;
	o = json_object_new_array();
	if (!str_eq(format, "json"))
		puts("PID");
	for (i = 0; i < n; i++)
		if (str_eq(format, "json"))
			json_object_array_add(o, json_object_new_int64(pids[i]));
		else
			printf("%u\n", pids[i]);
	free(pids);
	if (str_eq(format, "json"))
		return runtime_print_json(o, false, e);
	json_object_put(o);
	return 0;
}

static int ps_run(const struct runtime_global *g, void *options, int argc, char **argv, struct err *e)
{
	const struct list_options *o = options;
	int r = check_format(o->format, e);

	return r ? r : runtime_with(g, argv[0], print_processes, o->format, e);
}

static const struct opt list_opts[] = {
	{ "format", 'f', OPT_STRING, WORD_FORMAT, "FORMAT", "table or json", offsetof(struct list_options, format) },
	{ "quiet", 'q', OPT_FLAG, 0, NULL, "ids only", offsetof(struct list_options, quiet) },
};

const struct runtime_command runtime_state = {
	.name = "state",
	.synopsis = "ID",
	.help = "print a container's state, as the OCI runtime spec has it",
	.min_args = 1,
	.max_args = 1,
	.run = state_run,
};

const struct runtime_command runtime_list = {
	.name = "list",
	.synopsis = "",
	.help = "list the containers of this root",
	.opts = list_opts,
	.opts_n = ARRAY_SIZE(list_opts),
	.options_size = sizeof(struct list_options),
	.run = list_run,
};

const struct runtime_command runtime_ps = {
	.name = "ps",
	.synopsis = "ID",
	.help = "list a container's processes, by their pids in its guest",
	.opts = list_opts,
	.opts_n = 1,
	.options_size = sizeof(struct list_options),
	.min_args = 1,
	.max_args = -1, /* options of ps(1), which runc takes */
	.stops_at_argument = false,
	.run = ps_run,
};
