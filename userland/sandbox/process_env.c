/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/process_env.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"

/* "K" takes our value; without one it stays "K". */
static void add(struct strv *out, const char *entry)
{
	const char *ours = strchr(entry, '=') || !*entry ? NULL : getenv(entry);

	if (ours)
		strv_push_take(out, xasprintf("%s=%s", entry, ours));
	else
		strv_push(out, entry);
}

int process_env_file(const char *path, char *text, size_t len, struct strv *out, struct err *e)
{
	char *line = text, *next;
	unsigned int number;

	if (memchr(text, 0, len))
		return err_set(e, EINVAL, "--env-file %s: there is a NUL byte in it", path);
	for (number = 1; line; line = next, number++) {
		size_t name;

		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		line += strspn(line, " \t");
		line[strcspn(line, "\r")] = '\0';
		if (!*line || *line == '#')
			continue;
		name = strcspn(line, "=");
		if (!name || strcspn(line, " \t") < name)
			return err_set(e, EINVAL, "--env-file %s, line %u: '%.40s' has no name of a variable", path,
				       number, line);
		add(out, line);
	}
	return 0;
}

int process_env(const struct process_options *o, struct strv *out, struct err *e)
{
	size_t i;

	for (i = 0; i < o->env_file.n; i++) {
		_cleanup_free_ char *text = NULL;
		size_t len;
		int r = read_file(AT_FDCWD, o->env_file.v[i], ENV_FILE_MAX, &text, &len);

		if (r)
			return err_errno(e, r, "--env-file %s", o->env_file.v[i]);
		r = process_env_file(o->env_file.v[i], text, len, out, e);
		if (r)
			return r;
	}
	for (i = 0; i < o->env.n; i++)
		add(out, o->env.v[i]);
	return 0;
}
