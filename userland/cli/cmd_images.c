/* SPDX-License-Identifier: Apache-2.0 */
/* images, rmi */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "base/util.h"
#include "cli/cli.h"
#include "image/image.h"

struct images_options {
	char *format;
	bool quiet, no_trunc;
};

static const struct opt images_opts[] = {
	{ "format", 0, OPT_STRING, WORD_FORMAT, "FORMAT", "table or json", offsetof(struct images_options, format) },
	{ "quiet", 'q', OPT_FLAG, 0, NULL, "ids only", offsetof(struct images_options, quiet) },
	{ "no-trunc", 0, OPT_FLAG, 0, NULL, "whole ids", offsetof(struct images_options, no_trunc) },
};

static const char *store_path(const struct cli_global *global)
{
	const char *env = getenv("MICROVM_STORE");

	return global->store ? global->store : env && *env ? env : IMAGE_STORE_DEFAULT;
}

/* "sha256:" and the digits after it, 12 of them unless all are wanted. */
static void add_id(struct table *t, const char *id, bool whole)
{
	const char *hex = str_starts(id, "sha256:") ? id + 7 : id;

	if (whole)
		table_add(t, id);
	else
		table_addf(t, "%.12s", hex);
}

static int print_images(const struct image_info *list, size_t n, const struct images_options *o, enum format format,
			struct err *e)
{
	static const char *const columns[] = { "REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE" };
	static const char *const json_columns[] = { "REPOSITORY", "TAG",	"ID",	    "CREATED SINCE",
						    "SIZE",	  "CREATED AT", "DISK SIZE" };
	bool json = format == FORMAT_JSON;
	struct table *t =
		table_new(format, json ? json_columns : columns, json ? ARRAY_SIZE(json_columns) : ARRAY_SIZE(columns));
	size_t i;

	for (i = 0; i < n; i++) {
		char text[64];

		table_add(t, list[i].repository ? list[i].repository : "<none>");
		table_add(t, list[i].tag ? list[i].tag : "<none>");
		add_id(t, list[i].id, o->no_trunc || json);
		format_ago(list[i].created_s, text, sizeof(text));
		table_add(t, text);
		format_bytes(list[i].size_bytes, text, sizeof(text));
		table_add(t, text);
		if (!json)
			continue;
		format_time(list[i].created_s, text, sizeof(text));
		table_add(t, text);
		format_bytes(list[i].disk_bytes, text, sizeof(text));
		table_add(t, text);
	}
	return table_print(t, e);
}

static int images_run(const struct cli_global *global, void *options, int argc, char **argv, struct err *e)
{
	const struct images_options *o = options;
	struct image_store *store;
	struct image_info *list;
	enum format format;
	size_t n, i;
	int r;

	r = format_parse(o->format, &format, e);
	if (!r)
		r = image_store_open(store_path(global), &store, e);
	if (r)
		return r;
	r = image_list(store, &list, &n, e);
	if (!r) {
		if (o->quiet)
			for (i = 0; i < n; i++)
				printf("%.*s\n", o->no_trunc ? 80 : 12,
				       o->no_trunc			   ? list[i].id
				       : str_starts(list[i].id, "sha256:") ? list[i].id + 7
									   : list[i].id);
		else
			r = print_images(list, n, o, format, e);
		image_list_free(list, n);
	}
	image_store_close(store);
	return r;
}

const struct command cmd_images = {
	.name = "images",
	.synopsis = "",
	.help = "list the images in the store",
	.opts = images_opts,
	.opts_n = ARRAY_SIZE(images_opts),
	.options_size = sizeof(struct images_options),
	.max_args = 0,
	.fail_status = 1,
	.run = images_run,
};

struct rmi_options {
	bool force;
};

static const struct opt rmi_opts[] = {
	{ "force", 'f', OPT_FLAG, 0, NULL, "take away all names of an id", offsetof(struct rmi_options, force) },
};

static int rmi_run(const struct cli_global *global, void *options, int argc, char **argv, struct err *e)
{
	const struct rmi_options *o = options;
	struct image_store *store;
	int r, i, failed = 0;
	char **s;

	r = image_store_open(store_path(global), &store, e);
	if (r)
		return r;
	for (i = 0; i < argc; i++) {
		struct image_removed removed = { 0 };
		struct err why = ERR_INIT;

		if (image_remove(store, argv[i], o->force, &removed, &why)) {
			log_error("%s", why.msg);
			failed = 1;
			continue;
		}
		for (s = removed.untagged; s && *s; s++)
			printf("Untagged: %s\n", *s);
		for (s = removed.deleted; s && *s; s++)
			printf("Deleted: %s\n", *s);
		image_removed_free(&removed);
	}
	image_store_close(store);
	return failed;
}

const struct command cmd_rmi = {
	.name = "rmi",
	.synopsis = "IMAGE…",
	.help = "remove images from the store",
	.opts = rmi_opts,
	.opts_n = ARRAY_SIZE(rmi_opts),
	.options_size = sizeof(struct rmi_options),
	.word = WORD_IMAGE,
	.min_args = 1,
	.max_args = -1,
	.fail_status = 1,
	.run = rmi_run,
};
