/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/paths.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

/* The folder this program is in. */
static char *program_folder(void)
{
	char buf[4096];
	ssize_t n = readlink("/proc/self/exe", buf, sizeof(buf) - 1);
	char *slash;

	if (n <= 0)
		return xstrdup(".");
	buf[n] = '\0';
	slash = strrchr(buf, '/');
	if (slash)
		slash[slash == buf] = '\0';
	return xstrdup(buf);
}

static char *find(const char *variable, const char *const *folders, const char *name, int mode, const char *remedy,
		  struct err *e)
{
	const char *set = getenv(variable);
	_cleanup_free_ char *here = NULL;
	char *path;

	if (set && *set) {
		path = xasprintf("%s/%s", set, name);
		if (!access(path, mode))
			return path;
		err_errno(e, errno, "%s (from %s)", path, variable);
		free(path);
		return NULL;
	}
	here = program_folder();
	for (; *folders; folders++) {
		path = xasprintf("%s/%s%s", here, *folders, name);
		if (!access(path, mode))
			return path;
		free(path);
	}
	err_set(e, ENOENT, "%s is not installed beside %s; %s, or say in %s where it is", name, here, remedy, variable);
	return NULL;
}

char *paths_program(const char *name, struct err *e)
{
	static const char *const folders[] = { "", "../libexec/microvm/", NULL };

	return find("MICROVM_LIBEXEC", folders, name, X_OK, "run 'make all' or 'make install'", e);
}

char *paths_guest(const char *name, struct err *e)
{
	static const char *const folders[] = { "../share/microvm/", "../guest/", NULL };

	return find("MICROVM_GUEST", folders, name, R_OK, "run 'make guest' or 'make install'", e);
}
