/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/spec.h"

#include <string.h>

#include "base/capability.h"
#include "oci/options.h"
#include "oci/parse.h"

/* 1.anything: minor versions add, and what they add is ignored where it isn't known. */
static int check_version(const struct json_node *config, Microvm__Spec *spec, struct err *e)
{
	struct json_node n;
	const char *s;
	int r = oci_need_string(config, "ociVersion", &spec->oci_version, e);

	if (r)
		return r;
	s = spec->oci_version;
	if (s[0] == '1' && s[1] == '.' && s[2] >= '0' && s[2] <= '9')
		return 0;
	json_member(config, "ociVersion", &n);
	return json_fail(&n, e, ENOTSUP, "\"%s\" is not a version 1.x of the runtime spec", s);
}

static int refuse_platforms(const struct json_node *config, struct err *e)
{
	static const char *const platforms[] = { "solaris", "windows", "vm", "zos" };
	struct json_node n;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(platforms); i++)
		if (json_member(config, platforms[i], &n))
			return json_fail(&n, e, ENOTSUP, "only containers of Linux are run; leave this section out");
	return 0;
}

static int parse_root(const struct json_node *config, Microvm__Spec *spec, struct err *e)
{
	struct json_node n;
	bool present, readonly = false;
	int r = json_get_object(config, "root", &n, &present, e);

	if (r)
		return r;
	if (!present)
		return json_fail(&n, e, EINVAL, "is missing");
	spec->root = pb_new(Microvm__Root, microvm__root);
	r = oci_need_string(&n, "path", &spec->root->path, e);
	if (!r)
		r = json_get_bool(&n, "readonly", &readonly, NULL, e);
	spec->root->readonly = readonly;
	return r;
}

static int parse_process(const struct json_node *config, Microvm__Spec *spec, struct err *e)
{
	struct json_node n;
	bool present;
	int r = json_get_object(config, "process", &n, &present, e);

	if (r)
		return r;
	if (!present)
		return json_fail(&n, e, EINVAL, "is missing, so there would be nothing to start");
	spec->process = pb_new(Microvm__Process, microvm__process);
	return oci_parse_process(&n, spec->process, e);
}

static bool has_namespace(const Microvm__Linux *l, const char *type)
{
	size_t i;

	for (i = 0; i < l->n_namespaces; i++)
		if (str_eq(l->namespaces[i]->type, type))
			return true;
	return false;
}

static int parse_names(const struct json_node *config, bool engine, Microvm__Spec *spec, struct err *e)
{
	const struct {
		const char *key;
		char **field;
	} names[] = {
		{ "hostname", &spec->hostname },
		{ "domainname", &spec->domainname },
	};
	size_t i;
	int r = 0;

	for (i = 0; !r && i < ARRAY_SIZE(names); i++) {
		struct json_node n;

		r = oci_get_string(config, names[i].key, names[i].field, NULL, e);
		if (r || !**names[i].field)
			continue;
		json_member(config, names[i].key, &n);
		if (strlen(*names[i].field) > 64)
			r = json_fail(&n, e, EINVAL, "is longer than the 64 bytes that the kernel takes");
		else if (!engine && !has_namespace(spec->linux, "uts"))
			r = json_fail(&n, e, EINVAL, "needs a uts namespace in linux.namespaces");
	}
	return r;
}

static int parse_linux(const struct json_node *config, Microvm__Spec *spec, struct err *e)
{
	struct json_node n;
	bool present;
	int r = json_get_object(config, "linux", &n, &present, e);

	spec->linux = pb_new(Microvm__Linux, microvm__linux);
	if (!r && !present)
		return json_fail(&n, e, EINVAL, "is missing; a container needs at least a mount namespace");
	return r ? r : oci_parse_linux(&n, spec->linux, oci_caps_bounding(spec->process->capabilities), e);
}

static int parse_spec(const struct json_node *config, bool engine, Microvm__Spec *spec, struct err *e)
{
	int r = json_as_object(config, e);

	if (!r)
		r = check_version(config, spec, e);
	if (!r)
		r = refuse_platforms(config, e);
	if (!r)
		r = parse_root(config, spec, e);
	if (!r)
		r = parse_process(config, spec, e);
	if (!r)
		r = oci_parse_mounts(config, spec, e);
	if (!r)
		r = oci_parse_hooks(config, engine, spec, e);
	if (!r)
		r = oci_get_map(config, "annotations", &spec->annotations, &spec->n_annotations, e);
	if (!r)
		r = parse_linux(config, spec, e);
	return r ? r : parse_names(config, engine, spec, e);
}

static int parse_text(const char *json, size_t len, bool engine, Microvm__Spec **out, struct err *e)
{
	Microvm__Spec *spec = pb_new(Microvm__Spec, microvm__spec);
	struct json_node root;
	int r = json_parse(json, len, OCI_SPEC_MAX, &root, e);

	if (!r)
		r = parse_spec(&root, engine, spec, e);
	json_done(&root);
	if (r) {
		oci_spec_free(spec);
		return err_wrap(e, "config.json");
	}
	*out = spec;
	return 0;
}

int oci_spec_parse(const char *json, size_t len, Microvm__Spec **out, struct err *e)
{
	return parse_text(json, len, false, out, e);
}

int oci_spec_parse_hooked(const char *json, size_t len, Microvm__Spec **out, struct err *e)
{
	return parse_text(json, len, true, out, e);
}

int oci_process_parse(const char *json, size_t len, Microvm__Process **out, struct err *e)
{
	Microvm__Process *p = pb_new(Microvm__Process, microvm__process);
	struct json_node root;
	int r = json_parse(json, len, OCI_SPEC_MAX, &root, e);

	if (!r)
		r = json_as_object(&root, e);
	if (!r)
		r = oci_parse_process(&root, p, e);
	json_done(&root);
	if (r) {
		oci_process_free(p);
		return err_wrap(e, "process");
	}
	*out = p;
	return 0;
}

int oci_resources_parse(const char *json, size_t len, Microvm__Resources **out, struct err *e)
{
	Microvm__Resources *res = pb_new(Microvm__Resources, microvm__resources);
	struct json_node root;
	int r = json_parse(json, len, OCI_SPEC_MAX, &root, e);

	if (!r)
		r = json_as_object(&root, e);
	if (!r)
		r = oci_parse_resources(&root, res, e);
	json_done(&root);
	if (r) {
		oci_resources_free(res);
		return err_wrap(e, "resources");
	}
	*out = res;
	return 0;
}
