/* SPDX-License-Identifier: Apache-2.0 */
#include "image/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/linkhash.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/util.h"
#include "image/manifest.h"

#define STRING_MAX (1u << 20) /* of one value; more than execve(2) takes */

/* Days from 1970-01-01 to a day of the Gregorian calendar; years are counted from March, so that leap days come last. */
static int64_t days_from_date(int64_t year, int month, int day)
{
	int64_t y = month <= 2 ? year - 1 : year, era = (y >= 0 ? y : y - 399) / 400, of_era = y - era * 400;
	int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* RFC 3339 to seconds since 1970; 0 when it is none. Fractions are cut. timegm(3) would load the host's time zone. */
static int64_t parse_time(const char *s)
{
	int year, month, day, hour, minute, second, used = 0, zh, zm;
	int64_t t;

	if (!s || sscanf(s, "%4d-%2d-%2dT%2d:%2d:%2d%n", &year, &month, &day, &hour, &minute, &second, &used) != 6 ||
	    month < 1 || month > 12 || day < 1 || day > 31)
		return 0;
	t = days_from_date(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
	s += used;
	if (*s == '.')
		s += 1 + strspn(s + 1, "0123456789");
	if ((*s == '+' || *s == '-') && sscanf(s + 1, "%2d:%2d", &zh, &zm) == 2)
		t -= (*s == '+' ? 1 : -1) * (zh * 3600 + zm * 60);
	return t;
}

static int check_string(const struct json_node *n, const char *key, const char *value, struct err *e)
{
	if (value && strlen(value) > STRING_MAX)
		return json_fail(n, e, E2BIG, "%s: a value of %zu bytes, %u is the limit", key, strlen(value),
				 STRING_MAX);
	return 0;
}

static int get_list(const struct json_node *n, const char *key, char ***list, struct err *e)
{
	size_t count, i;
	int r = json_get_strings(n, key, IMAGE_STRINGS_MAX, list, &count, e);

	if (!r && !*list)
		*list = xcalloc(1, sizeof(**list));
	for (i = 0; !r && i < count; i++)
		r = check_string(n, key, (*list)[i], e);
	return r;
}

/* The keys of an object, as a list: Go's map[string]struct{}. */
static int get_set(const struct json_node *n, const char *key, char ***list, struct err *e)
{
	struct json_node set;
	bool present;
	size_t count = 0;
	int r = json_get_object(n, key, &set, &present, e);

	if (r)
		return r;
	if (present && json_object_object_length(set.value) > (int)IMAGE_STRINGS_MAX)
		return json_fail(&set, e, E2BIG, "more than %u entries", IMAGE_STRINGS_MAX);
	*list = xcalloc(present ? (size_t)json_object_object_length(set.value) + 1 : 1, sizeof(**list));
	if (present) {
		json_object_object_foreach(set.value, name, value)
		{
			(void)value;
			(*list)[count++] = xstrdup(name);
		}
	}
	return 0;
}

static int get_labels(const struct json_node *n, struct image_config *c, struct err *e)
{
	struct json_node labels;
	bool present;
	int r = json_get_object(n, "Labels", &labels, &present, e);

	if (r || !present)
		return r;
	if (json_object_object_length(labels.value) > (int)IMAGE_STRINGS_MAX)
		return json_fail(&labels, e, E2BIG, "more than %u labels", IMAGE_STRINGS_MAX);
	c->labels = xcalloc((size_t)json_object_object_length(labels.value) + 1, sizeof(*c->labels));
	json_object_object_foreach(labels.value, name, value)
	{
		struct json_node label = { .value = value, .parent = &labels, .key = name };
		const char *text = "";

		if (value)
			r = json_as_string(&label, &text, e);
		if (!r)
			r = check_string(&labels, name, text, e);
		if (r)
			return r;
		c->labels[c->labels_n].key = xstrdup(name);
		c->labels[c->labels_n++].value = xstrdup(text);
	}
	return 0;
}

static int get_text(const struct json_node *n, const char *key, char **s, struct err *e)
{
	int r = json_get_string(n, key, s, e);

	if (!r)
		r = check_string(n, key, *s, e);
	/* Go's empty string is its way to say nothing. */
	if (!r && *s && !**s) {
		free(*s);
		*s = NULL;
	}
	return r;
}

static int get_run_config(const struct json_node *doc, struct image_config *c, struct err *e)
{
	struct json_node n = { 0 };
	int r = json_get_object(doc, "config", &n, NULL, e);

	/* Without it n.value is NULL, and every member absent. */
	if (!r)
		r = get_list(&n, "Env", &c->env, e);
	if (!r)
		r = get_list(&n, "Entrypoint", &c->entrypoint, e);
	if (!r)
		r = get_list(&n, "Cmd", &c->cmd, e);
	if (!r)
		r = get_text(&n, "User", &c->user, e);
	if (!r)
		r = get_text(&n, "WorkingDir", &c->working_dir, e);
	if (!r)
		r = get_text(&n, "StopSignal", &c->stop_signal, e);
	if (!r)
		r = get_set(&n, "ExposedPorts", &c->exposed_ports, e);
	if (!r)
		r = get_set(&n, "Volumes", &c->volumes, e);
	if (!r)
		r = get_labels(&n, c, e);
	if (!r && c->working_dir && c->working_dir[0] != '/') {
		char *abs = xasprintf("/%s", c->working_dir);

		free(c->working_dir);
		c->working_dir = abs;
	}
	return r;
}

static int get_rootfs(const struct json_node *doc, struct image_config *c, struct err *e)
{
	struct json_node n;
	struct err why = ERR_INIT;
	_cleanup_free_ char *type = NULL;
	bool present;
	size_t i;
	int r = json_get_object(doc, "rootfs", &n, &present, e);

	if (r)
		return r;
	if (!present)
		return json_fail(doc, e, EINVAL, "no rootfs: this isn't the configuration of an image");
	r = json_get_string(&n, "type", &type, e);
	if (!r && type && !str_eq(type, "layers"))
		r = json_fail(&n, e, ENOTSUP, "type '%.64s'; only 'layers' is known", type);
	if (!r)
		r = json_get_strings(&n, "diff_ids", IMAGE_LAYERS_MAX, &c->diff_ids, &c->diff_ids_n, e);
	if (!r && !c->diff_ids)
		c->diff_ids = xcalloc(1, sizeof(*c->diff_ids));
	for (i = 0; !r && i < c->diff_ids_n; i++)
		if (oci_digest_check(c->diff_ids[i], &why))
			r = json_fail(&n, e, why.code, "diff_ids[%zu]: %s", i, why.msg);
	return r;
}

static int parse(const struct json_node *doc, struct image_config *c, struct err *e)
{
	int r = json_as_object(doc, e);

	if (!r)
		r = get_text(doc, "architecture", &c->architecture, e);
	if (!r)
		r = get_text(doc, "os", &c->os, e);
	if (!r)
		r = get_text(doc, "variant", &c->variant, e);
	if (!r)
		r = get_text(doc, "created", &c->created, e);
	if (!r && (!c->architecture || !c->os))
		r = json_fail(doc, e, EINVAL, "no %s", c->architecture ? "os" : "architecture");
	if (r)
		return r;
	c->created_s = parse_time(c->created);
	r = get_run_config(doc, c, e);
	return r ? r : get_rootfs(doc, c, e);
}

int image_config_parse(const char *json, size_t len, struct image_config *c, struct err *e)
{
	struct json_node doc = { 0 };
	int r;

	*c = (struct image_config){ 0 };
	r = json_parse(json, len, IMAGE_CONFIG_MAX, &doc, e);
	if (!r)
		r = parse(&doc, c, e);
	json_done(&doc);
	if (r)
		image_config_free(c);
	return r;
}

void image_config_free(struct image_config *c)
{
	size_t i;

	free(c->architecture);
	free(c->os);
	free(c->variant);
	free(c->created);
	free(c->user);
	free(c->working_dir);
	free(c->stop_signal);
	json_free_strings(c->env);
	json_free_strings(c->entrypoint);
	json_free_strings(c->cmd);
	json_free_strings(c->exposed_ports);
	json_free_strings(c->volumes);
	json_free_strings(c->diff_ids);
	for (i = 0; i < c->labels_n; i++) {
		free(c->labels[i].key);
		free(c->labels[i].value);
	}
	free(c->labels);
	*c = (struct image_config){ 0 };
}
