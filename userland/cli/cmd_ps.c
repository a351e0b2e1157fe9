/* SPDX-License-Identifier: Apache-2.0 */
/* ps, inspect, logs */
#include <errno.h>
#include <json-c/json.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include "base/util.h"
#include "cli/cli.h"
#include "sandbox/output_log.h"
#include "sandbox/sandbox.h"

struct ps_options {
	bool all, quiet, no_trunc;
	char *format;
};

static const struct opt ps_opts[] = {
	{ "all", 'a', OPT_FLAG, 0, NULL, "those that have ended, too", offsetof(struct ps_options, all) },
	{ "quiet", 'q', OPT_FLAG, 0, NULL, "ids only", offsetof(struct ps_options, quiet) },
	{ "no-trunc", 0, OPT_FLAG, 0, NULL, "whole ids and commands", offsetof(struct ps_options, no_trunc) },
	{ "format", 0, OPT_STRING, WORD_FORMAT, "FORMAT", "table or json", offsetof(struct ps_options, format) },
};

static bool ended(const struct state_ref *ref)
{
	return !ref->alive || ref->record.status == SANDBOX_EXITED;
}

static void status_text(const struct sandbox_record *r, bool is_over, char *buf, size_t size)
{
	char span[64];

	if (is_over) {
		format_ago(r->finished_ns / 1000000000, span, sizeof(span));
		snprintf(buf, size, "Exited (%d) %s", r->exit_status, span);
	} else if (r->status == SANDBOX_CREATED) {
		snprintf(buf, size, "Created");
	} else {
		format_span(time(NULL) - r->started_ns / 1000000000, span, sizeof(span));
		snprintf(buf, size, "Up %s%s", span, r->status == SANDBOX_PAUSED ? " (Paused)" : "");
	}
}

/* "sh -c ls", as docker shows it: 20 characters with the quotes unless all are wanted. */
static char *command_text(const struct strv *command, bool whole)
{
	char *text = xstrdup("");
	char *quoted;
	size_t i;

	for (i = 0; i < command->n; i++) {
		char *more = xasprintf("%s%s%s", text, i ? " " : "", command->v[i]);

		free(text);
		text = more;
	}
	if (!whole && strlen(text) > 20)
		quoted = xasprintf("\"%.17s...\"", text);
	else
		quoted = xasprintf("\"%s\"", text);
	free(text);
	return quoted;
}

static void add_row(struct table *t, const struct state_ref *ref, const struct ps_options *o, bool json)
{
	const struct sandbox_record *r = &ref->record;
	bool is_over = ended(ref);
	char text[160], *command;

	if (o->no_trunc || json)
		table_add(t, r->id);
	else
		table_addf(t, "%.12s", r->id);
	table_add(t, r->image);
	command = command_text(&r->command, o->no_trunc || json);
	table_add(t, command);
	free(command);
	if (json)
		format_time(r->created_ns / 1000000000, text, sizeof(text));
	else
		format_ago(r->created_ns / 1000000000, text, sizeof(text));
	table_add(t, text);
	status_text(r, is_over, text, sizeof(text));
	table_add(t, text);
	table_add(t, r->name);
	if (json)
		table_add(t, is_over ? "exited" : sandbox_status_names[r->status]);
}

static int ps_run(const struct cli_global *global, void *options, int argc, char **argv, struct err *e)
{
	static const char *const columns[] = { "SANDBOX ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "NAMES" };
	static const char *const json_columns[] = {
		"ID", "IMAGE", "COMMAND", "CREATED AT", "STATUS", "NAMES", "STATE"
	};
	const struct ps_options *o = options;
	struct state_ref *list;
	struct state *state;
	struct table *t;
	enum format format;
	size_t n, i;
	bool json;
	int r;

	r = format_parse(o->format, &format, e);
	if (!r)
		r = state_open(global->state, &state, e);
	if (r)
		return r;
	r = state_list(state, &list, &n, e);
	state_close(state);
	if (r)
		return r;
	json = format == FORMAT_JSON;
	t = table_new(format, json ? json_columns : columns, json ? ARRAY_SIZE(json_columns) : ARRAY_SIZE(columns));
	for (i = 0; i < n; i++) {
		if (!o->all && ended(&list[i]))
			continue;
		if (o->quiet)
			printf("%.*s\n", o->no_trunc ? 64 : 12, list[i].record.id);
		else
			add_row(t, &list[i], o, json);
	}
	state_list_free(list, n);
	if (o->quiet) {
		table_free(t);
		return 0;
	}
	return table_print(t, e);
}

const struct command cmd_ps = {
	.name = "ps",
	.synopsis = "",
	.help = "list sandboxes",
	.opts = ps_opts,
	.opts_n = ARRAY_SIZE(ps_opts),
	.options_size = sizeof(struct ps_options),
	.max_args = 0,
	.fail_status = 1,
	.run = ps_run,
};

/* ---- inspect: docker's names where it has the thing ---------------------------------------------------------- */

static void add_string(struct json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, json_object_new_string(value ? value : ""));
}

static void add_time(struct json_object *o, const char *key, int64_t ns)
{
	time_t s = ns / 1000000000;
	char text[64];
	struct tm tm;
	size_t n;

	gmtime_r(&s, &tm);
	n = ns ? strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm) : 0;
	if (n)
		snprintf(text + n, sizeof(text) - n, ".%09dZ", (int)(ns % 1000000000));
	add_string(o, key, n ? text : "0001-01-01T00:00:00Z");
}

static struct json_object *state_json(const struct state_ref *ref)
{
	const struct sandbox_record *r = &ref->record;
	struct json_object *o = json_object_new_object();
	bool is_over = ended(ref);

	add_string(o, "Status", is_over ? "exited" : sandbox_status_names[r->status]);
	json_object_object_add(o, "Running", json_object_new_boolean(!is_over && r->status == SANDBOX_RUNNING));
	json_object_object_add(o, "Paused", json_object_new_boolean(!is_over && r->status == SANDBOX_PAUSED));
	json_object_object_add(o, "OOMKilled", json_object_new_boolean(r->oom_killed));
	json_object_object_add(o, "Pid", json_object_new_int(is_over ? 0 : r->init_pid));
	json_object_object_add(o, "ExitCode", json_object_new_int(r->exit_status));
	add_string(o, "Error", r->error);
	add_time(o, "StartedAt", r->started_ns);
	add_time(o, "FinishedAt", r->finished_ns);
	return o;
}

static struct json_object *config_json(const struct sandbox_record *r)
{
	struct json_object *o = json_object_new_object(), *cmd = json_object_new_array(),
			   *labels = json_object_new_object();
	size_t i;

	for (i = 0; i < r->command.n; i++)
		json_object_array_add(cmd, json_object_new_string(r->command.v[i]));
	for (i = 0; i < r->labels.n; i++) {
		char *key = xstrndup(r->labels.v[i], strcspn(r->labels.v[i], "="));
		const char *value = strchr(r->labels.v[i], '=');

		json_object_object_add(labels, key, json_object_new_string(value ? value + 1 : ""));
		free(key);
	}
	add_string(o, "Hostname", r->hostname);
	add_string(o, "Image", r->image);
	json_object_object_add(o, "Tty", json_object_new_boolean(r->tty));
	json_object_object_add(o, "Cmd", cmd);
	json_object_object_add(o, "Labels", labels);
	add_string(o, "StopSignal", r->stop_signal);
	json_object_object_add(o, "StopTimeout", json_object_new_int64((int64_t)(r->stop_timeout_ns / 1000000000)));
	return o;
}

static struct json_object *inspect_json(const struct state_ref *ref)
{
	const struct sandbox_record *r = &ref->record;
	struct json_object *o = json_object_new_object(), *host = json_object_new_object();
	bool is_over = ended(ref);

	add_string(o, "Id", r->id);
	add_string(o, "Name", r->name);
	add_time(o, "Created", r->created_ns);
	json_object_object_add(o, "State", state_json(ref));
	add_string(o, "Image", r->image_id);
	json_object_object_add(o, "Config", config_json(r));
	json_object_object_add(host, "AutoRemove", json_object_new_boolean(r->remove));
	json_object_object_add(host, "Memory", json_object_new_uint64(r->mem_bytes));
	json_object_object_add(host, "NanoCpus", json_object_new_uint64(r->nano_cpus));
	add_string(host, "Vsock", r->vsock);
	add_string(host, "Balloon", r->balloon);
	json_object_object_add(o, "HostConfig", host);
	host = json_object_new_object();
	json_object_object_add(host, "Vcpus", json_object_new_int64(r->vcpus));
	json_object_object_add(host, "Uid", json_object_new_int64(r->uid));
	json_object_object_add(host, "SupervisorPid", json_object_new_int(is_over ? 0 : r->supervisor_pid));
	json_object_object_add(host, "VmmPid", json_object_new_int(is_over ? 0 : r->vmm_pid));
	add_string(host, "StateDir", ref->path);
	json_object_object_add(o, "Sandbox", host);
	return o;
}

struct inspect_options {
	char *format;
};

static const struct opt inspect_opts[] = {
	{ "format", 'f', OPT_STRING, WORD_FORMAT, "FORMAT", "json (one object a line); an indented array if not given",
	  offsetof(struct inspect_options, format) },
};

static int inspect_run(const struct cli_global *global, void *options, int argc, char **argv, struct err *e)
{
	const struct inspect_options *o = options;
	struct json_object *all = json_object_new_array();
	enum format format = FORMAT_TABLE;
	struct state *state = NULL;
	int i, r = format_parse(o->format, &format, e);

	if (!r)
		r = state_open(global->state, &state, e);
	for (i = 0; !r && i < argc; i++) {
		struct state_ref ref;

		r = state_find(state, argv[i], &ref, e);
		if (r)
			break;
		json_object_array_add(all, inspect_json(&ref));
		state_ref_free(&ref);
	}
	state_close(state);
	for (i = 0; !r && format == FORMAT_JSON && i < argc; i++)
		puts(json_object_to_json_string_ext(json_object_array_get_idx(all, i), JSON_C_TO_STRING_NOSLASHESCAPE));
	if (!r && format == FORMAT_TABLE)
		puts(json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(all);
	return r;
}

const struct command cmd_inspect = {
	.name = "inspect",
	.synopsis = "SANDBOX…",
	.help = "all that is known of sandboxes, as JSON",
	.opts = inspect_opts,
	.opts_n = ARRAY_SIZE(inspect_opts),
	.options_size = sizeof(struct inspect_options),
	.word = WORD_CONTAINER,
	.min_args = 1,
	.max_args = -1,
	.fail_status = 1,
	.run = inspect_run,
};

/* ---- logs ----------------------------------------------------------------------------------------------------- */

struct logs_options {
	bool follow, timestamps;
	int64_t tail;
};

static const struct opt logs_opts[] = {
	{ "follow", 'f', OPT_FLAG, 0, NULL, "go on until it ends", offsetof(struct logs_options, follow) },
	{ "timestamps", 't', OPT_FLAG, 0, NULL, "say when each piece was written",
	  offsetof(struct logs_options, timestamps) },
	{ "tail", 'n', OPT_NUMBER, 0, "N", "only the last lines", offsetof(struct logs_options, tail) },
};

static const struct logs_options logs_defaults = { .tail = -1 };

static bool still_locked(void *opaque)
{
	const struct state_ref *ref = opaque;

	if (flock(ref->lockfd, LOCK_SH | LOCK_NB) < 0)
		return true;
	flock(ref->lockfd, LOCK_UN);
	return false;
}

static int logs_run(const struct cli_global *global, void *options, int argc, char **argv, struct err *e)
{
	const struct logs_options *o = options;
	struct state_ref ref;
	struct state *state;
	int r;

	r = state_open(global->state, &state, e);
	if (r)
		return r;
	r = state_find(state, argv[0], &ref, e);
	if (!r) {
		const struct output_show show = {
			.follow = o->follow,
			.timestamps = o->timestamps,
			.tail = o->tail,
			.alive = still_locked,
			.opaque = &ref,
		};

		r = output_log_show(ref.dirfd, &show, e);
		state_ref_free(&ref);
	}
	state_close(state);
	return r;
}

const struct command cmd_logs = {
	.name = "logs",
	.synopsis = "SANDBOX",
	.help = "what a detached container has written",
	.opts = logs_opts,
	.opts_n = ARRAY_SIZE(logs_opts),
	.options_size = sizeof(struct logs_options),
	.defaults = &logs_defaults,
	.word = WORD_CONTAINER,
	.min_args = 1,
	.max_args = 1,
	.fail_status = 1,
	.run = logs_run,
};
