/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/shares.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/guest.h"
#include "base/util.h"
#include "oci/pb.h"
#include "sandbox/bundle.h"
#include "sandbox/state.h"

void share_free(struct share *s)
{
	free(s->source);
	free(s->target);
	free(s->options);
	*s = (struct share){ 0 };
}

void disk_free(struct disk *d)
{
	free(d->path);
	*d = (struct disk){ 0 };
}

/* Drops "//", "/./" and a "/" at the end, in place; ".." is left for who can tell what it means. */
static void clean_path(char *path)
{
	char *from = path, *to = path;

	while (*from) {
		size_t n;

		from += strspn(from, "/");
		n = strcspn(from, "/");
		if (n && !(n == 1 && *from == '.')) {
			*to++ = '/';
			memmove(to, from, n);
			to += n;
		}
		from += n;
	}
	if (to == path)
		*to++ = '/';
	*to = '\0';
}

static bool has_dotdot(const char *path)
{
	for (; *path; path += strcspn(path, "/")) {
		path += strspn(path, "/");
		if (str_starts(path, "..") && (path[2] == '/' || !path[2]))
			return true;
	}
	return false;
}

static int check_target(const char *flag, const char *text, struct share *s, struct err *e)
{
	if (!s->target || !*s->target)
		return err_set(e, EINVAL, "%s '%s': no target; where in the container is it to be?", flag, text);
	if (s->target[0] != '/')
		return err_set(e, EINVAL, "%s '%s': invalid mount path: '%s' mount path must be absolute", flag, text,
			       s->target);
	if (has_dotdot(s->target))
		return err_set(e, EINVAL, "%s '%s': the target has '..' in it", flag, text);
	clean_path(s->target);
	if (str_eq(s->target, "/"))
		return err_set(e, EINVAL, "%s '%s': invalid specification: destination can't be '/'", flag, text);
	return 0;
}

static int check_volume_name(const char *flag, const char *text, const char *name, struct err *e)
{
	if (state_name_valid(name))
		return 0;
	return err_set(
		e, EINVAL,
		"%s '%s': \"%s\" includes invalid characters for a local volume name, only "
		"\"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed; if a folder of the host is meant, use its absolute path",
		flag, text, name);
}

/* ---- -v ----------------------------------------------------------------------------------------------------------- */

/* Those that are not about reading and writing mean nothing between a guest and its host. */
static int volume_option(const char *text, const char *word, size_t len, struct share *s, struct err *e)
{
	static const char *const ignored[] = { "rw",	 "z",	      "Z",	 "consistent",
					       "cached", "delegated", "private", "rprivate" };
	size_t i;

	if (len == strlen("ro") && !memcmp(word, "ro", len)) {
		s->read_only = true;
		return 0;
	}
	if (len == strlen("nocopy") && !memcmp(word, "nocopy", len)) {
		s->no_copy = true;
		return 0;
	}
	for (i = 0; i < ARRAY_SIZE(ignored); i++)
		if (strlen(ignored[i]) == len && !memcmp(ignored[i], word, len))
			return 0;
	return err_set(e, EINVAL, "--volume '%s': invalid mode: '%.*s'; there are ro and rw", text, (int)len, word);
}

static int fill_volume(const char *text, struct share *s, struct err *e)
{
	const size_t source = strcspn(text, ":");
	const char *target = text + source + !!text[source], *word;
	const size_t target_len = strcspn(target, ":");
	int r;

	if (!text[source]) {
		s->kind = SHARE_VOLUME;
		s->target = xstrdup(text);
		return check_target("--volume", text, s, e);
	}
	s->source = xstrndup(text, source);
	s->target = xstrndup(target, target_len);
	if (!*s->source)
		return err_set(e, EINVAL, "--volume '%s': invalid volume specification: it has no source", text);
	r = check_target("--volume", text, s, e);
	if (r)
		return r;
	for (word = target + target_len + !!target[target_len]; *word; word += strspn(word, ",")) {
		const size_t len = strcspn(word, ",");

		r = volume_option(text, word, len, s, e);
		if (r)
			return r;
		word += len;
	}
	if (s->source[0] != '/') {
		s->kind = SHARE_VOLUME;
		return check_volume_name("--volume", text, s->source, e);
	}
	s->make_source = true;
	return 0;
}

int share_parse_volume(const char *text, struct share *out, struct err *e)
{
	int r;

	*out = (struct share){ .kind = SHARE_BIND };
	r = fill_volume(text, out, e);
	if (r)
		share_free(out);
	return r;
}

/* ---- --mount ------------------------------------------------------------------------------------------------------ */

static int parse_bool(const char *value, bool *out)
{
	if (!value || str_eq(value, "true") || str_eq(value, "1"))
		*out = true;
	else if (str_eq(value, "false") || str_eq(value, "0"))
		*out = false;
	else
		return -EINVAL;
	return 0;
}

struct mount_words {
	const char *text;
	bool typed;
	char *size, *mode; /* of a tmpfs */
	bool of_volume;	   /* a word that is a volume's only */
};

static int set_type(struct mount_words *w, struct share *s, const char *value, struct err *e)
{
	static const char *const kinds[] = {
		[SHARE_BIND] = "bind", [SHARE_VOLUME] = "volume", [SHARE_TMPFS] = "tmpfs"
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		if (str_eq(value, kinds[i]))
			break;
	if (i == ARRAY_SIZE(kinds))
		return err_set(e, EINVAL, "--mount '%s': type \"%s\" is not there; there are bind, volume and tmpfs",
			       w->text, value ? value : "");
	s->kind = (enum share_kind)i;
	return 0;
}

static int set_size(struct mount_words *w, const char *value, struct err *e)
{
	uint64_t bytes;

	if (!value || parse_size(value, &bytes))
		return err_set(e, EINVAL, "--mount '%s': invalid value for tmpfs-size: %s", w->text,
			       value ? value : "");
	free(w->size);
	w->size = xasprintf("%llu", (unsigned long long)bytes);
	return 0;
}

static int set_mode(struct mount_words *w, const char *value, struct err *e)
{
	if (!value || !*value || strlen(value) > 5 || value[strspn(value, "01234567")])
		return err_set(e, EINVAL, "--mount '%s': invalid value for tmpfs-mode: %s", w->text,
			       value ? value : "");
	free(w->mode);
	w->mode = xstrdup(value);
	return 0;
}

static void replace(char **at, const char *value)
{
	free(*at);
	*at = xstrdup(value ? value : "");
}

static int volume_word(struct mount_words *w, struct share *s, const char *word, const char *value, struct err *e)
{
	w->of_volume = true;
	if (str_eq(word, "volume-nocopy"))
		return parse_bool(value, &s->no_copy)
			       ? err_set(e, EINVAL, "--mount '%s': invalid value for volume-nocopy: %s", w->text, value)
			       : 0;
	if (str_eq(word, "volume-driver") && str_eq(value, "local"))
		return 0;
	return err_set(e, ENOTSUP,
		       "--mount '%s': %s: volumes are folders of the store, by the one driver local, without options; "
		       "leave it out",
		       w->text, word);
}

static int mount_word(struct mount_words *w, struct share *s, char *word, struct err *e)
{
	char *value = strchr(word, '=');

	if (value)
		*value++ = '\0';
	if (str_eq(word, "type"))
		return set_type(w, s, value, e);
	if (str_eq(word, "source") || str_eq(word, "src"))
		replace(&s->source, value);
	else if (str_eq(word, "target") || str_eq(word, "dst") || str_eq(word, "destination"))
		replace(&s->target, value);
	else if (str_starts(word, "volume-"))
		return volume_word(w, s, word, value, e);
	else if (str_eq(word, "tmpfs-size"))
		return set_size(w, value, e);
	else if (str_eq(word, "tmpfs-mode"))
		return set_mode(w, value, e);
	else if (!str_eq(word, "readonly") && !str_eq(word, "ro"))
		return err_set(e, EINVAL, "--mount '%s': unexpected key '%s'", w->text, word);
	else if (parse_bool(value, &s->read_only))
		return err_set(e, EINVAL, "--mount '%s': invalid value for %s: %s", w->text, word, value);
	return 0;
}

static int check_mount(struct mount_words *w, struct share *s, struct err *e)
{
	int r = check_target("--mount", w->text, s, e);

	if (r)
		return r;
	if (s->kind == SHARE_TMPFS) {
		if (s->source)
			return err_set(e, EINVAL, "--mount '%s': a tmpfs has no source", w->text);
		s->options = xasprintf("%s%s%s%s%s", s->read_only ? "ro" : "rw", w->size ? ",size=" : "",
				       w->size ? w->size : "", w->mode ? ",mode=" : "", w->mode ? w->mode : "");
		return 0;
	}
	if (w->size || w->mode)
		return err_set(e, EINVAL, "--mount '%s': cannot mix tmpfs-size and tmpfs-mode with another type",
			       w->text);
	if (w->of_volume && s->kind != SHARE_VOLUME)
		return err_set(e, EINVAL, "--mount '%s': cannot mix volume-* words with another type", w->text);
	if (s->kind == SHARE_VOLUME)
		return s->source && *s->source ? check_volume_name("--mount", w->text, s->source, e) : 0;
	if (!s->source || !*s->source)
		return err_set(e, EINVAL, "--mount '%s': no source; which folder or file of the host?", w->text);
	if (s->source[0] != '/')
		return err_set(e, EINVAL, "--mount '%s': invalid mount path: '%s' mount path must be absolute", w->text,
			       s->source);
	return 0;
}

int share_parse_mount(const char *text, struct share *out, struct err *e)
{
	_cleanup_free_ char *copy = xstrdup(text);
	struct mount_words w = { .text = text };
	char *rest = copy, *word;
	int r = 0;

	/* Docker's own choice where no type is said. */
	*out = (struct share){ .kind = SHARE_VOLUME };
	while (!r && (word = strsep(&rest, ",")))
		r = *word ? mount_word(&w, out, word, e) : err_set(e, EINVAL, "--mount '%s': a field is empty", text);
	if (!r)
		r = check_mount(&w, out, e);
	free(w.size);
	free(w.mode);
	if (r)
		share_free(out);
	return r;
}

/* ---- --rootfs ----------------------------------------------------------------------------------------------------- */

int share_parse_rootfs(const char *text, bool read_only, struct share *out, struct err *e)
{
	size_t len = strlen(text);
	const bool overlay = len >= 2 && str_eq(text + len - 2, ":O");

	*out = (struct share){ .kind = SHARE_ROOTFS };
	len -= overlay ? 2 : 0;
	if (!len)
		return err_set(e, EINVAL, "--rootfs '%s': no folder", text);
	out->source = xstrndup(text, len);
	out->target = xstrdup("/");
	/* Nothing is to be written to it then, not even by whoever has all powers in the guest. */
	out->read_only = overlay || read_only;
	out->overlay = out->read_only;
	return 0;
}

/* ---- --disk ------------------------------------------------------------------------------------------------------- */

static int disk_word(const char *text, struct disk *d, const char *word, struct err *e)
{
	if (str_eq(word, "ro")) {
		d->read_only = true;
	} else if (str_eq(word, "direct")) {
		d->direct = true;
	} else if (str_starts(word, "serial=")) {
		const char *serial = word + strlen("serial="), *c;

		for (c = serial; *c > ' ' && *c < 0x7f; c++)
			;
		if (!*serial || *c || strlen(serial) > VMSPEC_SERIAL_MAX)
			return err_set(e, EINVAL, "--disk '%s': a serial number has 1 to %u printable characters", text,
				       VMSPEC_SERIAL_MAX);
		snprintf(d->serial, sizeof(d->serial), "%s", serial);
	} else if (!str_eq(word, "rw")) {
		return err_set(e, EINVAL, "--disk '%s': \"%s\" is not known; there are ro, rw, direct and serial=TEXT",
			       text, word);
	}
	return 0;
}

int disk_parse(const char *text, struct disk *out, struct err *e)
{
	_cleanup_free_ char *copy = xstrdup(text);
	char *rest = strchr(copy, ':'), *word;
	int r = 0;

	*out = (struct disk){ 0 };
	if (rest)
		*rest++ = '\0';
	if (!*copy)
		return err_set(e, EINVAL, "--disk '%s': no file", text);
	while (!r && (word = strsep(&rest, ",")))
		r = disk_word(text, out, word, e);
	if (r)
		disk_free(out);
	else
		out->path = xstrdup(copy);
	return r;
}

/* ---- all of a run ------------------------------------------------------------------------------------------------- */

static unsigned int depth(const char *path)
{
	unsigned int n = 0;

	for (; path && *path; path++)
		n += *path == '/' && path[1];
	return n;
}

static int add_share(struct shares *s, const struct share *one, struct err *e)
{
	size_t i;

	if (s->n >= SHARES_MAX)
		return err_set(e, E2BIG, "more than %u volumes and mounts", SHARES_MAX);
	for (i = 0; i < s->n; i++)
		if (str_eq(s->v[i].target, one->target))
			return err_set(e, EINVAL, "duplicate mount point: %s", one->target);
	s->v = xreallocarray(s->v, s->n + 1, sizeof(*s->v));
	for (i = s->n; i && depth(s->v[i - 1].target) > depth(one->target); i--)
		s->v[i] = s->v[i - 1];
	s->v[i] = *one;
	s->n++;
	return 0;
}

/* A tmpfs that is asked for by --tmpfs is not among the shares, but has a place as they have. */
static int check_tmpfs(const struct run_options *o, const struct shares *s, struct err *e)
{
	size_t i, k;

	for (i = 0; i < o->tmpfs.n; i++) {
		_cleanup_free_ char *path = xstrndup(o->tmpfs.v[i], strcspn(o->tmpfs.v[i], ":"));

		if (path[0] != '/')
			continue;
		clean_path(path);
		for (k = 0; k < s->n; k++)
			if (s->v[k].kind != SHARE_ROOTFS && str_eq(s->v[k].target, path))
				return err_set(e, EINVAL, "duplicate mount point: %s", path);
	}
	return 0;
}

static int parse_list(const struct strv *list, int (*parse)(const char *, struct share *, struct err *),
		      struct shares *out, struct err *e)
{
	size_t i;

	for (i = 0; i < list->n; i++) {
		struct share one;
		int r = parse(list->v[i], &one, e);

		if (r)
			return r;
		r = add_share(out, &one, e);
		if (r) {
			share_free(&one);
			return r;
		}
	}
	return 0;
}

static int parse_root(const struct run_options *o, struct shares *out, struct err *e)
{
	struct share root;
	int r;

	if (!o->rootfs)
		return 0;
	r = share_parse_rootfs(o->rootfs, o->read_only, &root, e);
	if (r)
		return r;
	/* A layer's size says nothing where there is none. */
	if (!root.overlay && o->storage_opt.n) {
		share_free(&root);
		return err_set(e, EINVAL, "--storage-opt: what is written to --rootfs %s is not limited; say %s:O",
			       o->rootfs, o->rootfs);
	}
	return add_share(out, &root, e);
}

static int parse_disks(const struct strv *list, struct shares *out, struct err *e)
{
	size_t i;

	if (list->n > DISKS_MAX)
		return err_set(e, E2BIG, "--disk: more than %u", DISKS_MAX);
	out->disks = xcalloc(list->n + 1, sizeof(*out->disks));
	for (i = 0; i < list->n; i++) {
		int r = disk_parse(list->v[i], &out->disks[i], e);

		if (r)
			return r;
		out->disks_n++;
	}
	return 0;
}

bool share_spec_is_read_only(const Microvm__Mount *m)
{
	bool ro = false;
	size_t i;

	for (i = 0; i < m->n_options; i++)
		if (str_eq(m->options[i], "ro") || str_eq(m->options[i], "rro"))
			ro = true;
		else if (str_eq(m->options[i], "rw"))
			ro = false;
	return ro;
}

void share_spec_mount(Microvm__Mount *m, size_t number)
{
	pb_set(&m->type, xstrdup("bind"));
	pb_set(&m->source, xasprintf(GUEST_SHARE_PATH "/%zu", number));
}

/* In the order of config.json, whose mounts they are: behind the root there is nothing else. */
static int add_bundle_mounts(const struct bundle *b, struct shares *out, struct err *e)
{
	size_t i;

	for (i = 0; b && i < b->spec->n_mounts; i++) {
		const Microvm__Mount *m = b->spec->mounts[i];

		if (!bundle_mount_is_bind(m))
			continue;
		if (out->n >= SHARES_MAX)
			return err_set(e, E2BIG, "config.json: mounts: more than %u are of files of the host",
				       SHARES_MAX - 1);
		out->v = xreallocarray(out->v, out->n + 1, sizeof(*out->v));
		out->v[out->n++] = (struct share){ .kind = SHARE_SPEC,
						   .source = xstrdup(m->source),
						   .target = xstrdup(m->destination),
						   .read_only = share_spec_is_read_only(m),
						   .mount = i };
	}
	return 0;
}

int shares_parse(const struct run_options *o, struct shares *out, struct err *e)
{
	int r;

	*out = (struct shares){ 0 };
	r = parse_root(o, out, e);
	if (!r)
		r = parse_list(&o->volume, share_parse_volume, out, e);
	if (!r)
		r = parse_list(&o->mount, share_parse_mount, out, e);
	if (!r)
		r = check_tmpfs(o, out, e);
	if (!r)
		r = add_bundle_mounts(o->bundle, out, e);
	if (!r)
		r = parse_disks(&o->disk, out, e);
	if (r)
		shares_free(out);
	return r;
}

const struct share *shares_root(const struct shares *s)
{
	return s->n && s->v[0].kind == SHARE_ROOTFS ? &s->v[0] : NULL;
}

void shares_free(struct shares *s)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		share_free(&s->v[i]);
	for (i = 0; i < s->disks_n; i++)
		disk_free(&s->disks[i]);
	free(s->v);
	free(s->disks);
	*s = (struct shares){ 0 };
}
