/* SPDX-License-Identifier: Apache-2.0 */
/* volume ls|create|rm|prune|inspect */
#include <errno.h>
#include <json-c/json.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "base/util.h"
#include "cli/cli.h"
#include "sandbox/sandbox.h"
#include "sandbox/volumes.h"

struct volume_options {
	bool quiet, force, all;
	char *format;
	const char *state; /* not of the command line */
};

static const struct opt opts[] = {
	{ "quiet", 'q', OPT_FLAG, 0, NULL, "ls: names only", offsetof(struct volume_options, quiet) },
	{ "format", 0, OPT_STRING, WORD_FORMAT, "FORMAT", "ls: table or json",
	  offsetof(struct volume_options, format) },
	{ "force", 'f', OPT_FLAG, 0, NULL, "rm: one that is not there is fine; prune: don't ask",
	  offsetof(struct volume_options, force) },
	{ "all", 'a', OPT_FLAG, 0, NULL, "prune: also those that somebody gave a name",
	  offsetof(struct volume_options, all) },
};

static int list(const char *store, const struct volume_options *o, int argc, char **argv, struct err *e)
{
	static const char *const columns[] = { "DRIVER", "VOLUME NAME" };
	static const char *const json_columns[] = { "Driver", "Labels", "Mountpoint", "Name", "Scope" };
	struct volume_info *v;
	enum format format;
	struct table *t;
	size_t n, i;
	int r = format_parse(o->format, &format, e);

	if (!r)
		r = volume_list(store, &v, &n, e);
	if (r)
		return r;
	t = format == FORMAT_JSON ? table_new(format, json_columns, ARRAY_SIZE(json_columns))
				  : table_new(format, columns, ARRAY_SIZE(columns));
	for (i = 0; i < n; i++) {
		if (o->quiet) {
			printf("%s\n", v[i].name);
			continue;
		}
		table_add(t, "local");
		if (format == FORMAT_JSON) {
			table_add(t, "");
			table_add(t, v[i].path);
		}
		table_add(t, v[i].name);
		if (format == FORMAT_JSON)
			table_add(t, "local");
	}
	volume_list_free(v, n);
	if (!o->quiet)
		return table_print(t, e);
	table_free(t);
	return 0;
}

static int create(const char *store, const struct volume_options *o, int argc, char **argv, struct err *e)
{
	char id[65];
	int r;

	if (argc > 1)
		return err_set(e, EINVAL, "volume create takes one name, or makes one up");
	if (!argc)
		random_id(id);
	r = volume_use(store, argc ? argv[0] : id, NULL, NULL, e);
	if (!r)
		printf("%s\n", argc ? argv[0] : id);
	return r;
}

static int remove_all(const char *store, const struct volume_options *o, int argc, char **argv, struct err *e)
{
	int i, failed = 0;

	for (i = 0; i < argc; i++) {
		struct err why = ERR_INIT;
		int r = volume_remove(store, argv[i], &why);

		if (r && !(r == -ENOENT && o->force)) {
			log_error("%s", why.msg);
			failed = 1;
		} else {
			printf("%s\n", argv[i]);
		}
	}
	return failed;
}

static bool confirmed(const struct volume_options *o)
{
	char answer[8];

	if (o->force)
		return true;
	printf("WARNING! This will remove %s local volumes not used by at least one container.\n"
	       "Are you sure you want to continue? [y/N] ",
	       o->all ? "all" : "anonymous");
	fflush(stdout);
	return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

/* Also a sandbox that has ended has its volumes, until it is removed. */
static bool is_had(const struct state_ref *sandboxes, size_t n, const char *volume)
{
	size_t i, k;

	for (i = 0; i < n; i++)
		for (k = 0; k < sandboxes[i].record.volumes.n; k++)
			if (str_eq(sandboxes[i].record.volumes.v[k], volume))
				return true;
	return false;
}

static int prune_list(const char *store, const struct volume_options *o, const struct state_ref *sandboxes, size_t n,
		      struct err *e)
{
	struct volume_info *v;
	uint64_t bytes = 0;
	size_t volumes_n, i, removed = 0;
	int failed = 0, r = volume_list(store, &v, &volumes_n, e);
	char text[32];

	if (r)
		return r;
	for (i = 0; i < volumes_n; i++) {
		struct err why = ERR_INIT;
		uint64_t size;

		if ((!o->all && !volume_is_anonymous(v[i].name)) || is_had(sandboxes, n, v[i].name))
			continue;
		size = volume_bytes(&v[i]);
		r = volume_remove(store, v[i].name, &why);
		if (!r) {
			printf("%s%s\n", removed++ ? "" : "Deleted Volumes:\n", v[i].name);
			bytes += size;
		} else if (r != -EBUSY && r != -ENOENT) {
			log_error("%s", why.msg);
			failed = 1;
		}
	}
	volume_list_free(v, volumes_n);
	format_bytes(bytes, text, sizeof(text));
	printf("%sTotal reclaimed space: %s\n", removed ? "\n" : "", text);
	return failed;
}

static int prune(const char *store, const struct volume_options *o, int argc, char **argv, struct err *e)
{
	struct state_ref *sandboxes;
	struct state *state;
	size_t n;
	int r;

	if (argc)
		return err_set(e, EINVAL, "volume prune takes no names; volume rm does");
	if (!confirmed(o))
		return 0;
	r = state_open(o->state, &state, e);
	if (r)
		return r;
	r = state_list(state, &sandboxes, &n, e);
	if (!r) {
		r = prune_list(store, o, sandboxes, n, e);
		state_list_free(sandboxes, n);
	}
	state_close(state);
	return r;
}

static json_object *describe(const struct volume_info *v)
{
	json_object *j = json_object_new_object();
	const time_t created = (time_t)v->created_s;
	struct tm tm;
	char text[32];

	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&created, &tm));
	json_object_object_add(j, "CreatedAt", json_object_new_string(text));
	json_object_object_add(j, "Driver", json_object_new_string("local"));
	json_object_object_add(j, "Labels", NULL);
	json_object_object_add(j, "Mountpoint", json_object_new_string(v->path));
	json_object_object_add(j, "Name", json_object_new_string(v->name));
	json_object_object_add(j, "Options", NULL);
	json_object_object_add(j, "Scope", json_object_new_string("local"));
	return j;
}

static int inspect(const char *store, const struct volume_options *o, int argc, char **argv, struct err *e)
{
	json_object *all = json_object_new_array();
	int i, failed = 0;

	for (i = 0; i < argc; i++) {
		struct err why = ERR_INIT;
		struct volume_info v;

		if (volume_find(store, argv[i], &v, &why)) {
			log_error("%s", why.msg);
			failed = 1;
			continue;
		}
		json_object_array_add(all, describe(&v));
		volume_info_free(&v);
	}
	puts(json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(all);
	return failed;
}

static const struct {
	const char *name;
	int min_args;
	int (*run)(const char *store, const struct volume_options *o, int argc, char **argv, struct err *e);
} verbs[] = {
	{ "ls", 0, list },	     { "list", 0, list },	{ "create", 0, create }, { "rm", 1, remove_all },
	{ "remove", 1, remove_all }, { "inspect", 1, inspect }, { "prune", 0, prune },
};

static int run(const struct cli_global *global, void *options, int argc, char **argv, struct err *e)
{
	const struct sandbox_paths paths = { .state = global->state, .store = global->store };
	struct volume_options *o = options;
	size_t i;

	o->state = global->state;
	for (i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (!str_eq(verbs[i].name, argv[0]))
			continue;
		if (argc - 1 < verbs[i].min_args)
			return err_set(e, EINVAL, "volume %s wants a volume's name", argv[0]);
		return verbs[i].run(sandbox_store_path(&paths), o, argc - 1, argv + 1, e);
	}
	return err_set(e, EINVAL, "volume '%s' is not there; there are ls, create, rm, prune and inspect", argv[0]);
}

const struct command cmd_volume = {
	.name = "volume",
	.synopsis = "ls|create|rm|prune|inspect [NAME…]",
	.help = "list, make, remove and describe volumes",
	.opts = opts,
	.opts_n = ARRAY_SIZE(opts),
	.options_size = sizeof(struct volume_options),
	.min_args = 1,
	.max_args = -1,
	.fail_status = 1,
	.run = run,
};
