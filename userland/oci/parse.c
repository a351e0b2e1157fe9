/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/parse.h"

#include <string.h>

#include <json-c/linkhash.h>

int oci_get_string(const struct json_node *n, const char *key, char **field, bool *present, struct err *e)
{
	char *s = NULL;
	int r = json_get_string(n, key, &s, e);

	if (s)
		pb_set(field, s);
	if (present)
		*present = s != NULL;
	return r;
}

int oci_need_string(const struct json_node *n, const char *key, char **field, struct err *e)
{
	struct json_node child;
	bool present;
	int r = oci_get_string(n, key, field, &present, e);

	if (r)
		return r;
	if (present && **field)
		return 0;
	json_member(n, key, &child);
	return json_fail(&child, e, EINVAL, present ? "must not be empty" : "is missing");
}

static int check_path(const struct json_node *n, const char *path, struct err *e)
{
	if (path[0] == '/')
		return 0;
	return json_fail(n, e, EINVAL, "\"%s\" is not an absolute path", path);
}

int oci_get_path(const struct json_node *n, const char *key, char **field, struct err *e)
{
	struct json_node child;
	bool present;
	int r = oci_get_string(n, key, field, &present, e);

	if (r || !present || !**field)
		return r;
	json_member(n, key, &child);
	return check_path(&child, *field, e);
}

int oci_get_strings(const struct json_node *n, const char *key, char ***list, size_t *count, struct err *e)
{
	char **strings = NULL;
	size_t got = 0;
	int r = json_get_strings(n, key, LIST_MAX, &strings, &got, e);

	if (r)
		return r;
	*list = strings;
	*count = got;
	return 0;
}

int oci_get_paths(const struct json_node *n, const char *key, char ***list, size_t *count, struct err *e)
{
	struct json_node array, entry;
	size_t i;
	int r = oci_get_strings(n, key, list, count, e);

	if (r || !json_member(n, key, &array))
		return r;
	for (i = 0; !r && i < *count; i++) {
		json_entry(&array, i, &entry);
		r = check_path(&entry, (*list)[i], e);
	}
	return r;
}

int oci_get_u32(const struct json_node *n, const char *key, uint32_t *v, bool *present, struct err *e)
{
	uint64_t u = *v;
	int r = json_get_u64(n, key, 0, UINT32_MAX, &u, present, e);

	*v = (uint32_t)u;
	return r;
}

int oci_get_u64_value(const struct json_node *n, const char *key, uint64_t hi, Microvm__UInt64Value **v, struct err *e)
{
	uint64_t u = 0;
	bool present;
	int r = json_get_u64(n, key, 0, hi, &u, &present, e);

	if (!r && present)
		*v = pb_u64(u);
	return r;
}

int oci_get_i64_value(const struct json_node *n, const char *key, Microvm__Int64Value **v, struct err *e)
{
	int64_t i = 0;
	bool present;
	int r = json_get_i64(n, key, INT64_MIN, INT64_MAX, &i, &present, e);

	if (!r && present)
		*v = pb_i64(i);
	return r;
}

int oci_get_map(const struct json_node *n, const char *key, Microvm__NameValue ***list, size_t *count, struct err *e)
{
	struct json_node map;
	bool present;
	int r = json_get_object(n, key, &map, &present, e);

	if (r || !present)
		return r;
	if ((size_t)json_object_object_length(map.value) > LIST_MAX)
		return json_fail(&map, e, E2BIG, "more than %u entries", LIST_MAX);
	json_object_object_foreach(map.value, name, value)
	{
		struct json_node entry = { .value = value, .parent = &map, .key = name };
		const char *s;

		if (!*name)
			return json_fail(&map, e, EINVAL, "has an empty name");
		r = json_as_string(&entry, &s, e);
		if (r)
			return r;
		pb_append(*count, *list, pb_name_value(xstrdup(name), xstrdup(s)));
	}
	return 0;
}

int oci_each_object(const struct json_node *n, const char *key, size_t max,
		    int (*fn)(const struct json_node *entry, void *opaque, struct err *e), void *opaque, struct err *e)
{
	struct json_node array, entry;
	size_t count, i;
	int r = json_get_array(n, key, max, &array, &count, e);

	for (i = 0; !r && i < count; i++) {
		json_entry(&array, i, &entry);
		r = json_as_object(&entry, e);
		if (!r)
			r = fn(&entry, opaque, e);
	}
	return r;
}

int oci_refuse(const struct json_node *n, const char *key, const char *why, struct err *e)
{
	struct json_node child;
	bool says;

	if (!json_member(n, key, &child))
		return 0;
	switch (json_object_get_type(child.value)) {
	case json_type_object: says = json_object_object_length(child.value) > 0; break;
	case json_type_array: says = json_object_array_length(child.value) > 0; break;
	case json_type_string: says = json_object_get_string_len(child.value) > 0; break;
	default: says = json_object_get_boolean(child.value); break;
	}
	return says ? json_fail(&child, e, ENOTSUP, "%s", why) : 0;
}

struct mapping_list {
	Microvm__IDMapping ***list;
	size_t *count;
};

static int add_mapping(const struct json_node *n, void *opaque, struct err *e)
{
	Microvm__IDMapping *m = pb_new(Microvm__IDMapping, microvm__idmapping);
	struct mapping_list *l = opaque;
	bool container, host, size;
	int r;

	pb_append(*l->count, *l->list, m);
	r = oci_get_u32(n, "containerID", &m->container_id, &container, e);
	if (!r)
		r = oci_get_u32(n, "hostID", &m->host_id, &host, e);
	if (!r)
		r = oci_get_u32(n, "size", &m->size, &size, e);
	if (r)
		return r;
	if (!container || !host || !size || !m->size)
		return json_fail(n, e, EINVAL, "needs containerID, hostID and a size that is not 0");
	return 0;
}

int oci_parse_mappings(const struct json_node *n, const char *key, Microvm__IDMapping ***list, size_t *count,
		       struct err *e)
{
	struct mapping_list l = { list, count };

	return oci_each_object(n, key, SHORT_MAX, add_mapping, &l, e);
}

bool oci_one_of(const char *s, const char *const *names, size_t n)
{
	while (n--)
		if (str_eq(names[n], s))
			return true;
	return false;
}
